# SPDX-License-Identifier: Apache-2.0
"""Work in a process of its own: a backend that takes all memory, or crashes, takes nothing else with it.

The child tells of its steps, and at last of its result or error, as lines of JSON. It ends when its parent does.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import os
import pickle
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import errors
from ..errors import EngineError, StfError
from .target import Say

_log = logging.getLogger(__name__)

# Seconds after which a step that is still going on is told of again.
_STILL = 10.0

_CHILD = "from stf_infer.engines.isolation import main; main()"


@dataclass(frozen=True)
class Errand:
    """What a child is sent for.

    Attributes:
        function: ``module:name``; called with the request and with a function that takes a line at every step.
        doing: What goes on, for messages: ``Building openvino-cpu``.
        smaller: How to take less memory.
        folder: Where the child works; None is where its parent does.
        aftermath: What is left after it failed, for messages; empty or beginning with ``; ``.
    """

    function: str
    doing: str
    smaller: str
    folder: str | None = None
    aftermath: str = ""

    def as_error(self, error: BaseException) -> StfError:
        """Any failure, as an error that says how to mend it."""
        if isinstance(error, StfError):
            return error
        text = str(error)
        if isinstance(error, MemoryError) or "bad_alloc" in text or "out of memory" in text.lower():
            return EngineError(f"{self.doing} ran out of memory", got=text or None, fix=self.smaller)
        return EngineError(f"{self.doing} failed{self.aftermath}", got=f"{type(error).__name__}: {text}")


def run_apart(errand: Errand, request: Any, say: Say) -> dict[str, Any]:
    """Call a function in a child process.

    Args:
        errand: What to call, and how to speak of it.
        request: Its first argument; whatever can be pickled.
        say: Called with a line at every step, and again while it goes on.

    Returns:
        What it returns: plain values.

    Raises:
        StfError: As it raises them.
        EngineError: The child was killed (out of memory, as a rule) or crashed.
    """
    began = time.monotonic()
    with tempfile.TemporaryFile() as noise:
        child = subprocess.Popen(
            [sys.executable, "-c", _CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=noise,
            cwd=errand.folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(str(Path(p).resolve()) for p in sys.path if p)},
            start_new_session=True,
        )
        try:
            assert child.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                pickle.dump((errand, request), child.stdin)
                child.stdin.flush()  # kept open: the child ends when it is closed
            told = _listen(child, say)
            code = child.wait()
        finally:
            child.kill()
            child.wait()
        noise.seek(0)
        text = noise.read().decode(errors="replace").strip()
    if text:
        _log.debug("%s wrote:\n%s", errand.doing, text)
    if "done" in told:
        done: dict[str, Any] = told["done"]
        return done
    if "error" in told:
        raise _raised(told["error"])
    raise _ended(errand, code, time.monotonic() - began, text)


def _listen(child: subprocess.Popen[bytes], say: Say) -> dict[str, Any]:
    """Pass on what the child says; returns its last word."""
    lines: queue.Queue[bytes | None] = queue.Queue()

    def collect() -> None:
        assert child.stdout is not None
        for line in child.stdout:
            lines.put(line)
        lines.put(None)

    threading.Thread(target=collect, name="stf-errand", daemon=True).start()
    step = "starting"
    while True:
        try:
            line = lines.get(timeout=_STILL)
        except queue.Empty:
            say(step)
            continue
        if line is None:
            return {}
        told: dict[str, Any] = json.loads(line)
        if "say" not in told:
            return told
        step = told["say"]
        say(step)


def _raised(told: dict[str, Any]) -> StfError:
    kind = getattr(errors, str(told["error"]), EngineError)
    error: StfError = kind(told["what"], got=told["got"], allowed=told["allowed"], fix=told["fix"])
    return error


def _ended(errand: Errand, code: int, seconds: float, text: str) -> EngineError:
    """The child ended without a word."""
    last = text.splitlines()[-1] if text else ""
    if code == -signal.SIGKILL:
        return EngineError(
            f"{errand.doing} was killed by the system: it ran out of memory, or somebody ended it",
            got=f"signal 9 after {seconds:.0f} s",
            fix=errand.smaller,
        )
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    return EngineError(f"{errand.doing} crashed{errand.aftermath}", got=f"{how} after {seconds:.0f} s. {last}".strip())


def main() -> None:
    """The child: reads one request, does what it says, tells."""
    # Backends write to stdout as they please; what is told to the parent goes through a stream of its own.
    mouth = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)
    errand, request = pickle.load(sys.stdin.buffer)
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def tell(word: dict[str, Any]) -> None:
        mouth.write(json.dumps(word) + "\n")

    try:
        module, _, name = errand.function.partition(":")
        done = getattr(importlib.import_module(module), name)(request, lambda text: tell({"say": text}))
    except Exception as error:
        _log.exception("%s failed", errand.doing)
        told = errand.as_error(error)
        tell({"error": {**told.as_dict(), "error": type(told).__name__}})
    else:
        tell({"done": done})
    mouth.close()
    # A backend that crashes while it unloads has done its work.
    os._exit(0)


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(1)
