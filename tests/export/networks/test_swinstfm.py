# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import copy
import inspect

import pytest
import torch

from golden_support import check, golden_inputs, keys_of, load_golden_weights, published_keys, read_golden
from stf_export import networks
from stf_export.checkpoints import load_into
from stf_export.networks.transformer.swinstfm import SwinSTFM, renormalised_product
from stf_export.parity import TOLERANCE
from stf_infer.errors import CheckpointError, ExportError

ROLES = ("coarse_t1", "fine_t1", "coarse_t2")


@pytest.fixture(scope="module")
def full() -> SwinSTFM:
    """The published network: 256 pixels, six bands."""
    return networks.create("swinstfm")


@pytest.fixture(scope="module")
def small() -> SwinSTFM:
    """A network for tiles of 32 pixels."""
    torch.manual_seed(0)
    return networks.create("swinstfm", bands=2, tile=32)


def images(network: SwinSTFM, batch: int = 1) -> dict[str, torch.Tensor]:
    shape = (batch, len(network.bands), network.tile, network.tile)
    return {role: torch.rand(shape) * 2 - 1 for role in ROLES}


def test_keys_are_the_published_ones(full: SwinSTFM):
    published = published_keys("swinstfm")
    assert keys_of(full) == published
    assert len(published) == 806
    assert sum(p.numel() for p in full.parameters()) == 37_535_290


def test_golden(full: SwinSTFM):
    golden = read_golden("swinstfm")
    inputs = golden_inputs(golden)
    with torch.no_grad():
        output = load_golden_weights(full, golden)(*(inputs[role] for role in ROLES))
    check(golden, output)
    check(golden, output.reshape(1, 6, 32, 8, 32, 8).mean((3, 5)), "output_block_mean8")


def test_weights_go_into_another_multiple_of_256(full: SwinSTFM):
    large = SwinSTFM(full.bands, tile=512)
    before = keys_of(large)
    other = {key for key, shape in before.items() if shape != keys_of(full)[key]}
    assert len(other) == 22
    assert all(key.endswith("attn_mask") for key in other)
    load_into(large, full.state_dict())
    assert keys_of(large) == before
    assert torch.equal(large.fine_up.outc[2].weight, full.fine_up.outc[2].weight)
    bare = {key: tensor for key, tensor in full.state_dict().items() if not key.endswith(SwinSTFM.derived)}
    load_into(large, bare)


def test_weights_do_not_go_into_a_tile_below_256(full: SwinSTFM):
    with pytest.raises(CheckpointError, match=r"fine_up\.layer\.blocks\.0\.attn\.relative_position_bias_table"):
        load_into(SwinSTFM(full.bands, tile=128), full.state_dict())


@pytest.mark.parametrize(("bands", "tile"), [(1, 32), (4, 64)])
def test_any_bands_and_small_tiles(bands: int, tile: int):
    network = networks.create("swinstfm", bands=bands, tile=tile)
    with torch.no_grad():
        out = network(**images(network, batch=2))
    assert out.shape == (2, bands, tile, tile)
    assert out.isfinite().all()
    assert out.abs().max() <= 1


def test_samples_of_a_batch_do_not_mix(small: SwinSTFM):
    x = images(small, batch=3)
    with torch.no_grad():
        together = small(**x)
        for i in range(3):
            torch.testing.assert_close(together[i : i + 1], small(**{r: t[i : i + 1] for r, t in x.items()}))


def test_every_input_matters(small: SwinSTFM):
    x, other = images(small), images(small)
    with torch.no_grad():
        for role in ROLES:
            assert (small(**x) - small(**{**x, role: other[role]})).abs().max() > 1e-4


def test_export_form_has_no_tables_and_the_same_output(small: SwinSTFM):
    keys = keys_of(small)
    exported = small.for_export()
    x = images(small)
    with torch.no_grad():
        torch.testing.assert_close(exported(**x), small(**x), rtol=0, atol=0)
    assert keys_of(small) == keys
    assert not any("relative_position" in key for key in exported.state_dict())
    assert exported.fine_up.outc[2].weight is small.fine_up.outc[2].weight


def test_export_form_has_one_mask_a_size():
    network = SwinSTFM(("a",), tile=128)
    masks = [t for k, t in network.for_export().named_buffers(remove_duplicate=False) if k.endswith("attn_mask")]
    assert len({id(mask) for mask in masks}) == len({mask.shape for mask in masks}) == 3
    for mask, own in zip(masks, (t for k, t in network.named_buffers() if k.endswith("attn_mask")), strict=True):
        assert torch.equal(mask, own)


@pytest.mark.parametrize("over", [-1, -2])
def test_renormalised_product_is_the_published_formula(over: int):
    one, other = torch.randn(2, 3, 4, 4, dtype=torch.float64), 9 * torch.randn(2, 3, 4, 4, dtype=torch.float64)
    one, other = one.softmax(-1), other.softmax(-1)
    product = one * other + 1e-6
    torch.testing.assert_close(renormalised_product(one, other, over), product / product.sum(over, keepdim=True))


