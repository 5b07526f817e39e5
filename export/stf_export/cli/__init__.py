# SPDX-License-Identifier: Apache-2.0
"""The verbs of the export stage: ``export``, ``contract``, ``networks``, ``reduce``, ``steps``. No torch is loaded."""

from __future__ import annotations

from .contract_verb import contract
from .export_verb import export
from .networks_verb import networks
from .reduce_verb import reduce
from .steps_verb import steps

__all__ = ["contract", "export", "networks", "reduce", "steps"]
