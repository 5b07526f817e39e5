# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import copy
import inspect
import zlib

import numpy as np
import pytest
import torch
from torch.nn import functional

import stf_infer
from golden_support import keys_of, published_keys
from stf_export import export_module, networks
from stf_export.contract import TileWish
from stf_export.networks.cnn.densestf import LAYERS, PATCH, DenseSTF, _pixel
from stf_export.networks.scene_scalars import densestf_level
from stf_infer.errors import ExportError
from stf_infer.spec import TileRule

ROLES = ("fine_t1", "coarse_t1", "coarse_t2")
MEANS = ("fine_mean", "coarse_mean")
SHALLOW = (1, 1, 0, 0)


@pytest.fixture(scope="module")
def network() -> DenseSTF:
    made = networks.create("densestf", bands=2, layers=SHALLOW, core=2)
    with torch.no_grad():
        for name, tensor in made.named_parameters():
            if name.endswith(("wn_g", "bias")):
                tensor.copy_(
                    torch.rand_like(tensor) + 0.5 if name.endswith("wn_g") else torch.randn_like(tensor) * 0.05
                )
    return made


def images(bands: int, height: int, width: int, batch: int = 1) -> dict[str, torch.Tensor]:
    made = {role: torch.rand(batch, bands, height, width) for role in ROLES}
    return {**made, **{role: torch.rand(batch, bands, 1, 1) for role in MEANS}}


def test_variables_are_the_published_ones_in_their_order():
    published = published_keys("densestf_tf1")
    with torch.device("meta"):
        network = networks.create("densestf")
    assert list(keys_of(network).items()) == list(published.items())
    assert sum(p.numel() for p in network.parameters()) == 31_388_796
    state = {key: torch.zeros(shape, device="meta") for key, shape in published.items()}
    network.load_state_dict(state, strict=True, assign=True)


def test_land_cover_is_one_more_channel_and_one_more_input():
    with torch.device("meta"):
        network = networks.create("densestf", bands=4, land_cover=True)
    assert keys_of(network)["input/input_conv7x7/kernel"] == (7, 7, 13, 32)
    assert tuple(inspect.signature(network.forward).parameters) == (*ROLES, "land_cover", *MEANS)
    assert tuple(i.role for i in network.contract().inputs) == (*ROLES, "land_cover", *MEANS)
    assert copy.deepcopy(network).contract() == network.contract()


def test_folded_weights_have_the_length_of_their_gain(network: DenseSTF):
    for name, (weight, bias) in network.folded().items():
        gain = network.get_parameter(f"{name}/wn_g")
        torch.testing.assert_close(weight.flatten(1).norm(dim=1), gain.detach())
        kernel = network.get_parameter(f"{name}/kernel").detach()
        torch.testing.assert_close(
            functional.normalize(weight.detach().flatten(1)),
            functional.normalize(kernel.permute(3, 2, 0, 1).flatten(1)),
        )
        assert bias is network.get_parameter(f"{name}/bias")


def test_every_patch_gives_one_pixel(network: DenseSTF):
    inputs = images(2, PATCH + 1, PATCH + 2, batch=2)
    with torch.no_grad():
        whole = network(**inputs)
        assert whole.shape == (2, 2, 2, 3)
        for y, x in ((0, 0), (1, 2)):
            patch = {
                role: image if role in MEANS else image[..., y : y + PATCH, x : x + PATCH]
                for role, image in inputs.items()
            }
            torch.testing.assert_close(network(**patch)[..., 0, 0], whole[..., y, x], rtol=1e-4, atol=1e-5)


def test_the_form_for_tiles_predicts_the_core(network: DenseSTF):
    exported = network.for_export()
    inputs = images(2, PATCH + 2, PATCH + 2, batch=2)
    with torch.no_grad():
        tile = exported(**inputs)
        core = network(**{r: i if r in MEANS else i[..., : PATCH + 1, : PATCH + 1] for r, i in inputs.items()})
    assert tile.shape == (2, 2, PATCH + 2, PATCH + 2)
    torch.testing.assert_close(tile[..., 32:34, 32:34], core, rtol=1e-4, atol=1e-5)
    assert tuple(inspect.signature(exported.forward).parameters) == (*ROLES, *MEANS)
    assert torch.equal(tile[..., :33, :33], tile[..., 32:33, 32:33].expand(2, 2, 33, 33))


def test_land_cover_reaches_the_pixel(network: DenseSTF):
    mapped = networks.create("densestf", bands=1, layers=SHALLOW, land_cover=True, core=1)
    inputs = images(1, PATCH + 1, PATCH + 1)
    with torch.no_grad():
        tiles = [
            mapped.for_export()(**inputs, land_cover=torch.full((1, 1, PATCH + 1, PATCH + 1), value))
            for value in (0.0, 1.0)
        ]
        pixel = mapped(
            **{r: i if r in MEANS else i[..., :PATCH, :PATCH] for r, i in inputs.items()},
            land_cover=torch.ones(1, 1, PATCH, PATCH),
        )
    assert not torch.allclose(tiles[0], tiles[1])
    torch.testing.assert_close(tiles[1][..., 32:33, 32:33], pixel, rtol=1e-4, atol=1e-5)


def test_the_levels_are_taken_off_and_put_back(network: DenseSTF):
    inputs = images(2, PATCH, PATCH)
    shifted = {role: image + (0.25 if role.startswith("fine") else -0.5) for role, image in inputs.items()}
    with torch.no_grad():
        torch.testing.assert_close(network(**shifted), network(**inputs) + 0.25, rtol=1e-4, atol=1e-4)


