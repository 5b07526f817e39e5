# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from stf_export.contract import TileWish
from stf_export.oracle import TorchOracle
from stf_export.probe import measure, seam
from stf_export.samples import noise_tile
from stf_export.torch_graph import bind
from stf_infer.errors import ExportError, TilePlanError
from stf_infer.grid import Shape, TilePlan
from stf_infer.spec import TileRule, Values
from tiny_networks import ChannelAttention, CoarseInput, OneInput, ThreeInputs, contract_for

FINE = {"fine_t1": "fine"}
TILE = Shape(128, 128)


def conv(kernel, *, padding=None, channels=(2, 2), **options):
    padding = kernel // 2 if padding is None else padding
    return nn.Conv2d(*channels, kernel, padding=padding, **options)


def there_and_back():
    """The image moved 3 pixels by one layer and back by the next: no reach, but 3 columns are lost at an edge."""
    away, back = nn.Conv2d(2, 2, (1, 4), bias=False), nn.Conv2d(2, 2, (1, 4), bias=False)
    layers = nn.Sequential(nn.ZeroPad2d((3, 0, 0, 0)), away, nn.ZeroPad2d((0, 3, 0, 0)), back)
    network = OneInput(layers)
    with torch.no_grad():
        for layer, tap in ((away, 0), (back, 3)):
            layer.weight.zero_()
            layer.weight[:, :, 0, tap] = torch.eye(2)
    return network


# network, stride, halo
LOCAL = {
    "a pixel": (lambda: OneInput(conv(1)), 1, 0),
    "3x3": (lambda: OneInput(conv(3)), 1, 1),
    "3x3, 5x5, 7x7": (lambda: OneInput(conv(3), nn.ReLU(), conv(5), nn.ReLU(), conv(7)), 1, 6),
    "dilated by 2 and 4": (
        lambda: OneInput(conv(3, padding=2, dilation=2), nn.ReLU(), conv(3, padding=4, dilation=4)),
        1,
        6,
    ),
    "reflected border": (lambda: OneInput(conv(3, padding_mode="reflect"), nn.ReLU(), conv(5)), 1, 3),
    "repeated border": (lambda: OneInput(conv(3, padding_mode="replicate"), nn.ReLU(), conv(5)), 1, 3),
    "circular border": (lambda: OneInput(conv(3, padding_mode="circular"), nn.ReLU(), conv(5)), 1, 3),
    "up and left only": (lambda: OneInput(nn.ZeroPad2d((3, 0, 3, 0)), nn.Conv2d(2, 2, 4)), 1, 3),
    "there and back": (there_and_back, 1, 3),
    "along x only": (lambda: OneInput(nn.Conv2d(2, 2, (1, 9), padding=(0, 4))), 1, 4),
    # e is a tile edge: the pixel before it moves the pixel e of the first layer, so the pooled pixel e/2, whose
    # neighbour ends with the output pixel e + 3.
    "pooled by 2 between 3x3": (
        lambda: OneInput(conv(3), nn.MaxPool2d(2), conv(3), nn.Upsample(scale_factor=2)),
        2,
        4,
    ),
    "strided and transposed": (
        lambda: OneInput(conv(3, stride=2, channels=(2, 4)), nn.ReLU(), nn.ConvTranspose2d(4, 2, 4, 2, 1)),
        2,
        3,
    ),
    "blocks of 4": (lambda: OneInput(conv(4, padding=0, stride=4), nn.ConvTranspose2d(2, 2, 4, 4)), 4, 0),
    "pooled by 2 and by 3": (lambda: OneInput(nn.AvgPool2d(2), nn.MaxPool2d(3), nn.Upsample(scale_factor=6)), 6, 0),
    "bilinear of blocks of 4": (
        lambda: OneInput(nn.AvgPool2d(4), nn.Upsample(scale_factor=4, mode="bilinear", align_corners=False)),
        4,
        2,
    ),
    "a halo that needs a larger tile": (
        lambda: OneInput(conv(3, padding=20, dilation=20), nn.ReLU(), conv(3, padding=20, dilation=20)),
        1,
        40,
    ),
}


def oracle_of(module, contract, fixed=None):
    return TorchOracle(bind(module, contract), contract, fixed=fixed)


@pytest.mark.parametrize("name", LOCAL)
def test_measures_the_stride_and_halo_of_local_networks(name):
    make, stride, halo = LOCAL[name]
    contract = contract_for(FINE)
    found = measure(oracle_of(make(), contract), contract, TILE)
    assert (found.stride, found.halo, found.mode, found.because) == (stride, halo, "exact", ())


