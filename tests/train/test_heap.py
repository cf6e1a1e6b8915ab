"""Memory that is freed and wanted again is not fetched from the kernel again."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

LAYERS = """
import ctypes, resource, sys
if sys.argv[1] == "kept":
    from defnet_train.heap import keep_freed_memory
    assert keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
def layers():
    for _ in range(20):
        maps = [libc.malloc(19_000_000) for _ in range(3)]
        for place in maps:
            libc.memset(place, 1, 19_000_000)
        for place in maps:
            libc.free(place)
layers()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
layers()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
ALL_PAGES = 20 * 3 * 19_000_000 // 4096


def faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", LAYERS, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library decides for itself")
def test_freed_memory_is_used_again_without_a_page_fault() -> None:
    # Where the heap lies differs from process to process, and with it whether its end is given back.
    given_back, kept = (max(faults(how) for _ in range(3)) for how in ("given back", "kept"))
    if given_back < ALL_PAGES / 4:
        pytest.skip("this machine gives little memory back, or in large pages")
    assert kept < ALL_PAGES / 20
