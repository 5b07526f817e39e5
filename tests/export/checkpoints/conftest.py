# SPDX-License-Identifier: Apache-2.0
"""A network to load into and weights for it."""

from __future__ import annotations

import pytest

from checkpoint_support import State, weights
from stf_export import networks
from stf_export.networks.base import FusionNetwork


@pytest.fixture
def network() -> FusionNetwork:
    return networks.create("edcstfn")


@pytest.fixture
def state() -> State:
    return weights(1)
