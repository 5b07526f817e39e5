# SPDX-License-Identifier: Apache-2.0
"""STFDCNN: coarse images are mapped to the fine grid in two stages, and each stage adds the reference's detail.

Song, Liu, Wang, Hang, Huang: Spatiotemporal Satellite Image Fusion Using Deep Convolutional Neural Networks. IEEE
Journal of Selected Topics in Applied Earth Observations and Remote Sensing 11, 821-829, 2018,
doi:10.1109/JSTARS.2018.2797894.

    stage 1  coarse_t1..t3 ──▶ net ──▶ T1 T2 T3 ──┐
             mid_t1, mid_t3 ──────────────────────┴─▶ fuse ──▶ mid_t2 ──┐
    stage 2  mid_t1, mid_t2, mid_t3 ──▶ net ──▶ T1 T2 T3 ──┐◀───────────┘
             fine_t1, fine_t3 ─────────────────────────────┴─▶ fuse ──▶ fine_t2

``mid`` is the fine image degraded by 8 and put back on the fine grid. All images lie on the fine grid.

The authors published no code. The layers, keys and the additive fusion are those of a re-implementation:
``F2 = w (F1 + T2 - T1) + (1 - w) (F3 + T2 - T3)``, w inverse to the absolute change of T, pixel by pixel. The paper
modulates the detail in place of adding it: ``T2 + T2/T1 (F1 - T1)`` (``fusion="modulation"``; written from a
description of the paper, no numbers of the authors to hold it to).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import nn
from torch.nn import functional

from stf_infer.errors import ExportError
from stf_infer.spec import InputSpec, OutputSpec, Values

from ...contract import Contract
from ..base import About, FusionNetwork, Rounding, Untold, one_of
from ..blocks.mapping import ThreeLayerMapping, mapped
from ..blocks.weighting import inverse_weight

Part = Literal["pipeline", "unit"]
Fusion = Literal["additive", "modulation"]
Middle = Literal["nearest", "mean", "given"]

WIDTHS = (64, 32)
DEGRADED = 8  # fine pixels to one pixel of the intermediate resolution
NO_CHANGE = 1e-6
# Reflectance below which a ratio of reflectances says nothing.
DARK = 1e-3


class STFDCNN(FusionNetwork):
    """Both stages with their fusions; ``part="unit"`` makes the network of a single stage.

    Images are ``(N, C, H, W)`` on the fine grid, within -1 to 1 (reflectance x 2 - 1). ``forward`` returns the fine
    image at t2 as ``fine_t2`` and the fused result of stage 1 as ``mid_t2``. The stages are trained one after the other
    and saved in a checkpoint each: ``load_into(network, {"stage_1": ..., "stage_2": ...})``. Keys of both together
    begin with ``stage_1.`` and ``stage_2.``.

    Args:
        bands: Names of the bands, in the network's order.
        part: ``pipeline``: everything. ``unit``: one network, ``image`` to transitional image.
        fusion: How detail is carried over: ``additive`` or ``modulation``.
        middle: Where ``mid_t1`` and ``mid_t3`` come from. ``nearest``: every eighth pixel of the fine image,
            repeated. ``mean``: the mean of 8 x 8 pixels, repeated. ``given``: they are inputs.
        ratio: Coarse pixel over fine pixel; recorded in the contract, it changes no layer.

    Raises:
        ExportError: A value that is not allowed.
    """

    about: ClassVar[About] = About(
        title="STFDCNN",
        family="cnn",
        paper="Song, Liu, Wang, Hang, Huang: Spatiotemporal Satellite Image Fusion Using Deep Convolutional Neural "
        "Networks. IEEE Journal of Selected Topics in Applied Earth Observations and Remote Sensing 11, 821-829, 2018",
        doi="10.1109/JSTARS.2018.2797894",
        options={
            "part": "pipeline (default, both stages) or unit (the network of one stage)",
            "fusion": "how the reference's detail is carried over: additive (default) or modulation",
            "middle": "where the intermediate references come from: nearest (default) or mean of the fine ones, or "
            "given (inputs mid_t1 and mid_t3)",
            "ratio": "coarse pixel over fine pixel (default 16)",
        },
    )
    part: Part = "pipeline"
    part_is_a: ClassVar[str] = "stage"
    # Torch itself is 2e-5 of the output's range from double precision on a land-like tile.
    rounding: ClassVar[Rounding | None] = Rounding(
        5e-5,
        "weights inverse to the change of the mapped images make much of the rounding of a small change: torch in "
        "single precision is as far from double precision",
    )

    def __new__(cls, *_: Any, part: Part = "pipeline", **__: Any) -> STFDCNN:
        """An instance of the class whose ``forward`` has the right roles."""
        return super().__new__(_Unit if part == "unit" else cls)

    def __init__(
        self,
        bands: Sequence[str] = ("blue", "green", "red", "nir", "swir1", "swir2"),
        *,
        part: Part = "pipeline",
        fusion: Fusion = "additive",
        middle: Middle = "nearest",
        ratio: int = 16,
    ) -> None:
        super().__init__(bands)
        one_of("STFDCNN", "part", part, get_args(Part))
        self.fusion = one_of("STFDCNN", "fusion", fusion, get_args(Fusion))
        self.middle = one_of("STFDCNN", "middle", middle, get_args(Middle))
        if ratio < 1:
            raise ExportError("The ratio is coarse pixel over fine pixel", got=ratio, allowed="1 or more")
        self.ratio = ratio
        self._build()

    def _build(self) -> None:
        count = len(self.bands)
        self.stage_1 = ThreeLayerMapping(count, WIDTHS, count)
        self.stage_2 = ThreeLayerMapping(count, WIDTHS, count)

    def forward(
        self,
        coarse_t1: torch.Tensor,
        coarse_t2: torch.Tensor,
        coarse_t3: torch.Tensor,
        mid_t1: torch.Tensor | None = None,
        mid_t3: torch.Tensor | None = None,
        fine_t1: torch.Tensor | None = None,
        fine_t3: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """``fine_t2`` and ``mid_t2``, each ``(N, C, H, W)``.

        Args:
            coarse_t1: Coarse image at t1.
            coarse_t2: Coarse image at t2.
            coarse_t3: Coarse image at t3.
            mid_t1: Degraded fine image at t1; made from ``fine_t1`` where it is not given.
            mid_t3: Degraded fine image at t3.
            fine_t1: Fine image at t1; always needed.
            fine_t3: Fine image at t3; always needed.

        Raises:
            ExportError: A fine image is missing, or a degraded one although ``middle`` is ``given``.
        """
        if fine_t1 is None or fine_t3 is None:
            raise ExportError("STFDCNN needs the fine images of both reference dates", allowed="fine_t1 and fine_t3")
        mid_t1 = self._degraded(fine_t1) if mid_t1 is None else mid_t1
        mid_t3 = self._degraded(fine_t3) if mid_t3 is None else mid_t3
        mid_t2 = self._stage(self.stage_1, (coarse_t1, coarse_t2, coarse_t3), mid_t1, mid_t3)
        fine_t2 = self._stage(self.stage_2, (mid_t1, mid_t2, mid_t3), fine_t1, fine_t3)
        return {"fine_t2": fine_t2, "mid_t2": mid_t2}

    def contract(self) -> Contract:
        """All images on the fine grid, reflectance as -1 to 1."""
        values = Values(scale=2.0, offset=-1.0)
        middle = ("mid_t1", "mid_t3") if self.middle == "given" else ()
        roles = ("coarse_t1", "coarse_t2", "coarse_t3", *middle, "fine_t1", "fine_t3")
        return Contract(
            network="stfdcnn",
            ratio=self.ratio,
            inputs=tuple(InputSpec(role=role, tensor=role, bands=self.bands, values=values) for role in roles),
            output=OutputSpec(tensor="fine_t2", bands=self.bands, values=values),
            options={"part": self.part, "fusion": self.fusion, "middle": self.middle, "ratio": self.ratio},
            source=self.about.source,
        )

    def parts(self) -> Mapping[str, nn.Module]:
        """The two stages."""
        return {"stage_1": self.stage_1, "stage_2": self.stage_2}

    def untold(self, kind: str) -> Sequence[Untold]:
        """The layers are the same however the references are degraded and carried over."""
        as_code = "as in the code whose keys these are"
        return (
            Untold("fusion", {"additive": "detail is added", "modulation": "detail is scaled"}, assumed=as_code),
            Untold(
                "middle",
                {"nearest": "every eighth pixel", "mean": "means of 8 x 8 pixels", "given": "inputs mid_t1 and mid_t3"},
                assumed=as_code,
            ),
        )

    @classmethod
    def bands_of(cls, state: Mapping[str, torch.Tensor]) -> int | None:
        """Output channels of the last layer."""
        for key in ("stage_1.reconstruction_layer.0.bias", "reconstruction_layer.0.bias"):
            if key in state:
                return int(state[key].shape[0])
        return None

    def _stage(
        self, net: nn.Module, images: tuple[torch.Tensor, ...], reference_1: torch.Tensor, reference_3: torch.Tensor
    ) -> torch.Tensor:
        """Map three dates, and move both references to the middle one."""
        mapped_1, mapped_2, mapped_3 = (net(image) + image for image in images)
        weight_1 = inverse_weight(mapped_2 - mapped_1, mapped_2 - mapped_3, NO_CHANGE)
        from_1 = self._carried(reference_1, mapped_1, mapped_2)
        from_3 = self._carried(reference_3, mapped_3, mapped_2)
        return weight_1 * from_1 + (1 - weight_1) * from_3

    def _carried(self, reference: torch.Tensor, before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
        """The reference with the change that the mapped images show."""
        if self.fusion == "additive":
            return reference + (after - before)
        bright_before, bright_after = (((image + 1) / 2).clamp(min=DARK) for image in (before, after))
        return after + bright_after / bright_before * (reference - before)

    def _degraded(self, fine: torch.Tensor) -> torch.Tensor:
        """The fine image at the intermediate resolution, on the fine grid."""
        if self.middle == "given":
            raise ExportError("With middle=given the degraded references are inputs", allowed="mid_t1 and mid_t3")
        height, width = fine.shape[-2:]
        if height % DEGRADED or width % DEGRADED:
            raise ExportError("This size cannot be degraded by 8", got=f"{height} x {width}", allowed="multiples of 8")
        small = functional.avg_pool2d(fine, DEGRADED) if self.middle == "mean" else fine[:, :, ::DEGRADED, ::DEGRADED]
        return functional.interpolate(small, scale_factor=DEGRADED, mode="nearest")


class _Unit(STFDCNN):
    """The network of one stage, with the published keys. It is no fusion by itself and states no contract."""

    part: Part = "unit"

    def _build(self) -> None:
        count = len(self.bands)
        for name, layer in ThreeLayerMapping(count, WIDTHS, count).named_children():
            self.add_module(name, layer)

    def forward(self, image: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        """The transitional image ``(N, C, H, W)``: the image plus what the layers make of it."""
        return mapped(self, image) + image

    def parts(self) -> Mapping[str, nn.Module]:
        """None: this is one."""
        return {}

    def untold(self, kind: str) -> Sequence[Untold]:
        """None: a stage fuses nothing."""
        return ()

    def contract(self) -> Contract:
        """Refused: one stage does not fuse."""
        raise TypeError("one stage of STFDCNN states no contract")
