# SPDX-License-Identifier: Apache-2.0
"""Steps against quality: what a diffusion network loses with fewer steps, and which few steps lose least.

    measure(model, rasters, truth="F2.tif")   figures for 1, 2, 4 ... T steps over a scene
    tune(model, rasters, steps=4)             the four time steps whose sample comes closest to that of all T
    store(bundle, tuned, out="NEW.stf")       a bundle that samples through them

The bundle is one whose sampler loops around the graph of one step: that graph takes any list of time steps. Nothing
here needs torch.
"""

from __future__ import annotations

from .calibration import Tuned, tune
from .curve import COUNTS, Curve, Point, measure
from .rewrite import store

__all__ = ["COUNTS", "Curve", "Point", "Tuned", "measure", "store", "tune"]
