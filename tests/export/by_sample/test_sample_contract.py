# SPDX-License-Identifier: Apache-2.0
"""Contract files for samples: template, text, and what the networks of the zoo say."""

from __future__ import annotations

import inspect
import json
from typing import get_args

import pytest
import torch
from click.testing import CliRunner

from sample_graphs import make_contract
from stf_export import networks
from stf_export.contract import Contract, read_contract
from stf_export.contract_toml import template, to_toml
from stf_export.networks.standardisation import standardised
from stf_infer.cli import main
from stf_infer.errors import ContractError, ExportError
from stf_infer.samples.spec import Dim, SampleInput, SampleOutput, SampleSpec, SampleValues

ZOO = ("cnnlstm", "mfdgcn", "mgsfformer", "ttsfnet")


def read(text, tmp_path):
    (tmp_path / "contract.toml").write_text(text, encoding="utf-8")
    return read_contract(tmp_path / "contract.toml")


def call(*arguments):
    return CliRunner().invoke(main, ["contract", *arguments])


def test_the_template_is_a_contract(tmp_path):
    contract = read(template("samples"), tmp_path)
    assert isinstance(contract, SampleSpec)
    assert contract.roles == ("history", "calendar")
    assert contract.inputs[1].dtype == "int64"
    assert contract.output.dims[1].labels == ("north", "south")
    assert read(to_toml(contract), tmp_path) == contract


def test_the_template_names_every_field_and_every_choice():
    text = template("samples")
    models = (SampleSpec, SampleInput, SampleOutput, SampleValues, Dim)
    fields = {name for model in models for name in model.model_fields} - {"inputs"}
    assert [name for name in fields if name not in text] == []
    assert [kind for kind in get_args(SampleInput.model_fields["dtype"].annotation) if kind not in text] == []


def test_the_verb_prints_either_template():
    assert call("--template", "--kind", "samples").stdout == template("samples")
    assert call("--template", "--kind", "rasters").stdout == call("--template").stdout == template()
    assert json.loads(call("--template", "--kind", "samples", "--json").stdout) == {"toml": template("samples")}
    refused = call("--network", "mgsfformer", "--kind", "samples")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "Leave --kind out" in refused.stderr


@pytest.mark.parametrize("name", ZOO)
def test_the_verb_prints_the_contract_of_a_network(name, tmp_path):
    result = call("--network", name)
    assert result.exit_code == 0
    contract = read(result.stdout, tmp_path)
    assert contract == networks.create(name).contract()
    assert contract.source == networks.about(name).source


def test_any_contract_survives_its_own_text(tmp_path):
    values = SampleValues(unit="µg/m³", along="station", scale=(1e-7, 2.0), offset=(0.5, -1), minimum=0)
    contract = make_contract(values=values, name="n", options={"depth": 3, "names": ["a"]}, source='"x"\n')
    assert read(to_toml(contract), tmp_path) == contract


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('kind = "samples"\nnetwork = "x"', r"inputs.*output.*--template --kind samples"),
        (template("samples").replace("dims =", "dim =", 1), "dim"),
        (template("samples").replace('"int64"', '"int8"'), "float32"),
        (template("samples").replace("size = 24", "size = -1"), "size"),
        (template("samples").replace('kind = "samples"', 'kind = "points"'), "kind"),
    ],
)
def test_bad_files(tmp_path, text, message):
    with pytest.raises(ContractError, match=message):
        read(text, tmp_path)


def test_a_contract_of_samples_is_none_of_rasters(tmp_path):
    (tmp_path / "c.toml").write_text(template("samples"))
    with pytest.raises(ContractError, match="kind"):
        Contract.from_toml(tmp_path / "c.toml")


