# SPDX-License-Identifier: Apache-2.0
"""MFDGCN: traffic at the nodes of a road network, by diffusion over several graphs at once.

Cui, Zhang, Noh, Park: MFDGCN: Multi-Stage Spatiotemporal Fusion Diffusion Graph Convolutional Network for Traffic
Prediction. Applied Sciences 12, 2688, 2022, doi:10.3390/app12052688.

    history (T, V, C) ─▶ dense ─▶ layers ─▶ attention of the future to the past ─▶ layers ─▶ 2 dense ─▶ future (H, V, C)
                           ▲                        ▲
    place of each node, slot of the day, day of the week: one embedding of space and time

No code and no weights are public. From the paper's abstract and figure: time steps x nodes x flow as input; several
static and dynamic graphs; an encoder and a decoder of the same kind of layer, which fuses diffusion convolution over
the graphs with one over time; between them an attention conditioned on a spatiotemporal embedding; two dense layers at
the end.

Chosen here, since neither tells: every number (widths, layers, heads, steps of diffusion); diffusion as in DCRNN (Li,
Yu, Shahabi, Liu: arXiv:1707.01926, equation 2), over the given graph forwards and backwards, over one learnt from
embeddings of the nodes, and over one that each time step makes from its own features by scaled dot products; gated
causal convolution of kernel 2 over time, its dilation doubled from layer to layer; a gate that mixes space and time,
then a residual and layer norm; the attention's queries from the embedding of the future, its keys from that of the
past, its values from the encoder. So this is a network of the paper's kind, and weights that somebody trained with
another code base do not fit it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional

from stf_infer.errors import ExportError
from stf_infer.samples.spec import SampleInput, SampleOutput, SampleSpec, SampleValues, dims

from ..base import About, FusionNetwork, Untold
from ..standardisation import Given, standardised

DAYS = 7
GRAPHS = 4  # given forwards, given backwards, learnt, of the moment


class MFDGCN(FusionNetwork):
    """Predicts the next ``horizon`` steps at every node from the last ``history`` steps.

    ``series`` is ``(N, history, nodes, C)``, in the units that the weights were trained with; ``calendar`` is int64 of
    shape ``(N, history + horizon, 2)``: the slot of the day (0 to ``slots - 1``) and the day of the week (0 to 6) of
    each step, past and future. The output is ``(N, horizon, nodes, C)``. It works on nodes of a graph, not on rasters:
    its contract is one for samples.

    The graph is part of the weights: ``graph[i, j]``, 0 or more, is how strongly node i is tied to node j.

    Args:
        bands: Names of the quantities at a node.
        nodes: Nodes of the graph.
        history: Steps that are seen.
        horizon: Steps that are predicted.
        width: Features of a node at a step; a multiple of ``heads``.
        heads: Heads of the attention.
        layers: Layers of the encoder, and of the decoder.
        reach: Steps of diffusion over a graph.
        slots: Steps of a day.
        means: What was subtracted from the quantities in training, one for all or one for each; None for nothing.
            Stated in the contract, so that the runtime takes and gives physical values; ``forward`` does not.
        deviations: What the quantities were divided by then.

    Raises:
        ExportError: A value that is not allowed.
    """

    about: ClassVar[About] = About(
        title="MFDGCN",
        family="others",
        paper="Cui, Zhang, Noh, Park: MFDGCN: Multi-Stage Spatiotemporal Fusion Diffusion Graph Convolutional Network "
        "for Traffic Prediction. Applied Sciences 12, 2688, 2022",
        doi="10.3390/app12052688",
        options={
            "nodes": "nodes of the graph (default 325)",
            "history": "steps that are seen (default 12)",
            "horizon": "steps that are predicted (default 12)",
            "width": "features of a node at a step (default 64), a multiple of heads",
            "heads": "heads of the attention (default 8)",
            "layers": "layers of the encoder, and of the decoder (default 2)",
            "reach": "steps of diffusion over a graph (default 2)",
            "slots": "steps of a day (default 288)",
            "means": "means of the quantities that the weights were trained with (default: not standardised)",
            "deviations": "their standard deviations",
        },
    )

    graph: torch.Tensor

    def __init__(
        self,
        bands: Sequence[str] = ("flow",),
        *,
        nodes: int = 325,
        history: int = 12,
        horizon: int = 12,
        width: int = 64,
        heads: int = 8,
        layers: int = 2,
        reach: int = 2,
        slots: int = 288,
        means: Given = None,
        deviations: Given = None,
    ) -> None:
        super().__init__(bands)
        sizes = {
            "nodes": nodes,
            "history": history,
            "horizon": horizon,
            "width": width,
            "heads": heads,
            "layers": layers,
            "reach": reach,
            "slots": slots,
        }
        for option, value in sizes.items():
            if value < 1:
                raise ExportError(f"MFDGCN needs {option}", got=value, allowed="1 or more")
        if width % heads:
            raise ExportError("The heads of MFDGCN share its width", got=width, allowed=f"a multiple of {heads}")
        self.history, self.horizon, self.heads, self.slots = history, horizon, heads, slots
        self.values = standardised("MFDGCN", means, deviations, number=len(self.bands), along="quantity")
        self.register_buffer("graph", torch.zeros(nodes, nodes))
        self.place = nn.Parameter(torch.randn(nodes, width) / math.sqrt(width))
        self.slot = nn.Embedding(slots, width)
        self.day = nn.Embedding(DAYS, width)
        self.embedding = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
        self.sources = nn.Linear(width, width)
        self.targets = nn.Linear(width, width)
        self.enter = nn.Linear(len(self.bands), width)
        self.encoder = nn.ModuleList(_FusedLayer(width, reach, 2**layer) for layer in range(layers))
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.answer = nn.Linear(width, width)
        self.decoder = nn.ModuleList(_FusedLayer(width, reach, 2**layer) for layer in range(layers))
        self.leave = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, len(self.bands)))

    def forward(self, series: torch.Tensor, calendar: torch.Tensor) -> torch.Tensor:
        """The steps that follow, ``(N, horizon, nodes, C)``."""
        moments = self.slot(calendar[..., 0]) + self.day(calendar[..., 1])
        embedded = self.embedding(self.place + moments[:, :, None, :])
        past, future = embedded[:, : self.history], embedded[:, self.history :]
        graphs = (*transitions(self.graph), self._learnt_graph())
        features = self.enter(series) + past
        for layer in self.encoder:
            features = layer(features, graphs)
        features = self._look_back(future, past, features)
        for layer in self.decoder:
            features = layer(features, graphs)
        return self.leave(features)

    def contract(self) -> SampleSpec:
        """A window of the past, and slot and day of all its steps and of those to come, give the steps to come."""
        nodes = len(self.graph)
        known = SampleValues(along="part", minimum=0, maximum=(self.slots - 1, DAYS - 1))
        return SampleSpec(
            network="mfdgcn",
            inputs=(
                SampleInput(
                    role="series",
                    tensor="series",
                    dims=dims(time=self.history, node=nodes, quantity=self.bands),
                    values=self.values,
                ),
                SampleInput(
                    role="calendar",
                    tensor="calendar",
                    dims=dims(step=self.history + self.horizon, part=("slot", "day")),
                    dtype="int64",
                    values=known,
                ),
            ),
            output=SampleOutput(
                tensor="future", dims=dims(horizon=self.horizon, node=nodes, quantity=self.bands), values=self.values
            ),
            options={"heads": self.heads},
            source=self.about.source,
        )

    def untold(self, kind: str) -> Sequence[Untold]:
        """Heads share the width; their number changes no shape."""
        return (
            Untold("heads", {"8": "the published number", "another": "a divisor of width"}, assumed="as published"),
        )

    @classmethod
    def bands_of(cls, state: Mapping[str, torch.Tensor]) -> int | None:
        """Quantities that enter."""
        first = state.get("enter.weight")
        return None if first is None else int(first.shape[1])

    def _learnt_graph(self) -> torch.Tensor:
        """How much each node listens to each other one by its place, ``(V, V)``; rows sum to 1."""
        ties = self.sources(self.place) @ self.targets(self.place).T
        return functional.relu(ties / math.sqrt(self.place.shape[1])).softmax(dim=-1)

    def _look_back(self, future: torch.Tensor, past: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        """Features of the future ``(N, horizon, V, D)``: every node asks its own past."""
        query, key, value = (self._by_head(part) for part in (self.query(future), self.key(past), self.value(features)))
        scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
        seen = scores.softmax(dim=-1) @ value
        return self.answer(seen.permute(0, 3, 1, 2, 4).flatten(3)) + future

    def _by_head(self, features: torch.Tensor) -> torch.Tensor:
        """``(N, T, V, D)`` as ``(N, V, heads, T, D / heads)``."""
        return features.unflatten(3, (self.heads, -1)).permute(0, 2, 3, 1, 4)


class _FusedLayer(nn.Module):
    """Diffusion over the graphs and convolution over time, mixed by a gate; ``(N, T, V, D)`` in and out."""

    def __init__(self, width: int, reach: int, dilation: int) -> None:
        super().__init__()
        self.reach, self.dilation = reach, dilation
        self.sources = nn.Linear(width, width)
        self.targets = nn.Linear(width, width)
        self.space = nn.Linear((1 + GRAPHS * reach) * width, width)
        self.time = nn.Linear(2 * width, 2 * width)
        self.gate = nn.Linear(2 * width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, features: torch.Tensor, graphs: tuple[torch.Tensor, ...]) -> torch.Tensor:
        ties = self.sources(features) @ self.targets(features).transpose(-1, -2)
        moment = (ties / math.sqrt(features.shape[-1])).softmax(dim=-1)
        space = self.space(diffused(features, (*graphs, moment), self.reach))
        value, opening = self.time(torch.cat((self._earlier(features), features), dim=-1)).chunk(2, dim=-1)
        time = value.tanh() * opening.sigmoid()
        gate = self.gate(torch.cat((space, time), dim=-1)).sigmoid()
        return self.norm(features + gate * space + (1 - gate) * time)

    def _earlier(self, features: torch.Tensor) -> torch.Tensor:
        """The features ``dilation`` steps before, zero before the first step."""
        steps = features.shape[1]
        kept = features[:, : max(steps - self.dilation, 0)]
        return functional.pad(kept, (0, 0, 0, 0, min(self.dilation, steps), 0))


def transitions(graph: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Where a random walk goes from each node, along the ties and against them; rows of tied nodes sum to 1.

    Args:
        graph: Ties ``(V, V)``, 0 or more. A node without ties stays without.
    """
    return tuple(ties / ties.sum(dim=1, keepdim=True).clamp(min=1e-6) for ties in (graph, graph.T))  # type: ignore[return-value]


def diffused(features: torch.Tensor, graphs: tuple[torch.Tensor, ...], reach: int) -> torch.Tensor:
    """Features ``(N, T, V, D)`` and what ``1 .. reach`` steps over each graph bring, side by side.

    Args:
        features: At every step and node.
        graphs: Transitions ``(V, V)`` or ``(N, T, V, V)``.
        reach: Steps.

    Returns:
        ``(N, T, V, (1 + len(graphs) * reach) * D)``.
    """
    found = [features]
    for graph in graphs:
        walked = features
        for _ in range(reach):
            walked = graph @ walked
            found.append(walked)
    return torch.cat(found, dim=-1)
