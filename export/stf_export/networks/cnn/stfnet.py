# SPDX-License-Identifier: Apache-2.0
"""StfNet: two streams predict how the fine image changed before and after t2.

Liu, Deng, Chanussot, Hong, Zhao: StfNet: A Two-Stream Convolutional Neural Network for Spatiotemporal Image Fusion.
IEEE Transactions on Geoscience and Remote Sensing 57, 6552-6564, 2019, doi:10.1109/TGRS.2019.2907310.

    coarse_t2 - coarse_t1, fine_t1 ──▶ stream 1 ──▶ d12
    coarse_t3 - coarse_t2, fine_t3 ──▶ stream 2 ──▶ d23        fine_t2 = w (fine_t1 + d12) + (1 - w) (fine_t3 - d23)

w is one number a band for the whole scene: which of the dates changed less. It is an input of the exported graph
(``temporal_weight``), never computed from a tile; :func:`stf_export.networks.scene_scalars.stfnet_temporal_weight`
is the rule.

The authors published no code; layers, keys and the weight's rule are those of a re-implementation. That one also
averages over the batch for w; here every image of a batch is a scene of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import nn

from stf_infer.errors import ExportError
from stf_infer.spec import InputSpec, OutputSpec, SceneStatistic, Values

from ...contract import Contract
from ..base import About, FusionNetwork
from ..blocks.mapping import ThreeLayerMapping
from ..blocks.weighting import per_scene
from ..scene_scalars import stfnet_temporal_weight

WIDTHS = (32, 16)


class StfNet(FusionNetwork):
    """Both streams and their weighted mean.

    Images are ``(N, C, H, W)`` on the fine grid, within -1 to 1 (reflectance x 2 - 1). ``forward`` returns the fine
    image at t2 as ``fine_t2``, the predicted changes ``d12`` and ``d23``, and the ``temporal_weight`` that was used.

    Args:
        bands: Names of the bands, in the network's order.
        ratio: Coarse pixel over fine pixel; recorded in the contract, it changes no layer.

    Raises:
        ExportError: A value that is not allowed.
    """

    about: ClassVar[About] = About(
        title="StfNet",
        family="cnn",
        paper="Liu, Deng, Chanussot, Hong, Zhao: StfNet: A Two-Stream Convolutional Neural Network for Spatiotemporal "
        "Image Fusion. IEEE Transactions on Geoscience and Remote Sensing 57, 6552-6564, 2019",
        doi="10.1109/TGRS.2019.2907310",
        options={"ratio": "coarse pixel over fine pixel (default 16)"},
    )
    roles: ClassVar[tuple[str, ...]] = ("coarse_t1", "coarse_t2", "coarse_t3", "fine_t1", "fine_t3")

    def __init__(
        self, bands: Sequence[str] = ("blue", "green", "red", "nir", "swir1", "swir2"), *, ratio: int = 16
    ) -> None:
        super().__init__(bands)
        if ratio < 1:
            raise ExportError("The ratio is coarse pixel over fine pixel", got=ratio, allowed="1 or more")
        self.ratio = ratio
        count = len(self.bands)
        self.DCNN_mapping_1 = ThreeLayerMapping(2 * count, WIDTHS, count)
        self.DCNN_mapping_2 = ThreeLayerMapping(2 * count, WIDTHS, count)

    def forward(
        self,
        coarse_t1: torch.Tensor,
        coarse_t2: torch.Tensor,
        coarse_t3: torch.Tensor,
        fine_t1: torch.Tensor,
        fine_t3: torch.Tensor,
        temporal_weight: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """``fine_t2``, ``d12`` and ``d23`` ``(N, C, H, W)``, ``temporal_weight`` ``(N, C, 1, 1)``.

        Args:
            coarse_t1: Coarse image at t1.
            coarse_t2: Coarse image at t2.
            coarse_t3: Coarse image at t3.
            fine_t1: Fine image at t1.
            fine_t3: Fine image at t3.
            temporal_weight: Weight of the prediction from t1; None takes the images for whole scenes and computes it.
        """
        if temporal_weight is None:
            temporal_weight = per_scene(stfnet_temporal_weight, coarse_t1, coarse_t2, coarse_t3)
        d12 = self.DCNN_mapping_1(torch.cat((coarse_t2 - coarse_t1, fine_t1), dim=1))
        d23 = self.DCNN_mapping_2(torch.cat((coarse_t3 - coarse_t2, fine_t3), dim=1))
        fine_t2 = temporal_weight * (fine_t1 + d12) + (1 - temporal_weight) * (fine_t3 - d23)
        return {"fine_t2": fine_t2, "d12": d12, "d23": d23, "temporal_weight": temporal_weight}

    def for_export(self) -> nn.Module:
        """The network with ``temporal_weight`` as an input, returning the fine image at t2."""
        return _WithWeight(self)

    def contract(self) -> Contract:
        """All images on the fine grid, reflectance as -1 to 1; ``temporal_weight`` is a number of the scene."""
        values = Values(scale=2.0, offset=-1.0)
        scalar = InputSpec(
            role="temporal_weight",
            tensor="temporal_weight",
            bands=self.bands,
            grid="scene",
            statistic=SceneStatistic(rule="switched-absolute-change", of=("coarse_t1", "coarse_t2", "coarse_t3")),
        )
        return Contract(
            network="stfnet",
            ratio=self.ratio,
            inputs=(
                *(InputSpec(role=role, tensor=role, bands=self.bands, values=values) for role in self.roles),
                scalar,
            ),
            output=OutputSpec(tensor="fine_t2", bands=self.bands, values=values),
            options={"ratio": self.ratio},
            source=self.about.source,
        )

    @classmethod
    def bands_of(cls, state: Mapping[str, torch.Tensor]) -> int | None:
        """Output channels of the first stream."""
        last = state.get("DCNN_mapping_1.reconstruction_layer.0.bias")
        return None if last is None else int(last.shape[0])


class _WithWeight(nn.Module):
    """StfNet whose temporal weight is an input."""

    def __init__(self, network: StfNet) -> None:
        super().__init__()
        self.network = network

    def forward(
        self,
        coarse_t1: torch.Tensor,
        coarse_t2: torch.Tensor,
        coarse_t3: torch.Tensor,
        fine_t1: torch.Tensor,
        fine_t3: torch.Tensor,
        temporal_weight: torch.Tensor,
    ) -> torch.Tensor:
        """The fine image at t2, ``(N, C, H, W)``."""
        return self.network(coarse_t1, coarse_t2, coarse_t3, fine_t1, fine_t3, temporal_weight)["fine_t2"]
