# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import sys

import onnx
import pytest
import torch
from click.testing import CliRunner

import stf_export.cli
from stf_export import exporter, networks, stage
from stf_export.cli._parse import parse_bands, parse_options, parse_weights
from stf_infer.bundle import Bundle
from stf_infer.cli import main
from stf_infer.errors import ParityError, UsageError

CONTRACT = """
network = "mine"
ratio = 4
[[input]]
role = "fine_t1"
tensor = "image"
bands = ["red"]
[output]
tensor = "result"
bands = ["red"]
"""


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A working folder with a contract, a module and a graph."""
    (tmp_path / "contract.toml").write_text(CONTRACT)
    (tmp_path / "my_cli_net.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self, width=3):\n"
        "        super().__init__()\n"
        "        self.layer = torch.nn.Conv2d(1, 1, width, padding=width // 2)\n"
        "    def forward(self, image):\n"
        "        return self.layer(image)\n"
    )
    sizes = ["n", 1, "h", "w"]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Sqrt", ["image"], ["result"])],
        "graph",
        [onnx.helper.make_tensor_value_info("image", 1, sizes)],
        [onnx.helper.make_tensor_value_info("result", 1, sizes)],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, tmp_path / "model.onnx")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("my_cli_net", None)


def call(*arguments):
    return CliRunner(env={"COLUMNS": "200"}).invoke(main, ["export", *map(str, arguments)])


def test_the_verbs_are_commands_of_the_package():
    assert stf_export.cli.export.name == "export"
    assert stf_export.cli.contract.name == "contract"
    result = CliRunner().invoke(main, ["export", "--help"])
    assert result.exit_code == 0
    for option in (
        "--weights",
        "--bands",
        "--tile",
        "--module",
        "--onnx",
        "--contract",
        "--force",
        "--json",
        "--tolerance",
    ):
        assert option in result.stdout


def test_a_module_is_exported_and_the_next_command_works(work):
    result = call("--module", "my_cli_net:Net", "--contract", "contract.toml", "--tile", 32, "-o", "net.stf")
    assert result.exit_code == 0
    *lines, last = result.stdout.strip().splitlines()
    assert lines[0] == "tile 32 x 32, stride 1, exact, halo 1"
    assert lines[1] == "graph of 1 operators (1 before it was simplified)"
    assert lines[2].startswith("parity ")
    assert last.startswith("net.stf: ")
    assert " MB in " in last
    command = last.split("Next: ")[1]
    assert command == "stf-infer check net.stf"
    assert CliRunner().invoke(main, command.split()[1:]).exit_code == 0
    assert "measuring on" in result.stderr


def test_a_graph_is_exported_with_one_object_on_stdout(work):
    result = call("--onnx", "model.onnx", "--contract", "contract.toml", "--tile", 16, "-o", "net.stf", "--json")
    assert result.exit_code == 0
    data = json.loads(result.stdout)
    assert data["bundle"] == "net.stf"
    assert data["sha256"] == Bundle.open("net.stf").sha256
    assert data["tile"]["height"] == 16
    assert data["parity"]["relative"] == 0
    assert data["bytes"] == sum(p.stat().st_size for p in (work / "net.stf").iterdir())
    assert data["seconds"] > 0
    assert data["roles"] == ["fine_t1"]
    assert data["next"] == "stf-infer check net.stf"


def test_options_name_weights_and_force_reach_a_module(work):
    torch.save({"layer.weight": torch.ones(1, 1, 5, 5) / 25, "layer.bias": torch.zeros(1)}, "w.pth")
    arguments = ("--module", "my_cli_net:Net", "--contract", "contract.toml", "--tile", 32, "-o", "net.stf")
    result = call(*arguments, "--option", "width=5", "--weights", "w.pth", "--name", "Blur")
    assert result.exit_code == 0
    bundle = Bundle.open("net.stf")
    assert (bundle.spec.name, bundle.spec.tile.halo) == ("Blur", 2)
    inputs, output = bundle.golden()
    assert output[0, 16, 16] == pytest.approx(inputs["fine_t1"][0, 14:19, 14:19].mean(), rel=1e-5)
    refused = call(*arguments, "--json")
    assert refused.exit_code == 2
    assert json.loads(refused.stdout)["error"] == "OutputError"
    assert call(*arguments, "--force").exit_code == 0
    assert Bundle.open("net.stf").spec.name == "net"


def test_a_network_of_the_zoo_gets_what_was_typed(work, monkeypatch):
    seen = {}

    def export(network, weights, **kwargs):
        seen.update(network=network, weights=weights, **kwargs)
        raise UsageError("stop here")

    monkeypatch.setattr(exporter, "export", export)
    result = call(
        *("dcstfn", "--weights", "green=g.hdf5", "--weights", "red=r.hdf5", "--bands", "green,red", "--tile", 128),
        *("-o", "net.stf", "--option", "variant=torch", "--tolerance", 1e-4, "--no-ema", "--force"),
    )
    assert result.exit_code == 2
    assert "stop here" in result.stderr
    del seen["progress"]
    assert seen == {
        "network": "dcstfn",
        "weights": {"green": "g.hdf5", "red": "r.hdf5"},
        "bands": ("green", "red"),
        "options": {"variant": "torch"},
        "tile": 128,
        "out": "net.stf",
        "tolerance": 1e-4,
        "ema": False,
        "force": True,
    }


def test_a_network_of_the_zoo_is_exported(work):
    torch.manual_seed(0)
    torch.save(networks.create("edcstfn", bands=1).state_dict(), "w.pth")
    result = call("edcstfn", "--weights", "w.pth", "--bands", "red", "--tile", 32, "-o", "net.stf", "--json")
    assert result.exit_code == 0
    assert Bundle.open("net.stf").spec.output.bands == ("red",)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Exactly one network is exported. Got: none"),
        (("dcstfn", "--onnx", "model.onnx"), "Got: NETWORK and --onnx"),
        (("dcstfn",), "No weights are given"),
        (("dcstfn", "--weights", "w.pth", "--contract", "contract.toml"), "has its own contract"),
        (("--module", "my_cli_net:Net"), "--module needs a contract.*stf-infer contract --template"),
        (("--onnx", "model.onnx", "--contract", "contract.toml", "--weights", "w.pth"), "--weights has no meaning"),
        (("--onnx", "model.onnx", "--contract", "contract.toml", "--ema"), "--ema has no meaning"),
        (("--onnx", "model.onnx", "--contract", "contract.toml", "--bands", "red"), "--bands has no meaning"),
        (("--onnx", "model.onnx", "--contract", "none.toml"), "contract file cannot be read"),
        (("--onnx", "none.onnx", "--contract", "contract.toml"), "no ONNX file at this path"),
        (("--module", "my_cli_net:No", "--contract", "contract.toml"), "my_cli_net has no No"),
        (("nosuch", "--weights", "w.pth"), "no network of that name"),
    ],
)
def test_bad_input_is_told_and_leaves_nothing(work, arguments, message):
    before = sorted(p.name for p in work.iterdir() if p.name != "__pycache__")
    result = call(*arguments, "-o", "net.stf")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert message.split(".*")[0] in " ".join(result.stderr.split())
    assert all(part in " ".join(result.stderr.split()) for part in message.split(".*"))
    assert sorted(p.name for p in work.iterdir() if p.name != "__pycache__") == before


def test_a_failed_parity_is_a_failed_check(work, monkeypatch):
    def differs(*_, **__):
        raise ParityError("The exported graph does not compute what torch computes")

    monkeypatch.setattr(stage, "compare", differs)
    result = call("--onnx", "model.onnx", "--contract", "contract.toml", "--tile", 16, "-o", "net.stf", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["error"] == "ParityError"
    assert not (work / "net.stf").exists()


@pytest.mark.parametrize(
    ("text", "bands"), [(None, None), ("4", 4), ("red", ("red",)), ("green, red,nir", ("green", "red", "nir"))]
)
def test_bands_are_names_or_a_number(text, bands):
    assert parse_bands(text) == bands


def test_weights_are_one_file_or_one_a_band(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run=3.pth").write_text("x")
    assert parse_weights([]) is None
    assert parse_weights(["w.pth"]) == "w.pth"
    assert parse_weights(["run=3.pth"]) == "run=3.pth"
    assert parse_weights(["red=run=3.pth"]) == {"red": "run=3.pth"}
    assert parse_weights(["red=r.pth", "nir=n.pth"]) == {"red": "r.pth", "nir": "n.pth"}
    for wrong in (["a.pth", "b.pth"], ["red=a.pth", "b.pth"], ["red=a.pth", "red=b.pth"]):
        with pytest.raises(UsageError):
            parse_weights(wrong)


def test_option_values_are_json_where_they_can_be():
    found = parse_options(["a=1", "b=0.5", "c=true", "d=null", "e=text", "f=[1, 2]", "g=", "h=x=y"])
    assert found == {"a": 1, "b": 0.5, "c": True, "d": None, "e": "text", "f": [1, 2], "g": "", "h": "x=y"}
    for wrong in (["a"], ["=1"], ["a=1", "a=2"]):
        with pytest.raises(UsageError):
            parse_options(wrong)
