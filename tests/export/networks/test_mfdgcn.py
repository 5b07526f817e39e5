# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from stf_export import networks
from stf_export.networks.others.mfdgcn import MFDGCN, diffused, transitions
from stf_infer.errors import ExportError

SMALL = {"nodes": 5, "history": 4, "horizon": 3, "width": 8, "heads": 2, "slots": 24}


def small(**options: object) -> MFDGCN:
    torch.manual_seed(0)
    network = networks.create("mfdgcn", **{**SMALL, **options})
    network.graph.copy_(torch.rand(network.graph.shape))
    return network


def inputs_for(network: MFDGCN, batch: int = 1) -> dict[str, torch.Tensor]:
    steps = network.history + network.horizon
    calendar = torch.stack((torch.arange(steps) % network.slot.num_embeddings, torch.full((steps,), 3)), dim=1)
    series = torch.rand(batch, network.history, len(network.graph), len(network.bands))
    return {"series": series, "calendar": calendar.expand(batch, -1, -1)}


def test_a_walk_along_and_against_the_ties():
    along, against = transitions(torch.tensor([[0.0, 3.0, 1.0], [0.0, 0.0, 2.0], [0.0, 0.0, 0.0]]))
    torch.testing.assert_close(along, torch.tensor([[0.0, 0.75, 0.25], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]))
    torch.testing.assert_close(against, torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1 / 3, 2 / 3, 0.0]]))


def test_diffusion_moves_a_mark_one_node_a_step():
    ring = torch.roll(torch.eye(4), 1, dims=0)  # node i listens to node i - 1
    mark = torch.tensor([1.0, 0.0, 0.0, 0.0])[None, None, :, None]
    walked = diffused(mark, (ring, ring.T), reach=2)[0, 0]
    assert walked.argmax(dim=0).tolist() == [0, 1, 2, 3, 2]


@pytest.mark.parametrize("options", [{}, {"bands": 2}, {"layers": 4}, {"reach": 1}, {"horizon": 1}, {"history": 1}])
def test_shapes_and_every_input_counts(options: dict):
    network = small(**options)
    inputs = inputs_for(network, batch=2)
    with torch.no_grad():
        output = network(**inputs)
        assert output.shape == (2, network.horizon, 5, len(network.bands))
        assert output.isfinite().all()
        torch.testing.assert_close(output, network(inputs["series"], inputs["calendar"]))
        for changed in (
            {"series": inputs["series"] * 0.5},
            {"calendar": inputs["calendar"] + torch.tensor([5, 0])},
            {"calendar": inputs["calendar"] + torch.tensor([0, 2])},
        ):
            assert not torch.allclose(network(**{**inputs, **changed}), output, atol=1e-4)
        network.graph.copy_(network.graph.flip(0))
        assert not torch.allclose(network(**inputs), output, atol=1e-4)
    assert MFDGCN.bands_of(network.state_dict()) == len(network.bands)


def test_the_order_of_the_nodes_means_nothing():
    network = small()
    inputs = inputs_for(network)
    order = torch.tensor([3, 0, 4, 1, 2])
    with torch.no_grad():
        before = network(**inputs)
        network.graph.copy_(network.graph[order][:, order])
        network.place.copy_(network.place[order])
        after = network(inputs["series"][:, :, order], inputs["calendar"])
    torch.testing.assert_close(after, before[:, :, order], rtol=0, atol=1e-5)


def test_a_layer_does_not_look_ahead():
    network = small(layers=3)
    graphs = (*transitions(network.graph), network.graph.softmax(-1))
    features = torch.rand(1, 6, 5, 8)
    later = features.clone()
    later[:, 4:] += 1
    with torch.no_grad():
        for layer in network.encoder:
            difference = (layer(features, graphs) - layer(later, graphs)).abs().amax(dim=(0, 2, 3))
            assert difference[:4].max() == 0
            assert difference[4:].min() > 0


def test_a_layer_looks_back_by_its_dilation():
    network = small(layers=3)
    features = torch.rand(1, 6, 5, 8)
    for layer, dilation in zip(network.encoder, (1, 2, 4), strict=True):
        earlier = layer._earlier(features)
        assert torch.equal(earlier[:, dilation:], features[:, :-dilation])
        assert earlier[:, :dilation].abs().max() == 0


def test_the_graph_is_loaded_with_the_weights():
    trained, fresh = small(), networks.create("mfdgcn", **SMALL)
    fresh.load_state_dict(trained.state_dict(), strict=True)
    inputs = inputs_for(trained)
    with torch.no_grad():
        torch.testing.assert_close(fresh(**inputs), trained(**inputs))


@pytest.mark.parametrize(
    "options",
    [*({name: 0} for name in MFDGCN.about.options), {"width": 9}, {"bands": ()}, {"adjacency": None}],
)
def test_wrong_options_are_refused(options: dict):
    with pytest.raises(ExportError):
        networks.create("mfdgcn", **{**SMALL, **options})
