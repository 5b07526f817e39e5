# SPDX-License-Identifier: Apache-2.0
"""What is said of kernels: occupancy against figures worked out by hand, and a kernel that does spill."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support import REPOSITORY

sys.path.append(str(REPOSITORY / "benchmarks"))
import kernel_resources


@pytest.mark.parametrize(
    ("architecture", "threads", "registers", "shared", "share"),
    [
        (80, 256, 32, 0, 1.0),
        (80, 256, 64, 0, 32 / 64),  # 65536 registers / 64 = 1024 threads
        (80, 256, 57, 0, 32 / 64),  # registers come by eights
        (75, 256, 64, 0, 1.0),
        (90, 1024, 40, 0, 32 / 64),  # 51 warps have registers; a second block of 32 does not fit
        (86, 256, 32, 48 << 10, 16 / 48),  # two blocks of 49 KB in 100 KB
        (86, 32, 16, 0, 16 / 48),  # no more than 16 blocks
        (89, 32, 16, 0, 24 / 48),
    ],
)
def test_occupancy(architecture, threads, registers, shared, share):
    assert kernel_resources.Use("k", architecture, threads, registers, shared, 0).occupancy == share


def test_a_table_has_a_row_for_each_kernel():
    found = [kernel_resources.Use(name, 80, 256, registers, 0, 0) for name, registers in (("a", 30), ("b", 64))]
    lines = kernel_resources.table(found, "13.0").splitlines()
    assert lines[-2:] == ["| `a` | 1 | 256 | 0 B | 30, 100% |", "| `b` | 1 | 256 | 0 B | 64, 50% |"]
    assert "Spilled: 0 bytes" in lines[0]


def test_a_kernel_that_spills_is_seen(tmp_path: Path):
    """Sixty-four doubles that all live at once do not fit the 64 registers of a thread in a block of 1024."""
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("needs nvcc")
    source = tmp_path / "spills_cuda.cu"
    source.write_text("""
        __global__ void __launch_bounds__(1024) spills(double* x) {
            double held[64];
            #pragma unroll
            for (int k = 0; k < 64; ++k) held[k] = x[k * 1024 + threadIdx.x];
            __syncthreads();
            #pragma unroll
            for (int k = 0; k < 64; ++k) x[k * 1024 + threadIdx.x] = held[63 - k] * held[k];
        }
    """)
    try:
        (use,) = kernel_resources.uses(nvcc, source, 80, tmp_path)
    except subprocess.CalledProcessError as error:
        pytest.fail(f"nvcc: {error}")
    assert (use.threads, use.registers, use.shared) == (1024, 64, 0)
    assert use.spilled > 0
