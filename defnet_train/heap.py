"""Freed memory stays with the process: activations are allocated and freed by the thousand, all of a few sizes.

glibc gives the end of its heap back to the kernel whenever more than a threshold of it is free, and a map of a small
tower's first stages is about that large. Every layer then waits for fresh, zeroed pages. `python
benchmarks/trunk_features.py` measures what that costs features of a frozen trunk.
"""

from __future__ import annotations

import ctypes
import platform

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's mallopt."""
KEPT = 1 << 30
"""Bytes free at the end of the heap that are kept."""
LARGEST = 32 << 20
"""Bytes from which on an allocation is given back when it is freed; glibc allows no more."""


def keep_freed_memory() -> bool:
    """Ask the C library to keep freed memory for the rest of the process.

    Returns:
        False where the C library is another than glibc or refuses.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_MMAP_THRESHOLD, LARGEST)) and bool(mallopt(_TRIM_THRESHOLD, KEPT))
