# SPDX-License-Identifier: Apache-2.0
"""How a result file is laid out: blocks, compression, overviews, COG."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .storage import CompressName, FormatName, Storage, check_choice

if TYPE_CHECKING:
    import rasterio
    from rasterio.io import DatasetWriter

# Rows and columns of a block, and the rows that are written at once.
BLOCK = 512
_SMALLEST_OVERVIEW = 256


@dataclass(frozen=True)
class FileOptions:
    """How a result file is laid out.

    Attributes:
        format: ``gtiff`` (tiled GeoTIFF) or ``cog`` (cloud-optimised GeoTIFF).
        compress: Lossless compression.
        overviews: Whether reduced versions are built in (always in a COG).
        threads: Threads that compress.

    Raises:
        UsageError: A choice that does not exist.
    """

    format: FormatName = "gtiff"
    compress: CompressName = "zstd"
    overviews: bool = True
    threads: int = 1

    def __post_init__(self) -> None:
        check_choice("format", self.format, FormatName)
        check_choice("compress", self.compress, CompressName)

    def creation(self, storage: Storage) -> dict[str, Any]:
        """GDAL creation options of a tiled GeoTIFF."""
        options = {
            "tiled": True,
            "blockxsize": BLOCK,
            "blockysize": BLOCK,
            "interleave": "band",
            "BIGTIFF": "IF_SAFER",
            "COMPRESS": self.compress.upper(),
            **self.opening(),
        }
        if self.compress != "none":
            options["PREDICTOR"] = "3" if storage.dtype.kind == "f" else "2"
        if self.compress == "zstd":
            options["ZSTD_LEVEL"] = "1"
        return options

    def opening(self) -> dict[str, Any]:
        """GDAL options to write on in an existing file. A block without data takes no place on disk."""
        return {"SPARSE_OK": "TRUE", "NUM_THREADS": str(self.threads)}

    def reopen(self, path: Path) -> DatasetWriter:
        """Open a file to write on in it.

        Raises:
            OSError: It is gone (rasterio would raise TypeError), or cannot be opened.
        """
        import rasterio

        path.stat()
        return rasterio.open(path, "r+", **self.opening())

    def overview_factors(self, height: int, width: int) -> list[int]:
        """Powers of two, down to the last one whose longer side is not below 256."""
        factors: list[int] = []
        while max(height, width) // 2 ** (len(factors) + 1) >= _SMALLEST_OVERVIEW:
            factors.append(2 ** (len(factors) + 1))
        return factors

    def build_overviews(self, path: Path) -> None:
        """Add averaged reduced versions to a GeoTIFF."""
        from rasterio.enums import Resampling

        with _errors_noticed(), replace(self, threads=1).reopen(path) as file:
            factors = self.overview_factors(file.height, file.width)
            if factors:
                file.build_overviews(factors, Resampling.average)

    def make_cog(self, source: Path, made: Path, storage: Storage) -> None:
        """Copy a GeoTIFF to a COG, overviews included."""
        import rasterio.shutil

        options = {
            "BLOCKSIZE": str(BLOCK),
            "BIGTIFF": "IF_SAFER",
            "SPARSE_OK": "TRUE",
            "COMPRESS": self.compress.upper(),
            "OVERVIEW_RESAMPLING": "AVERAGE",
        }
        if self.compress != "none":
            options["PREDICTOR"] = "FLOATING_POINT" if storage.dtype.kind == "f" else "STANDARD"
        if self.compress == "zstd":
            options["LEVEL"] = "1"
        with _errors_noticed():
            rasterio.shutil.copy(source, made, driver="COG", **options)


def _errors_noticed() -> rasterio.Env:
    """One thread: GDAL forgets errors of threads that compress, and a hole in an overview nobody would notice."""
    import rasterio

    return rasterio.Env(GDAL_NUM_THREADS="1", ZSTD_LEVEL_OVERVIEW="1")
