# SPDX-License-Identifier: Apache-2.0
"""The contract of a network before it is measured: roles, bands, scaling, grid of each input.

A :class:`Contract` is what a person can state. What must be measured (stride, halo, global operators) is added by
:mod:`stf_export.probe`; together they make the :class:`stf_infer.spec.ModelSpec` of a bundle. No torch here.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from stf_infer.diffusion import SamplerSpec
from stf_infer.errors import ContractError
from stf_infer.samples.spec import SampleSpec
from stf_infer.spec import InputSpec, ModelSpec, OutputSpec, RasterSpec, TileRule

from .samplers import Sampler

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_Kind = TypeVar("_Kind", bound=BaseModel)


class TileWish(BaseModel):
    """What the author of a contract may say about tiles; everything left out is measured.

    Attributes:
        size: Rows and columns of a tile, where the network's weights or graph fix it.
        mode: ``auto`` measures; ``blend`` forces blending (a network whose training tile must be kept).
        overlap: Fine pixels shared by neighbours when blending; default a quarter of the tile.
        halo: Fine pixels around a core that the network must see, where they are known by definition and a tile of a
            fixed size shows no core to measure them on. Nothing is measured then; two overlapping tiles are compared.
        stride: Stated with a halo: the shift that the network is equivariant to; default one pixel, or the coarse pixel
            where an input lies on the coarse grid. Stated with ``blend``: what origins and sizes of tiles are multiples
            of, since the network counts pixels from a tile's corner.
        predicts: ``core``: the graph predicts nothing within the halo of a tile's edges, even where the scene ends.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    size: int | None = Field(default=None, gt=0)
    mode: Literal["auto", "blend"] = "auto"
    overlap: int | None = Field(default=None, ge=0)
    halo: int | None = Field(default=None, ge=0)
    stride: int | None = Field(default=None, gt=0)
    predicts: Literal["tile", "core"] = "tile"

    @model_validator(mode="after")
    def _stated_together(self) -> TileWish:
        if self.halo is None and self.predicts != "tile":
            raise ValueError("predicts is stated together with a halo")
        if self.halo is None and self.stride is not None and self.mode != "blend":
            raise ValueError("a stride is stated together with a halo, or where tiles are blended")
        if self.halo is not None and self.mode == "blend":
            raise ValueError("blended tiles have no halo")
        return self


class Contract(BaseModel):
    """Roles, bands, scaling and grids of a network.

    With a ``sampler`` it is that of one step of a diffusion network: the inputs are the conditions, and the export
    repeats the step and adds the noise (:func:`stf_export.sampled_contract.sampled`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    network: str
    ratio: int = Field(default=16, ge=1)
    inputs: tuple[InputSpec, ...] = Field(min_length=1)
    also_read: tuple[RasterSpec, ...] = ()
    output: OutputSpec
    tile: TileWish = TileWish()
    sampler: Sampler | None = None
    options: dict[str, Any] = {}
    source: str = ""

    @classmethod
    def from_toml(cls, path: str | Path) -> Contract:
        """Read a contract file for rasters.

        Raises:
            ContractError: The file is missing, is no TOML, or a field is wrong (all are named).
        """
        return _validated(cls, _table(path))

    def measured(self, name: str, tile: TileRule) -> ModelSpec:
        """The contract with what was measured: the spec that goes into a bundle."""
        return ModelSpec(
            name=name,
            network=self.network,
            ratio=self.ratio,
            inputs=self.inputs,
            also_read=self.also_read,
            output=self.output,
            tile=tile,
            sampler=self.steps,
            options=self.options,
            source=self.source,
        )

    @property
    def roles(self) -> tuple[str, ...]:
        """Roles of the inputs, in their order."""
        return tuple(i.role for i in self.inputs)

    @property
    def steps(self) -> SamplerSpec | None:
        """All steps of the sampling, where the graph or the loop around it is one."""
        return None


# What can be stated about a network: a contract that lacks what is measured, or one where nothing has to be.
AnyContract = Contract | SampleSpec


def read_contract(path: str | Path) -> AnyContract:
    """Read a contract file of either kind: for rasters, or with ``kind = "samples"``.

    Raises:
        ContractError: The file is missing, is no TOML, or a field is wrong (all are named).
    """
    data = _table(path)
    return _validated(SampleSpec, data) if data.get("kind") == "samples" else _validated(Contract, data)


def _table(path: str | Path) -> dict[str, Any]:
    path = Path(path)
    try:
        with path.open("rb") as stream:
            data = tomllib.load(stream)
    except OSError as error:
        raise ContractError("The contract file cannot be read", got=f"{path}: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise ContractError("The contract file is not valid TOML", got=f"{path}: {error}") from error
    data["inputs"] = data.pop("input", data.get("inputs", ()))
    if isinstance(data.get("sampler"), dict):
        data["sampler"] = Sampler.from_table(data["sampler"])
    return data


def _validated(kind: type[_Kind], data: dict[str, Any]) -> _Kind:
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        samples = " --kind samples" if kind is SampleSpec else ""
        raise ContractError(
            "The contract file is not complete",
            got=wrong,
            fix=f"`stf-infer contract --template{samples}` prints a commented one",
        ) from error
