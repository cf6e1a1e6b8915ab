"""Memory that is freed and wanted again is not fetched from the kernel again."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

LAYERS = """
import resource, sys
import torch
if sys.argv[1] == "kept":
    from defnet_train.heap import keep_freed_memory
    assert keep_freed_memory()
def layers():
    for _ in range(20):
        a, b, c = (torch.ones(19_000_000, dtype=torch.uint8) for _ in range(3))
        del a, b, c
layers()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
layers()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library decides for itself")
def test_freed_memory_is_used_again_without_a_page_fault() -> None:
    faults = {
        how: int(subprocess.run([sys.executable, "-c", LAYERS, how], capture_output=True, text=True, check=True).stdout)
        for how in ("kept", "given back")
    }
    assert faults["given back"] > 20 * 19_000_000 / 4096, "else there is nothing to keep"
    assert faults["kept"] < faults["given back"] / 20
