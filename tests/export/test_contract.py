# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import json
import re
from typing import get_args

import pytest
from click.testing import CliRunner
from pydantic import ValidationError

from stf_export import networks
from stf_export.contract import Contract, TileWish
from stf_export.contract_toml import template, to_toml
from stf_export.sampled_contract import sampled
from stf_export.samplers import Sampler, resolve
from stf_export.samplers.options import CHOICES
from stf_infer.cli import main
from stf_infer.errors import ContractError, ExportError
from stf_infer.spec import InputSpec, ModelSpec, OutputSpec, RasterSpec, ScalarRule, SceneStatistic, TileRule, Values
from support import REPOSITORY
from tiny_networks import contract_for


def read(text, tmp_path):
    (tmp_path / "contract.toml").write_text(text, encoding="utf-8")
    return Contract.from_toml(tmp_path / "contract.toml")


def call(*arguments):
    return CliRunner().invoke(main, ["contract", *arguments])


def test_the_template_is_a_contract(tmp_path):
    contract = read(template(), tmp_path)
    assert [i.role for i in contract.inputs] == ["coarse_t1", "fine_t1", "coarse_t2"]
    assert contract.measured("net", TileRule(height=256, width=256, stride=16)).ratio == 16
    assert read(to_toml(contract), tmp_path) == contract


def test_what_the_template_comments_out_is_valid_too(tmp_path):
    lines = template().splitlines()
    starts = ("# size", "# halo", "# stride", "# predicts", "# from_coarse")
    commented = [line[2:] for line in lines if line.startswith(starts)]
    assert len(commented) == len(starts)
    text = "\n".join(line[2:] if line[2:] in commented else line for line in lines).replace('"coarse"', '"fine"')
    contract = read(text, tmp_path)
    assert contract.tile == TileWish(size=256, halo=32, stride=1, predicts="core")
    assert contract.inputs[0].from_coarse == "align-corners"


def test_the_number_of_the_scene_that_the_template_comments_out_is_valid(tmp_path):
    head, block = template().split("# [[input]]\n", 1)
    scalar, more, tail = block.split("\n\n", 2)
    uncommented = [line.removeprefix("# ") for line in f"{scalar}\n{more}".splitlines()]
    (remark,) = [line for line in uncommented if line.startswith("A raster that is no input")]
    text = "\n".join(["[[input]]", *(line for line in uncommented if line != remark)])
    contract = read(f"{head}{text}\n\n{tail}", tmp_path)
    assert contract.inputs[-1].grid == "scene"
    spec = contract.measured("net", TileRule(height=256, width=256, stride=16))
    assert spec.scalars == contract.inputs[-1:]
    assert [r.role for r in spec.rasters] == ["coarse_t1", "fine_t1", "coarse_t2", "coarse_t3"]
    assert spec.also_read == contract.also_read


def test_the_template_names_every_field_and_every_choice():
    text = template()
    fields = {
        *(set(Contract.model_fields) - {"inputs"}),
        *InputSpec.model_fields,
        *RasterSpec.model_fields,
        *OutputSpec.model_fields,
        *Values.model_fields,
        *TileWish.model_fields,
        *SceneStatistic.model_fields,
        *get_args(ScalarRule),
        *(field.name for field in dataclasses.fields(Sampler)),
        *(choice for choices in CHOICES.values() for choice in choices),
    }
    assert [name for name in fields if name not in text] == []
    for model, field in (
        (InputSpec, "grid"),
        (InputSpec, "resampling"),
        (InputSpec, "from_coarse"),
        (TileWish, "mode"),
        (TileWish, "predicts"),
    ):
        annotation = model.model_fields[field].annotation
        choices = [c for a in (annotation, *get_args(annotation)) for c in get_args(a) if isinstance(c, str)]
        assert choices
        assert [c for c in choices if c not in text] == []


def test_the_sampler_of_the_template_is_one(tmp_path):
    lines = template().split("# [sampler]\n")[1].split("\n\n")[0].splitlines()
    text = template().replace("\n[options]", "\n[sampler]\n" + "\n".join(line.removeprefix("# ") for line in lines))
    with pytest.raises(ExportError, match="with ddpm"):  # every option at once is more than one sampler has
        resolve(read(text, tmp_path).sampler)
    fitting = text.replace('variance = "small"', "").replace("beta_range = [0.0001, 0.02]", "")
    sampler = resolve(read(fitting, tmp_path).sampler)
    assert (sampler.timesteps, sampler.prediction, sampler.clip) == ((99, 74, 49, 24), "x0", "rederive")


def test_a_sampler_with_a_mistake_is_named(tmp_path):
    with pytest.raises(ExportError, match=r"Got: step\. Allowed: name, steps"):
        read(f"{template()}\n[sampler]\nstep = 4\n", tmp_path)


