# SPDX-License-Identifier: Apache-2.0
"""Compile every CUDA kernel for every architecture and say what it takes: ``python benchmarks/kernel_resources.py``.

Needs nvcc and no GPU. Registers, shared memory and spills are what ptxas prints; occupancy is computed from them and
from the limits in the CUDA C++ Programming Guide, "Technical specifications per compute capability". A kernel that
spills is an error. ``--write docs/cuda.md`` puts the table between the marks of that page.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CSRC = ROOT / "csrc"
FLAGS = ["-std=c++17", "-O3", "-fmad=false", "--expt-relaxed-constexpr", f"-I{CSRC / 'include'}", f"-I{CSRC}"]
BEGIN, END = "<!-- kernels: begin -->", "<!-- kernels: end -->"


@dataclass(frozen=True)
class Limits:
    """Of one multiprocessor: warps, blocks, bytes of shared memory. Each has 65536 registers."""

    warps: int
    blocks: int
    shared: int


ARCHITECTURES = {
    75: Limits(32, 16, 64 << 10),
    80: Limits(64, 32, 164 << 10),
    86: Limits(48, 16, 100 << 10),
    87: Limits(48, 16, 164 << 10),
    89: Limits(48, 24, 100 << 10),
    90: Limits(64, 32, 228 << 10),
    100: Limits(64, 32, 228 << 10),
    120: Limits(48, 24, 100 << 10),
}


@dataclass(frozen=True)
class Use:
    """What one compiled kernel takes."""

    kernel: str
    architecture: int
    threads: int  # of a block
    registers: int  # of a thread
    shared: int  # bytes of a block
    spilled: int  # bytes

    @property
    def occupancy(self) -> float:
        """The share of a multiprocessor's warps that can be there at once.

        Registers are given to a warp in units of 256, in groups of four warps; from 8.0 on a block takes 1 KB of shared
        memory more than it asks for.
        """
        limits = ARCHITECTURES[self.architecture]
        warps = self.threads // 32
        per_warp = -(-self.registers * 32 // 256) * 256
        blocks = min(limits.blocks, limits.warps // warps, 65536 // per_warp // 4 * 4 // warps)
        shared = self.shared + (1024 if self.architecture >= 80 else 0)
        if shared:
            blocks = min(blocks, limits.shared // shared)
        return blocks * warps / limits.warps


def architectures(nvcc: str) -> list[int]:
    """Those of the list that this nvcc compiles for."""
    listed = subprocess.run([nvcc, "--list-gpu-arch"], capture_output=True, text=True, check=True).stdout
    return [a for a in ARCHITECTURES if f"compute_{a}\n" in listed]


def uses(nvcc: str, source: Path, architecture: int, folder: Path) -> list[Use]:
    """Compile one source and read what is said of each of its kernels."""
    ptx, cubin = folder / f"{source.stem}.{architecture}.ptx", folder / f"{source.stem}.{architecture}.cubin"
    subprocess.run([nvcc, *FLAGS, "-ptx", f"-arch=compute_{architecture}", source, "-o", ptx], check=True)
    assemble = [nvcc, "-cubin", f"-arch=sm_{architecture}", "-Xptxas", "-v", ptx, "-o", cubin]
    said = subprocess.run(assemble, capture_output=True, text=True, check=True).stderr
    # The largest block that a kernel may be launched with is stated in the source, and so in its PTX.
    entries = re.findall(r"\.entry (\w+)\(.*?\.maxntid (\d+)", ptx.read_text(), re.DOTALL)
    threads = {name: int(most) for name, most in entries}
    found = []
    for part in said.split("Compiling entry function ")[1:]:
        name = re.findall(r"'(\w+)'", part)[0]
        stores, loads = re.findall(r"(\d+) bytes spill stores, (\d+) bytes spill loads", part)[0]
        registers = int(re.findall(r"Used (\d+) registers", part)[0])
        shared = sum(map(int, re.findall(r"(\d+) bytes smem", part)))
        found.append(Use(name, architecture, threads[name], registers, shared, int(stores) + int(loads)))
    return found


def readable(names: list[str]) -> dict[str, str]:
    """``gather_pixels<short>`` for the name that the linker sees."""
    filtered = shutil.which("c++filt")
    if filtered is None:
        return {name: name for name in names}
    plain = subprocess.run([filtered], input="\n".join(names), capture_output=True, text=True, check=True).stdout
    short = [re.sub(r"^.*::(\w+(?:<[^>]*>)?)\(.*$", r"\1", line) for line in plain.splitlines()]
    return dict(zip(names, short, strict=True))


def span(values: list[int]) -> str:
    """One number, or the least and the greatest."""
    return str(values[0]) if min(values) == max(values) else f"{min(values)} to {max(values)}"


def table(found: list[Use], version: str) -> str:
    """A row for each kernel, over the types that it is compiled for."""
    names = readable(sorted({use.kernel for use in found}))
    seen = sorted({use.architecture for use in found})
    rows: dict[str, list[Use]] = {}
    for use in found:
        rows.setdefault(names[use.kernel].split("<")[0], []).append(use)
    kernels, spilled = len({names[use.kernel] for use in found}), sum(use.spilled for use in found)
    lines = [
        f"{kernels} kernels with all of their types, compiled by nvcc {version} for {len(seen)} compute capabilities. "
        f"Spilled: {spilled} bytes. **Compiled, not run on a GPU.**",
        "",
        "| kernel | types | threads | shared | " + " | ".join(f"{a // 10}.{a % 10}" for a in seen) + " |",
        "|---" * (4 + len(seen)) + "|",
    ]
    for kernel, used in sorted(rows.items()):
        cells = []
        for a in seen:
            here = [use for use in used if use.architecture == a]
            cells.append(f"{span([u.registers for u in here])}, {min(u.occupancy for u in here):.0%}")
        types = len({names[use.kernel] for use in used})
        shared = f"{span([u.shared for u in used])} B"
        lines.append(f"| `{kernel}` | {types} | {used[0].threads} | {shared} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the table between the marks of this page")
    page = parser.parse_args().write
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        print("needs nvcc, of CUDA 12 or later", file=sys.stderr)
        return 2
    said = subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=True).stdout
    version = re.findall(r"release ([\d.]+)", said)[0]
    sources = sorted(CSRC.glob("*/*_cuda.cu"))
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        work = [(nvcc, source, a, Path(folder)) for source in sources for a in architectures(nvcc)]
        found = [use for some in pool.map(lambda one: uses(*one), work) for use in some]
    text = table(found, version)
    print(text)
    if page is not None:
        before, rest = page.read_text().split(BEGIN)
        page.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}")
    spilling = [f"{use.kernel} for {use.architecture}: {use.spilled} bytes" for use in found if use.spilled]
    if spilling:
        print("these kernels spill:", *spilling, sep="\n", file=sys.stderr)
    return 1 if spilling else 0


if __name__ == "__main__":
    sys.exit(main())
