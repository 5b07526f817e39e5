# SPDX-License-Identifier: Apache-2.0
"""Diffusion networks as bundles: all steps in one graph, or a loop around the graphs of a step."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import stf_export
import stf_infer
import zoo_support as zoo
from stf_export import networks
from stf_export.contract import TileWish
from stf_export.sampled import tolerance_of
from stf_export.samplers import Sampler, resolve, schedule
from stf_export.samplers.unrolled import Unrolled
from stf_infer.bundle import Bundle
from stf_infer.engines import open_engine
from stf_infer.errors import CheckpointError, ContractError, EngineError, ExportError
from stf_infer.golden import prove
from stf_infer.noise import noise
from tiny_networks import contract_for

TILE = 32
BANDS = ("red", "nir")
OPTIONS = {"width": 8, "multipliers": (1, 2), "activations": "silu"}
CONDITIONS = ("coarse_t1", "coarse_t2", "fine_t1")
STOCHASTIC = Sampler(steps=3, eta=1.0)


def made() -> nn.Module:
    network = networks.create("stfdiff", bands=BANDS, **OPTIONS)
    zoo.give_weights(network)
    with torch.no_grad():  # so that x0 does not lie on its limits everywhere
        network.final_conv.weight.mul_(0.3)
    return network


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A checkpoint as the authors' code saves it: the network under a prefix, buffers of the schedule beside it."""
    path = tmp_path_factory.mktemp("weights") / "model.pth"
    levels = torch.from_numpy(schedule("cosine", 100).alphas_cumprod).float()
    state = {f"model.{key}": tensor for key, tensor in made().state_dict().items()}
    torch.save({"model": {"alphas_cumprod": levels, "betas": torch.rand(100), **state}}, path)
    return path


def exported(weights, out, sampler: Sampler | None, **more) -> Bundle:
    return stf_export.export(
        "stfdiff", weights, bands=BANDS, options=OPTIONS, tile=TILE, sampler=sampler, out=out, **more
    )


@pytest.fixture(scope="module")
def in_graph(weights, tmp_path_factory) -> Bundle:
    return exported(weights, tmp_path_factory.mktemp("graph") / "graph.stf", STOCHASTIC)


@pytest.fixture(scope="module")
def looped(weights, tmp_path_factory) -> Bundle:
    sampler = Sampler(steps=3, eta=1.0, loop="host")
    return exported(weights, tmp_path_factory.mktemp("host") / "host.stf", sampler)


def unrolled_of(bundle: Bundle) -> Unrolled:
    sampler = bundle.spec.sampler
    noises = ["noise", *(f"noise_{d}" for d in sampler.draws if d is not None)]
    return Unrolled(made().for_export(), sampler, CONDITIONS, noises)