def tiled(oracle, contract, scene, stride, halo):
    """The output put together from tiles of 96 pixels."""
    height, width = scene["fine_t1"].shape[1:]
    rule = TileRule(height=96, width=96, stride=stride, halo=halo)
    out = np.full((2, height, width), np.nan)
    for tile in TilePlan.for_scene(rule, Shape(height, width)):
        r, c = tile.read, tile.core
        result = oracle({role: a[None, :, r.y0 : r.y1, r.x0 : r.x1] for role, a in scene.items()})[0]
        out[:, c.y0 : c.y1, c.x0 : c.x1] = result[:, c.y0 - r.y0 : c.y1 - r.y0, c.x0 - r.x0 : c.x1 - r.x0]
    return out


# A circular border joins the sides of whatever it is given: of a scene it joins other sides than of a tile.
@pytest.mark.parametrize("name", [n for n in LOCAL if n != "circular border"])
def test_the_measured_halo_is_enough_and_one_less_is_not(name):
    make, stride, halo = LOCAL[name]
    contract = contract_for(FINE)
    oracle = oracle_of(make(), contract)
    scene = noise_tile(contract, Shape(180, 240), np.random.default_rng(7))
    whole = oracle({role: array[None] for role, array in scene.items()})[0]
    extent = np.ptp(whole)
    assert np.abs(tiled(oracle, contract, scene, stride, halo) - whole).max() <= 2e-6 * extent
    if halo:
        assert np.abs(tiled(oracle, contract, scene, stride, halo - 1) - whole).max() > 1e-5 * extent


def test_the_halo_counts_what_a_cut_loses_even_where_no_input_reaches():
    contract = contract_for(FINE)
    found = measure(oracle_of(there_and_back(), contract), contract, TILE)
    assert (found.reach, found.halo) == ({"fine_t1": 0}, 3)


def test_a_deep_network_keeps_what_is_above_a_millionth():
    contract = contract_for(FINE)
    network = OneInput(*[conv(3, bias=False) for _ in range(24)])
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(1 / 18)  # every tap alike: the response falls off as the 24-fold sum of 3 steps does
    found = measure(oracle_of(network, contract), contract, TILE)
    # The largest deviate with a probability above 1e-6 in the tail of 24 steps of -1, 0, 1.
    steps = np.ones(1)
    for _ in range(24):
        steps = np.convolve(steps, np.ones(3) / 3)
    tail = np.cumsum(steps[::-1])[::-1][25:]
    assert abs(found.halo - int((tail > 1e-6).sum())) <= 1
    assert found.halo < 24


@pytest.mark.parametrize("ratio", [2, 4, 16])
def test_coarse_inputs_fix_the_stride_and_reach_in_coarse_pixels(ratio):
    contract = contract_for({"fine_t1": "fine", "coarse_t2": "coarse"}, ratio=ratio)
    found = measure(oracle_of(CoarseInput(ratio=ratio), contract), contract, Shape(8 * ratio, 8 * ratio))
    assert (found.stride, found.halo, found.mode) == (ratio, ratio, "exact")
    assert found.reach == {"fine_t1": 1, "coarse_t2": ratio}


def test_reach_is_told_for_every_role():
    contract = contract_for({"coarse_t1": "fine", "fine_t1": "fine", "coarse_t2": "fine"})
    found = measure(oracle_of(ThreeInputs(kernel=9), contract), contract, TILE)
    assert found.reach == {"coarse_t1": 1, "fine_t1": 4, "coarse_t2": 1}
    assert (found.halo, found.unused) == (4, ())


def test_values_of_any_scale_are_measured_alike():
    contract = contract_for(FINE, values=Values(unit="kelvin", scale=0.02, offset=-5.0))
    assert measure(oracle_of(OneInput(conv(5)), contract), contract, TILE).halo == 2


def test_an_input_that_the_network_ignores_is_named():
    class Ignores(nn.Module):
        def forward(self, fine_t1, coarse_t1):
            return fine_t1 * 2

    contract = contract_for({"fine_t1": "fine", "coarse_t1": "fine"})
    found = measure(oracle_of(Ignores(), contract), contract, TILE)
    assert (found.unused, found.reach["coarse_t1"], found.mode) == (("coarse_t1",), 0, "exact")


class PositionalMap(nn.Module):
    def __init__(self):
        super().__init__()
        self.map = nn.Parameter(torch.linspace(0, 1, 64).repeat(64, 1))

    def forward(self, x):
        return x * self.map


