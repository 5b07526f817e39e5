# SPDX-License-Identifier: Apache-2.0
"""Networks that their authors train one band at a time, joined so that one graph gives all bands."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn

from stf_infer.errors import ExportError

from .base import FusionNetwork


class BandwiseNetwork(FusionNetwork):
    """One network of one band for each band; every input is split by band and the results are put together.

    A subclass gives the parts of a one-band network and how they work together (:meth:`fuse_band`). With
    exactly one band the parts are this module's own children, so the state dict has the published keys. With
    several bands each band is a child with the band's name that holds its own parts:
    ``green.coarse_net.conv1.weight``.

    Args:
        bands: Names of the bands, in the network's order.
        parts: Makes fresh parts of a one-band network, by name.

    Raises:
        ExportError: A band name cannot name a module.
    """

    def __init__(self, bands: Sequence[str], parts: Callable[[], Mapping[str, nn.Module]]) -> None:
        super().__init__(bands)
        for band in self.bands:
            _add_parts(self._new_lane(band), parts())

    def fuse_band(self, lane: nn.Module, images: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """One band by the parts that ``lane`` holds: images ``(N, 1, H, W)`` by role to ``(N, 1, H, W)``."""
        raise NotImplementedError

    def fuse_bands(self, images: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """All bands: images ``(N, C, H, W)`` by role to ``(N, C, H, W)``."""
        if len(self.bands) == 1:
            return self.fuse_band(self, images)
        fused = [
            self.fuse_band(self.lane(band), {role: image[:, i : i + 1] for role, image in images.items()})
            for i, band in enumerate(self.bands)
        ]
        return torch.cat(fused, dim=1)

    def lane(self, band: str) -> nn.Module:
        """The module that holds the parts of a band."""
        return self if len(self.bands) == 1 else self.get_submodule(band)

    def parts(self) -> Mapping[str, nn.Module]:
        """What holds the parts of each band, by the band's name."""
        return {band: self.lane(band) for band in self.bands}

    def prefix(self, band: str) -> str:
        """What stands before the published keys of a band in this network's state dict."""
        return "" if len(self.bands) == 1 else f"{band}."

    def _new_lane(self, band: str) -> nn.Module:
        if len(self.bands) == 1:
            return self
        if "." in band or not band or hasattr(self, band):
            raise ExportError(
                "This band name cannot stand before the keys of its weights",
                got=repr(band),
                fix="Choose another name",
            )
        lane = nn.Module()
        self.add_module(band, lane)
        return lane


def _add_parts(lane: nn.Module, parts: Mapping[str, nn.Module]) -> None:
    for name, part in parts.items():
        lane.add_module(name, part)
