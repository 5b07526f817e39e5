# SPDX-License-Identifier: Apache-2.0
"""EDCSTFN for benchmarks of whole scenes: as a bundle, with an engine of a reduced precision where one is wanted."""

from __future__ import annotations

from pathlib import Path

import torch

import stf_infer
from stf_export import export, reduce
from stf_export.networks import create
from stf_infer.bundle import Bundle

# Random weights give dark images, whose spectra turn by rounding; the part of the budget that does not see that.
BUDGET = "rmse=0.5%"


def edcstfn_bundle(folder: Path, tile: int, coarse_grid: str) -> Bundle:
    """EDCSTFN with seeded random weights, on which the time does not depend; exported where it is not there yet."""
    path = folder / f"edcstfn-{coarse_grid}-{tile}.stf"
    if path.is_dir():
        return Bundle.open(path)
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    weights = folder / "edcstfn.pth"
    torch.save(create("edcstfn", bands=4, coarse_grid=coarse_grid).state_dict(), weights)
    return export(
        "edcstfn",
        weights,
        bands=("blue", "green", "red", "nir"),
        tile=tile,
        options={"coarse_grid": coarse_grid},
        out=path,
    )


def with_engine(bundle: Bundle, precision: str, budget: str = BUDGET) -> Bundle:
    """The bundle with an engine of OpenVINO in a precision; what stands in it already is kept.

    Raises:
        ExportError, CheckFailedError, EngineError: It is not within the budget, or cannot be built here.
    """
    if precision not in bundle.precisions:
        reduce(bundle.path, precision, budget=budget)
    stf_infer.build(bundle.path, "openvino-cpu", precision=precision, budget=budget)
    return Bundle.open(bundle.path)