def test_the_contract_of_a_diffusion_network_can_be_read_back(tmp_path):
    contract = networks.create("stfdiff", width=8).contract()
    assert read(to_toml(contract), tmp_path).model_dump_json() == contract.model_dump_json()
    assert read(to_toml(contract), tmp_path).sampler == networks.network_class("stfdiff").preset.sampler


def test_a_sampled_contract_has_its_noise_and_its_steps():
    step = networks.create("stfdiff", bands=3, width=8).contract()
    for asked, draws in (({}, [0]), ({"eta": 1.0, "steps": 3}, [0, 1, 2]), ({"eta": 1.0, "loop": "host"}, [0])):
        contract = sampled(step, resolve(Sampler(**asked), networks.network_class("stfdiff").preset))
        noises = [i for i in contract.inputs if i.grid == "noise"]
        assert [i.draw for i in noises] == draws
        assert [i.role for i in noises] == ["noise", *(f"noise_{d}" for d in draws[1:])]
        assert all(i.bands == step.output.bands for i in noises)
        spec = contract.measured("net", TileRule(height=64, width=64, stride=4))
        assert spec.sampler == contract.steps
        assert contract.sampler is None
        with pytest.raises(ValidationError, match="the sampler takes the draws"):
            ModelSpec(**{**spec.model_dump(), "inputs": spec.inputs[:-1]})


def test_the_contract_in_the_documentation_is_one(tmp_path):
    text = (REPOSITORY / "docs" / "contract.md").read_text(encoding="utf-8")
    *parts, whole = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    assert read(whole, tmp_path).output.tensor == "prediction"
    contract = read("\n".join([whole, *parts]), tmp_path)
    assert contract.inputs[-1].statistic is not None
    assert contract.also_read[0].role in contract.inputs[-1].statistic.of
    assert contract.tile.halo == 32


def test_the_verb_prints_the_template_as_it_is():
    result = call("--template")
    assert result.exit_code == 0
    assert result.stdout == template()
    assert json.loads(call("--template", "--json").stdout) == {"toml": template()}


@pytest.mark.parametrize("name", ["dcstfn", "edcstfn", "stfnet", "densestf"])
def test_the_verb_prints_the_contract_of_a_network(name, tmp_path):
    result = call("--network", name, "--bands", "red,nir")
    assert result.exit_code == 0
    assert read(result.stdout, tmp_path) == networks.create(name, bands=["red", "nir"]).contract()


def test_options_of_the_network_change_its_contract(tmp_path):
    contract = read(call("--network", "edcstfn", "--bands", "2", "--option", "references=2").stdout, tmp_path)
    assert [i.role for i in contract.inputs] == list(networks.create("edcstfn", bands=2, references=2).roles)
    assert contract.options["references"] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--template, or --network NAME"),
        (("--template", "--network", "dcstfn"), "--template, or --network NAME"),
        (("--template", "--bands", "3"), "takes no bands"),
        (("--network", "dcstf"), "Did you mean dcstfn"),
        (("--network", "dcstfn", "--option", "depth=3"), "no option of that name"),
        (("--network", "dcstfn", "--option", "depth"), "needs a value"),
        (("--network", "dcstfn", "--bands", "red,,nir"), "band name is empty"),
    ],
)
def test_bad_requests(arguments, message):
    result = call(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


def test_any_contract_survives_its_own_text(tmp_path):
    contract = contract_for(
        {"fine_t1": "fine", "coarse_t1": "coarse"},
        bands=("b 1", 'quo"te', "back\\slash", "ümlaut"),
        ratio=30,
        values=Values(unit="kelvin", scale=1e-7, offset=-273.15, minimum=0, maximum=1e30),
        tile=TileWish(size=60, mode="blend", overlap=0),
    ).model_copy(
        update={
            "options": {"depth": 3, "gain": 0.5, "flag": True, "names": ["a", "b"], "deep": {"x": 1, "y": []}, "z": {}},
            "source": 'A. Author: "Title", 2020.\n\tSecond line \x7f',
        }
    )
    assert read(to_toml(contract), tmp_path) == contract


@pytest.mark.parametrize(
    "wish",
    [
        {"stride": 2},
        {"predicts": "core"},
        {"stride": 2, "predicts": "core", "mode": "blend"},
        {"halo": 3, "mode": "blend"},
        {"halo": -1},
        {"halo": 0, "stride": 0},
        {"stride": 0, "mode": "blend"},
    ],
)
def test_wishes_that_contradict_each_other_are_refused(wish):
    with pytest.raises(ValidationError):
        TileWish(**wish)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("network = ", "not valid TOML"),
        ('network = "x"', "inputs.*output"),
        (template().replace('role = "coarse_t1"', 'roll = "coarse_t1"'), "roll"),
        (template().replace('grid = "fine"', 'grid = "medium"'), "grid"),
    ],
)
def test_bad_files(tmp_path, text, message):
    with pytest.raises(ContractError, match=message):
        read(text, tmp_path)
    with pytest.raises(ContractError, match="cannot be read"):
        Contract.from_toml(tmp_path / "none.toml")
