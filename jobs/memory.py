"""What glibc's allocator keeps in fragments, given back to the system."""

import ctypes


def malloc_trim() -> None:
    """Seen: on engines on CPU 2.7 to 9.3 GiB after the same 24 shards of 3,000 rows, 2.2 after a trim; on a driver
    483 MiB after 10,000 steps, 334 after a trim.
    """
    release = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if release:
        release(0)
