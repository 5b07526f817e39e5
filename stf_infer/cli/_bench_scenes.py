# SPDX-License-Identifier: Apache-2.0
"""Options of ``bench`` that say what is fused."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..errors import UsageError
from ..spec import KNOWN_ROLES
from ._statements import rasters_from, role_options, value_options

if TYPE_CHECKING:
    from ..bench.settings import StatedScene

F = TypeVar("F", bound=Callable[..., Any])

_TRUTH = "truth"


def scene_options(function: F) -> F:
    """Give a command every option that says what is fused."""
    function = value_options(function)
    for option in (
        click.option("--side", type=int, default=512, show_default=True, help="Of the procedural scene, in pixels."),
        click.option("--limit", type=int, help="Of a dataset: take so many scenes at most."),
        click.option(
            "--part",
            type=click.Choice(["all", "test", "training"]),
            default="all",
            show_default=True,
            help="Of a dataset: its pairs to take.",
        ),
        click.option("--root", metavar="DIR", help="Folder of the dataset."),
        click.option("--dataset", metavar="NAME", default="", help="Benchmark dataset (CIA, LGC ...), or samples."),
        click.option("--change", type=float, help="Pixels changed where the dates differ by more.  [default: found]"),
        click.option("--data-range", type=float, help="Span of values, for PSNR and SSIM.  [default: 1 reflectance]"),
        click.option("--any-ratio", is_flag=True, help="Accept coarse pixels that do not fit a contract's ratio."),
        click.option("--warp-truth", is_flag=True, help="Warp a truth of another grid onto that of fine_t1."),
        click.option("--truth", metavar="FILE", help="The fine raster at t2, to measure results against."),
        click.option("--input", "others", multiple=True, metavar="ROLE=FILE", help="Raster of any other role."),
    ):
        function = option(function)
    function = role_options(function)
    return click.option(
        "--scene", "folders", multiple=True, metavar="DIR", help="Folder with fine_t1.tif and so on; may be repeated."
    )(function)


def scene_settings(
    *,
    folders: tuple[str, ...],
    others: tuple[str, ...],
    truth: str | None,
    bands: Sequence[str],
    scale: Sequence[str],
    offset: Sequence[str],
    nodata: Sequence[str],
    root: str | None,
    **options: Any,
) -> dict[str, Any]:
    """These options, as settings of a bench.

    Raises:
        UsageError: A folder is no scene; a statement cannot be read, or speaks of an input that is not given.
    """
    from ..bench.scenes import from_folder

    paths = {role: options.pop(role) for role in KNOWN_ROLES} | {_TRUTH: truth}
    stated = {"bands": bands, "scale": scale, "offset": offset, "nodata": nodata}
    scenes = []
    for folder in folders:
        inputs, goal = from_folder(folder)
        files = {role: str(raster.data) for role, raster in inputs.items()}
        own = None if goal is None else str(goal.data)
        if len(folders) == 1 and set(filter(paths.get, paths)) == {_TRUTH}:
            own = paths.pop(_TRUTH)
        scenes.append(_scene(folder, files | {_TRUTH: own}, (), stated))
    if others or any(paths.values()):
        scenes.append(_scene(str(paths["fine_t1"] or ""), paths, others, stated))
    elif any(stated.values()) and not scenes:
        raise UsageError("Values are stated, and no scene is", fix="Give --scene DIR, or --fine-t1 FILE and so on")
    return {"scenes": tuple(scenes), "root": None if root is None else Path(root), **options}


def _scene(
    path: str, paths: Mapping[str, str | None], others: Sequence[str], stated: Mapping[str, Sequence[str]]
) -> StatedScene:
    from ..bench.settings import StatedScene

    rasters = rasters_from(paths, others, **stated)
    goal = rasters.pop(_TRUTH, None)
    if "fine_t1" not in rasters:
        raise UsageError("A scene has a fine_t1, which defines its grid", got=", ".join(rasters), fix="Give --fine-t1")
    return StatedScene(Path(path).resolve().stem, rasters, goal)
