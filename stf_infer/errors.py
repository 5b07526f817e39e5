# SPDX-License-Identifier: Apache-2.0
"""The vocabulary of what can go wrong.

Every error says what is wrong, what was got, what is allowed, and how to mend it. ``exit_code`` is what the
command line returns: 2 for bad input, 1 for a check that failed.
"""

from __future__ import annotations

from typing import Any


class StfError(Exception):
    """Base of every error that stf-infer raises on purpose.

    Args:
        what: One sentence that names the thing that is wrong.
        got: The value that was met.
        allowed: The values that would be accepted.
        fix: How to mend it: a flag, a command, an argument.
    """

    exit_code = 2

    def __init__(self, what: str, *, got: Any = None, allowed: Any = None, fix: str | None = None) -> None:
        self.what, self.got, self.allowed, self.fix = what, got, allowed, fix
        super().__init__(str(self))

    def __str__(self) -> str:
        parts = [self.what.rstrip(".") + "."]
        if self.got is not None:
            parts.append(f"Got: {self.got}.")
        if self.allowed is not None:
            parts.append(f"Allowed: {self.allowed}.")
        if self.fix is not None:
            parts.append(self.fix.rstrip(".") + ".")
        return " ".join(parts)

    def as_dict(self) -> dict[str, Any]:
        """The error as plain values, for ``--json``."""
        return {
            "error": type(self).__name__,
            "what": self.what,
            "got": None if self.got is None else str(self.got),
            "allowed": None if self.allowed is None else str(self.allowed),
            "fix": self.fix,
        }


class UsageError(StfError):
    """The arguments of a call do not fit together."""


class MissingExtraError(StfError):
    """An optional dependency is needed and not installed."""


# Rasters, samples and grids ---------------------------------------------------------------------------------------


class RasterError(StfError):
    """A raster cannot be read, or does not hold what was promised."""


class BandError(RasterError):
    """The bands of a raster do not match the bands of the network."""


class ScaleError(RasterError):
    """The numbers of a raster cannot be turned into the unit that the network wants."""


class NodataError(RasterError):
    """A raster holds no valid pixel where one is needed."""


class SampleError(StfError):
    """An array cannot serve as an input of a network that takes samples."""


class DimError(SampleError):
    """The dims of arrays do not match those of the network, or one another."""


class GridError(StfError):
    """Rasters cannot be brought onto one grid."""


class TilePlanError(StfError):
    """A tile plan with these sizes does not exist."""


class OutputError(StfError):
    """The result cannot be written."""


# Bundles and engines -------------------------------------------------------------------------------------


class BundleError(StfError):
    """A folder is not a bundle that can be used."""


class BundleVersionError(BundleError):
    """A bundle was written by a format version that is not known here."""


class AssetError(BundleError):
    """A file of a bundle is missing, changed, or outside the bundle."""


class EngineError(StfError):
    """An engine cannot be opened or run."""


class EngineUnavailableError(EngineError):
    """The backend of an engine is unknown or not installed."""


class CheckFailedError(StfError):
    """Something ran, and its numbers are not what they must be."""

    exit_code = 1


# Export --------------------------------------------------------------------------------------------------


class ExportError(StfError):
    """A network cannot be exported."""


class ContractError(ExportError):
    """A contract file is not complete or contradicts the network."""


class CheckpointError(ExportError):
    """A checkpoint cannot be loaded."""


class UnsafeCheckpointError(CheckpointError):
    """Loading a checkpoint would run code that the file carries."""


class ParityError(ExportError):
    """The exported graph does not compute what the network computes."""

    exit_code = 1


class UnknownNetworkError(ExportError):
    """No network of that name."""


# Metrics -------------------------------------------------------------------------------------------------


class MetricError(StfError):
    """A figure cannot be computed from these arrays."""
