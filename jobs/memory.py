"""What glibc's allocator keeps in fragments, given back to the system."""

import ctypes


def trim() -> None:
    """Seen on engines on CPU: 2.7 to 9.3 GiB after the same 24 shards of 3,000 rows, 2.2 after a trim. On a driver after
    10,000 steps: 483 MiB, and 334.
    """
    release = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if release:
        release(0)
