# SPDX-License-Identifier: Apache-2.0
"""EDCSTFN: an encoder of the fine image, an encoder of what changed, and a decoder of their sum.

Tan, Di, Zhang, Guo, Gao: An Enhanced Deep Convolutional Model for Spatiotemporal Image Fusion. Remote Sensing
11(24), 2898, 2019, doi:10.3390/rs11242898.

    fine_t1 ──────────────▶ encoder ──▶ (+) ──▶ decoder ──▶ fine_t2
    coarse_t1, fine_t1,                  ▲
    coarse_t2 ────────────▶ residual ────┘

With a second reference date the same weights make a second sum from ``coarse_t3`` and ``fine_t3``; the two
are averaged feature by feature, weighted inversely to the absolute residual, and decoded once.

Code bases differ in two things. The authors' network takes the coarse images on their own grid and enlarges
them by 16 inside (bilinear, corners aligned); re-implementations take them on the fine grid already. And the
authors use four bands, others six. Both are arguments here; the state dict is the same.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, get_args

import torch
from torch.nn import functional

from stf_infer.errors import ExportError
from stf_infer.spec import InputSpec, OutputSpec

from ...contract import Contract
from ..base import About, FusionNetwork, Untold, one_of
from ..blocks.codec import decoder, encoder
from ..blocks.weighting import NO_CHANGE, inverse_weight

References = Literal[1, 2]
CoarseGrid = Literal["native", "fine"]


class EDCSTFN(FusionNetwork):
    """The network with one reference date; ``references=2`` makes the one with two.

    Images are ``(N, C, H, W)`` reflectance (DN x 0.0001), normally within 0 to 1; nothing is clipped. The
    output is reflectance, shape ``(N, C, H, W)`` like ``fine_t1``. Any size; all operators are local.

    Differences from the published code: inputs are separate arguments (there: one list, which is
    overwritten); with two references it always returns the fused image (there, in training mode: the two
    unfused predictions); the weights of the two dates are written without intermediate reciprocals and with
    an eps of ``2**-24`` in place of ``1e-8``, so that half precision cannot give 0/0: they differ by at most
    ``2**-24`` over the sum of both residuals.

    Args:
        bands: Names of the bands, in the network's order.
        references: Reference dates.
        coarse_grid: ``native``: coarse inputs are ``(N, C, H/ratio, W/ratio)`` and are enlarged inside, as
            published. ``fine``: coarse inputs are ``(N, C, H, W)``.
        ratio: Coarse pixel over fine pixel.

    Raises:
        ExportError: A value that is not allowed.
    """

    about: ClassVar[About] = About(
        title="EDCSTFN",
        family="cnn",
        paper="Tan, Di, Zhang, Guo, Gao: An Enhanced Deep Convolutional Model for Spatiotemporal Image "
        "Fusion. Remote Sensing 11(24), 2898, 2019",
        doi="10.3390/rs11242898",
        options={
            "references": "reference dates: 1 (default) or 2",
            "coarse_grid": "the grid of coarse images in training: native (default: their own grid, "
            "enlarged inside) or fine",
            "ratio": "coarse pixel over fine pixel (default 16)",
        },
    )
    roles: ClassVar[tuple[str, ...]] = ("coarse_t1", "fine_t1", "coarse_t2")

    def __new__(cls, *_: Any, references: References = 1, **__: Any) -> EDCSTFN:
        """An instance of the class whose ``forward`` has the right roles."""
        return super().__new__(_TwoReferences if references == 2 else cls)

    def __init__(
        self,
        bands: Sequence[str] = ("blue", "green", "red", "nir"),
        *,
        references: References = 1,
        coarse_grid: CoarseGrid = "native",
        ratio: int = 16,
    ) -> None:
        super().__init__(bands)
        self.references = one_of("EDCSTFN", "number of references", references, get_args(References))
        self.coarse_grid = one_of("EDCSTFN", "coarse_grid", coarse_grid, get_args(CoarseGrid))
        if ratio < 1:
            raise ExportError("The ratio is coarse pixel over fine pixel", got=ratio, allowed="1 or more")
        self.ratio = ratio
        count = len(self.bands)
        self.encoder = encoder(count, relu_last=True)
        self.residual = encoder(3 * count, relu_last=False)
        self.decoder = decoder(count)

    def forward(self, coarse_t1: torch.Tensor, fine_t1: torch.Tensor, coarse_t2: torch.Tensor) -> torch.Tensor:
        """The fine image at t2, ``(N, C, H, W)`` reflectance."""
        coarse_t1, coarse_t2 = self._on_fine_grid(coarse_t1, coarse_t2)
        return self.decoder(self.encoder(fine_t1) + self._change(coarse_t1, fine_t1, coarse_t2))

    def contract(self) -> Contract:
        """Coarse images on the fine grid.

        For ``coarse_grid="native"`` they are interpolated there by the runtime with corners aligned in
        coordinates of the whole scene: inside a tile that interpolation would depend on where the tile lies.
        """
        native = self.coarse_grid == "native"
        inputs = tuple(
            InputSpec(
                role=role,
                tensor=role,
                bands=self.bands,
                from_coarse="align-corners" if native and role.startswith("coarse") else None,
            )
            for role in self.roles
        )
        return Contract(
            network="edcstfn",
            ratio=self.ratio,
            inputs=inputs,
            output=OutputSpec(tensor="fine_t2", bands=self.bands),
            options={"references": self.references, "coarse_grid": self.coarse_grid, "ratio": self.ratio},
            source=self.about.source,
        )

    def for_export(self) -> EDCSTFN:
        """This network, with coarse inputs on the fine grid; the weights are shared."""
        twin = copy.copy(self)
        twin.coarse_grid = "fine"
        return twin

    def untold(self, kind: str) -> Sequence[Untold]:
        """All forms have the same keys and shapes."""
        return (
            Untold("references", {"1": "one reference date", "2": "two"}, assumed="the first published form"),
            Untold(
                "coarse_grid",
                {
                    "native": "coarse images on their own grid, as the authors train",
                    "fine": "coarse images interpolated to the fine grid beforehand, as re-implementations train",
                },
                assumed="as published",
            ),
        )

    @classmethod
    def bands_of(cls, state: Mapping[str, torch.Tensor]) -> int | None:
        """Input channels of the fine encoder."""
        first = state.get("encoder.0.1.weight")
        return int(first.shape[1]) if first is not None and first.ndim == 4 else None

    def _change(self, coarse: torch.Tensor, fine: torch.Tensor, coarse_t2: torch.Tensor) -> torch.Tensor:
        """Features of what happened between a reference date and t2."""
        return self.residual(torch.cat((coarse, fine, coarse_t2), dim=1))

    def _on_fine_grid(self, *coarse: torch.Tensor) -> tuple[torch.Tensor, ...]:
        if self.coarse_grid == "fine":
            return coarse
        return tuple(
            functional.interpolate(image, scale_factor=self.ratio, mode="bilinear", align_corners=True)
            for image in coarse
        )


class _TwoReferences(EDCSTFN):
    """EDCSTFN between two reference dates."""

    roles: ClassVar[tuple[str, ...]] = ("coarse_t1", "fine_t1", "coarse_t3", "fine_t3", "coarse_t2")

    def forward(  # type: ignore[override]
        self,
        coarse_t1: torch.Tensor,
        fine_t1: torch.Tensor,
        coarse_t3: torch.Tensor,
        fine_t3: torch.Tensor,
        coarse_t2: torch.Tensor,
    ) -> torch.Tensor:
        """The fine image at t2, ``(N, C, H, W)`` reflectance."""
        coarse_t1, coarse_t3, coarse_t2 = self._on_fine_grid(coarse_t1, coarse_t3, coarse_t2)
        change_1 = self._change(coarse_t1, fine_t1, coarse_t2)
        change_3 = self._change(coarse_t3, fine_t3, coarse_t2)
        features_1 = self.encoder(fine_t1) + change_1
        features_3 = self.encoder(fine_t3) + change_3
        weight_1 = inverse_weight(change_1, change_3, NO_CHANGE)
        return self.decoder(weight_1 * features_1 + (1 - weight_1) * features_3)
