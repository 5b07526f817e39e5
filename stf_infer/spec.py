# SPDX-License-Identifier: Apache-2.0
"""What a network wants and gives, in the field's words.

A :class:`ModelSpec` is the whole contract between an exported network and the runtime. It is written by the
export stage, stored in a bundle's ``item.json`` and obeyed by the pipeline. Nothing in it is executable.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from .diffusion import SamplerSpec

Role = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]

KNOWN_ROLES = ("coarse_t1", "fine_t1", "coarse_t2", "coarse_t3", "fine_t3")

# A reflectance outside this range is not a reflectance: the raster holds scaled numbers.
PLAUSIBLE = {"reflectance": (-1.0, 5.0), "kelvin": (100.0, 500.0)}


class Tensor(NamedTuple):
    """One input of a graph, as an engine sees it; ``shape`` is that of one tile or sample, without the batch axis."""

    role: str
    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Values(_Frozen):
    """How a physical value becomes the number that the network sees: ``net = clip(physical) * scale + offset``.

    ``unit`` is the physical unit (``reflectance`` runs from 0 to 1; ``kelvin``; ``1`` for anything without
    one). ``minimum`` and ``maximum`` clip the physical value before it is scaled (inputs) or after it is
    scaled back (outputs).
    """

    unit: str = "reflectance"
    scale: float = 1.0
    offset: float = 0.0
    minimum: float | None = None
    maximum: float | None = None

    @field_validator("scale")
    @classmethod
    def _scale_is_usable(cls, value: float) -> float:
        if value == 0 or value != value or value in (float("inf"), float("-inf")):
            raise ValueError("scale must be a finite number other than 0")
        return value

    @property
    def plausible(self) -> tuple[float, float] | None:
        """Range outside of which a physical value of this unit cannot lie, or None if none is known."""
        return PLAUSIBLE.get(self.unit)


ScalarRule = Literal["switched-absolute-change", "switched-mean-change", "mean-of-dates", "standard-deviation"]

# How many rasters a rule looks at, where that is fixed.
_RASTERS_OF_RULE = {"switched-absolute-change": 3, "switched-mean-change": 3, "standard-deviation": 1}


class SceneStatistic(_Frozen):
    """A number that the runtime computes from the whole scene before the first tile.

    ``rule`` names a function of :mod:`stf_infer.scene_scalars`; ``of`` are the roles it looks at, in its order. They
    are inputs of the network, or rasters that are only read for this (:attr:`ModelSpec.also_read`).
    """

    rule: ScalarRule
    of: tuple[Role, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _rule_gets_its_rasters(self) -> SceneStatistic:
        wanted = _RASTERS_OF_RULE.get(self.rule, len(self.of))
        if len(self.of) != wanted:
            raise ValueError(f"{self.rule} looks at {wanted} rasters, not {len(self.of)}")
        return self


class RasterSpec(_Frozen):
    """A raster that is given by its role.

    Attributes:
        role: What the raster is: ``coarse_t1``, ``fine_t1``, ``coarse_t2`` and so on.
        bands: Names of the bands, in the network's order.
        grid: ``fine``: the grid of fine_t1. ``coarse``: the coarse working grid (fine grid / ratio, same origin).
        from_coarse: For rasters on the fine grid: the raster is first brought to the coarse working grid and then
            interpolated bilinearly by the runtime, in coordinates of the whole scene. ``align-corners`` puts the
            first and last coarse centre on the first and last fine centre (what ``align_corners=True`` does to a
            whole scene), ``half-pixel`` keeps the ground position. None: one warp straight to the fine grid.
        resampling: How a raster on another grid is warped. ``auto`` averages when pixels shrink in number and
            interpolates bilinearly otherwise.
        values: Unit and scaling.
    """

    role: Role
    bands: tuple[str, ...] = Field(min_length=1)
    grid: Literal["fine", "coarse"] = "fine"
    from_coarse: Literal["align-corners", "half-pixel"] | None = None
    resampling: Literal["auto", "nearest", "bilinear", "cubic", "average"] = "auto"
    values: Values = Values()

    @property
    def read_grid(self) -> Literal["fine", "coarse"]:
        """The grid that the raster is read on, before any interpolation by the runtime."""
        return "coarse" if self.grid == "coarse" or self.from_coarse else "fine"


class InputSpec(RasterSpec):
    """One input of the network: a raster, numbers of the scene, or noise.

    Attributes:
        tensor: Name of the tensor in the graph.
        grid: As for any raster; or ``scene``: no raster, but one number a band for the whole scene, which
            ``statistic`` says how to compute; or ``noise``: no raster, but standard normal noise on the fine grid,
            which the runtime draws.
        statistic: What a number of the scene is computed from; for the grid ``scene`` only.
        draw: For the grid ``noise`` only: 0 for the image that sampling starts from, k for what stochastic step k adds;
            the ``step`` of :func:`stf_infer.noise.noise`.
    """

    tensor: str
    grid: Literal["fine", "coarse", "scene", "noise"] = "fine"  # type: ignore[assignment]  # wider than a raster's
    statistic: SceneStatistic | None = None
    draw: int = Field(default=0, ge=0, lt=2**32)

    @property
    def dtype(self) -> str:
        """Type of the tensor."""
        return "float32"

    @model_validator(mode="after")
    def _parts_fit_the_grid(self) -> InputSpec:
        if (self.statistic is not None) != (self.grid == "scene"):
            raise ValueError("the grid scene needs a statistic, and no other grid has one")
        if self.from_coarse is not None and self.grid != "fine":
            raise ValueError("from_coarse is for inputs on the fine grid")
        if self.grid != "noise" and self.draw:
            raise ValueError("draw is for inputs on the grid noise")
        if self.grid == "noise" and self.values not in (Values(), Values(unit="1")):
            raise ValueError("noise is standard normal and cannot be scaled: do that in the network")
        return self


class OutputSpec(_Frozen):
    """The fine image at t2 that the network gives.

    ``storage_scale`` and ``storage_offset`` are how it is stored as integers:
    ``physical = stored * storage_scale + storage_offset``.
    """

    tensor: str
    bands: tuple[str, ...] = Field(min_length=1)
    values: Values = Values()
    storage_scale: float = Field(default=1e-4, gt=0)
    storage_offset: float = 0.0


class TileRule(_Frozen):
    """How a scene may be cut for this network.

    Attributes:
        height: Rows of a tile in fine pixels; static in the graph.
        width: Columns of a tile in fine pixels.
        stride: Tile origins are multiples of this many fine pixels: the network is equivariant to such shifts only.
        halo: Fine pixels around a core that the network must see; measured, or stated and checked.
        mode: ``exact``: cores are cut out, and the tiled result equals the untiled one. ``blend``: an operator sees
            the whole tile, so overlapping tiles are blended with weights that sum to one.
        overlap: Fine pixels that neighbouring tiles share in ``blend`` mode.
        predicts: ``tile``: the graph predicts the whole tile, and pads where the scene ends. ``core``: it predicts
            only what is farther than the halo from a tile's edges; at the scene's border tiles reach past it by the
            halo, over mirrored pixels.
        because: Why the mode is ``blend``: the operators or the measurement that say so.
    """

    height: int = Field(gt=0)
    width: int = Field(gt=0)
    stride: int = Field(default=1, gt=0)
    halo: int = Field(default=0, ge=0)
    mode: Literal["exact", "blend"] = "exact"
    overlap: int = Field(default=0, ge=0)
    predicts: Literal["tile", "core"] = "tile"
    because: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _tile_fits_stride(self) -> TileRule:
        if self.height % self.stride or self.width % self.stride:
            raise ValueError(f"tile {self.height} x {self.width} is no multiple of the stride {self.stride}")
        return self


class ModelSpec(_Frozen):
    """The contract of one exported network.

    ``also_read`` are rasters that are no inputs of the graph: the user gives them like others, numbers of the scene
    are computed from them, and they make no pixel of the result invalid. ``sampler`` says how a diffusion network is
    sampled; the graph holds all of it, or one step of it.
    """

    name: str
    network: str
    ratio: int = Field(default=16, ge=1)
    inputs: tuple[InputSpec, ...] = Field(min_length=1)
    also_read: tuple[RasterSpec, ...] = ()
    output: OutputSpec
    tile: TileRule
    sampler: SamplerSpec | None = None
    options: dict[str, Any] = {}
    source: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> ModelSpec:
        roles = [i.role for i in (*self.inputs, *self.also_read)]
        if len(set(roles)) != len(roles):
            raise ValueError(f"a role is named twice: {roles}")
        tensors = [i.tensor for i in self.inputs]
        if len(set(tensors)) != len(tensors):
            raise ValueError(f"a tensor is named twice: {tensors}")
        if "fine_t1" not in self.roles:
            raise ValueError("fine_t1 is missing: it defines the output grid")
        if self.input("fine_t1").grid in ("scene", "noise"):
            raise ValueError("fine_t1 is a raster: it defines the output grid")
        draws = [i.draw for i in self.noises]
        if len(set(draws)) != len(draws):
            raise ValueError(f"two inputs are the same noise: draws {draws}")
        if self.sampler is not None and set(draws) != set(self.sampler.inputs):
            raise ValueError(f"the sampler takes the draws {list(self.sampler.inputs)}, and not {draws}")
        self._check_scalars()
        if any(i.grid == "coarse" for i in self.inputs) and self.tile.stride % self.ratio:
            raise ValueError(f"tile stride {self.tile.stride} is no multiple of the ratio {self.ratio}")
        return self

    def _check_scalars(self) -> None:
        bands = {r.role: len(r.bands) for r in self.rasters}
        looked_at: set[str] = set()
        for scalar in self.scalars:
            assert scalar.statistic is not None
            strangers = [r for r in scalar.statistic.of if r not in bands]
            if strangers:
                raise ValueError(
                    f"{scalar.role} is computed from {', '.join(strangers)}, which is no input and not also_read"
                )
            if len({bands[r] for r in scalar.statistic.of}) > 1:
                raise ValueError(f"{scalar.role} is computed from rasters with different numbers of bands")
            looked_at.update(scalar.statistic.of)
        if idle := [r.role for r in self.also_read if r.role not in looked_at]:
            raise ValueError(f"{', '.join(idle)} is read, and no statistic looks at it")

    @property
    def roles(self) -> tuple[str, ...]:
        """Roles of all inputs, in their order."""
        return tuple(i.role for i in self.inputs)

    @property
    def rasters(self) -> tuple[RasterSpec, ...]:
        """What the user gives: the inputs that are rasters in their order, then those that are only read."""
        return (*(i for i in self.inputs if i.grid not in ("scene", "noise")), *self.also_read)

    @property
    def scalars(self) -> tuple[InputSpec, ...]:
        """The inputs that are numbers of the whole scene, in their order."""
        return tuple(i for i in self.inputs if i.grid == "scene")

    @property
    def noises(self) -> tuple[InputSpec, ...]:
        """The inputs that are noise, in their order; empty for a deterministic network."""
        return tuple(i for i in self.inputs if i.grid == "noise")

    def input(self, role: str) -> InputSpec:
        """The input with this role; KeyError if there is none."""
        for spec in self.inputs:
            if spec.role == role:
                return spec
        raise KeyError(role)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """What the graph takes for one tile."""
        return tuple(Tensor(i.role, i.tensor, self.tensor_shape(i)) for i in self.inputs)

    def tensor_shape(self, spec: InputSpec) -> tuple[int, int, int]:
        """Shape (C, H, W) of one tile of an input in the graph."""
        if spec.grid == "scene":
            return len(spec.bands), 1, 1
        divisor = self.ratio if spec.grid == "coarse" else 1
        return len(spec.bands), self.tile.height // divisor, self.tile.width // divisor

    @property
    def output_shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of one tile of the output in the graph."""
        return len(self.output.bands), self.tile.height, self.tile.width
