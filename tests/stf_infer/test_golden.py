# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from fakes import FunctionEngine, Opening, add_coarse_change
from handmade_bundle import make_bundle
from stf_infer import golden
from stf_infer.bundle import Bundle
from stf_infer.engines import EngineInfo
from stf_infer.errors import EngineError, EngineUnavailableError


@pytest.fixture
def bundle(tmp_path):
    return Bundle.open(make_bundle(tmp_path / "net.stf"))


def fails(**_):
    raise EngineError("The driver is gone")


def off_by(part):
    """The function with one pixel moved by a part of the range of its own output."""

    def function(**inputs):
        output = add_coarse_change(**inputs)
        output[0, 0, 1, 2] += part * (output.max() - output.min())
        return output

    return function


@pytest.fixture
def install(monkeypatch):
    """Replace the backends by functions; None is one that is not installed."""

    def do(**functions):
        listed = [
            EngineInfo(
                name, usable=function is not None, version="1.2", reason="" if function else "not there", extra="cpu"
            )
            for name, function in functions.items()
        ]
        monkeypatch.setattr(golden, "available", lambda: listed)
        monkeypatch.setattr(golden, "_openings", lambda b, info: [Opening("fp32", functions[info.name])])

    return do


def test_an_engine_that_computes_the_golden_output_passes(bundle, install):
    install(right=add_coarse_change)
    (proof,) = golden.prove(bundle)
    assert (proof.engine, proof.version, proof.precision) == ("right", "1.2", "fp32")
    assert (proof.passed, proof.max_abs, proof.relative, proof.reason) == (True, 0.0, 0.0, "")
    assert proof.seconds is not None
    assert proof.seconds >= 0


@pytest.mark.parametrize(("part", "passed"), [(0.5e-4, True), (2e-4, False), (1.0, False), (np.nan, False)])
def test_the_difference_is_measured_over_the_range(bundle, install, part, passed):
    install(near=off_by(part))
    (proof,) = golden.prove(bundle)
    assert proof.passed is passed
    assert proof.tolerance == golden.TOLERANCE == 1e-4
    if not np.isnan(part):
        assert proof.relative == pytest.approx(part, rel=0.05)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_of_less_than_fp32_a_pixel_may_be_far_off(bundle, precision):
    """By the whole range, at one of 2 x 32 x 32: the RMS counts, but none that is lost."""
    _, right = bundle.golden()

    class Less(FunctionEngine):
        def describe(self):
            return {"engine": "less", "precision": precision}

    def one_off(by):
        def network(**given):
            found = add_coarse_change(**given)
            found[:, 0, 3, 4] += by
            return found

        return golden.compare(bundle, Less(bundle.spec, network))

    found = one_off(np.ptp(right))
    assert found.max_abs == pytest.approx(np.ptp(right), rel=1e-4)
    assert found.relative == pytest.approx(1.0 if precision == "fp32" else 1 / np.sqrt(2 * 32 * 32), rel=1e-4)
    assert np.isnan(one_off(np.nan).relative)


def test_the_tolerance_can_be_stated(bundle, install):
    install(near=off_by(1e-3))
    assert golden.prove(bundle, tolerance=1e-2)[0].passed
    assert not golden.prove(bundle, tolerance=1e-5)[0].passed


def test_what_is_not_installed_is_listed_and_does_not_fail(bundle, install):
    install(right=add_coarse_change, missing=None)
    proofs = golden.prove(bundle)
    assert [(p.engine, p.passed, p.reason) for p in proofs] == [("right", True, ""), ("missing", None, "not there")]


def test_an_engine_that_raises_fails_with_its_reason(bundle, install):
    install(broken=fails)
    (proof,) = golden.prove(bundle)
    assert (proof.passed, proof.max_abs) == (False, None)
    assert "driver is gone" in proof.reason


def test_an_output_of_another_shape_fails(bundle, install):
    install(half=lambda **inputs: add_coarse_change(**inputs)[:, :, ::2])
    (proof,) = golden.prove(bundle)
    assert proof.passed is False
    assert "Got: (1, 2, 16, 32). Allowed: (1, 2, 32, 32)" in proof.reason


def test_engines_can_be_chosen(bundle, install):
    install(right=add_coarse_change, broken=fails, missing=None)
    assert [p.engine for p in golden.prove(bundle, ["right", "right"])] == ["right"]
    with pytest.raises(EngineUnavailableError, match=r"no engine of that name. Got: none of these"):
        golden.prove(bundle, ["none of these"])
    with pytest.raises(EngineUnavailableError, match=r"missing cannot be used here: not there.*stf-infer\[cpu\]"):
        golden.prove(bundle, ["right", "missing"])


def test_no_engine_at_all_names_the_extra(bundle, install):
    install(missing=None)
    with pytest.raises(EngineUnavailableError, match=r"No inference engine.*missing: not there.*stf-infer\[cpu\]"):
        golden.prove(bundle)