class WholeMaximum(nn.Module):
    def forward(self, x):
        return x / x.amax(dim=(2, 3), keepdim=True)


class Attention(nn.Module):
    def forward(self, x):
        tokens = x.flatten(2).transpose(1, 2)
        mixed = torch.softmax(tokens @ tokens.transpose(1, 2), -1) @ tokens
        return mixed.transpose(1, 2).reshape(x.shape)


GLOBAL = {
    "channel attention": (lambda: OneInput(conv(3), ChannelAttention()), None),
    "instance norm": (lambda: OneInput(conv(3), nn.InstanceNorm2d(2)), None),
    "group norm": (lambda: OneInput(conv(3), nn.GroupNorm(1, 2)), None),
    "layer norm": (lambda: OneInput(nn.LayerNorm([64, 64], elementwise_affine=False)), Shape(64, 64)),
    "global maximum": (lambda: OneInput(WholeMaximum()), None),
    "attention": (lambda: OneInput(nn.AvgPool2d(4), Attention(), nn.Upsample(scale_factor=4)), Shape(64, 64)),
}


@pytest.mark.parametrize("name", GLOBAL)
def test_operators_that_see_the_whole_tile_ask_for_blending(name):
    make, fixed = GLOBAL[name]
    contract = contract_for(FINE)
    found = measure(oracle_of(make(), contract, fixed), contract, fixed or TILE)
    assert (found.mode, found.halo) == ("blend", 0)
    assert len(found.because) == 1
    assert found.because[0].startswith("measured: a change in one corner")


def test_a_network_with_a_stride_is_blended_at_that_stride():
    contract = contract_for(FINE)
    network = OneInput(nn.AvgPool2d(4), ChannelAttention(), nn.Upsample(scale_factor=4))
    found = measure(oracle_of(network, contract), contract, TILE)
    assert (found.mode, found.stride) == ("blend", 4)


@pytest.mark.parametrize(
    ("network", "fixed"),
    [
        (lambda: OneInput(PositionalMap()), Shape(64, 64)),
        (
            lambda: OneInput(nn.AvgPool2d(4), nn.Upsample(scale_factor=4, mode="bilinear", align_corners=True)),
            None,
        ),
    ],
    ids=["a map fixed to the tile", "aligned corners"],
)
def test_a_network_that_knows_where_it_is_asks_for_blending(network, fixed):
    contract = contract_for(FINE)
    found = measure(oracle_of(network(), contract, fixed), contract, fixed or TILE)
    assert found.mode == "blend"
    assert found.because[0].startswith("measured: no shift reproduces the output")
    assert "of its range" in found.because[0]


@pytest.mark.parametrize(
    ("side", "because"),
    [
        (40, "measured: no shift reproduces the output"),
        (56, "measured: the edges of a 56 x 56 tile reach too far into it to leave a core"),
    ],
)
def test_a_fixed_tile_without_an_untouched_core_is_blended(side, because):
    contract = contract_for(FINE)
    network = OneInput(conv(3, padding=20, dilation=20))
    assert measure(oracle_of(network, contract), contract, TILE).mode == "exact"
    found = measure(oracle_of(network, contract, Shape(side, side)), contract, Shape(side, side))
    assert found.mode == "blend"
    assert found.because[0].startswith(because)


def test_what_sees_everything_is_told_by_a_strip():
    """Between the smallest tile and the longest strip nothing is looked at but the tile that shows the stride."""
    contract = contract_for(FINE)
    network = OneInput(nn.AvgPool2d(4), nn.InstanceNorm2d(2), conv(3), nn.Upsample(scale_factor=4))
    lines = []
    found = measure(oracle_of(network, contract), contract, TILE, lines.append)
    assert lines == [f"measuring on {size} pixels" for size in ("96 x 96", "96 x 384", TILE)]
    assert (found.mode, found.stride, found.size) == ("blend", 4, Shape(96, 384))
    assert found.because[0].startswith("measured: a change in one corner of a 96 x 384 tile moves the opposite corner")
    assert "shifted by 4 pixels it differs by" in found.because[0]


def test_a_network_that_sees_far_but_not_everything_is_exact():
    contract = contract_for(FINE)
    rows, columns = nn.AvgPool2d((161, 1), 1, (80, 0)), nn.AvgPool2d((1, 161), 1, (0, 80))
    network, lines = OneInput(rows, columns), []
    found = measure(oracle_of(network, contract), contract, TILE, lines.append)
    assert lines[:2] == ["measuring on 96 x 96 pixels", "measuring on 96 x 384 pixels"]
    assert (found.mode, found.stride, found.halo) == ("exact", 1, 80)


