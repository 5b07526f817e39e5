# SPDX-License-Identifier: Apache-2.0
"""``stf_infer._cuda`` for the host: the same sources as for a device, with the emulated device of the tests."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared_work import once
from support import REPOSITORY, module_at

CSRC = REPOSITORY / "csrc"
FLAGS = ["-std=c++17", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off", "-DSTF_CUDA_MODULE=_emulated"]


def build_emulated(folder: Path) -> Any:
    """Compile the binding and every ``*_cuda.cu`` into one module, unless it is in the folder already; import it."""
    library = folder / f"_emulated{sysconfig.get_config_var('EXT_SUFFIX')}"
    with once(library) as wanted:
        if wanted:
            _compile(library)
    return module_at(library, "_emulated")


def _compile(library: Path) -> None:
    pybind11 = pytest.importorskip("pybind11")
    compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("needs a C++ compiler")
    # Under a sanitizer Python is watched, the compiler is not; the flags are there to watch the kernels too.
    env = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    flags = [*FLAGS, *shlex.split(os.environ.get("STF_EMULATION_FLAGS", ""))]
    includes = [CSRC / "include", CSRC, REPOSITORY / "tests/csrc/emulation", pybind11.get_include()]
    flags += [f"-I{path}" for path in [*includes, sysconfig.get_paths()["include"]]]

    def compiled(source: Path) -> Path:
        built = library.with_name(f"{source.name}.o")
        # The binding is long and does little: optimising it takes longer than it saves.
        level = "-O0" if source.suffix == ".cpp" else "-O1"
        command = [compiler, *flags, level, "-x", "c++", "-c", str(source), "-o", str(built)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
        assert done.returncode == 0, done.stderr
        return built

    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(compiled, [*sorted(CSRC.glob("bind/cuda_*.cpp")), *sorted(CSRC.glob("*/*_cuda.cu"))]))
    whole = library.with_suffix(".part")
    subprocess.run([compiler, *flags, "-shared", *map(str, objects), "-o", str(whole)], check=True, env=env)
    whole.rename(library)


class OnDevice:
    """A NumPy array that says of itself what an array on a device says."""

    def __init__(self, array: np.ndarray, **said: Any) -> None:
        self.array = array
        self.said = said

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        there = self.array.__array_interface__
        said = {name: there[name] for name in ("shape", "typestr", "data", "strides")}
        return {**said, "version": 3, **self.said}


class ByDlpack:
    """A NumPy array that DLPack says lies on the device of kind ``kind``."""

    def __init__(self, array: np.ndarray, kind: int = 2) -> None:
        self.array = array
        self.kind = kind

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.kind, 0

    def __dlpack__(self, **_: Any) -> Any:
        return self.array.__dlpack__()
