# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import copy
from typing import get_args

import pytest
import torch

from golden_support import check, golden_inputs, keys_of, load_golden_weights, published_keys, read_golden
from stf_export import networks
from stf_export.networks.cnn.stfdcnn import DARK, Fusion, Middle, Part
from stf_infer.errors import ExportError

COARSE = ("coarse_t1", "coarse_t2", "coarse_t3")
FINE = ("fine_t1", "fine_t3")
MID = ("mid_t1", "mid_t3")


def images(bands: int, height: int, width: int, *roles: str, batch: int = 1) -> dict[str, torch.Tensor]:
    return {role: torch.rand(batch, bands, height, width) * 2 - 1 for role in roles}


@pytest.mark.parametrize(("name", "bands", "count"), [("1band", 1, 57_281), ("6band", 6, 87_206)])
def test_keys_of_a_unit_are_the_published_ones(name: str, bands: int, count: int):
    published = published_keys(f"stfdcnn_thirdparty_{name}")
    network = networks.create("stfdcnn", bands=bands, part="unit")
    assert keys_of(network) == published
    assert sum(p.numel() for p in network.parameters()) == count
    network.load_state_dict({key: torch.zeros(shape) for key, shape in published.items()}, strict=True)


def test_the_pipeline_holds_two_units():
    published = published_keys("stfdcnn_thirdparty_6band")
    network = networks.create("stfdcnn")
    assert keys_of(network) == {f"stage_{n}.{key}": shape for n in (1, 2) for key, shape in published.items()}
    assert keys_of(network.stage_1) == published


def test_golden_unit():
    golden = read_golden("stfdcnn")
    network = load_golden_weights(networks.create("stfdcnn", bands=1, part="unit"), golden)
    with torch.no_grad():
        check(golden, network(**golden_inputs(golden)))


@pytest.mark.parametrize("middle", get_args(Middle))
def test_golden_pipeline(middle: str):
    golden = read_golden("stfdcnn_pipeline")
    network = load_golden_weights(networks.create("stfdcnn", bands=6, middle=middle), golden)
    inputs = golden_inputs(golden)
    with torch.no_grad():
        for got in (network(**inputs), network(*(inputs[role] for role in golden.meta["argument_order"]))):
            check(golden, got["fine_t2"])
            check(golden, got["mid_t2"], "output_stage_1")


@pytest.mark.parametrize("fusion", get_args(Fusion))
@pytest.mark.parametrize(("bands", "size"), [(1, (24, 32)), (4, (40, 16))])
def test_any_bands_and_size(fusion: str, bands: int, size: tuple[int, int]):
    network = networks.create("stfdcnn", bands=bands, fusion=fusion)
    with torch.no_grad():
        out = network(**images(bands, *size, *COARSE, *FINE, batch=2))
    assert set(out) == {"fine_t2", "mid_t2"}
    for image in out.values():
        assert image.shape == (2, bands, *size)
        assert image.isfinite().all()


@pytest.mark.parametrize("fusion", get_args(Fusion))
def test_without_change_the_reference_is_returned(fusion: str):
    network = networks.create("stfdcnn", bands=2, fusion=fusion)
    x = images(2, 16, 16, "coarse_t1", "fine_t1")
    same = {role: x["coarse_t1" if role.startswith("coarse") else "fine_t1"] for role in (*COARSE, *FINE)}
    with torch.no_grad():
        # Ratios of dark pixels enlarge the rounding of stage 1 by up to 1 / DARK.
        torch.testing.assert_close(network(**same)["fine_t2"], same["fine_t1"], rtol=1e-4, atol=1e-4)


def test_fusion_rules_by_their_formulas():
    """With mappings that return their input, T is the input itself."""
    reference = images(1, 16, 16, *COARSE, *MID, *FINE)
    reference = {role: image * 0.4 + 0.2 for role, image in reference.items()}
    got = {}
    for fusion in get_args(Fusion):
        network = networks.create("stfdcnn", bands=1, fusion=fusion)
        with torch.no_grad():
            for tensor in network.parameters():
                tensor.zero_()
            got[fusion] = network(**reference)
    t1, t2, t3, m1, m3, f1, f3 = (reference[role].double() for role in (*COARSE, *MID, *FINE))
    for fusion in get_args(Fusion):
        middle = _fuse(fusion, (t1, t2, t3), m1, m3)
        torch.testing.assert_close(got[fusion]["mid_t2"].double(), middle, rtol=1e-4, atol=1e-5)
        fine = _fuse(fusion, (m1, got[fusion]["mid_t2"].double(), m3), f1, f3)
        torch.testing.assert_close(got[fusion]["fine_t2"].double(), fine, rtol=1e-4, atol=1e-5)


