# SPDX-License-Identifier: Apache-2.0
"""What a bench hands out: tables on a terminal, JSON, Markdown, and a page.

Everything is made from a :class:`~stf_infer.bench.result.Result`, and from the rasters that it names.
"""

from __future__ import annotations

from pathlib import Path

from ..result import Result
from .files import write_all
from .markdown import markdown
from .page import page
from .terminal import show

__all__ = ["markdown", "page", "rewrite", "show", "write"]

_SUFFIXES = {"json": "json", "markdown": "md", "html": "html"}


def write(result: Result, folder: str | Path) -> dict[str, Path]:
    """Write ``bench.json``, ``bench.md`` and ``bench.html``: all, or none.

    Args:
        result: What was measured.
        folder: Where they go, and what paths in the result are relative to; made if it is missing.

    Returns:
        ``json``, ``markdown`` and ``html``, to their paths.

    Raises:
        OutputError: The folder cannot be written to; what stood there before is unchanged.
    """
    return _written(
        Path(folder), "bench", {"json": result.model_dump_json(indent=1) + "\n", **_reports(result, Path(folder))}
    )


def rewrite(result: Result, folder: str | Path, *, rasters: str | Path, name: str = "bench") -> dict[str, Path]:
    """Write the reports again, without the JSON file that they come from.

    Args:
        result: What was measured.
        folder: Where they go; made if it is missing.
        rasters: What paths in the result are relative to: the folder of its JSON file.
        name: Of the files, without their suffix.

    Returns:
        ``markdown`` and ``html``, to their paths.

    Raises:
        OutputError: The folder cannot be written to; what stood there before is unchanged.
    """
    return _written(Path(folder), name, _reports(result, Path(rasters)))


def _reports(result: Result, rasters: Path) -> dict[str, str]:
    return {"markdown": markdown(result), "html": page(result, rasters)}


def _written(folder: Path, name: str, texts: dict[str, str]) -> dict[str, Path]:
    paths = write_all(folder, {f"{name}.{_SUFFIXES[kind]}": text for kind, text in texts.items()})
    return dict(zip(texts, paths, strict=True))
