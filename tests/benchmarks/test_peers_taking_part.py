# SPDX-License-Identifier: Apache-2.0
"""Peers that are not installed are left out, or refused where they are asked for by name."""

from __future__ import annotations

import importlib
import importlib.util
import sys

import pytest

from support import REPOSITORY


@pytest.fixture
def peers(monkeypatch):
    monkeypatch.syspath_prepend(str(REPOSITORY / "benchmarks"))
    before = set(sys.modules)
    yield importlib.import_module("peers")
    for name in {"peers", "memory", "_scene"} - before:
        sys.modules.pop(name, None)


@pytest.fixture
def installed(monkeypatch):
    """The modules of peers that can be found."""
    found: set[str] = set()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name if name in found else None)
    return found


def given(peers, monkeypatch, *arguments):
    """What ``compare`` is called with."""
    calls = []
    monkeypatch.setattr(peers, "compare", lambda folder, args: calls.append(args))
    monkeypatch.setattr(peers, "show", lambda report: None)
    monkeypatch.setattr(sys, "argv", ["peers.py", *arguments])
    peers.main()
    return calls[0]


@pytest.mark.parametrize(
    ("modules", "others"),
    [
        (set(), []),
        ({"monai"}, ["monai"]),
        ({"terratorch"}, []),
        ({"monai", "terratorch", "tqdm"}, ["monai", "terratorch"]),
    ],
)
def test_who_is_installed_takes_part(peers, installed, monkeypatch, modules, others):
    installed |= modules
    ours = ["loop-onnxruntime", "loop-openvino", "stf-fp32", "stf"]
    assert sorted(given(peers, monkeypatch).only) == sorted(ours + others)


def test_who_is_not_installed_is_refused_before_anything_is_made(peers, installed, monkeypatch, capsys):
    installed |= {"terratorch"}
    with pytest.raises(SystemExit):
        given(peers, monkeypatch, "--only", "terratorch", "stf")
    assert "terratorch lacks tqdm: pip install --no-deps terratorch tqdm" in capsys.readouterr().err
