# SPDX-License-Identifier: Apache-2.0
"""What an error says, and what it becomes for programs."""

from __future__ import annotations

import inspect
import json

import pytest

from stf_infer import errors
from stf_infer.errors import CheckFailedError, ParityError, StfError

KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, StfError)]


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({}, "It is wrong."),
        ({"got": 3}, "It is wrong. Got: 3."),
        ({"got": 0, "allowed": (1, 2)}, "It is wrong. Got: 0. Allowed: (1, 2)."),
        ({"fix": "Mend it."}, "It is wrong. Mend it."),
        ({"got": "", "allowed": "x", "fix": "Use --x"}, "It is wrong. Got: . Allowed: x. Use --x."),
    ],
)
def test_the_sentence_names_what_got_allowed_and_fix(parts, said):
    for what in ("It is wrong", "It is wrong."):
        assert str(StfError(what, **parts)) == said


def test_the_parts_are_kept_for_programs():
    told = StfError("It is wrong", got=[1], allowed=range(2), fix="Mend it").as_dict()
    assert told == {
        "error": "StfError",
        "what": "It is wrong",
        "got": "[1]",
        "allowed": "range(0, 2)",
        "fix": "Mend it",
    }
    assert json.loads(json.dumps(told)) == told
    assert StfError("x").as_dict() == {"error": "StfError", "what": "x", "got": None, "allowed": None, "fix": None}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_meaning_and_an_exit_code(kind):
    error = kind("It is wrong", got=1)
    assert error.as_dict()["error"] == kind.__name__
    assert kind.__doc__
    assert kind.__doc__ != StfError.__doc__ or kind is StfError
    assert error.exit_code == (1 if kind in (CheckFailedError, ParityError) else 2)
