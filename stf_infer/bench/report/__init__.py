# SPDX-License-Identifier: Apache-2.0
"""What a bench hands out: tables on a terminal, JSON, Markdown.

Everything is made from a :class:`~stf_infer.bench.result.Result`, and from the rasters that it names.
"""

from __future__ import annotations

from pathlib import Path

from ..result import Result
from .files import write_all
from .markdown import markdown
from .terminal import show

__all__ = ["markdown", "show", "write"]


def write(result: Result, folder: str | Path) -> dict[str, Path]:
    """Write ``bench.json`` and ``bench.md``: both, or none.

    Args:
        result: What was measured.
        folder: Where they go, and what paths in the result are relative to; made if it is missing.

    Returns:
        ``json`` and ``markdown``, to their paths.

    Raises:
        OutputError: The folder cannot be written to; what stood there before is unchanged.
    """
    texts = {"bench.json": result.model_dump_json(indent=1) + "\n", "bench.md": markdown(result)}
    return dict(zip(("json", "markdown"), write_all(Path(folder), texts), strict=True))
