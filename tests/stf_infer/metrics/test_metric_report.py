# SPDX-License-Identifier: Apache-2.0
"""The report as data, and as a person sees it."""

from __future__ import annotations

import dataclasses
import io
import json

import numpy as np
import pytest
from rich.console import Console

from stf_infer.metrics import MetricReport, evaluate
from stf_infer.metrics.report import HEADINGS

PER_BAND = {"rmse", "mae", "aad", "bias", "mse", "nrmse", "cc", "pcc", "r2", "psnr", "ssim", "uqi"}


@pytest.fixture
def report() -> MetricReport:
    rng = np.random.default_rng(0)
    truth = rng.random((2, 20, 22))
    prediction = truth + 0.1
    prediction[0, 0, 0] = np.nan
    prediction[1] = truth[1]
    return evaluate(prediction, truth, data_range=1, ratio=20, bands=["green", "nir"])


def text_of(report: MetricReport, width: int = 100) -> str:
    out = io.StringIO()
    report.render(Console(file=out, width=width))
    return out.getvalue()


def test_every_figure_has_a_place(report):
    data = report.as_dict()
    assert data["bands"] == ["green", "nir"]
    assert set(data["per_band"]) == {"green", "nir"}
    assert all(set(figures) == PER_BAND for figures in data["per_band"].values())
    assert set(data["pooled"]) == PER_BAND | {"sam_deg", "sam_rad", "ergas"} == set(HEADINGS)
    assert data["counts"]["valid"] == 439
    assert data["counts"]["excluded"] == 1
    assert data["settings"]["ratio"] == 20
    assert data["per_band"]["green"]["rmse"] == pytest.approx(0.1)


def test_the_dict_is_plain_and_a_copy(report):
    data = report.as_dict()
    assert json.loads(json.dumps(data)) == data
    data["pooled"].clear()
    data["per_band"]["nir"].clear()
    assert set(report.pooled) == set(HEADINGS)
    assert set(report.per_band["nir"]) == PER_BAND


def test_reports_are_frozen(report):
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.bands = ()


def test_a_person_sees_bands_pooled_figures_counts_and_notes(report):
    text = text_of(report)
    green = next(line for line in text.splitlines() if line.strip().startswith("green"))
    nir = next(line for line in text.splitlines() if line.strip().startswith("nir"))
    assert green.split()[1:5] == ["0.1", "0.1", "0.1", "1.0000"]
    assert "inf" in nir
    assert any(line.strip().startswith("pooled") for line in text.splitlines())
    assert "439 of 440 pixels (0 masked, 1 not finite)" in text
    assert "ratio 20" in text
    assert "Note: prediction and truth are identical in nir" in text


def test_the_table_fits_a_narrow_terminal(report):
    lines = text_of(report, width=80).splitlines()
    assert max(map(len, lines)) <= 80
    assert not any("…" in line for line in lines)


def test_undefined_figures_are_a_dash():
    flat = np.ones((1, 12, 12))
    text = text_of(evaluate(flat + 1, flat, data_range=1, ratio=4, window=None))
    band = next(line for line in text.splitlines() if line.strip().startswith("band_1"))
    assert band.split() == ["band_1", "1", "1", "1", "-", "-", "0.00"]
    assert "SAM - deg" in text
    assert "no SSIM" in text
