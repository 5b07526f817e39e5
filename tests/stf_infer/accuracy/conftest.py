# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterator

import pytest

import toy_backend
from handmade_bundle import make_bundle
from stf_infer.bundle import Bundle
from stf_infer.engines import registry


@pytest.fixture
def toys(tmp_path, monkeypatch) -> Iterator[None]:
    """The backend of ``toy_backend`` alone: ``toy-open`` computes fp32, and what ``toy`` builds can be off."""
    forget = registry.plugins.cache_clear
    toy_backend.install(tmp_path / "site", monkeypatch)
    monkeypatch.setattr(registry, "BUILT_IN", {})
    monkeypatch.setenv("STF_CACHE", str(tmp_path / "cache"))
    yield
    forget()


@pytest.fixture
def bundle(tmp_path) -> Bundle:
    """A bundle that only the toys can run; tests may change it."""
    return Bundle.open(make_bundle(tmp_path / "place" / "net.stf"))