def test_a_network_of_squares_only_is_measured_on_squares():
    class Square(nn.InstanceNorm2d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if x.shape[-1] != x.shape[-2]:
                raise ValueError("not a square")
            return super().forward(x)

    contract = contract_for(FINE)
    found = measure(oracle_of(OneInput(Square(2)), contract), contract, TILE)
    assert (found.mode, found.size) == ("blend", Shape(384, 384))


def test_only_the_wanted_tile_is_looked_at_where_the_contract_asks_for_blending():
    contract = contract_for(FINE).model_copy(update={"tile": TileWish(mode="blend")})
    lines = []
    network = OneInput(nn.AvgPool2d(4), ChannelAttention(), nn.Upsample(scale_factor=4))
    found = measure(oracle_of(network, contract), contract, TILE, lines.append)
    assert lines == [f"measuring on {TILE} pixels"]
    assert (found.mode, found.stride, found.size) == ("blend", 4, TILE)


@pytest.mark.parametrize("stride", [8, 32])
def test_a_stride_that_is_stated_for_blending_is_kept(stride):
    contract = contract_for(FINE).model_copy(update={"tile": TileWish(mode="blend", stride=stride)})
    for network in (nn.AvgPool2d(4), nn.InstanceNorm2d(2)):
        back = nn.Upsample(scale_factor=4) if isinstance(network, nn.AvgPool2d) else nn.Identity()
        layers = OneInput(network, ChannelAttention(), back)
        assert measure(oracle_of(layers, contract), contract, TILE).stride == stride


def test_what_a_network_says_about_a_tile_is_passed_on():
    class Choosy(OneInput):
        def forward(self, fine_t1: torch.Tensor) -> torch.Tensor:
            raise TilePlanError("Choosy does not run on this size", got=fine_t1.shape[-1], allowed="multiples of 1000")

    contract = contract_for(FINE)
    with pytest.raises(TilePlanError, match="multiples of 1000"):
        measure(oracle_of(Choosy(conv(1)), contract), contract, TILE)


def test_the_wanted_tile_is_tried_where_the_usual_sizes_do_not_run():
    contract = contract_for(FINE)
    found = measure(
        oracle_of(OneInput(nn.AvgPool2d(7), nn.Upsample(scale_factor=7)), contract), contract, Shape(70, 70)
    )
    assert (found.stride, found.halo, found.size) == (7, 0, Shape(70, 70))


def test_tiles_need_not_be_square():
    contract = contract_for(FINE)
    tile = Shape(48, 96)
    found = measure(oracle_of(OneInput(conv(5)), contract, tile), contract, tile)
    assert (found.halo, found.size) == (2, tile)


def test_progress_is_told():
    contract = contract_for(FINE)
    lines: list[str] = []
    measure(oracle_of(OneInput(conv(3)), contract), contract, TILE, lines.append)
    assert lines == ["measuring on 96 x 96 pixels"]


class Says(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, fine_t1):
        return self.function(fine_t1)


def refuse(x):
    raise ValueError("not this size")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: x[:, :1], "another shape than the contract says.*\\(1, 2, 384, 384\\)"),
        (lambda x: x[:, :, ::2, ::2], "another shape than the contract says"),
        (lambda x: x / 0 - x / 0, "not finite"),
        (torch.zeros_like, "same everywhere"),
        (lambda x: torch.arange(x.numel(), dtype=x.dtype).reshape(x.shape), "does not depend on any"),
        (lambda x: x + torch.rand_like(x), "another output for the same input"),
        (refuse, "none of the tile sizes tried.*not this size"),
    ],
)
def test_networks_that_cannot_be_measured_are_refused(function, message):
    contract = contract_for(FINE)
    with pytest.raises(ExportError, match=message):
        measure(oracle_of(Says(function), contract), contract, TILE)


def test_the_seam_is_nothing_inside_the_halo_and_something_without_it():
    contract = contract_for(FINE)
    oracle = oracle_of(OneInput(conv(5)), contract)
    world = noise_tile(contract, Shape(48, 48), np.random.default_rng(0))
    assert seam(oracle, contract, world, Shape(40, 40), 8, 2) <= 1e-6
    assert seam(oracle, contract, world, Shape(40, 40), 8, 1) > 1e-3
