# SPDX-License-Identifier: Apache-2.0
"""Reduced precisions that an export shall write besides float32."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stf_infer.accuracy import Budget

from .reducing import Reduced, check_arguments, reduce


@dataclass(frozen=True)
class Reduction:
    """What an export shall reduce its network to; see :func:`stf_export.reduce`.

    Attributes:
        precisions: One or several of ``fp16``, ``bf16`` and ``int8``.
        budget: How far each may be from fp32; None takes the usual one.
        calibration: How ranges of 8-bit tensors are found.
        keep: Layers that stay in fp32 in any case.
        migrate: Whether channels of 8-bit tensors are brought to like ranges.
    """

    precisions: tuple[str, ...]
    budget: Budget | str | None = None
    calibration: str = "minmax"
    keep: tuple[str, ...] = ()
    migrate: bool = True

    def __post_init__(self) -> None:
        for precision in self.precisions:
            check_arguments(precision, self.budget, self.calibration)

    def apply(self, folder: Path, say: Callable[[str], None]) -> list[Reduced]:
        """Reduce the network of a bundle that lies in this folder.

        Raises:
            StfError: As :func:`stf_export.reduce`.
        """
        return [
            reduce(
                folder,
                precision,
                budget=self.budget,
                calibration=self.calibration,
                keep=self.keep,
                migrate=self.migrate,
                progress=lambda line, precision=precision: say(f"{precision}: {line}"),  # type: ignore[misc]
            )
            for precision in self.precisions
        ]
