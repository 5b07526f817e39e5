# SPDX-License-Identifier: Apache-2.0
"""What is in a checkpoint file, read without running anything that the file carries.

The first bytes tell what a file is; its name does not matter.
"""

from __future__ import annotations

import re
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from stf_infer.errors import CheckpointError, UnsafeCheckpointError

from ..extras import need

_TORCH_LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # torch.save's magic number, pickled
_HDF5 = b"\x89HDF\r\n\x1a\n"
_ZIP = b"PK\x03\x04"

# Files that people have in place of a checkpoint: first bytes, what they are, how to mend it.
_NOT_WEIGHTS = (
    (b"version https://git-lfs", "a pointer of Git LFS, not the weights", "Fetch the file with `git lfs pull`"),
    (b"<", "a web page or XML, not the weights", "Download the file itself, not the page about it"),
    (b"\x08", "an ONNX graph", "Export it as it is, with a contract, in place of a network and weights"),
)
_READABLE = "safetensors, a PyTorch state dict (.pt, .pth, .ckpt), Keras weights (HDF5)"
_MEND = (
    "Where you trust the file, load it with the code that wrote it and keep its weights alone: "
    "torch.save(network.state_dict(), 'weights.pth'), or safetensors.torch.save_file"
)
_UNSAFE = re.compile(
    r"GLOBAL (?P<name>[\w.]+)"
    r"|(?P<call>(?:Can only (?:create new object|build)|Trying to call reduce)[^\n]*)"
)


@dataclass(frozen=True)
class Contents:
    """What a checkpoint file holds.

    Attributes:
        name: What to call it in messages: the file's path.
        kind: ``torch`` and ``safetensors``: ``content`` is what was saved, containers of tensors. ``keras``:
            ``content`` is the HDF5 datasets as arrays by path.
        content: See ``kind``.
    """

    name: str
    kind: Literal["torch", "safetensors", "keras"]
    content: Any


def read(path: str | Path) -> Contents:
    """Read a checkpoint file: safetensors, torch zip, torch legacy pickle or Keras HDF5.

    Cost: the whole file is held in memory once.

    Raises:
        CheckpointError: No such file, or it is empty, damaged or of another type.
        UnsafeCheckpointError: It holds more than weights: loading it would run code.
    """
    path = Path(path)
    try:
        with path.open("rb") as stream:
            head = stream.read(64)
    except OSError as error:
        raise CheckpointError("The checkpoint cannot be read", got=f"{path}: {error.strerror}") from error
    if not head:
        raise CheckpointError("The checkpoint is an empty file", got=path)
    if head.startswith(_HDF5):
        return Contents(str(path), "keras", _read_keras(path))
    if head.startswith(_ZIP):
        return Contents(str(path), "torch", _read_torch_zip(path))
    if head.startswith(_TORCH_LEGACY):
        return Contents(str(path), "torch", _read_torch(path))
    if len(head) > 8 and head[8:9] == b"{":
        return Contents(str(path), "safetensors", _read_safetensors(path))
    if head.startswith(b"\x80") or _TORCH_LEGACY.startswith(head):
        raise _refuse_plain_pickle(path, head)
    raise _unknown_type(path, head)


def _read_torch_zip(path: Path) -> Any:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
    except zipfile.BadZipFile as error:
        raise _damaged(path, str(error)) from error
    if any(re.search(r"(^|/)code/", member) for member in members):
        raise UnsafeCheckpointError(
            "This is a TorchScript archive: it carries a program, not only weights", got=path, fix=_MEND
        )
    if not any(member.endswith("data.pkl") for member in members):
        raise CheckpointError(
            "This zip file holds no PyTorch checkpoint",
            got=f"{path} with {', '.join(members[:3]) or 'no entries'}",
            allowed=_READABLE,
        )
    return _read_torch(path)


def _read_torch(path: Path) -> Any:
    try:
        # A stream, since torch.load goes by the name of a path.
        with path.open("rb") as stream, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about types of storage that are of no interest here
            return torch.load(stream, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # a damaged pickle raises anything: EOFError, KeyError, UnicodeDecodeError ...
        unsafe = _UNSAFE.search(str(error))
        if unsafe is None:
            reason = f"{type(error).__name__} {error}".splitlines()[0]
            raise _damaged(path, reason) from error
        needs = f"wants `{unsafe['name']}`" if unsafe["name"] else unsafe["call"]
        raise UnsafeCheckpointError(
            "This checkpoint holds more than weights: loading it would run code that the file names",
            got=f"{path} {needs}",
            fix=_MEND,
        ) from None


def _refuse_plain_pickle(path: Path, head: bytes) -> CheckpointError:
    if _TORCH_LEGACY.startswith(head):
        return _damaged(path, f"{len(head)} bytes")
    return UnsafeCheckpointError(
        "This is a plain pickle, not written by torch.save: loading it could run any code",
        got=path,
        allowed=_READABLE,
        fix=_MEND,
    )


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    need("safetensors")
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise _damaged(path, str(error)) from error


def _read_keras(path: Path) -> dict[str, np.ndarray]:
    h5py = need("h5py")
    datasets: dict[str, np.ndarray] = {}

    def collect(name: str, item: Any) -> None:
        if not isinstance(item, h5py.Dataset) or item.dtype.kind not in "fiu":
            return
        if item.external or item.is_virtual:
            raise CheckpointError("A dataset of this HDF5 file lies in another file", got=f"{path}: {name}")
        datasets[name] = item[()]

    try:
        with h5py.File(path, "r") as file:
            # A whole saved model keeps its optimiser beside the weights.
            file.get("model_weights", file).visititems(collect)
    except (OSError, RuntimeError, KeyError) as error:
        raise _damaged(path, str(error)) from error
    if not datasets:
        raise CheckpointError("This HDF5 file holds no weights", got=path, allowed=_READABLE)
    return datasets


def _damaged(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(
        "The checkpoint is cut short or damaged",
        got=f"{path} ({path.stat().st_size} bytes): {reason}",
        fix="Copy or download it again",
    )


def _unknown_type(path: Path, head: bytes) -> CheckpointError:
    for start, what, fix in _NOT_WEIGHTS:
        if head.startswith(start):
            return CheckpointError(f"This file is {what}", got=path, allowed=_READABLE, fix=fix)
    return CheckpointError(
        "This is not a type of checkpoint that can be read", got=f"{path}, begins {head[:8]!r}", allowed=_READABLE
    )
