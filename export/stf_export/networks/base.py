# SPDX-License-Identifier: Apache-2.0
"""What every network of the zoo is: an ``nn.Module`` that takes its inputs by role and knows its contract."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from torch import nn

from stf_infer.errors import CheckpointError, ExportError

from ..contract import AnyContract

if TYPE_CHECKING:
    import numpy as np
    import torch


@dataclass(frozen=True)
class About:
    """Where a network comes from.

    Attributes:
        title: The network's name as its paper writes it.
        family: ``cnn``, ``transformer``, ``gan``, ``diffusion``, ``sequence`` or ``others``.
        paper: Authors, title, journal, year.
        doi: Digital object identifier, or empty where it is not known.
        options: Option name: what it does, with its allowed values.
    """

    title: str
    family: str
    paper: str
    doi: str
    options: dict[str, str]

    @property
    def source(self) -> str:
        """Paper and link in one line, for a contract."""
        return f"{self.paper}. https://doi.org/{self.doi}" if self.doi else self.paper


@dataclass(frozen=True)
class Untold:
    """An option that changes the numbers and that no key or shape of the weights tells.

    Attributes:
        option: Its name.
        values: What it may be: what that means.
        assumed: Why the network's own value is taken where nobody states one, such as ``as published``; empty where no
            value is safe to take, so that it must be stated.
    """

    option: str
    values: Mapping[str, str]
    assumed: str = ""


@dataclass(frozen=True)
class Rounding:
    """A network on which float32 says less than usual: how much less, and why.

    Attributes:
        tolerance: How far two float32 libraries may be apart, over the output's range.
        because: What in the network makes much of rounding, in a sentence.
    """

    tolerance: float
    because: str


class FusionNetwork(nn.Module):
    """Base of the zoo's networks.

    ``forward`` takes tensors ``(N, C, H, W)`` by role name (or by position in the contract's order), in
    network values, and returns one tensor (or a dict by output name). Networks that are not of images take and give
    the shapes of their contract for samples, behind a batch axis. ``state_dict`` keys are those of the
    published code. ``bands`` are the names of the fine bands.

    Args:
        bands: Names of the bands, in the network's order.

    Raises:
        ExportError: No band, or a name twice.
    """

    about: ClassVar[About]
    # Last parts of keys whose values follow from sizes (masks, index tables): a checkpoint may lack them, and what it
    # says about them is ignored.
    derived: ClassVar[tuple[str, ...]] = ()
    # What keys begin with that some code bases saved, and that hold nothing trained; a checkpoint may have them.
    ignored: ClassVar[tuple[str, ...]] = ()
    # What each of :meth:`parts` is.
    part_is_a: ClassVar[str] = "band"
    # Stated where a graph may be further from torch than usual because torch itself is as far from exact numbers.
    rounding: ClassVar[Rounding | None] = None

    def __init__(self, bands: Sequence[str]) -> None:
        super().__init__()
        self.bands: tuple[str, ...] = (bands,) if isinstance(bands, str) else tuple(bands)
        if not self.bands or len(set(self.bands)) != len(self.bands):
            raise ExportError("A network needs at least one band and no name twice", got=list(self.bands))
        if self.ignored:
            self.register_load_state_dict_pre_hook(_leave_out_ignored)

    def contract(self) -> AnyContract:
        """Roles, bands, scaling, grids of this instance before anything is measured; or roles and dims of samples."""
        raise TypeError(f"{type(self).__name__} states no contract")

    def for_export(self) -> nn.Module:
        """The module whose graph fulfils :meth:`contract`; it shares this one's weights.

        Most networks are that module themselves. One that does work which the contract gives to the runtime
        (such as an interpolation that must see the whole scene) returns itself without that work. The
        contract always comes from this instance, never from what is returned here.
        """
        return self

    def parts(self) -> Mapping[str, nn.Module]:
        """Modules whose weights the authors' code saves in a file each, by name; empty where one file holds all."""
        return {}

    def untold(self, kind: str) -> Sequence[Untold]:
        """Options of this instance that a checkpoint does not tell.

        Args:
            kind: What the checkpoint is: ``torch``, ``safetensors`` or ``keras``.
        """
        return ()

    @classmethod
    def bands_of(cls, state: Mapping[str, torch.Tensor]) -> int | None:
        """How many bands a state dict of this network was made for; None if it does not tell."""
        return None

    @classmethod
    def options_of(cls, state: Mapping[str, torch.Tensor]) -> dict[str, Any]:
        """Options that a state dict of this network was made with, as far as keys and shapes tell them."""
        return {}

    def keras_to_torch(self, datasets: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
        """State dict (of one band, for a bandwise network) from the datasets of a Keras weight file.

        Args:
            datasets: Path inside the HDF5 file, such as ``sequential_1/conv2d_1/kernel:0``: array.

        Raises:
            CheckpointError: The network has no Keras ancestor, or the datasets are not its layers.
        """
        raise CheckpointError(
            f"{self.about.title} does not know how Keras named its layers",
            got="a Keras HDF5 file",
            allowed="a PyTorch state dict or safetensors",
        )


def _leave_out_ignored(network: nn.Module, state: dict[str, torch.Tensor], prefix: str, *_: Any) -> None:
    assert isinstance(network, FusionNetwork)
    for key in [key for key in state if key.removeprefix(prefix).startswith(network.ignored)]:
        del state[key]


def one_of(network: str, option: str, value: Any, allowed: Iterable[Any]) -> Any:
    """The value, if it is allowed.

    Raises:
        ExportError: It is not; the message names the allowed values.
    """
    allowed = tuple(allowed)
    if value not in allowed:
        raise ExportError(
            f"{network} does not know this {option}", got=value, allowed=", ".join(str(a) for a in allowed)
        )
    return value
