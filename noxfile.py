# SPDX-License-Identifier: Apache-2.0
"""What a developer and CI run: ``nox -s demo``, ``nox -s tests``, ``nox -s lint``, ``nox -s gpu``."""

from __future__ import annotations

from pathlib import Path

import nox

nox.options.sessions = ["lint", "tests"]
nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_missing_interpreters = True

CONSTRAINTS = ("-c", "constraints.txt")
TEST_EXTRAS = "cpu,openvino,tensorrt-rtx,export,xarray,bench,test"


@nox.session
def demo(session: nox.Session) -> None:
    """Build and install the package, and run the embedded demo. No torch, no GPU, offline once installed."""
    session.install(".[cpu]", *CONSTRAINTS)
    session.run("stf-infer", "demo", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Install everything and run the whole test suite."""
    session.install(f".[{TEST_EXTRAS}]", *CONSTRAINTS)
    session.run("pytest", "-m", "not gpu", *session.posargs)


@nox.session
def gpu(session: nox.Session) -> None:
    """Run the parity suite on this machine's GPU; it writes ``benchmarks/results/gpu-<device>.json``."""
    # onnxruntime-gpu in place of onnxruntime: both install the same module.
    session.install(f".[{TEST_EXTRAS.replace('cpu,', 'gpu,', 1)},tensorrt,cuda]", *CONSTRAINTS)
    session.run("pytest", "-m", "gpu", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Style, types and C++ format."""
    session.install("-e", ".[dev]", *CONSTRAINTS)
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    sources = sorted(str(p) for kind in ("h", "cpp", "cu") for p in Path("csrc").rglob(f"*.{kind}"))
    session.run("clang-format", "--dry-run", "--Werror", *sources)
