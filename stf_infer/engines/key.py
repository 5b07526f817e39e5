# SPDX-License-Identifier: Apache-2.0
"""The key of an engine: everything that it was built from and for. Two keys that differ are two engines."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from ..errors import AssetError, EngineError

if TYPE_CHECKING:
    from ..bundle import Bundle

# What a network can be reduced to.
REDUCED = ("fp16", "bf16", "int8")

# What a person calls the parts of a key.
_WORDS = {"onnx": "network", "backend": "backend", "device": "device", "precision": "precision"}
_WORDS |= {"tile": "tile", "batch": "batch", "flags": "options"}


@dataclass(frozen=True)
class EngineKey:
    """What an engine was built from and for.

    Attributes:
        onnx: SHA-256 of the graph (and of its weights, where they lie beside it).
        backend: The library that compiled it, with its version.
        device: What it was compiled for.
        precision: What it computes in.
        tile: The static shape of a tile of every input.
        batch: Tiles in a call that it was built for.
        flags: Options that change what the compiler does.
    """

    onnx: str
    backend: str
    device: str
    precision: str
    tile: str
    batch: int
    flags: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for a sidecar."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Any) -> EngineKey:
        """The key in a sidecar.

        Raises:
            EngineError: It is not one.
        """
        names = {f.name for f in fields(cls)}
        if not isinstance(data, dict) or set(data) != names or not isinstance(data["flags"], dict):
            raise EngineError("The sidecar of the engine holds no key", got=data, allowed=", ".join(sorted(names)))
        return cls(**data)

    @property
    def label(self) -> str:
        """Short name of the engine among those of its target: ``fp32-b4``."""
        return f"{self.precision}-b{self.batch}"

    def digest(self, *more: str) -> str:
        """Eight hexadecimal digits that stand for the key, and for what else is given."""
        text = json.dumps([self.as_dict(), *more], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    def differences(self, other: EngineKey) -> tuple[str, ...]:
        """Names of the parts in which two keys differ."""
        return tuple(f.name for f in fields(self) if getattr(self, f.name) != getattr(other, f.name))

    def told(self, parts: tuple[str, ...]) -> str:
        """These parts of the key, for a person."""
        return ", ".join(f"{_WORDS[name]} {self._short(name)}" for name in parts)

    def _short(self, name: str) -> str:
        value = getattr(self, name)
        if name == "onnx":
            return str(value)[:12]
        if name == "flags":
            return " ".join(f"{k}={v}" for k, v in sorted(value.items())) or "none"
        return str(value)


def graph_of(bundle: Bundle, precision: str, executed: tuple[str, ...] = ()) -> str:
    """Key of the asset that holds the network for a precision.

    Args:
        bundle: The open bundle.
        precision: What is asked for.
        executed: Precisions in which the target computes an fp32 graph by itself.

    Raises:
        EngineError: The bundle has no graph for it.
    """
    found = bundle.precisions
    if precision in found:
        return found[precision]
    if precision in executed and "fp32" in found:
        return found["fp32"]
    raise EngineError(
        f"The bundle holds no network in {precision}",
        got=bundle.path.name,
        allowed=", ".join(found) or "none",
        fix=f"`stf-infer reduce {bundle.path} --precision {precision}` writes one, where the extra export is installed"
        if precision in REDUCED and "fp32" in found
        else None,
    )


def onnx_hash(bundle: Bundle, asset: str) -> str:
    """Hash of a graph as ``item.json`` states it, with those of the weights outside of it."""
    if asset not in bundle.assets:
        raise AssetError("The bundle has no asset of that name", got=asset)
    stated = bundle.assets[asset]
    if not stated.needs:
        return stated.sha256
    parts = [stated.sha256, *(bundle.assets[other].sha256 for other in stated.needs)]
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()


def tile_of(bundle: Bundle) -> str:
    """The static shapes of a tile or sample, input by input: ``coarse_t1 2x8x8, fine_t1 2x32x32``."""
    return ", ".join(f"{t.name} {'x'.join(map(str, t.shape)) or '1'}" for t in bundle.spec.tensors)


def fixed_batch(bundle: Bundle) -> int | None:
    """Units that the graph takes in a call, where it takes no other number; as the item says."""
    try:
        first = int(bundle.properties["mlm:input"][0]["input"]["shape"][0])
    except (KeyError, IndexError, TypeError, ValueError):
        return None
    return first if first > 0 else None


def usual_batch(bundle: Bundle, tiles: int = 1) -> int:
    """Units in a call where nobody says how many: so many tiles, or what a network that takes samples is given."""
    from ..samples.model import BATCH
    from ..samples.spec import SampleSpec

    return BATCH if isinstance(bundle.spec, SampleSpec) else tiles
