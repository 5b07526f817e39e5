# SPDX-License-Identifier: Apache-2.0
"""How far a reduced engine may be from fp32."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from ..errors import UsageError

NONE = "none"

_ALLOWED = "rmse=0.5%,sam=0.05deg; rmse=0.005 and sam=0.001rad mean the like; one of the two; or none"
_NUMBER = r"(\d+(?:\.\d*)?|\.\d+)(e[-+]?\d+)?"


@dataclass(frozen=True)
class Budget:
    """How far a reduced engine may be from fp32 on tiles of a bundle.

    Attributes:
        rmse: Largest RMS difference of a band over the RMS value of that band in fp32, in physical units; None asks
            for none.
        sam: Largest mean spectral angle between both in degrees; None asks for none. Where an output has one band, or
            is no image, nobody is asked for it.

    With neither (``Budget()``, ``none`` as text) everything goes, and nothing is proven.
    """

    rmse: float | None = None
    sam: float | None = None

    def __post_init__(self) -> None:
        for name in ("rmse", "sam"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise UsageError(f"The budget of {name} is no amount", got=value, allowed=_ALLOWED)

    @classmethod
    def parse(cls, text: str) -> Budget:
        """A budget as it is typed: ``rmse=0.5%,sam=0.05deg``, one of the two, or ``none``.

        Raises:
            UsageError: It cannot be understood.
        """
        if text.strip().lower() == NONE:
            return cls()
        found: dict[str, float] = {}
        for part in text.split(","):
            name, _, amount = (piece.strip().lower() for piece in part.partition("="))
            if name in found or (value := _amount(name, amount)) is None:
                raise UsageError("The budget cannot be understood", got=text, allowed=_ALLOWED)
            found[name] = value
        return cls(**found)

    @classmethod
    def of(cls, value: Budget | str | None) -> Budget:
        """A budget from what a caller may pass; None is the default one.

        Raises:
            UsageError: The text cannot be understood.
        """
        if value is None:
            return DEFAULT
        return value if isinstance(value, Budget) else cls.parse(value)

    @property
    def asks(self) -> bool:
        """Whether it asks for anything."""
        return self.rmse is not None or self.sam is not None

    def __str__(self) -> str:
        """As :meth:`parse` reads it, to the same numbers."""
        parts = []
        if self.rmse is not None:
            percent = f"{100 * self.rmse:g}%"
            parts.append(f"rmse={percent if _amount('rmse', percent) == self.rmse else repr(self.rmse)}")
        if self.sam is not None:
            short = f"{self.sam:g}"
            parts.append(f"sam={short if float(short) == self.sam else repr(self.sam)}deg")
        return ",".join(parts) or NONE


def _amount(name: str, text: str) -> float | None:
    """The number of a part, or None where it is none."""
    units = {"rmse": {"": 1.0, "%": 0.01}, "sam": {"deg": 1.0, "rad": math.degrees(1.0)}}.get(name, {})
    match = re.fullmatch(rf"({_NUMBER})\s*([a-z%]*)", text)
    if match is None or match[4] not in units:
        return None
    value = float(match[1])
    # Divided, since a hundredth is no exact factor: 0.5% is 0.005.
    return value / 100 if match[4] == "%" else value * units[match[4]]


DEFAULT = Budget(rmse=0.005, sam=0.05)
