# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from stf_export.precision import METHODS
from stf_export.precision.calibration import by_entropy, by_percentile, thresholds
from stf_export.precision.scan import BINS, Range
from stf_infer.errors import UsageError


def histogram(numbers: np.ndarray) -> np.ndarray:
    return np.histogram(np.abs(numbers), BINS, (0, np.abs(numbers).max()))[0]


def test_a_percentile_leaves_its_share_out():
    counts = np.ones(BINS, np.int64)
    assert by_percentile(counts, 50) == pytest.approx(0.5, abs=2 / BINS)
    assert by_percentile(counts, 100) == 1
    assert by_percentile(np.zeros(BINS, np.int64)) == 1
    outlier = np.zeros(BINS, np.int64)
    outlier[10], outlier[-1] = 1_000_000, 1
    assert by_percentile(outlier) == pytest.approx(11 / BINS)


def test_entropy_cuts_outliers_off_and_nothing_else():
    rng = np.random.default_rng(0)
    even = rng.uniform(0, 1, 200_000)
    assert by_entropy(histogram(even)) > 0.95
    outlier = np.concatenate([rng.normal(size=200_000), [100.0]])
    # The bulk ends at 5 of 100.
    assert 0.02 < by_entropy(histogram(outlier)) < 0.15
    zeros = np.concatenate([np.zeros(1_000_000), even])
    assert by_entropy(histogram(zeros)) > 0.95
    assert by_entropy(np.zeros(BINS, np.int64)) == 1


@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_a_threshold_of_the_tensor(method, monkeypatch):
    rng = np.random.default_rng(1)
    counts = histogram(np.concatenate([rng.normal(size=100_000), [50.0]]))
    monkeypatch.setattr("stf_export.precision.calibration.histograms", lambda *_: {"a": counts})
    found = thresholds(None, None, None, {"a": Range(-50.0, 3.0, 1.0)}, ["a", "a"], method)
    assert found.keys() == {"a"}
    assert (found["a"] == 50) if method == "minmax" else (2 < found["a"] < 10)


def test_another_method_is_refused():
    with pytest.raises(UsageError, match="minmax, percentile, entropy"):
        thresholds(None, None, None, {}, [], "mse")
