# SPDX-License-Identifier: Apache-2.0
"""DCSTFN: features of the fine image plus the change between the features of two coarse images.

Tan, Yue, Di, Tang: Deriving High Spatiotemporal Remote Sensing Images Using Deep Convolutional Network.
Remote Sensing 10(7), 1066, 2018, doi:10.3390/rs10071066.

    fine_t1   (16h x 16w) ──▶ fine_net ────▶ (+) ──▶ reconstruct_net ──▶ fine_t2 (16h x 16w)
    coarse_t2 (h x w) ──────▶ coarse_net ───▶ ▲
    coarse_t1 (h x w) ──────▶ coarse_net ─(-)─┘        features meet at half the fine size

One network is one band. The authors published it twice. The Keras one, to which the trained weights belong,
sees reflectance x 10000; its transposed convolutions drop the last row and column, and the three of the
coarse branch have no activation. The PyTorch one (branch ``pytorch``) sees reflectance; its transposed
convolutions drop the first row and column, and a ReLU follows each. Same keys, same shapes, other numbers:
weights of one are wrong in the other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, get_args

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from stf_infer.errors import CheckpointError, ExportError
from stf_infer.spec import InputSpec, OutputSpec, Values

from ...contract import Contract
from ..bandwise import BandwiseNetwork
from ..base import About, Untold, one_of
from ..blocks.conv import PixelDense, TrimmedDeconv3

Variant = Literal["keras", "torch"]

RATIO = 16  # three doublings of the coarse features and the reconstruction's one

# Torch modules in the order in which Keras created the layers of each type.
_KERAS_ORDER = {
    "conv2d": (
        "coarse_net.conv1",
        "coarse_net.conv2",
        "coarse_net.conv3",
        "fine_net.conv1",
        "fine_net.conv2",
        "fine_net.conv3",
        "fine_net.conv4",
    ),
    "conv2d_transpose": (
        "coarse_net.deconvs.0",
        "coarse_net.deconvs.1",
        "coarse_net.deconvs.2",
        "reconstruct_net.deconv",
    ),
    "dense": ("reconstruct_net.dense1", "reconstruct_net.dense2"),
}
_KERAS_DATASET = re.compile(r"(?:^|/)(conv2d_transpose|conv2d|dense)(?:_(\d+))?/(kernel|bias)(?::0)?$")


class DCSTFN(BandwiseNetwork):
    """One DCSTFN for each band, joined.

    Coarse images are ``(N, C, h, w)`` on the coarse grid, fine ones ``(N, C, 16h, 16w)``; the output is ``(N,
    C, 16h, 16w)``. Numbers in and out are reflectance x 10000 (``keras``) or reflectance (``torch``), not
    clipped. The network is equivariant to shifts of 16 fine pixels only.

    Args:
        bands: Names of the bands. With exactly one, the state dict has the published keys; with several, each
            key begins with the band's name.
        variant: Which of the two published networks: ``keras`` or ``torch``.
        ratio: Coarse pixel over fine pixel; the layers fix it to 16.

    Raises:
        ExportError: A value that is not allowed.
    """

    about: ClassVar[About] = About(
        title="DCSTFN",
        family="cnn",
        paper="Tan, Yue, Di, Tang: Deriving High Spatiotemporal Remote Sensing Images Using Deep "
        "Convolutional Network. Remote Sensing 10(7), 1066, 2018",
        doi="10.3390/rs10071066",
        options={
            "variant": "which published network the weights belong to: keras (default) or torch; an "
            "export of weights that are no Keras file asks for it",
            "ratio": "coarse pixel over fine pixel: 16, fixed by the layers",
        },
    )
    roles: ClassVar[tuple[str, ...]] = ("coarse_t1", "fine_t1", "coarse_t2")
    ratio: ClassVar[int] = RATIO
    variant: Variant = "keras"

    def __init__(self, bands: Sequence[str] = ("band_1",), *, variant: Variant = "keras", ratio: int = RATIO) -> None:
        if ratio != RATIO:
            raise ExportError("The layers of DCSTFN fix the ratio", got=ratio, allowed=RATIO)
        one_of("DCSTFN", "variant", variant, get_args(Variant))
        super().__init__(
            bands,
            lambda: {
                "coarse_net": _CoarseNet(variant),
                "fine_net": _FineNet(),
                "reconstruct_net": _ReconstructNet(variant),
            },
        )
        self.variant = variant

    def forward(self, coarse_t1: torch.Tensor, fine_t1: torch.Tensor, coarse_t2: torch.Tensor) -> torch.Tensor:
        """The fine image at t2, ``(N, C, 16h, 16w)``."""
        return self.fuse_bands({"coarse_t1": coarse_t1, "fine_t1": fine_t1, "coarse_t2": coarse_t2})

    def fuse_band(self, lane: nn.Module, images: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """One band: reconstruct from the fine features moved by the change of the coarse features."""
        features = (
            lane.fine_net(images["fine_t1"])
            - lane.coarse_net(images["coarse_t1"])
            + lane.coarse_net(images["coarse_t2"])
        )
        return lane.reconstruct_net(features)

    def contract(self) -> Contract:
        """Coarse images on the coarse grid; reflectance scaled as the variant wants it."""
        values = Values(scale=10000.0) if self.variant == "keras" else Values()
        inputs = tuple(
            InputSpec(
                role=role,
                tensor=role,
                bands=self.bands,
                grid="coarse" if role.startswith("coarse") else "fine",
                values=values,
            )
            for role in self.roles
        )
        return Contract(
            network="dcstfn",
            ratio=self.ratio,
            inputs=inputs,
            output=OutputSpec(tensor="fine_t2", bands=self.bands, values=values),
            options={"variant": self.variant, "ratio": self.ratio},
            source=self.about.source,
        )

    def untold(self, kind: str) -> Sequence[Untold]:
        """Both networks have the same keys and shapes once they are in PyTorch; a Keras file tells."""
        if kind == "keras":
            return ()
        return (
            Untold(
                "variant",
                {"keras": "weights converted from the Keras network", "torch": "weights of the PyTorch branch"},
            ),
        )

    @classmethod
    def bands_of(cls, state: Mapping[str, torch.Tensor]) -> int | None:
        """One-band networks in a state dict."""
        return sum(key.endswith("reconstruct_net.dense2.bias") for key in state) or None

    def keras_to_torch(self, datasets: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
        """State dict of one band from a Keras weight file.

        Layers are numbered in the order of creation, from a number that depends on what the process had built
        before: so the order among layers of one type tells which is which, not the number.

        Raises:
            CheckpointError: The file does not hold the layers of DCSTFN, or this is the ``torch`` variant.
        """
        if self.variant != "keras":
            raise CheckpointError(
                "Weights of the Keras network give wrong images in the torch variant, though they would fit",
                got=f"variant={self.variant}",
                fix="Say variant=keras",
            )
        found: dict[str, dict[int, dict[str, np.ndarray]]] = {kind: {} for kind in _KERAS_ORDER}
        for path, array in datasets.items():
            match = _KERAS_DATASET.search(path)
            if match is None:
                raise CheckpointError("This dataset is not one of DCSTFN's layers", got=path)
            kind, number, leaf = match.groups()
            found[kind].setdefault(int(number or 0), {})[leaf] = array
        state = {}
        for kind, modules in _KERAS_ORDER.items():
            layers = [found[kind][number] for number in sorted(found[kind])]
            if len(layers) != len(modules) or any(set(layer) != {"kernel", "bias"} for layer in layers):
                raise CheckpointError(
                    f"The file does not hold DCSTFN's layers of type {kind}",
                    got=f"{len(layers)} layers",
                    allowed=f"{len(modules)} layers, each with a kernel and a bias",
                )
            for module, layer in zip(modules, layers, strict=True):
                # Keras: (H, W, in, out), transposed (H, W, out, in), dense (in, out); reversing the channel
                # axes and putting them first suits all three.
                kernel = layer["kernel"]
                order = (3, 2, 0, 1) if kernel.ndim == 4 else tuple(range(kernel.ndim))[::-1]
                state[f"{module}.weight"] = torch.from_numpy(kernel.transpose(order).copy())
                state[f"{module}.bias"] = torch.from_numpy(layer["bias"].copy())
        return state


class _CoarseNet(nn.Module):
    """``(N, 1, h, w)`` to features ``(N, 128, 8h, 8w)``."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        self.deconvs = nn.ModuleList(_doubling(64, 64, variant) for _ in range(3))
        self.conv3 = nn.Conv2d(64, 128, 3, padding=1)
        self.linear_deconvs = variant == "keras"

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        features = functional.relu(self.conv2(functional.relu(self.conv1(image))))
        for deconv in self.deconvs:
            features = deconv(features)
            if not self.linear_deconvs:
                features = functional.relu(features)
        return functional.relu(self.conv3(features))


class _FineNet(nn.Module):
    """``(N, 1, H, W)`` to features ``(N, 128, H/2, W/2)``."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        self.conv3 = nn.Conv2d(64, 64, 3, padding=1)
        self.conv4 = nn.Conv2d(64, 128, 3, padding=1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        features = functional.relu(self.conv2(functional.relu(self.conv1(image))))
        features = functional.max_pool2d(features, 2)
        return functional.relu(self.conv4(functional.relu(self.conv3(features))))


class _ReconstructNet(nn.Module):
    """Features ``(N, 128, H/2, W/2)`` to ``(N, 1, H, W)``."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        self.deconv = _doubling(128, 64, variant)
        self.dense1 = PixelDense(64, 32)
        self.dense2 = PixelDense(32, 1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        features = functional.relu(self.deconv(features))
        return self.dense2(functional.relu(self.dense1(features)))


def _doubling(channels_in: int, channels_out: int, variant: Variant) -> nn.ConvTranspose2d:
    if variant == "keras":
        return TrimmedDeconv3(channels_in, channels_out)
    return nn.ConvTranspose2d(channels_in, channels_out, 3, stride=2, padding=1, output_padding=1)
