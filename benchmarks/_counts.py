# SPDX-License-Identifier: Apache-2.0
"""Instructions that calls take, as callgrind counts them: figures that do not depend on what else a machine does.

They are counted from a call's beginning to its end, and not by the names of functions, which an installed core has
lost. valgrind has no AVX-512: counts are of the vectors that the core chooses there, at most those of AVX2.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

_RUN = """
import os, subprocess
def control(*what):
    subprocess.run(["callgrind_control", *what, str(os.getpid())], check=True, stdout=subprocess.DEVNULL)
for call in calls.values():
    call()  # what is done once
control("--instr=on")
control("--dump")
control("--dump")  # what a dump itself takes
for call in calls.values():
    call()
    control("--dump")
from stf_infer import _core
print("vectors", _core.metrics_kernels()[0], *calls, sep="\\n")
"""


def instructions(code: str, *arguments: object) -> tuple[dict[str, int], str]:
    """Instructions of each call that ``code`` prepares.

    Args:
        code: Python that makes a dict ``calls`` of calls without arguments.
        arguments: What it finds in ``sys.argv``.

    Returns:
        Instructions by the call's name, and the instruction set that they are of; an empty dict, and why.
    """
    for tool in ("valgrind", "callgrind_control"):
        if shutil.which(tool) is None:
            return {}, f"{tool} is not installed"
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "counts"
        command = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={out}"]
        command += [sys.executable, "-c", code + _RUN, *map(str, arguments)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            return {}, f"valgrind failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}"
        _, vectors, *names = done.stdout[done.stdout.index("vectors\n") :].splitlines()
        overhead, *totals = (_total(Path(f"{out}.{k}")) for k in range(2, len(names) + 3))
    return {name: total - overhead for name, total in zip(names, totals, strict=True)}, vectors


def _total(dump: Path) -> int:
    found = re.search(r"^totals: (\d+)", dump.read_text(), re.MULTILINE)
    if found is None:
        raise ValueError(f"{dump.name} has no totals")
    return int(found[1])
