# SPDX-License-Identifier: Apache-2.0
"""DenseSTF: a 64 x 64 neighbourhood of three images predicts the one fine pixel in its middle.

Ao, Sun, Pan, Xin: Deep Learning-Based Spatiotemporal Data Fusion Using a Patch-to-Pixel Mapping Strategy and Model
Comparisons. IEEE Transactions on Geoscience and Remote Sensing 60, 1-18, 2022, doi:10.1109/TGRS.2022.3154406.

    fine_t1 - fine_mean ───────┐
    coarse_t1 - coarse_mean ───┼─▶ stem ─▶ 8 dense ─▶ half ─▶ 12 ─▶ half ─▶ 16 ─▶ half ─▶ 6 ─▶ 4x4 ─▶ + fine_mean
    coarse_t2 - coarse_mean ───┘   32x32             16x16          8x8            4x4        1x1

The patch of a pixel holds 32 rows above and 31 below it, and as many columns. Convolutions are weight-normalised
(Salimans, Kingma: arXiv:1602.07868, equation 2); a dense layer is 3x3 to 192 features, ReLU, 3x3 to 32, put behind
what came in. The levels taken off and added are means of the whole scene over its dates, the second reference date
included, and inputs of the graph (:func:`stf_export.networks.scene_scalars.densestf_level`).

**Cost.** Every pixel is a run of the network: 6.09e9 multiplications, 12.2 GFLOP. There is no exact way to share
them between pixels that would pay. Every convolution pads the patch with zeros, and after the 14th of the first
dense block no place is left whose value the patch's border has not touched; what neighbouring patches have in
common before that is 8 % of all multiplications, and 22 % if places touched by one pair of borders are shared
along rows and columns. So the network runs on batches of patches.

The published program is TensorFlow 1; nothing of it could be run here, and no trained weights are public. Sizes of
all variables agree with it. That the new features of a dense layer stand behind the old ones, and that no
activation follows the stem and the transitions, is read from its description.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn import functional

from stf_infer.errors import ExportError
from stf_infer.spec import InputSpec, OutputSpec, RasterSpec, SceneStatistic, Values

from ...contract import Contract, TileWish
from ..base import About, FusionNetwork, one_of

PATCH = 64
BEFORE, AFTER = 32, 31  # rows (and columns) of a patch before and after its pixel
BRIGHT = 0.6  # reflectance that the network sees as 1

STEM = 32
GROWTH, SQUEEZE = 32, 192
LAYERS = (8, 12, 16, 6)

# Patches in a batch of :meth:`DenseSTF.forward`: about 0.5 GB of features.
TOGETHER = 128

Convolve = Callable[..., torch.Tensor]


class DenseSTF(FusionNetwork):
    """The network over every whole patch of an image; ``land_cover=True`` makes the one with a map of land cover.

    Images are ``(N, C, H, W)`` on the fine grid, H and W at least 64, in reflectance / 0.6; ``fine_mean`` and
    ``coarse_mean`` are ``(N, C, 1, 1)`` in the same unit. The output is ``(N, C, H - 63, W - 63)``: its first pixel is
    row 32, column 32 of the images, and one patch gives one pixel.

    :meth:`for_export` returns the form for tiles: ``core + 64`` pixels in and out, of which the ``core`` in the middle
    are predicted; the 32 pixels around them repeat their border and are to be thrown away (halo 32).

    The state dict has the names and shapes of the TensorFlow variables: ``input/input_conv3x3/kernel`` is
    ``(rows, columns, in, out)``, ``.../wn_g`` its gain, ``.../bias``.

    Args:
        bands: Names of the bands, in the network's order.
        land_cover: Whether a land-cover map ``(N, 1, H, W)`` is one more input; another set of weights.
        layers: Dense layers of the four blocks.
        core: Rows and columns that a tile of the exported graph predicts.
        ratio: Coarse pixel over fine pixel; recorded in the contract, it changes no layer.

    Raises:
        ExportError: A value that is not allowed.
    """

    about: ClassVar[About] = About(
        title="DenseSTF",
        family="cnn",
        paper="Ao, Sun, Pan, Xin: Deep Learning-Based Spatiotemporal Data Fusion Using a Patch-to-Pixel Mapping "
        "Strategy and Model Comparisons. IEEE Transactions on Geoscience and Remote Sensing 60, 1-18, 2022",
        doi="10.1109/TGRS.2022.3154406",
        options={
            "land_cover": "whether a land-cover map is one more input (default False)",
            "layers": "dense layers of the four blocks (default 8, 12, 16, 6)",
            "core": "rows and columns that a tile predicts, from 2 for a bundle (default 8); the tile is 64 larger",
            "ratio": "coarse pixel over fine pixel (default 16)",
        },
    )
    roles: ClassVar[tuple[str, ...]] = ("fine_t1", "coarse_t1", "coarse_t2")
    # The levels that are taken off: of which rasters, some of them no inputs of the network.
    levels: ClassVar[dict[str, tuple[str, ...]]] = {
        "fine_mean": ("fine_t1", "fine_t3"),
        "coarse_mean": ("coarse_t1", "coarse_t2", "coarse_t3"),
    }

    def __new__(cls, *_: Any, land_cover: bool = False, **__: Any) -> DenseSTF:
        """An instance of the class whose ``forward`` has the right roles."""
        return super().__new__(_WithLandCover if land_cover is True else cls)

    def __init__(
        self,
        bands: Sequence[str] = ("blue", "green", "red", "nir", "swir1", "swir2"),
        *,
        land_cover: bool = False,
        layers: Sequence[int] = LAYERS,
        core: int = 8,
        ratio: int = 16,
    ) -> None:
        super().__init__(bands)
        self.land_cover = bool(one_of("DenseSTF", "land_cover", land_cover, (True, False)))
        for what, value in (("core", core), ("ratio", ratio)):
            if value < 1:
                raise ExportError(f"The {what} of DenseSTF is a number of pixels", got=value, allowed="1 or more")
        if len(layers) != len(LAYERS) or min(layers) < 0:
            raise ExportError("DenseSTF has four blocks", got=list(layers), allowed="four numbers of layers")
        self.layers, self.core, self.ratio = tuple(layers), core, ratio
        for name, shape in _kernels(3 * len(self.bands) + self.land_cover, len(self.bands), self.layers).items():
            # Torch forbids dots in names, not slashes.
            self.register_parameter(f"{name}/kernel", nn.Parameter(torch.randn(shape)))
            self.register_parameter(f"{name}/wn_g", nn.Parameter(torch.ones(shape[-1])))
            self.register_parameter(f"{name}/bias", nn.Parameter(torch.zeros(shape[-1])))

    def forward(
        self,
        fine_t1: torch.Tensor,
        coarse_t1: torch.Tensor,
        coarse_t2: torch.Tensor,
        fine_mean: torch.Tensor,
        coarse_mean: torch.Tensor,
    ) -> torch.Tensor:
        """The fine image at t2 wherever a whole patch fits, ``(N, C, H - 63, W - 63)``.

        Args:
            fine_t1: Fine image at t1.
            coarse_t1: Coarse image at t1.
            coarse_t2: Coarse image at t2.
            fine_mean: Mean of the scene's fine images at t1 and t3.
            coarse_mean: Mean of the scene's coarse images at t1, t2 and t3.

        Raises:
            ExportError: An image smaller than a patch.
        """
        return self._everywhere(_centred(fine_t1, coarse_t1, coarse_t2, fine_mean, coarse_mean)) + fine_mean

    def for_export(self) -> nn.Module:
        """The form for tiles, with the weight normalisation folded into plain convolutions."""
        return _Tiles(self)

    def contract(self) -> Contract:
        """All images on the fine grid, reflectance / 0.6; the levels are numbers of the scene.

        fine_t3 and coarse_t3 are read for them and reach no tile. The halo is 32 by definition of the patch.
        """
        values = Values(scale=1 / BRIGHT)
        inputs = [InputSpec(role=role, tensor=role, bands=self.bands, values=values) for role in self.roles]
        if self.land_cover:
            unitless = Values(unit="1")
            inputs.append(
                InputSpec(
                    role="land_cover", tensor="land_cover", bands=("land_cover",), resampling="nearest", values=unitless
                )
            )
        for level, dates in self.levels.items():
            statistic = SceneStatistic(rule="mean-of-dates", of=dates)
            inputs.append(InputSpec(role=level, tensor=level, bands=self.bands, grid="scene", statistic=statistic))
        unseen = [role for dates in self.levels.values() for role in dates if role not in self.roles]
        return Contract(
            network="densestf",
            ratio=self.ratio,
            inputs=tuple(inputs),
            also_read=tuple(RasterSpec(role=role, bands=self.bands, values=values) for role in unseen),
            output=OutputSpec(tensor="fine_t2", bands=self.bands, values=values),
            tile=TileWish(size=self.core + PATCH, halo=BEFORE, stride=1, predicts="core"),
            options={
                "land_cover": self.land_cover,
                "layers": list(self.layers),
                "core": self.core,
                "ratio": self.ratio,
            },
            source=self.about.source,
        )

    @classmethod
    def bands_of(cls, state: Mapping[str, torch.Tensor]) -> int | None:
        """Channels of the output's bias."""
        last = state.get("output/fc1/bias")
        return None if last is None else int(last.shape[0])

    @classmethod
    def options_of(cls, state: Mapping[str, torch.Tensor]) -> dict[str, Any]:
        """Whether more enters than three images."""
        first, last = state.get("input/input_conv3x3/kernel"), state.get("output/fc1/bias")
        if first is None or last is None:
            return {}
        return {"land_cover": int(first.shape[2]) != 3 * int(last.shape[0])}

    def folded(self) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """Weight ``(out, in, rows, columns)`` and bias of every convolution, normalised, by name."""
        found = {}
        for name in _kernels(0, 0, self.layers):
            kernel, gain = self.get_parameter(f"{name}/kernel").double(), self.get_parameter(f"{name}/wn_g").double()
            energy = kernel.square().sum(dim=(0, 1, 2)).clamp(min=1e-12)
            bias = self.get_parameter(f"{name}/bias")
            weight = (kernel * (gain / energy.sqrt())).permute(3, 2, 0, 1).contiguous()
            found[name] = weight.to(bias.dtype), bias
        return found

    def _everywhere(self, image: torch.Tensor) -> torch.Tensor:
        """Stacked and centred images ``(N, K, H, W)`` to ``(N, C, H - 63, W - 63)``, a few patches at a time."""
        batch, _, height, width = image.shape
        if height < PATCH or width < PATCH:
            raise ExportError(
                "DenseSTF needs a whole patch", got=f"{height} x {width}", allowed=f"at least {PATCH} x {PATCH}"
            )
        weights = self.folded()

        def convolve(name: str, features: torch.Tensor, stride: int = 1, padding: int = 0) -> torch.Tensor:
            return functional.conv2d(features, *weights[name], stride=stride, padding=padding)

        rows = []
        for y in range(height - PATCH + 1):
            patches = image[:, :, y : y + PATCH].unfold(3, PATCH, 1).permute(0, 3, 1, 2, 4).flatten(0, 1)
            pixels = [_pixel(convolve, some, self.layers) for some in patches.split(TOGETHER)]
            rows.append(torch.cat(pixels).reshape(batch, -1, len(self.bands)))
        return torch.stack(rows, dim=1).permute(0, 3, 1, 2)


