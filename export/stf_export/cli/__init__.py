# SPDX-License-Identifier: Apache-2.0
"""The verbs of the export stage: ``stf-infer export`` and ``stf-infer contract``. Importing them loads no torch."""

from __future__ import annotations

from .contract_verb import contract
from .export_verb import export

__all__ = ["contract", "export"]
