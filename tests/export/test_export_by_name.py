# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys

import numpy as np
import pytest
from torch import nn

import stf_export
from stf_infer.errors import (
    ExportError,
)
from tiny_networks import OneInput, contract_for

ONE = contract_for({"fine_t1": "fine"})


def one_layer():
    return OneInput(nn.Conv2d(2, 2, 3, padding=1))


def listing(folder):
    return sorted(p.name for p in folder.iterdir())


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "my_networks"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "net.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self, gain=2.0):\n"
        "        super().__init__()\n"
        "        self.gain = gain\n"
        "    def forward(self, fine_t1):\n"
        "        return fine_t1 * self.gain\n"
        "ready = Net()\n"
        "def broken():\n"
        "    raise ValueError('no data')\n"
        "def text():\n"
        "    return 'net'\n"
    )
    monkeypatch.chdir(tmp_path)
    yield folder
    for name in [n for n in sys.modules if n.startswith("my_networks")]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("reference", "options", "gain"), [("Net", {"gain": 3.0}, 3), ("Net", {}, 2), ("ready", {}, 2)]
)
def test_modules_are_found_in_the_working_directory(package, tmp_path, reference, options, gain):
    bundle = stf_export.export_module(
        f"my_networks.net:{reference}", ONE, tile=32, options=options, out=tmp_path / "net.stf"
    )
    inputs, output = bundle.golden()
    np.testing.assert_allclose(output, gain * inputs["fine_t1"], rtol=1e-6)
    assert str(tmp_path) not in sys.path


@pytest.mark.parametrize(
    ("reference", "options", "message"),
    [
        ("my_networks.net", {}, "package.module:factory"),
        ("my_networks.none:Net", {}, r"my_networks\.none cannot be imported"),
        ("my_networks.net:None_", {}, "has no None_"),
        ("my_networks.net:broken", {}, "failed to make a module.*ValueError: no data"),
        ("my_networks.net:text", {}, "did not make an nn.Module. Got: str"),
        ("my_networks.net:Net", {"depth": 3}, "failed to make a module.*depth.*--option"),
        ("my_networks.net:ready", {"gain": 3}, "takes no options"),
        ("my_networks.net:__name__", {}, "neither a module nor"),
    ],
)
def test_names_that_lead_nowhere(package, tmp_path, reference, options, message):
    with pytest.raises(ExportError, match=message):
        stf_export.export_module(reference, ONE, options=options, out=tmp_path / "net.stf")