def scene(side: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    return {role: rng.random((2, side, side), np.float32) * 0.6 for role in CONDITIONS}


# What a bundle says -------------------------------------------------------------------------------------------


def test_the_contract_has_the_steps_and_the_noise(in_graph):
    spec = in_graph.spec
    sampler = spec.sampler
    assert sampler.timesteps == (99, 65, 32)
    assert sampler.schedule == "checkpoint"
    levels = schedule("cosine", 100).alphas_cumprod
    assert sampler.alphas_cumprod == pytest.approx([levels[t] for t in sampler.timesteps], rel=1e-6)
    assert sampler.next_alphas_cumprod == (*sampler.alphas_cumprod[1:], 1.0)
    assert [(i.role, i.draw) for i in spec.noises] == [("noise", 0), ("noise_1", 1), ("noise_2", 2)]
    item = in_graph.item["properties"]["stf:contract"]["sampler"]
    assert item["timesteps"] == [99, 65, 32]
    assert len(item["alphas_cumprod"]) == 3
    assert "took the noise schedule of 100 steps from the checkpoint" in in_graph.properties["stf:notes"]
    assert (spec.tile.mode, spec.tile.overlap, spec.options["width"]) == ("blend", 8, 8)
    assert spec.tile.because[0] == "InstanceNormalization over a whole tile, 42 times"  # 6, then 12 a step


def test_the_golden_tile_is_what_torch_makes_of_all_steps(in_graph):
    inputs, output = in_graph.golden()
    with torch.no_grad():
        right = unrolled_of(in_graph)(**{role: torch.from_numpy(a)[None] for role, a in inputs.items()})[0]
    np.testing.assert_array_equal(output, right.numpy())
    assert np.mean(np.abs(output) == 1) < 0.5


@pytest.mark.parametrize("name", ["in_graph", "looped"])
def test_every_engine_gives_the_golden_tile(name, request):
    proofs = [p for p in prove(request.getfixturevalue(name)) if p.passed is not None]
    assert proofs
    assert [p.passed for p in proofs] == [True] * len(proofs), proofs
    assert all(p.relative < 1e-4 for p in proofs)


def test_a_sampling_that_blows_rounding_up_may_differ_by_as_much():
    preset = networks.network_class("stfdiff").preset
    for asked, allowed in (({}, 1e-4), ({"prediction": "v"}, 1e-4), ({"prediction": "epsilon"}, 1e-5 * 314)):
        assert tolerance_of(resolve(Sampler(**asked), preset)) == pytest.approx(allowed, rel=1e-3)


def test_weights_are_in_the_graph_once(in_graph):
    model = onnx.load(in_graph.asset("model-fp32"))
    sizes = {t.name: int(np.prod(t.dims)) for t in model.graph.initializer}
    # The MLPs of the time are folded into constants of a step, and are not there at all.
    network = made()
    timeless = {k: p for k, p in network.named_parameters() if "mlp" not in k and not k.startswith("init_conv")}
    assert sum(sizes.values()) < sum(p.numel() for p in timeless.values()) + 3 * 1000
    contents = Counter(t.raw_data for t in model.graph.initializer if int(np.prod(t.dims)) >= 128)
    assert contents.most_common(1)[0][1] == 1
    # The clean branch is there once, the rest three times; the convolution of a doubled image is there in four parts.
    convolutions = [name for name, module in network.named_modules() if isinstance(module, nn.Conv2d)]
    clean = [name for name in convolutions if name.startswith(("clean", "fine", "coarse"))]
    noisy = [name for name in convolutions if name not in clean and name != "init_conv"]
    doubled = 1
    assert sum(node.op_type == "Conv" for node in model.graph.node) == len(clean) + 3 * (len(noisy) + 3 * doubled)


# Scenes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["in_graph", "looped"])
@pytest.mark.parametrize("seed", [0, 5])
def test_one_tile_of_a_scene_is_the_sampling_with_the_scene_s_noise(name, seed, request):
    bundle, rasters = request.getfixturevalue(name), scene(TILE)
    with stf_infer.open(bundle.path) as model:
        fused = model.fuse(**rasters, seed=seed).array
    images = {role: torch.from_numpy(array * 2 - 1)[None] for role, array in rasters.items()}
    drawn = {f"noise_{k}" if k else "noise": noise(seed, k, 0, 0, (2, TILE, TILE)) for k in range(3)}
    with torch.no_grad():
        right = unrolled_of(bundle)(**images, **{role: torch.from_numpy(z)[None] for role, z in drawn.items()})
    np.testing.assert_allclose(fused, (right[0].numpy() + 1) / 2, atol=1e-4)


def test_both_loops_give_the_same_scene_at_any_batch(in_graph, looped):
    rasters = scene(2 * TILE + 5)
    found = []
    for bundle, batch in ((in_graph, 1), (looped, 1), (looped, 4)):
        with stf_infer.open(bundle.path) as model:
            result = model.fuse(**rasters, seed=9, tile_batch=batch)
        found.append(result.array)
        assert result.tiles == 9
        assert result.provenance["seed"] == "9"
        assert result.provenance["sampler"].startswith("ddim, 3 steps of 100 (99, 65, 32), checkpoint schedule")
        assert result.seam_ratio is not None
    assert np.ptp(found[0]) > 0.5
    np.testing.assert_allclose(found[1], found[0], atol=1e-4)
    np.testing.assert_allclose(found[2], found[0], atol=1e-4)


def test_samples_of_an_ensemble_differ_through_either_loop(in_graph, looped):
    means = []
    for bundle in (in_graph, looped):
        with stf_infer.open(bundle.path) as model:
            array = model.fuse(**scene(TILE), samples=3).array
        assert array.shape[0] == 4
        assert (array[2:] > 0).any()
        means.append(array)
    np.testing.assert_allclose(means[0], means[1], atol=1e-4)


# A loop on the host -------------------------------------------------------------------------------------------


def test_the_bundle_of_a_loop_holds_an_encoder_and_a_step(looped):
    assert {"model-fp32", "encoder-fp32", "golden"} == set(looped.assets)
    assert looped.assets["model-fp32"].needs == ("encoder-fp32",)
    assert [i.role for i in looped.spec.noises] == ["noise"]
    encoder, step = (onnx.load(looped.asset(key)) for key in ("encoder-fp32", "model-fp32"))
    assert [i.name for i in encoder.graph.input] == list(CONDITIONS)
    assert [i.name for i in step.graph.input] == [*(o.name for o in encoder.graph.output), "x_t", "t"]


def test_noise_of_a_loop_is_drawn_when_a_step_needs_it(looped):
    asked: list[int] = []

    class Drawn:
        def draw(self, step: int, bands: int) -> np.ndarray:
            asked.append(step)
            return noise(0, step, 0, 0, (bands, TILE, TILE))[None]

    inputs, output = looped.golden()
    feed = {i.tensor: inputs[i.role][None] for i in looped.spec.inputs}
    with open_engine(looped) as engine:
        found = engine.infer(feed, Drawn())["fine_t2"]
        np.testing.assert_allclose(found[0], output, atol=1e-4)
        assert asked == [1, 2]
        with pytest.raises(EngineError, match="draw 1"):
            engine.infer(feed)
        with pytest.raises(EngineError, match="noise"):
            engine.infer({k: v for k, v in feed.items() if k != "noise"}, Drawn())


def test_a_dry_run_measures_one_step(looped):
    with stf_infer.open(looped.path) as model:
        assert model.estimate(**scene(TILE)).peak_bytes > 1e6


# Modules of one's own -----------------------------------------------------------------------------------------


class OwnStep(nn.Module):
    """x0 from the fine image and a smoothed noisy one, the less of it the noisier it is."""

    def __init__(self, kernel: int = 3) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.smooth = nn.Conv2d(2, 2, kernel, padding=kernel // 2)

    def forward(self, noisy: torch.Tensor, when: torch.Tensor, fine_t1: torch.Tensor) -> dict[str, torch.Tensor]:
        share = 1 / (1 + when.float()[:, None, None, None])
        return {"fine_t2": fine_t1 + share * self.smooth(noisy)}


def own_contract(**asked):
    sampler = {
        "prediction": "x0",
        "schedule": "linear",
        "train_steps": 50,
        "steps": 2,
        "image": "noisy",
        "time": "when",
    }
    contract = contract_for({"fine_t1": "fine"}, tile=TileWish(**asked.pop("tile", {})))
    return contract.model_copy(update={"sampler": Sampler(**{**sampler, **asked})})


@pytest.mark.parametrize("loop", ["graph", "host"])
def test_a_module_that_is_a_step(loop, tmp_path):
    bundle = stf_export.export_module(OwnStep(), own_contract(loop=loop), tile=TILE, out=tmp_path / "own.stf")
    assert bundle.spec.sampler.timesteps == (49, 24)
    # Two steps of a 3 x 3 kernel: this one is tiled exactly.
    assert (bundle.spec.tile.mode, bundle.spec.tile.halo) == ("exact", 2)
    assert bundle.properties["stf:probe"]["reach"] == {"fine_t1": 1, "noise": 2}
    assert all(p.passed for p in prove(bundle) if p.passed is not None)
    assert "encoder-fp32" not in bundle.assets
    with stf_infer.open(bundle.path) as model:
        first, second = (model.fuse(fine_t1=scene(70)["fine_t1"], tile_batch=n).array for n in (1, 3))
    np.testing.assert_allclose(first, second, atol=1e-5)


def test_options_go_before_the_contract(tmp_path):
    asked = Sampler(name="ddpm", steps=3, variance="large")
    bundle = stf_export.export_module(OwnStep(), own_contract(), sampler=asked, tile=TILE, out=tmp_path / "own.stf")
    sampler = bundle.spec.sampler
    assert (sampler.name, sampler.variance, sampler.prediction, len(sampler.timesteps)) == ("ddpm", "large", "x0", 3)
    assert [i.role for i in bundle.spec.noises] == ["noise", "noise_1", "noise_2"]


def test_tiles_are_blended_where_the_steps_see_too_far(tmp_path):
    bundle = stf_export.export_module(OwnStep(15), own_contract(steps=3), tile=TILE, out=tmp_path / "own.stf")
    assert bundle.spec.tile.mode == "blend"
    (because,) = bundle.spec.tile.because
    assert because.startswith("measured: 3 steps see 1")
    assert because.endswith("which leaves no core in a tile")


# What is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sampler", "named"),
    [
        (Sampler(steps=101), "1 to 100"),
        (Sampler(train_steps=200), "100, as the checkpoint has"),
        (Sampler(schedule="linear"), "linear over 100 steps.*the checkpoint's, with alpha-bar"),
        (Sampler(name="ddpm", variance="learned", steps=2), "small or large"),
    ],
)
def test_samplers_that_do_not_fit_a_network(sampler, named, weights, tmp_path):
    with pytest.raises(ExportError, match=named):
        exported(weights, tmp_path / "net.stf", sampler)
    assert list(tmp_path.iterdir()) == []


def test_schedules_of_a_checkpoint_must_agree(tmp_path):
    state = {f"net.{key}": tensor for key, tensor in made().state_dict().items()}
    two = {name: {"alphas_cumprod": torch.linspace(0.9, 0.1, n), **state} for name, n in (("model", 9), ("old", 7))}
    torch.save(two, tmp_path / "two.pth")
    with pytest.raises(CheckpointError, match=r"9 steps down to 0\.1; .*7 steps down to 0\.1"):
        exported(tmp_path / "two.pth", tmp_path / "net.stf", None)


def test_betas_alone_are_a_schedule(tmp_path):
    from stf_export.samplers.checkpoint import schedule_of

    betas = torch.tensor([0.1, 0.2, 0.5])
    torch.save({"betas": betas, "net": made().state_dict()}, tmp_path / "betas.pth")
    assert schedule_of(tmp_path / "betas.pth").alphas_cumprod == pytest.approx([0.9, 0.72, 0.36])
    assert schedule_of({"weight": betas}) is None


def test_only_a_diffusion_network_has_a_sampler(tmp_path):
    network = networks.create("edcstfn", bands=2)
    torch.save(network.state_dict(), tmp_path / "w.pth")
    with pytest.raises(ExportError, match=r"no diffusion network.*'steps': 4"):
        stf_export.export("edcstfn", tmp_path / "w.pth", bands=2, sampler=Sampler(steps=4), out=tmp_path / "net.stf")


def test_a_module_must_name_its_image_and_its_time(tmp_path):
    for asked, named in (({"time": "t"}, "no parameter t"), ({"image": "x_t"}, "no parameter x_t")):
        with pytest.raises(ExportError, match=named):
            stf_export.export_module(OwnStep(), own_contract(**asked), tile=TILE, out=tmp_path / "net.stf")


def test_an_onnx_file_is_no_step(tmp_path):
    with pytest.raises(ExportError, match="--module"):
        stf_export.export_onnx(tmp_path / "some.onnx", own_contract(), out=tmp_path / "net.stf")


def test_a_contract_whose_conditions_are_wrong_is_refused(tmp_path):
    contract = contract_for({"coarse_t1": "fine"}).model_copy(update={"sampler": own_contract().sampler})

    class Step(nn.Module):
        def forward(self, noisy, when, coarse_t1):
            return coarse_t1

    with pytest.raises(ContractError, match="fine_t1 is missing"):
        stf_export.export_module(Step(), contract, tile=TILE, out=tmp_path / "net.stf")


@pytest.mark.parametrize("name", ["in_graph", "looped"])
def test_builds_for_tensorrt_rtx(name, request):
    pytest.importorskip("tensorrt_rtx", reason="needs the extra tensorrt-rtx")
    from tensorrt_support import build

    bundle = request.getfixturevalue(name)
    for key in bundle.assets:
        if key != "golden":
            assert build(bundle.asset(key)) > 0
