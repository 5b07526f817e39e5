# SPDX-License-Identifier: Apache-2.0
"""What an import brings along, and which way imports go."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import stf_infer
from support import REPOSITORY

HEAVY = {
    "torch",
    "onnx",
    "onnxscript",
    "onnxruntime",
    "openvino",
    "rasterio",
    "pydantic",
    "rich",
    "click",
    "xarray",
    "rioxarray",
    "matplotlib",
    "h5py",
    "safetensors",
    "pystac",
    "numpy",
    "stf_export",
}


def loaded_by(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after running the code."""
    command = [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in run.stdout.splitlines()[-1].split()}


def test_importing_the_package_loads_nothing_heavy():
    assert loaded_by("import stf_infer") & HEAVY == set()


def test_listing_the_verbs_loads_no_engine_and_no_export():
    code = "from click.testing import CliRunner; from stf_infer.cli import main; CliRunner().invoke(main, ['--help'])"
    assert loaded_by(code) & HEAVY <= {"click"}


@pytest.mark.parametrize("verb", ["run", "info", "check", "engines", "compare"])
def test_help_of_a_verb_loads_no_engine_and_no_torch(verb):
    code = "from click.testing import CliRunner; from stf_infer.cli import main; "
    code += f"CliRunner().invoke(main, [{verb!r}, '-h'])"
    assert loaded_by(code) & {"torch", "onnx", "onnxruntime", "openvino", "stf_export"} == set()


def test_fusing_an_array_loads_no_torch_and_no_export():
    code = """
import numpy as np
from fakes import make_model, make_spec
make_model(make_spec(roles=("fine_t1",)), lambda fine_t1: fine_t1).fuse(fine_t1=np.zeros((2, 8, 8), np.float32))
"""
    code = f"import sys; sys.path.insert(0, {str(REPOSITORY / 'tests')!r})\n{code}"
    assert loaded_by(code) & {"torch", "onnx", "onnxruntime", "openvino", "stf_export", "xarray"} == set()


def test_every_public_name_can_be_reached():
    for name in stf_infer.__all__:
        assert getattr(stf_infer, name) is not None
    assert set(stf_infer.__all__) <= set(dir(stf_infer))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        stf_infer.nothing  # noqa: B018


def imported(path: Path) -> set[str]:
    """Top-level names of all absolute imports of a file, wherever they stand."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add((node.module or "").partition(".")[0])
    return found


def test_the_runtime_never_imports_the_export_stage_or_torch():
    files = list((REPOSITORY / "stf_infer").rglob("*.py"))
    assert len(files) > 30
    for path in files:
        assert imported(path) & {"torch", "onnx", "onnxscript", "stf_export"} == set(), path


def test_the_stub_of_the_core_names_what_is_there():
    from stf_infer import _core

    stub = ast.parse((REPOSITORY / "stf_infer" / "_core.pyi").read_text())
    functions = {node.name: node for node in stub.body if isinstance(node, ast.FunctionDef)}
    assert set(functions) == {name for name in dir(_core) if not name.startswith("_")}
    for name, node in functions.items():
        signature = getattr(_core, name).__doc__
        for argument in node.args.args:
            assert f"{argument.arg}: " in signature
        assert ast.get_docstring(node)