# The zoo ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ZOO)
def test_a_network_takes_and_gives_what_its_contract_says(name):
    network = networks.create(name)
    contract = network.contract()
    assert contract.roles == tuple(inspect.signature(network.forward).parameters)
    tensors = [torch.zeros((2, *t.shape), dtype=getattr(torch, t.dtype)) for t in contract.tensors]
    with torch.no_grad():
        assert network(*tensors).shape == (2, *contract.output_shape)


@pytest.mark.parametrize(
    ("name", "options", "shapes"),
    [
        ("cnnlstm", {"window": 9}, {"trmm": (1, 9, 9), "gridsat": (1, 9, 9), "dem": (1, 9, 9), "": (1,)}),
        (
            "mfdgcn",
            {"nodes": 4, "history": 5, "horizon": 6},
            {"series": (5, 4, 1), "calendar": (11, 2), "": (6, 4, 1)},
        ),
        ("mgsfformer", {"history": 48, "horizon": 12}, {"history": (48, 7, 1), "": (12, 7, 1)}),
        (
            "ttsfnet",
            {"months": 3, "depths": 5, "patch": 14},
            {"sequence": (3, 8), "patch": (14, 14, 8), "": (5,)},
        ),
    ],
)
def test_options_change_the_dims(name, options, shapes):
    contract = networks.create(name, **options).contract()
    assert {**{t.role: t.shape for t in contract.tensors}, "": contract.output_shape} == shapes


def test_whole_numbers_of_the_calendar_are_those_of_the_tables():
    network = networks.create("mfdgcn", nodes=3, slots=24)
    calendar = network.contract().inputs[1]
    assert (calendar.dtype, calendar.values.maximum) == ("int64", (23.0, 6.0))
    assert (network.slot.num_embeddings, network.day.num_embeddings) == (24, 7)


def test_means_and_deviations_are_stated_and_change_no_tensor():
    lists = {"means": [1.0, 2.0], "deviations": [2.0, 4.0], "output_means": 5.0, "output_deviations": 0.5}
    network = networks.create("ttsfnet", bands=2, depths=3, **lists)
    contract = network.contract()
    for one in contract.inputs:
        assert (one.values.scale, one.values.offset, one.values.along) == ((0.5, 0.25), (-0.5, -0.5), "channel")
    assert (contract.output.values.scale, contract.output.values.offset) == (2.0, -10.0)
    plain = networks.create("ttsfnet", bands=2, depths=3)
    assert plain.contract().inputs[0].values == SampleValues()
    assert set(plain.state_dict()) == set(network.state_dict())

    series = networks.create("mfdgcn", nodes=2, means=50.0, deviations=10.0).contract()
    assert series.inputs[0].values == series.output.values == SampleValues(scale=0.1, offset=-5.0)

    point = networks.create("cnnlstm", means=[1, 250, 900], deviations=[2, 20, 500], output_mean=3, output_deviation=2)
    assert [i.values.offset for i in point.contract().inputs] == [-0.5, -12.5, -1.8]
    assert point.contract().output.values == SampleValues(scale=0.5, offset=-1.5)


@pytest.mark.parametrize(
    ("means", "deviations", "says"),
    [
        (1.0, None, "means and deviations, or neither"),
        (None, 1.0, "means and deviations, or neither"),
        ([1.0, 2.0], 1.0, "another number.*Got: 2.*or 3, along x"),
        (0.0, 0.0, "cannot be standardised"),
        (0.0, [1.0, 1.0, -1.0], "cannot be standardised"),
        ("1", 1.0, "another number"),
    ],
)
def test_numbers_that_standardise_nothing(means, deviations, says):
    with pytest.raises(ExportError, match=says):
        standardised("Net", means, deviations, number=3, along="x")


@pytest.mark.parametrize("means", [[1.0, 2.0], 1.0, "1,2,3"])
def test_cnn_lstm_has_one_mean_for_each_input(means):
    with pytest.raises(ExportError, match=r"each input.*trmm, gridsat, dem"):
        networks.create("cnnlstm", means=means, deviations=[1.0, 1.0, 1.0])
