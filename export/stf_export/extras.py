# SPDX-License-Identifier: Apache-2.0
"""What the export stage needs and a plain installation does not have."""

from __future__ import annotations

import importlib
from types import ModuleType

from stf_infer.errors import MissingExtraError

# package: extra that installs it
_EXTRA = {"onnxruntime": "cpu"}


def need(package: str) -> ModuleType:
    """The imported package.

    Raises:
        MissingExtraError: It is not installed; the message names the extra.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        extra = _EXTRA.get(package, "export")
        extras = extra if extra == "export" else f"export,{extra}"
        raise MissingExtraError(
            f"Exporting a network needs the package {package}",
            got=str(error),
            fix=f"pip install 'stf-infer[{extras}]'",
        ) from error
