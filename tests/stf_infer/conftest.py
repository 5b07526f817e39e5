# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable

import pytest

from device_support import Machine


@pytest.fixture
def machine(monkeypatch, tmp_path, emulated_cuda) -> Callable[..., Machine]:
    """Makes a machine with a GPU that is not there; arguments are :class:`Machine`'s."""
    return lambda **given: Machine(monkeypatch, tmp_path, given.pop("emulated", emulated_cuda), **given)
