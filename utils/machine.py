"""Memory that the allocator keeps instead of giving it back to the system after every step."""

import ctypes
import sys

# parameters of mallopt in glibc's malloc.h
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
LARGEST_INT = 2**31 - 1


def keep_freed_memory() -> None:
    """Has glibc keep what is freed, for the whole process; does nothing where there is no glibc.

    Every training step frees its activations and asks for the same again. Left to itself glibc
    returns large pieces to the system each time, and the next step pays for every page anew, which
    can be as long as the arithmetic of a small network.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        mallopt(M_TRIM_THRESHOLD, LARGEST_INT)  # never shrink the heap
        mallopt(M_MMAP_MAX, 0)  # nothing outside the heap, where freeing is unmapping
