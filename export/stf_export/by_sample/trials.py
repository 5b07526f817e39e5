# SPDX-License-Identifier: Apache-2.0
"""Samples to try a network on, in network values: smooth ones and white noise. No torch here."""

from __future__ import annotations

import numpy as np

from stf_infer.accuracy.procedural import smooth_sample, within
from stf_infer.samples.spec import SampleSpec

from ..samples import Tile

__all__ = ["noise_sample", "smooth_sample"]


def noise_sample(spec: SampleSpec, rng: np.random.Generator) -> Tile:
    """White noise over the range of every input: its limits where it has both, else -1 to 1 in network values."""
    return {one.role: within(one, rng.random(one.shape)) for one in spec.inputs}