@pytest.mark.parametrize("over", [-1, -2])
def test_renormalised_product_survives_half_precision(over: int):
    """Where two softmaxes look at different tokens, and where all queries look at one key."""
    one, other = torch.zeros(2, 64, 64), torch.zeros(2, 64, 64)
    one[0, :, 0] = other[0, :, 1] = 30.0
    one[1, :, 5] = other[1, :, 5] = 30.0
    one, other = one.softmax(-1), other.softmax(-1)
    exact = renormalised_product(one, other, over)
    half = renormalised_product(one.half(), other.half(), over)
    assert half.dtype == torch.float16
    torch.testing.assert_close(half.float(), exact, rtol=5e-3, atol=1e-6)


@pytest.mark.parametrize("over", [-1, -2])
@pytest.mark.parametrize("sharp", [1.0, 9.0, 30.0])
def test_the_product_keeps_half_precision_s_digits_where_the_published_form_loses_some(sharp: float, over: int):
    """Over the whole matrix; half precision rounds by 5e-4 at most. Written as published, 1e-6 has 4 bits there."""
    torch.manual_seed(0)
    one, other = ((torch.randn(16, 64, 64) * sharp).softmax(-1) for _ in range(2))
    exact = renormalised_product(one.double(), other.double(), over)
    half = renormalised_product(one.half(), other.half(), over)
    published = one.half() * other.half() + 1e-6
    published = published / published.sum(over, keepdim=True)

    def error(found: torch.Tensor) -> float:
        return float((found.double() - exact).norm() / exact.norm())

    assert half.isfinite().all()
    assert error(half) < 6e-4
    if sharp > 1:
        assert error(half) < error(published) / 3


def test_half_precision_follows_single_precision(small: SwinSTFM):
    torch.manual_seed(1)
    x = images(small)
    with torch.no_grad():
        single = small(**x)
        half = copy.deepcopy(small).half()(**{role: tensor.half() for role, tensor in x.items()}).float()
    assert half.isfinite().all()
    assert (half - single).norm() < 0.01 * (single - single.mean()).norm()


def test_the_change_is_what_makes_much_of_rounding():
    """Why the network states a tolerance: single precision is as far from double precision as graphs may be from it."""
    torch.manual_seed(0)
    network = networks.create("swinstfm", bands=2, tile=32)
    x = images(network)
    x["coarse_t2"] = x["coarse_t1"] + 1e-3 * x["coarse_t2"]  # dates that look alike
    doubled = copy.deepcopy(network).double()
    with torch.no_grad():
        exact = doubled(**{role: tensor.double() for role, tensor in x.items()})
        rounding = float((network(**x) - exact).abs().max() / (exact.max() - exact.min()))
    assert network.rounding is not None
    assert TOLERANCE / 4 < rounding < network.rounding.tolerance


def test_contract():
    bands = ("green", "red", "nir")
    network = SwinSTFM(bands, tile=64)
    contract = network.contract()
    assert tuple(inspect.signature(network.forward).parameters) == ROLES
    assert tuple(i.role for i in contract.inputs) == ROLES
    assert (contract.output.tensor, contract.output.bands) == ("fine_t2", bands)
    for spec in (*contract.inputs, contract.output):
        values = spec.values
        assert (values.unit, values.scale, values.offset) == ("reflectance", 2.0, -1.0)
        assert (values.minimum, values.maximum) == (0.0, 1.0)
    assert {i.grid for i in contract.inputs} == {"fine"}
    assert (contract.tile.size, contract.tile.mode, contract.tile.overlap) == (64, "blend", 32)
    assert "10.1109/TGRS.2022.3182809" in contract.source
    assert networks.create(contract.network, bands=bands, **contract.options).contract() == contract


def test_tiles_of_256_share_half(full: SwinSTFM):
    assert (full.contract().tile.size, full.contract().tile.overlap) == (256, 128)


@pytest.mark.parametrize("tile", [0, -256, 16, 96, 160, 192, 384, 500])
def test_refuses_other_tiles(tile: int):
    with pytest.raises(ExportError, match="multiple of 256"):
        networks.create("swinstfm", tile=tile)


def test_refuses_other_sizes(small: SwinSTFM):
    with pytest.raises(ExportError, match="32 x 32"):
        small(*(torch.rand(1, 2, 64, 64) for _ in ROLES))


def test_bands_of(full: SwinSTFM, small: SwinSTFM):
    assert (SwinSTFM.bands_of(full.state_dict()), SwinSTFM.bands_of(small.state_dict())) == (6, 2)
    assert SwinSTFM.bands_of({}) is None