def _fuse(fusion: str, mapped: tuple[torch.Tensor, ...], one: torch.Tensor, three: torch.Tensor) -> torch.Tensor:
    t1, t2, t3 = mapped
    w1, w3 = 1 / ((t2 - t1).abs() + 1e-6), 1 / ((t2 - t3).abs() + 1e-6)
    if fusion == "additive":
        from_1, from_3 = one + t2 - t1, three + t2 - t3
    else:
        r1, r2, r3 = ((t + 1) / 2 for t in mapped)
        from_1, from_3 = t2 + r2 / r1 * (one - t1), t2 + r2 / r3 * (three - t3)
    return (w1 * from_1 + w3 * from_3) / (w1 + w3)


def test_modulation_of_black_pixels_is_finite():
    network = networks.create("stfdcnn", bands=1, fusion="modulation")
    black = {role: torch.full((1, 1, 8, 8), -1.0) for role in (*COARSE, *FINE)}
    with torch.no_grad():
        for tensor in network.parameters():
            tensor.zero_()
        out = network(**{**black, "fine_t1": torch.full((1, 1, 8, 8), -1 + DARK)})["fine_t2"]
    assert out.isfinite().all()
    assert out.abs().max() < 2


def test_degraded_references():
    fine = torch.arange(16.0 * 8).reshape(1, 1, 16, 8)
    given = images(1, 16, 8, *COARSE)
    cells = {"nearest": fine[:, :, ::8, ::8], "mean": fine.reshape(1, 1, 2, 8, 1, 8).mean(dim=(3, 5))}
    for middle, cell in cells.items():
        network = networks.create("stfdcnn", bands=1, middle=middle)
        mid = cell.repeat_interleave(8, 2).repeat_interleave(8, 3)
        with torch.no_grad():
            expected = network(**given, mid_t1=mid, mid_t3=mid, fine_t1=fine, fine_t3=fine)
            got = network(**given, fine_t1=fine, fine_t3=fine)
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("middle", get_args(Middle))
@pytest.mark.parametrize("fusion", get_args(Fusion))
def test_contract(middle: str, fusion: str):
    network = networks.create("stfdcnn", bands=6, middle=middle, fusion=fusion, ratio=20)
    contract = network.contract()
    assert tuple(i.role for i in contract.inputs) == (*COARSE, *(MID if middle == "given" else ()), *FINE)
    for spec in contract.inputs:
        assert (spec.grid, spec.from_coarse, spec.values.scale, spec.values.offset) == ("fine", None, 2.0, -1.0)
    assert contract.output.tensor == "fine_t2"
    again = networks.create(contract.network, bands=network.bands, **contract.options)
    assert again.contract() == contract
    assert copy.deepcopy(network).contract() == contract


@pytest.mark.parametrize("part", get_args(Part))
def test_parts(part: str):
    network = networks.create("stfdcnn", bands=3, part=part)
    assert network.part == part
    assert network.bands_of(network.state_dict()) == 3
    if part == "unit":
        with pytest.raises(TypeError):
            network.contract()
    assert network.bands_of({}) is None


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"part": "stage"}, "pipeline, unit"),
        ({"fusion": "sum"}, "additive, modulation"),
        ({"middle": "cubic"}, "nearest, mean, given"),
        ({"ratio": 0}, "1 or more"),
        ({"weights": 1}, "no option"),
    ],
)
def test_refuses_other_options(options: dict, named: str):
    with pytest.raises(ExportError, match=named):
        networks.create("stfdcnn", **options)


def test_refuses_what_it_cannot_degrade_or_lacks():
    network = networks.create("stfdcnn", bands=1)
    with pytest.raises(ExportError, match="multiples of 8"):
        network(**images(1, 12, 16, *COARSE, *FINE))
    with pytest.raises(ExportError, match="fine_t3"):
        network(**images(1, 16, 16, *COARSE, "fine_t1"))
    with pytest.raises(ExportError, match="mid_t1 and mid_t3"):
        networks.create("stfdcnn", bands=1, middle="given")(**images(1, 16, 16, *COARSE, *FINE))
