# SPDX-License-Identifier: Apache-2.0
"""The verbs of the export stage: ``export``, ``contract`` and ``networks``. Importing them loads no torch."""

from __future__ import annotations

from .contract_verb import contract
from .export_verb import export
from .networks_verb import networks

__all__ = ["contract", "export", "networks"]
