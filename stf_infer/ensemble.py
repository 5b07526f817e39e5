# SPDX-License-Identifier: Apache-2.0
"""Several samples of one scene: their seeds, their mean and their standard deviation."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .errors import UsageError
from .noise import SEEDS, check_seed

if TYPE_CHECKING:
    from .spec import ModelSpec


@dataclass(frozen=True)
class Ensemble:
    """Which samples a run draws.

    Attributes:
        seed: Seed of the first sample; each further one has the next, and after 2^64 - 1 comes 0.
        samples: How many.
    """

    seed: int = 0
    samples: int = 1

    @classmethod
    def of(cls, spec: ModelSpec, seed: int | None, samples: int = 1) -> Ensemble:
        """What a user asks for, with 0 as the seed that nobody states.

        Raises:
            UsageError: No such seed or number of samples, or a network that takes no noise is asked for either.
        """
        count = _count(samples)
        if not spec.noises:
            asked = [f"seed {seed}"] * (seed is not None) + [f"{count} samples"] * (count > 1)
            if asked:
                raise UsageError(
                    f"{spec.name} takes no noise: its result is always the same",
                    got=", ".join(asked),
                    fix="Leave it out",
                )
        return cls(0 if seed is None else check_seed(seed), count)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seed of every sample."""
        return tuple((self.seed + number) % SEEDS for number in range(self.samples))


def _count(samples: int) -> int:
    try:
        count = operator.index(samples)
    except TypeError:
        count = 0
    if count < 1 or isinstance(samples, bool):
        raise UsageError(
            "The number of samples cannot be used", got=samples, allowed="1, or 2 or more for mean and deviation"
        )
    return count


def mean_and_deviation(samples: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (with n - 1) of equally shaped arrays, number by number.

    One array is held at a time, beside two of float64: the running mean and sum of squares of B. P. Welford, "Note on
    a method for calculating corrected sums of squares and products", Technometrics 4, 1962.

    Args:
        samples: Two or more arrays; NaN in one makes NaN of both results.

    Returns:
        Two float32 arrays of the same shape.
    """
    mean = squares = np.zeros(())
    count = 0
    for one in samples:
        sample = one.astype(np.float64)
        count += 1
        from_old = sample - mean
        mean = mean + from_old / count
        squares = squares + from_old * (sample - mean)
    return mean.astype(np.float32), np.sqrt(squares / (count - 1)).astype(np.float32)
