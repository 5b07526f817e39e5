# SPDX-License-Identifier: Apache-2.0
"""The verbs of the export stage: ``export``, ``contract``, ``networks``, ``steps``. Importing them loads no torch."""

from __future__ import annotations

from .contract_verb import contract
from .export_verb import export
from .networks_verb import networks
from .steps_verb import steps

__all__ = ["contract", "export", "networks", "steps"]
