# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import inspect

import pytest
import torch
from torch.nn import functional

from golden_support import check, golden_inputs, keys_of, load_golden_weights, published_keys, read_golden
from stf_export import networks
from stf_export.networks.blocks.attention import channel_weights, mean_and_peak
from stf_export.networks.blocks.resnet import Bottleneck, stage
from stf_export.networks.others.dstfnet import MAPS, DSTFNet
from stf_export.networks.others.dstfnet_decoder import _Context, _Dilated, _Residual, enlarge
from stf_infer.errors import ExportError, TilePlanError

SMALL = {"width": 8, "blocks": (1, 1, 1, 1)}


@pytest.fixture(scope="module")
def small() -> DSTFNet:
    return networks.create("dstfnet", bands=3, dates=2, **SMALL)


def inputs(network: DSTFNet, height: int, width: int, *, batch: int = 1, dates: int = 2) -> dict[str, torch.Tensor]:
    coarse = (height // network.ratio, width // network.ratio)
    return {
        "fine_t1": torch.rand(batch, len(network.bands), height, width),
        "series": torch.rand(batch, dates, len(network.series_bands), *coarse),
    }


def test_keys_are_the_published_ones():
    with torch.device("meta"):
        network = networks.create("dstfnet")
    assert keys_of(network) == published_keys("dstfnet_dual_cbam")
    assert sum(p.numel() for p in network.parameters()) == 225_633_363


def test_golden():
    golden = read_golden("dstfnet")
    with torch.device("meta"):  # its 226 M weights are filled in once, not twice
        network = networks.create("dstfnet")
    network = load_golden_weights(network.to_empty(device="cpu"), golden)
    with torch.no_grad():
        found = network(**golden_inputs(golden))
    assert tuple(found) == (*MAPS, "attention")
    for index, output in enumerate(found.values()):
        check(golden, output, f"output_{index}")


@pytest.mark.parametrize(
    ("bands", "series_bands", "dates", "ratio", "size"),
    [(1, 1, 1, 8, (128, 128)), (4, 10, 5, 8, (256, 128)), (3, 2, 3, 4, (64, 128)), (2, 6, 2, 2, (32, 64))],
)
def test_other_bands_dates_ratios_and_sizes(bands, series_bands, dates, ratio, size):
    network = networks.create("dstfnet", bands=bands, series_bands=series_bands, ratio=ratio, **SMALL)
    given = inputs(network, *size, batch=2, dates=dates)
    with torch.no_grad():
        found = network(**given)
        second = network(**{role: tensor[1:] for role, tensor in given.items()})
    for name in MAPS:
        assert found[name].shape == (2, 1, *size)
        assert 0 < found[name].min() < found[name].max() < 1
    assert found["attention"].shape == (2, dates, 1, size[0] // ratio, size[1] // ratio)
    torch.testing.assert_close(found["attention"].sum(1), torch.ones(2, 1, size[0] // ratio, size[1] // ratio))
    for name, output in second.items():
        torch.testing.assert_close(output, found[name][1:], rtol=1e-4, atol=1e-5)
    assert network.bands_of(network.state_dict()) == bands


def test_layers_are_cells_behind_one_another():
    network = networks.create("dstfnet", bands=3, layers=3, **SMALL)
    cells = [key for key in network.state_dict() if ".forward_rnn." in key and key.endswith("conv.weight")]
    assert len(cells) == 3
    with torch.no_grad():
        assert network(**inputs(network, 128, 128))["extent"].isfinite().all()


def test_the_rasters_of_a_bundle_are_dates_and_maps_stacked(small: DSTFNet):
    given = inputs(small, 128, 128, batch=2)
    with torch.no_grad():
        maps = small(**given)
        stacked = small.for_export()(fine_t1=given["fine_t1"], series=given["series"].flatten(1, 2))
    torch.testing.assert_close(stacked, torch.cat([maps[name] for name in MAPS], dim=1), rtol=0, atol=0)
    assert small.raster_bands == ("t1_green", "t1_red", "t1_nir", "t2_green", "t2_red", "t2_nir")


def test_the_dead_branch_is_dead(small: DSTFNet):
    given = inputs(small, 128, 128)
    with torch.no_grad():
        before = small(**given)
        small.decoder.upblock_1.cam.cab5.conv[0].weight.add_(1.0)
        after = small(**given)
        small.decoder.upblock_1.cam.cab4.conv[0].weight.add_(1.0)
        moved = small(**given)
    assert torch.equal(before["extent"], after["extent"])
    assert not torch.equal(moved["extent"], after["extent"])


def test_convolving_before_the_enlargement_changes_nothing():
    block = _Residual(6, 4).eval()
    features = torch.rand(2, 6, 4, 3)
    with torch.no_grad():
        kept = block.conv(enlarge(features, 2))
        torch.testing.assert_close(block(features), torch.relu(kept + block.res_conv(kept)), rtol=1e-4, atol=1e-5)


def test_context_is_the_mean_of_columns_and_three_distances():
    context = _Context(8).eval()
    seen = []
    context.conv.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    features = torch.randn(1, 8, 4, 5)
    with torch.no_grad():
        context(features)
        strip = torch.relu(context.cab4.conv(features.mean(2, keepdim=True)))
    for start in (4, 6):  # the last two quarters hold the same
        torch.testing.assert_close(
            (seen[0] - torch.relu(context.cab1(features)))[:, start : start + 2], strip.expand(1, 2, 4, 5)
        )


@pytest.mark.parametrize("rows", [False, True])
def test_dilated_sums_pixels_at_distances_1_2_and_4(rows: bool):
    block = _Dilated(1, 1, rows=rows).eval()
    for conv in (block.conv1, block.conv2, block.conv3):
        with torch.no_grad():
            conv[0].weight.fill_(1.0)
            conv[0].bias.zero_()
            conv[1].eps = 0.0
    image = torch.zeros(1, 1, 11, 11)
    image[..., 5, 5] = 1.0
    with torch.no_grad():
        got = block(image)[0, 0]
    expected = torch.zeros(11, 11)
    line = expected[:, 5] if rows else expected[5]
    line[5] = 3.0
    line[[1, 3, 4, 6, 7, 9]] = 1.0
    torch.testing.assert_close(got, expected)


def test_bottleneck_keeps_what_it_adds_to():
    block = Bottleneck(8, 2).eval()
    with torch.no_grad():
        block.bn3.weight.zero_()
        image = torch.rand(1, 8, 4, 4)
        torch.testing.assert_close(block(image), image)
    assert block.downsample is None
    assert stage(8, 4, 2, stride=2).eval()(image).shape == (1, 16, 2, 2)


def test_enlarge_puts_corners_on_corners():
    got = enlarge(torch.tensor([[[[0.0, 3.0]]]]), 2)
    torch.testing.assert_close(got, torch.tensor([[[[0.0, 1.0, 2.0, 3.0], [0.0, 1.0, 2.0, 3.0]]]]))
    image = torch.rand(1, 1, 2, 2)
    assert enlarge(image, 1) is image


def test_gates_see_mean_and_maximum():
    image = torch.tensor([[[[1.0, 5.0]], [[3.0, 1.0]]]])
    torch.testing.assert_close(mean_and_peak(image), torch.tensor([[[[2.0, 3.0]], [[3.0, 5.0]]]]))
    weights = channel_weights(image, lambda pooled: pooled)
    torch.testing.assert_close(weights, torch.sigmoid(torch.tensor([3.0 + 5.0, 2.0 + 3.0])).reshape(1, 2, 1, 1))


def test_contract(small: DSTFNet):
    contract = small.contract()
    assert tuple(inspect.signature(small.forward).parameters) == tuple(i.role for i in contract.inputs)
    assert [i.grid for i in contract.inputs] == ["fine", "coarse"]
    assert contract.tile.mode == "blend"
    again = networks.create(contract.network, bands=small.bands, **contract.options)
    assert again.contract() == contract
    assert keys_of(again) == keys_of(small)
    assert small.bands_of({}) is None


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"dates": 0}, "1 or more"),
        ({"layers": 0}, "1 or more"),
        ({"ratio": 3}, "even ratios"),
        ({"ratio": 0}, "even ratios"),
        ({"width": 12}, "multiples of 8"),
        ({"blocks": (1, 1, 1)}, "four numbers"),
        ({"blocks": (1, 0, 1, 1)}, "four numbers"),
        ({"mode": "dual"}, "no option"),
    ],
)
def test_refuses_other_options(options: dict, named: str):
    with pytest.raises(ExportError, match=named):
        networks.create("dstfnet", **options)


def test_refuses_sizes_that_the_levels_do_not_divide(small: DSTFNet):
    with pytest.raises(TilePlanError, match="multiples of 128"):
        small(**inputs(small, 128, 64))
    given = inputs(small, 128, 128)
    with pytest.raises(TilePlanError, match=r"\(16, 16\)"):
        small(given["fine_t1"], functional.pad(given["series"], (0, 1)))
