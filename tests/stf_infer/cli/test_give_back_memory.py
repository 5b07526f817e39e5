# SPDX-License-Identifier: Apache-2.0
"""Arrays that are freed between others leave the process."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

HOLES = """
import sys
import numpy as np
from pathlib import Path
from stf_infer.cli._memory import give_back_memory

def resident():
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("VmRSS")).split()[1]) / 1024

if sys.argv[1] == "give back":
    give_back_memory()
np.ones(30 << 20, np.uint8)  # after this glibc keeps such arrays on its heap
before, between = resident(), []
for _ in range(20):
    large = np.ones(8 << 20, np.uint8)
    between.append((large, np.ones(60_000, np.uint8)))
between = [small for _, small in between]
del large
print(resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library keeps memory by other rules")
@pytest.mark.parametrize(
    ("how", "stated", "kept"),
    [("give back", "", False), ("keep", "", True), ("give back", "33554432", True)],
    ids=["given back", "kept without it", "kept as the user states"],
)
def test_large_arrays_leave_no_holes(how, stated, kept):
    env = {name: value for name, value in os.environ.items() if name != "MALLOC_MMAP_THRESHOLD_"}
    if stated:
        env["MALLOC_MMAP_THRESHOLD_"] = stated
    done = subprocess.run([sys.executable, "-c", HOLES, how], capture_output=True, text=True, check=True, env=env)
    assert (float(done.stdout) > 80) == kept, done.stdout