class _WithLandCover(DenseSTF):
    """DenseSTF that also sees a map of land cover."""

    def forward(  # type: ignore[override]
        self,
        fine_t1: torch.Tensor,
        coarse_t1: torch.Tensor,
        coarse_t2: torch.Tensor,
        land_cover: torch.Tensor,
        fine_mean: torch.Tensor,
        coarse_mean: torch.Tensor,
    ) -> torch.Tensor:
        """As without; ``land_cover`` is ``(N, 1, H, W)`` as it was in training."""
        image = _centred(fine_t1, coarse_t1, coarse_t2, fine_mean, coarse_mean)
        return self._everywhere(torch.cat((image, land_cover), dim=1)) + fine_mean

    def for_export(self) -> nn.Module:
        """The form for tiles."""
        return _TilesWithLandCover(self)


class _Tiles(nn.Module):
    """DenseSTF on tiles of ``core + 64`` pixels: the core is predicted, the ring around it repeats its border."""

    def __init__(self, network: DenseSTF) -> None:
        super().__init__()
        self.core, self.count, self.layers = network.core, len(network.bands), network.layers
        self.convs = nn.ModuleDict()
        for name, (weight, bias) in network.folded().items():
            out, into, *size = weight.shape
            layer = nn.Conv2d(into, out, tuple(size))
            layer.load_state_dict({"weight": weight, "bias": bias})
            self.convs[_plain(name)] = layer

    def forward(
        self,
        fine_t1: torch.Tensor,
        coarse_t1: torch.Tensor,
        coarse_t2: torch.Tensor,
        fine_mean: torch.Tensor,
        coarse_mean: torch.Tensor,
    ) -> torch.Tensor:
        """The fine image at t2, ``(N, C, core + 64, core + 64)``."""
        return self.predict(_centred(fine_t1, coarse_t1, coarse_t2, fine_mean, coarse_mean), fine_mean)

    def predict(self, image: torch.Tensor, fine_mean: torch.Tensor) -> torch.Tensor:
        """Stacked and centred images of a tile to the fine image at t2."""
        rows = torch.stack([image[:, :, y : y + PATCH] for y in range(self.core)], dim=1)
        patches = torch.stack([rows[..., x : x + PATCH] for x in range(self.core)], dim=2)
        pixels = _pixel(self._convolve, patches.reshape(-1, *patches.shape[3:]), self.layers)
        core = pixels.reshape(-1, self.core, self.core, self.count).permute(0, 3, 1, 2) + fine_mean
        return functional.pad(core, (BEFORE, BEFORE, BEFORE, BEFORE), mode="replicate")

    def _convolve(self, name: str, features: torch.Tensor, stride: int = 1, padding: int = 0) -> torch.Tensor:
        layer = self.convs[_plain(name)]
        return functional.conv2d(features, layer.weight, layer.bias, stride=stride, padding=padding)


