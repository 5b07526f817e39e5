# SPDX-License-Identifier: Apache-2.0
"""Samplings of functions whose answer is known, without a network."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from stf_infer.diffusion import SamplerSpec, advance

# What other libraries call the three predictions.
PREDICTIONS = {"epsilon": "epsilon", "sample": "x0", "v_prediction": "v"}


def run(
    sampler: SamplerSpec,
    network: Callable[[np.ndarray, np.floating], np.ndarray],
    x: np.ndarray,
    noises: np.ndarray | None = None,
    stop: int | None = None,
) -> np.ndarray:
    """What a sampling makes of ``x``; ``network(x, t)`` is its step, ``noises`` what is drawn, in order.

    With ``stop`` only so many steps are done, from the front.
    """
    previous = None
    for number, (t, draw) in enumerate(zip(sampler.timesteps, sampler.draws, strict=True)):
        if number == stop:
            break
        noise = None if draw is None or noises is None else noises[draw - 1]
        x, previous = advance(sampler, number, x, network(x, x.dtype.type(t)), previous, noise)
    return x
