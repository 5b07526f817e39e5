# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from golden_support import check, golden_inputs, keys_of, load_golden_weights, published_keys, read_golden
from stf_export import networks
from stf_export.networks.transformer.mgsfformer import MGSFformer
from stf_infer.errors import ExportError

DEAD = ("lay_norm4", "lay_norm5", "DF_block.att2", "DF_block.att3")


def past(network: MGSFformer, batch: int = 1) -> torch.Tensor:
    return 20 + 5 * torch.randn(batch, network.history, len(network.bands), 1)


def test_keys_are_the_published_ones():
    published = published_keys("mgsfformer_example")
    network = networks.create("mgsfformer", horizon=96)
    assert keys_of(network) == published
    assert len(published) == 178
    assert sum(p.numel() for p in network.parameters()) == 105_037
    network.load_state_dict({key: torch.zeros(shape) for key, shape in published.items()}, strict=True)


def test_golden():
    golden = read_golden("mgsfformer")
    network = load_golden_weights(networks.create("mgsfformer", bands=7), golden)
    assert sum(p.numel() for p in network.parameters()) == golden.meta["parameter_count"]
    with torch.no_grad():
        check(golden, network(**golden_inputs(golden)))


@pytest.mark.parametrize(
    ("bands", "options"),
    [
        (1, {}),
        (3, {"history": 24, "horizon": 5}),
        (12, {"history": 168, "horizon": 48, "width": 24, "heads": 3}),
        (5, {"width": 8, "heads": 8, "horizon": 1}),
    ],
)
def test_any_series_and_lengths(bands: int, options: dict):
    network = networks.create("mgsfformer", bands=bands, **options)
    with torch.no_grad():
        out = network(past(network, batch=2))
    assert out.shape == (2, network.horizon, bands, 1)
    assert out.isfinite().all()


def test_samples_of_a_batch_do_not_mix():
    network = networks.create("mgsfformer", bands=3)
    history = past(network, batch=3)
    with torch.no_grad():
        together = network(history)
        for i in range(3):
            torch.testing.assert_close(together[i : i + 1], network(history[i : i + 1]))


def test_forecast_follows_the_unit_of_the_past():
    """Each series is standardised: another unit of one series gives the same forecast in that unit."""
    network = networks.create("mgsfformer", bands=2).double()
    history = past(network).double()
    scale, offset = torch.tensor([[100.0], [1.0]]), torch.tensor([[-7.0], [0.0]])
    with torch.no_grad():
        torch.testing.assert_close(
            network(history * scale + offset), network(history) * scale + offset, rtol=1e-4, atol=0
        )


def test_dead_weights_have_no_influence_and_the_others_do():
    network = networks.create("mgsfformer", bands=2, horizon=4, width=4)
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator)
    network(past(network)).square().sum().backward()
    dead = {key for key, parameter in network.named_parameters() if parameter.grad is None}
    assert dead == {key for key in network.state_dict() if key.startswith(DEAD)}


def test_heads_set_the_scale():
    one, four = (networks.create("mgsfformer", bands=2, width=16, heads=heads) for heads in (1, 4))
    assert one.ST_block1.Time_att.scale == 1 / 4
    assert four.ST_block1.Time_att.scale == four.ST_block1.space_att.scale == 1 / 2


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"history": 0}, "24, 48"),
        ({"history": 100}, "24, 48"),
        ({"horizon": 0}, "horizon"),
        ({"heads": 0}, "heads"),
        ({"width": -1}, "width"),
        ({"width": 10, "heads": 4}, "10 / 4"),
        ({"bands": ()}, "at least one"),
    ],
)
def test_refuses_other_options(options: dict, named: str):
    with pytest.raises(ExportError, match=named):
        networks.create("mgsfformer", **options)


@pytest.mark.parametrize("shape", [(1, 72, 7, 1), (1, 96, 6, 1), (1, 96, 7, 2), (96, 7, 1)])
def test_refuses_other_histories(shape: tuple[int, ...]):
    with pytest.raises(ExportError, match=r"\(N, 96, 7, 1\)"):
        networks.create("mgsfformer")(torch.zeros(shape))


def test_bands_of():
    for series in (1, 9):
        assert MGSFformer.bands_of(networks.create("mgsfformer", bands=series).state_dict()) == series
    assert MGSFformer.bands_of({}) is None
