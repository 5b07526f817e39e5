# SPDX-License-Identifier: Apache-2.0
"""A backend made of a function, which can be told to fail in every way that a compiler fails; as a plug-in.

``install`` registers it as a distribution would, so that child processes find it too.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from fakes import add_coarse_change
from stf_infer.engines import Compiled, Engine, EngineInfo, Job, Option, Target
from stf_infer.errors import EngineError

FILE = "engine.toy"


def install(folder: Path, monkeypatch: Any) -> None:
    """Register the targets ``toy`` (has to be built) and ``toy-open`` (opens bundles too)."""
    from stf_infer.engines import registry

    home = folder / "toy_backend-1.dist-info"
    home.mkdir(parents=True)
    (home / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-backend\nVersion: 1\n")
    (home / "entry_points.txt").write_text(
        "[stf_infer.engines]\ntoy = toy_backend:toy\ntoy-open = toy_backend:toy_open\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delenv("TOY_DEVICE", raising=False)
    monkeypatch.delenv("TOY_VERSION", raising=False)
    monkeypatch.delenv("TOY_FAILS", raising=False)
    registry.plugins.cache_clear()
    ToyTarget.compiled.clear()


class ToyTarget(Target):
    """Computes ``add_coarse_change``; device and version are what the environment says."""

    compiled: ClassVar[list[str]] = []  # one entry a compilation in this process
    batch = 4
    bounded = True
    options = (
        Option(
            "how", "How it ends.", "well", ("well", "refused", "memory", "killed", "crash", "wrong", "slow", "noisy")
        ),
        Option("off", "By how many thousandths the first band is too large.", 0),
        Option("level", "Changes nothing but the key.", 0),
        Option("fast", "Changes nothing but the key.", False),
    )

    def __init__(self, opens_graph: bool = False) -> None:
        self.opens_graph = opens_graph

    def backend(self) -> str:
        return f"toy {os.environ.get('TOY_VERSION', '1')}"

    def device(self, options: Mapping[str, Any]) -> str:
        return os.environ.get("TOY_DEVICE", "abacus")

    def probe(self) -> EngineInfo:
        version = os.environ.get("TOY_VERSION", "1")
        return EngineInfo("toy", True, version, ("fp32", "bf16"), builds=True, devices=("abacus",))

    executed = ("bf16",)

    def compile(self, job: Job) -> Compiled:
        self.compiled.append(job.precision)
        job.say("carving")
        how = job.options["how"]
        if how == "refused":
            raise EngineError("The toy refuses the operator Gear", got="Gear", fix="Use Wheel")
        if how == "memory":
            raise MemoryError
        (job.folder / "half").write_bytes(b"not all of it")
        if how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "crash":
            os.abort()
        if how == "slow":
            time.sleep(60)
        if how == "noisy":
            os.write(1, b"a backend talks on stdout\n")
            sys.stderr.write("and on stderr\n")
        (job.folder / "half").unlink()
        (job.folder / FILE).write_text(json.dumps({"factor": 2 if how == "wrong" else 1, **self._off(job)}))
        (job.folder / "deep").mkdir()
        (job.folder / "deep" / "weights").write_bytes(b"weights")
        return Compiled((FILE, "deep/weights"), {"batch": job.batch})

    @staticmethod
    def _off(job: Job) -> dict[str, float]:
        return {"off": job.options["off"] / 1000} if job.options["off"] else {}

    def open(self, bundle: Any, stored: Any, precision: str, threads: int | None) -> Engine:
        return ToyEngine(bundle, threads, self.name, stored, precision)


class ToyEngine(Engine):
    """The function times the factor in the file; ``slowness`` seconds a call."""

    slowness = 0.0
    calls = 0

    def __init__(self, bundle: Any, threads: int | None, name: str, stored: Any, precision: str) -> None:
        self.name, self.stored, self.precision = name, stored, precision
        super().__init__(bundle, threads)

    def open_impl(self, bundle: Any, threads: int | None) -> None:
        self.factor, self.off = 1, 0.0
        if self.stored is not None:
            try:
                told = json.loads(self.stored.files[0].read_text())
                self.factor, self.off = told["factor"], told.get("off", 0.0)
            except ValueError as error:
                raise EngineError("The toy cannot read its engine", got=error) from error
            self.max_batch = self.stored.settings["batch"]

    def infer_impl(self, inputs: Any) -> dict[str, np.ndarray]:
        time.sleep(self.slowness)
        self._fail(os.environ.get("TOY_FAILS", ""))
        found = self.factor * add_coarse_change(**inputs)
        found[:, 0] *= 1 + self.off
        return {self.spec.output.tensor: found.astype(np.float32)}

    def _fail(self, how: str) -> None:
        """In the way that the environment names, where it names this target: ``toy-open:crash``."""
        name, _, way = how.partition(":")
        self.calls += 1
        if name != self.name or (way == "late" and self.calls < 20):
            return
        if way == "crash":
            os.abort()
        if way == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if way == "memory":
            raise MemoryError
        if way in ("refused", "late"):
            raise EngineError("The toy is tired", got="a batch", fix="Wind it up")
        self.factor = 2

    def close_impl(self) -> None:
        pass

    def describe(self) -> dict[str, str]:
        return {"engine": self.name, "version": "1", "precision": self.precision, "device": "abacus"}


toy = ToyTarget()
toy_open = ToyTarget(opens_graph=True)