class _TilesWithLandCover(_Tiles):
    """The form for tiles with a map of land cover."""

    def forward(  # type: ignore[override]
        self,
        fine_t1: torch.Tensor,
        coarse_t1: torch.Tensor,
        coarse_t2: torch.Tensor,
        land_cover: torch.Tensor,
        fine_mean: torch.Tensor,
        coarse_mean: torch.Tensor,
    ) -> torch.Tensor:
        """The fine image at t2, ``(N, C, core + 64, core + 64)``."""
        image = _centred(fine_t1, coarse_t1, coarse_t2, fine_mean, coarse_mean)
        return self.predict(torch.cat((image, land_cover), dim=1), fine_mean)


def _centred(
    fine_t1: torch.Tensor,
    coarse_t1: torch.Tensor,
    coarse_t2: torch.Tensor,
    fine_mean: torch.Tensor,
    coarse_mean: torch.Tensor,
) -> torch.Tensor:
    """The three images without the scene's level, stacked."""
    return torch.cat((fine_t1 - fine_mean, coarse_t1 - coarse_mean, coarse_t2 - coarse_mean), dim=1)


def _pixel(convolve: Convolve, patches: torch.Tensor, layers: Sequence[int]) -> torch.Tensor:
    """Patches ``(P, K, 64, 64)`` to pixels ``(P, C, 1, 1)``, by convolutions that are called by name.

    TensorFlow's ``same`` padding of a convolution of stride 2 has one row and column more at the end.
    """
    features = torch.cat(
        (
            convolve("input/input_conv3x3", functional.pad(patches, (0, 1, 0, 1)), stride=2),
            convolve("input/input_conv7x7", functional.pad(patches, (2, 3, 2, 3)), stride=2),
        ),
        dim=1,
    )
    *dense, final = layers
    for block, count in enumerate(dense):
        features = _dense(convolve, f"dense_blocks/block_{block}", count, features)
        features = functional.max_pool2d(convolve(f"dense_blocks/trans_{block}_conv1x1", features), 2)
    features = _dense(convolve, "final_block/final_block", final, features)
    return convolve("output/fc1", functional.relu(features))