def narrow(record: dict[str, torch.Tensor], seen: dict[str, torch.Tensor] | None = None):
    """Stands in for the convolutions: random kernels that depend on the name only, four features out."""

    def convolve(name: str, features: torch.Tensor, stride: int = 1, padding: int = 0) -> torch.Tensor:
        if seen is not None:
            seen[name] = features
        size = 1 if "1x1" in name else 7 if "7x7" in name else 4 if "fc1" in name else 3
        generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
        weight = torch.randn(4, features.shape[1], size, size, generator=generator, dtype=features.dtype)
        record[name] = functional.conv2d(features, weight / weight[0].numel() ** 0.5, stride=stride, padding=padding)
        return record[name]

    return convolve


def test_the_stem_is_padded_as_tensorflow_pads():
    seen: dict[str, torch.Tensor] = {}
    record: dict[str, torch.Tensor] = {}
    out = _pixel(narrow(record, seen), torch.ones(1, 2, PATCH, PATCH), LAYERS)
    for name, before, after in (("input/input_conv3x3", 0, 1), ("input/input_conv7x7", 2, 3)):
        inside = seen[name][0, 0].any(dim=1).nonzero().flatten()
        assert (inside[0].item(), seen[name].shape[2] - 1 - inside[-1].item()) == (before, after)
        assert record[name].shape[2:] == (32, 32)
    sides = [record[f"dense_blocks/trans_{block}_conv1x1"].shape[-1] for block in range(3)]
    assert sides == [32, 16, 8]
    assert seen["output/fc1"].shape[2:] == (4, 4)
    assert out.shape == (1, 4, 1, 1)


def test_what_neighbouring_patches_share_shrinks_to_nothing_in_the_first_block():
    """A patch's border reaches one place further with every 3x3 convolution: 29 - 2k places a side are free of it."""
    wide = torch.rand(1, 2, 3 * PATCH, 3 * PATCH, dtype=torch.float64)
    alone: dict[str, torch.Tensor] = {}
    among: dict[str, torch.Tensor] = {}
    _pixel(narrow(alone), wide[..., PATCH : 2 * PATCH, PATCH : 2 * PATCH], LAYERS)
    _pixel(narrow(among), wide, LAYERS)
    names = [name for name in alone if name.startswith("dense_blocks/block_0")]
    assert len(names) == 2 * LAYERS[0]
    for k, name in enumerate(names, start=1):
        free = (alone[name] - among[name][..., 32:64, 32:64]).abs().amax(dim=1) < 1e-12
        assert int(free.sum()) == max(0, 29 - 2 * k) ** 2, name


def test_contract():
    with torch.device("meta"):
        network = networks.create("densestf", core=16)
        contract = network.contract()
        again = networks.create(contract.network, bands=network.bands, **contract.options)
    assert again.contract() == contract
    assert tuple(i.role for i in contract.inputs) == (*ROLES, *MEANS)
    spec = contract.measured("net", TileRule(height=80, width=80, halo=32, predicts="core"))
    assert {r.values.scale for r in (*spec.rasters, spec.output)} == {1 / 0.6}
    assert [r.role for r in spec.rasters] == [*ROLES, "fine_t3", "coarse_t3"]
    assert {s.role: s.statistic.of for s in spec.scalars} == {
        "fine_mean": ("fine_t1", "fine_t3"),
        "coarse_mean": ("coarse_t1", "coarse_t2", "coarse_t3"),
    }
    assert contract.tile == TileWish(size=16 + 64, halo=32, stride=1, predicts="core")
    assert network.bands_of(network.state_dict()) == 6
    assert network.bands_of({}) is None


def test_a_scene_in_tiles_is_the_scene_at_once(network: DenseSTF, tmp_path):
    """Of the bundle, on a scene smaller than a tile; levels are those of the scene, its border is mirrored."""
    bundle = export_module(network.for_export(), network.contract(), out=tmp_path / "densestf.stf")
    assert bundle.properties["stf:notes"] == []
    rng = np.random.default_rng(5)
    roles = (*ROLES, "fine_t3", "coarse_t3")
    scene = {role: rng.uniform(0, 0.6, (2, 5, 8)).astype(np.float32) for role in roles}
    with stf_infer.open(bundle.path, engine="onnxruntime-cpu") as model:
        result = model.fuse(tile_batch=4, **scene)
    assert (result.tiles, result.skipped_tiles) == (3 * 4, 0)
    seen = {role: torch.from_numpy(image / 0.6) for role, image in scene.items()}
    levels = {
        mean: torch.from_numpy(densestf_level(*(seen[role] for role in dates))).float()[None, :, None, None]
        for mean, dates in network.levels.items()
    }
    around = {
        role: torch.from_numpy(np.pad(seen[role], ((0, 0), (32, 31), (32, 31)), mode="symmetric"))[None]
        for role in ROLES
    }
    with torch.no_grad():
        right = network(**around, **levels)[0].numpy() * 0.6
    np.testing.assert_allclose(result.array, right, atol=2e-5 * np.ptp(right))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"land_cover": "yes"}, "True, False"),
        ({"core": 0}, "1 or more"),
        ({"ratio": 0}, "1 or more"),
        ({"layers": (8, 12, 16)}, "four numbers"),
        ({"layers": (8, 12, 16, -1)}, "four numbers"),
        ({"references": 2}, "no option"),
    ],
)
def test_refuses_other_options(options: dict, named: str):
    with pytest.raises(ExportError, match=named):
        networks.create("densestf", **options)


def test_refuses_less_than_a_patch(network: DenseSTF):
    with pytest.raises(ExportError, match="at least 64 x 64"):
        network(**images(2, PATCH - 1, PATCH))
