# SPDX-License-Identifier: Apache-2.0
"""What a bench fuses: a procedural scene, rasters of the user's own, or tuples of a benchmark dataset.

All of them are files, and everything is checked that can be before something is measured: every raster is opened and
brought onto the grid of fine_t1, and the truth has to lie there.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .. import datasets
from ..errors import StfError, UsageError
from ..grid import Shape
from ..placement import Grid
from ..raster import Raster, chosen_bands
from ..samples.spec import SampleSpec
from ..scene import Scene, check_roles
from ..spec import KNOWN_ROLES, ModelSpec, RasterSpec
from .changes import find_changes
from .result import SceneFacts
from .scene_files import TRUTH, as_file, mirror_file, stated_of, told
from .scene_reading import contract_of, lies_on_grid, measured_ratio, open_rows, warped_truth

# The truth beside the rasters of a scene's folder, as stf_infer.datasets.write_scene names it.
TRUTH_FILE = "fine_t2_truth.tif"
SIDE = 512  # of the procedural scene
USUAL_RATIO = 16  # of MODIS and Landsat
# GDAL keeps decoded blocks up to this many MB; its default is a share of the machine's memory.
_CACHE_MB = 192
_DATA_RANGES = {"reflectance": 1.0}


@dataclass(frozen=True)
class BenchScene:
    """A scene that is ready to be fused; it can be pickled.

    Attributes:
        facts: What a result says of it.
        inputs: Raster by role, all of them files.
        truth: The fine raster at t2, on the grid of fine_t1; None where there is none.
        mask: The raster of ``facts.mask``; None without a truth.
        compared: The inputs with the bands ``facts.bands`` alone where they have them: what baselines take, so that
            their figures are of the bands that networks predict.
    """

    facts: SceneFacts
    inputs: Mapping[str, Raster]
    truth: Raster | None = None
    mask: Path | None = None
    compared: Mapping[str, Raster] = field(default_factory=dict)

    def inputs_of(self, spec: ModelSpec) -> dict[str, Raster]:
        """The rasters that a network takes.

        Raises:
            UsageError: The scene lacks one.
        """
        given = {raster.role: self.inputs[raster.role] for raster in spec.rasters if raster.role in self.inputs}
        check_roles(spec, given)
        return given

    def result_path(self, folder: Path, row: str) -> Path:
        """Where the result of a row goes: ``results/ROW/SCENE.tif`` in the folder of the bench."""
        return folder / "results" / _slug(row) / f"{_slug(self.facts.name)}.tif"

    def refusal(self, spec: ModelSpec | SampleSpec, *, any_ratio: bool = False) -> StfError | None:
        """Why a network cannot be measured on this scene; None where it can.

        Opens the rasters as a run would: roles, bands, scales, grids and the bands of the truth.
        """
        if isinstance(spec, SampleSpec):
            return UsageError(f"{spec.name} takes samples and no rasters: it fuses no scene", got=spec.network)
        try:
            with Scene(spec, self.inputs_of(spec), any_ratio=any_ratio):
                pass
            if self.truth is not None:
                wanted = RasterSpec(role=TRUTH, bands=spec.output.bands, values=spec.output.values)
                with self.truth.open() as dataset:
                    chosen_bands(self.truth, dataset, wanted)
        except StfError as error:
            return error
        return None


def procedural(folder: Path, side: int = SIDE, *, bands: Sequence[str] = ()) -> BenchScene:
    """The demo's scene, which its network was not trained on; of another side, mirrored at its borders, or cut.

    Args:
        folder: Of the bench: files go into a folder below it.
        side: Rows and columns, fine pixels.
        bands: As for :func:`from_rasters`.

    Raises:
        UsageError: A side below 32.
        OutputError: The folder cannot be written to.
    """
    if side < 2 * USUAL_RATIO:
        raise UsageError("A procedural scene is larger", got=f"{side} x {side}", allowed=f"{2 * USUAL_RATIO} or more")
    name = f"procedural {side} x {side}"
    place = place_of(folder, name)
    source = place if side == SIDE else place / "source"
    made = datasets.procedural_scene(datasets.DEMO_SEED, SIDE, SIDE, ratio=USUAL_RATIO)
    files = datasets.write_scene(made, source)
    remark = "A procedural scene: no pixel of it is real, and no network of the package was trained on it."
    if side != SIDE:
        coarse = -(-side // USUAL_RATIO)
        for role, path in files.items():
            sides = coarse if role.startswith("coarse") else side
            files[role] = mirror_file(path, place / path.name, Shape(sides, sides))
        remark += f" The scene of {SIDE} x {SIDE} is {'cut' if side < SIDE else 'mirrored'} to this size."
    truth = Raster(files.pop("fine_t2_truth"))
    return from_rasters(name, files, truth, folder, ratio=USUAL_RATIO, bands=bands, remark=remark)


def from_folder(path: str | Path) -> tuple[dict[str, Raster], Raster | None]:
    """Rasters by role of a folder with ``fine_t1.tif`` and so on, and the truth, ``fine_t2_truth.tif``, if it is there.

    Raises:
        UsageError: There is no such folder, or no fine_t1 in it.
    """
    folder = Path(path)
    found = {role: Raster(folder / f"{role}.tif") for role in KNOWN_ROLES if (folder / f"{role}.tif").exists()}
    if "fine_t1" not in found:
        raise UsageError(
            "A scene is a folder with a raster for each role",
            got=f"{folder}: {', '.join(found) or ('empty of them' if folder.is_dir() else 'no folder')}",
            allowed=f"{', '.join(f'{role}.tif' for role in KNOWN_ROLES)}, as a network takes them; {TRUTH_FILE}",
        )
    truth = folder / TRUTH_FILE
    return found, Raster(truth) if truth.exists() else None


def from_dataset(
    name: str,
    root: str | Path | None,
    folder: Path,
    *,
    part: datasets.benchmark.Part = "all",
    references: int = 1,
    limit: int | None = None,
    predicted: Sequence[str] = (),
    threshold: float | None = None,
    **stated: Any,
) -> list[BenchScene]:
    """The tuples of a benchmark dataset, or of the ``samples``; see :func:`stf_infer.datasets.open`.

    Args:
        name: Of the dataset.
        root: Its folder; ``samples`` are found without.
        folder: Of the bench: arrays and masks are written below it.
        part: ``test`` takes the pairs that are kept for testing.
        references: 2 for networks that take rasters of t3.
        limit: Take so many of the first tuples; None takes all.
        predicted: Names of the bands that networks predict: ``bands`` of :func:`from_rasters`.
        threshold: As for :func:`from_rasters`.
        **stated: As for :func:`stf_infer.datasets.open`.

    Raises:
        UsageError, MissingExtraError, RasterError, BandError, ScaleError, GridError: As there.
    """
    data = datasets.open(name, root, **stated)
    return [
        from_rasters(
            f"{data.name} {one.name}",
            one.inputs,
            one.truth,
            folder,
            ratio=one.ratio,
            bands=predicted,
            threshold=threshold,
            remark=one.remark,
        )
        for one in data.tuples(references, part)[:limit]
    ]


def from_rasters(
    name: str,
    inputs: Mapping[str, Any],
    truth: Any,
    folder: Path,
    *,
    warp_truth: bool = False,
    ratio: float | None = None,
    usual_ratio: int = USUAL_RATIO,
    bands: Sequence[str] = (),
    unit: str = "reflectance",
    data_range: float | None = None,
    threshold: float | None = None,
    remark: str = "",
) -> BenchScene:
    """A scene of rasters.

    Args:
        name: Unique in the bench.
        inputs: Raster by role: a :class:`~stf_infer.raster.Raster`, a path, or an array that says where it lies.
        truth: The fine raster at t2, or None.
        folder: Of the bench: what has to be written goes into ``scenes/NAME``.
        warp_truth: Bring a truth of another grid onto that of fine_t1, as any raster of a run is: bilinear, or by means
            where its pixels are smaller.
        ratio: Coarse pixel over fine pixel; None measures it.
        usual_ratio: Where it cannot be measured, since the coarse rasters lie on fine pixels.
        bands: Names of the bands that networks predict; where fine_t1 has them all, baselines and changes are of them.
        unit: Physical unit of the rasters.
        data_range: Span of possible values; None takes 1 for reflectance, and the span of the truth for other units.
        threshold: Above which a pixel changed, in ``unit``; None finds it, see :mod:`stf_infer.bench.changes`.
        remark: What has to be said wherever figures are shown.

    Raises:
        GridError: The truth lies on another grid (the message shows both); a raster does not overlap fine_t1.
        NodataError: No pixel is valid in all rasters.
        UsageError, RasterError, BandError, ScaleError: A raster cannot be read as ``unit``.
        OutputError: The folder cannot be written to.

    With a truth every raster is read twice in blocks of rows (the truth once more to be warped); without one only
    headers and samples are.
    """
    import rasterio

    place = place_of(folder, name)
    if inputs.get("fine_t1") is None:
        raise UsageError(
            "fine_t1 is missing: it defines the grid of a scene", got=", ".join(inputs), fix="Give fine_t1"
        )
    files = {role: as_file(Raster.of(raster), place / f"{role}.tif") for role, raster in inputs.items()}
    goal = None if truth is None else as_file(Raster.of(truth), place / TRUTH_FILE)
    with rasterio.Env(GDAL_CACHEMAX=_CACHE_MB), ExitStack() as stack:
        rows, names = open_rows(files, goal, bands, stack)
        grid, measured = Grid.of(rows["fine_t1"].dataset), ratio or measured_ratio(rows)
        if measured is None:
            measured = usual_ratio
            if any(role.startswith("coarse") for role in files):
                remark = f"{remark} The coarse images lie on fine pixels; the ratio is taken to be {measured}.".strip()
        facts = SceneFacts(
            name=name,
            inputs={role: told(raster.data, folder) for role, raster in files.items()},
            height=grid.shape.height,
            width=grid.shape.width,
            bands=names["fine_t1"],
            ratio=measured,
            unit=unit,
            data_range=data_range or _DATA_RANGES.get(unit),
        )
        compared = {role: replace(raster, bands=tuple(rows[role].numbers)) for role, raster in files.items()}
        if goal is None:
            return BenchScene(_with_statements(facts, files, remark), files, compared=compared)
        every = compared | {TRUTH: replace(goal, bands=tuple(rows[TRUTH].numbers))}
        scene = stack.enter_context(Scene(contract_of(names, max(round(measured), 1), unit), every, any_ratio=True))
        aligned = lies_on_grid(rows, warp=warp_truth)
        if not aligned:
            goal = warped_truth(scene, place / "fine_t2_truth_warped.tif", unit)
            remark = f"{remark} The truth was warped onto the grid of fine_t1.".strip()
        mask = place / "mask.tif"
        changes = find_changes(scene, mask, threshold)
    span = facts.data_range or changes.span or None
    if facts.data_range is None and span:
        remark = f"{remark} The data range is the span of the truth, {span:.6g}.".strip()
    facts = facts.model_copy(
        update={
            "truth": told(goal.data, folder),
            "mask": told(mask, folder),
            "pixels": changes.pixels,
            "data_range": span,
            "change_threshold": changes.threshold,
        }
    )
    return BenchScene(_with_statements(facts, files | {TRUTH: goal}, remark), files, goal, mask, compared)


def _with_statements(facts: SceneFacts, rasters: Mapping[str, Raster], remark: str) -> SceneFacts:
    stated = {role: stated_of(raster) for role, raster in rasters.items()}
    said = {role: one for role, one in stated.items() if one}
    return facts.model_copy(update={"stated": said, "remark": remark})


def place_of(folder: Path, name: str) -> Path:
    """Folder of what has to be written of a scene."""
    return folder / "scenes" / _slug(name)


def _slug(name: str) -> str:
    """A name as a file's. Blanks and bars become hyphens; where more is lost, a checksum tells names apart."""
    blank = re.sub(r"[\s|]+", "-", name)
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", blank).strip(".-")
    return plain if plain == blank else f"{plain}-{zlib.crc32(name.encode()):08x}".lstrip("-")
