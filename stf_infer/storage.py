# SPDX-License-Identifier: Apache-2.0
"""How network values become the numbers of a result file, of one sample or of several."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from . import _core
from .ensemble import mean_and_deviation
from .errors import UsageError
from .spec import OutputSpec, Values

DTypeName = Literal["auto", "int16", "float32"]
FormatName = Literal["gtiff", "cog"]
CompressName = Literal["none", "deflate", "lzw", "zstd"]


def check_choice(name: str, value: str, choices: Any) -> None:
    """Refuse a value that is not one of a Literal's.

    Raises:
        UsageError: It is not.
    """
    if value not in get_args(choices):
        raise UsageError(f"{name} has no such choice", got=value, allowed=", ".join(get_args(choices)))


class Conversion(NamedTuple):
    """``stored = clip(network * scale + offset, low, high)``, and ``nodata`` where there is no value."""

    scale: float
    offset: float
    low: float
    high: float
    nodata: float


@dataclass(frozen=True)
class Storage:
    """Bands, type, scale and nodata of a result: ``physical = stored * scale + offset``.

    Of several samples the mean is stored, and behind it the standard deviation: those of the images that the samples
    would be on their own, clipped, before they are rounded to integers. A deviation has the scale and no offset.

    Attributes:
        dtype: ``int16`` or ``float32``.
        scale: See above; 1 for floats.
        offset: See above; 0 for floats.
        nodata: Stored where an input had no measurement; NaN for floats.
        unit: Unit of the physical values.
        samples: How many samples a result is made of.
    """

    dtype: np.dtype
    scale: float
    offset: float
    nodata: float
    unit: str
    samples: int = 1

    @classmethod
    def choose(cls, output: OutputSpec, wanted: DTypeName, fine_profile: dict[str, Any], samples: int = 1) -> Storage:
        """The storage of a result.

        ``auto`` follows fine_t1: int16 where it holds integers (and int16 can hold the unit), else float32.

        Raises:
            UsageError: An unknown choice, or int16 where the contract's storage scale cannot hold the unit.
        """
        check_choice("dtype", wanted, DTypeName)
        fine_is_integer = np.dtype(fine_profile["dtype"]).kind in "ui"
        fits = _fits_int16(output)
        if wanted == "float32" or (wanted == "auto" and not (fine_is_integer and fits)):
            return cls(np.dtype(np.float32), 1.0, 0.0, float("nan"), output.values.unit, samples)
        if not fits:
            raise UsageError(
                f"int16 cannot hold {output.values.unit} with the storage scale of the contract",
                got=f"scale {output.storage_scale:g}, offset {output.storage_offset:g}",
                fix="Use --dtype float32",
            )
        nodata = fine_profile["nodata"]
        if nodata is None or not fine_is_integer or not -32768 <= nodata <= -1 or nodata != int(nodata):
            nodata = -32768  # a value that no measurement takes
        return cls(
            np.dtype(np.int16),
            output.storage_scale,
            output.storage_offset,
            float(nodata),
            output.values.unit,
            samples,
        )

    def bands(self, output: OutputSpec) -> tuple[str, ...]:
        """Names of the bands of a result: those of the network, and of several samples ``<band>_std`` for each."""
        return output.bands if self.samples == 1 else (*output.bands, *(f"{band}_std" for band in output.bands))

    def offsets(self, output: OutputSpec) -> tuple[float, ...]:
        """Offset of each band of a result."""
        bands = len(output.bands)
        return (self.offset,) * bands + (0.0,) * (len(self.bands(output)) - bands)

    def finalise(self, sums: np.ndarray, valid: np.ndarray, output: OutputSpec) -> tuple[np.ndarray, int]:
        """Blended network values as stored numbers; nodata where ``valid`` is 0.

        Args:
            sums: ``(samples * C, rows, W)``, sample after sample.
            valid: ``(rows, W)``.
            output: What the values are.

        Returns:
            The stored numbers of all :meth:`bands`, and how many values of valid pixels were not finite in a sample
            (they are nodata as well).
        """
        if self.samples == 1:
            return self._stored(sums, valid, output.values)
        physical = replace(self, dtype=np.dtype(np.float32), scale=1.0, offset=0.0, nodata=float("nan"))
        samples = sums.reshape(self.samples, -1, *sums.shape[1:])
        mean, deviation = mean_and_deviation(physical._stored(one, valid, output.values)[0] for one in samples)
        plain = Values(unit=self.unit)
        stored, not_finite = self._stored(mean, valid, plain)
        return np.concatenate([stored, replace(self, offset=0.0)._stored(deviation, valid, plain)[0]]), not_finite

    def conversion(self, values: Values) -> Conversion:
        """How network values become stored numbers."""
        return Conversion(
            scale=1 / (values.scale * self.scale),
            offset=(-values.offset / values.scale - self.offset) / self.scale,
            low=-np.inf if values.minimum is None else (values.minimum - self.offset) / self.scale,
            high=np.inf if values.maximum is None else (values.maximum - self.offset) / self.scale,
            nodata=int(self.nodata) if self.dtype.kind == "i" else self.nodata,
        )

    def _stored(self, network: np.ndarray, valid: np.ndarray, values: Values) -> tuple[np.ndarray, int]:
        """Numbers of ``(C, rows, W)`` in network values, and how many of valid pixels are not finite."""
        to = self.conversion(values)
        stored = np.empty(network.shape, self.dtype)
        scale, offset = (np.full(len(network), number, np.float32) for number in (to.scale, to.offset))
        not_finite = _core.finalise(network, valid, scale, offset, to.low, to.high, to.nodata, stored)
        return stored, not_finite


def _fits_int16(output: OutputSpec) -> bool:
    """Whether int16 reaches the lowest number that the unit can take."""
    if output.values.plausible is None:
        return True
    lowest = (output.values.plausible[0] - output.storage_offset) / output.storage_scale
    return -32768 <= lowest <= 32767
