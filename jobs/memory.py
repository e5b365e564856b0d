"""Returns memory that glibc's allocator holds in fragments to the system."""

import ctypes


def malloc_trim() -> None:
    """Measured on CPU engines: 2.7 to 9.3 GiB after the same 24 shards of 3,000 rows, 2.2 GiB after a trim. On a
    driver: 483 MiB after 10,000 steps, 334 MiB after a trim.
    """
    release = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if release:
        release(0)