def _dense(convolve: Convolve, prefix: str, count: int, features: torch.Tensor) -> torch.Tensor:
    for layer in range(count):
        squeezed = functional.relu(convolve(f"{prefix}_bottleneck_{layer}_conv1", features, padding=1))
        fresh = convolve(f"{prefix}_bottleneck_{layer}_conv3", squeezed, padding=1)
        features = torch.cat((features, fresh), dim=1)
    return features


def _kernels(channels: int, bands: int, layers: Sequence[int]) -> dict[str, tuple[int, int, int, int]]:
    """Name of every convolution: (rows, columns, in, out) of its kernel, in the order of the published program."""
    found = {
        "input/input_conv3x3": (3, 3, channels, STEM),
        "input/input_conv7x7": (7, 7, channels, STEM),
    }
    width = 2 * STEM
    for block, count in enumerate(layers):
        prefix = f"dense_blocks/block_{block}" if block + 1 < len(layers) else "final_block/final_block"
        for layer in range(count):
            found[f"{prefix}_bottleneck_{layer}_conv1"] = (3, 3, width, SQUEEZE)
            found[f"{prefix}_bottleneck_{layer}_conv3"] = (3, 3, SQUEEZE, GROWTH)
            width += GROWTH
        if block + 1 < len(layers):
            found[f"dense_blocks/trans_{block}_conv1x1"] = (1, 1, width, width // 2)
            width //= 2
    found["output/fc1"] = (4, 4, width, bands)
    return found


def _plain(name: str) -> str:
    return name.replace("/", "_")
