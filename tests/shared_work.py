# SPDX-License-Identifier: Apache-2.0
"""Work that several processes of one run of the tests want: the first one does it, the others wait and take it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock


def folder_of_the_run(factory: pytest.TempPathFactory, name: str) -> Path:
    """A folder that all processes of this run share; pytest-xdist gives each of its workers one inside of it."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def once(result: Path) -> Iterator[bool]:
    """Whether ``result`` is still to be made, and by nobody else meanwhile.

    Whoever makes it has to put it there as a whole: what is there is taken to be complete.
    """
    with FileLock(f"{result}.lock"):
        yield not result.exists()
