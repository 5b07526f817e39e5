# SPDX-License-Identifier: Apache-2.0
"""Open and verify a bundle: the folder ``NAME.stf/`` that holds an exported network and its contract.

A bundle is trusted no further than its hashes: nothing in it is executed, nothing outside of the folder is read,
and every file is compared with the SHA-256 that ``item.json`` states before it is handed out. The layout is
described in ``docs/bundle.md``. No engine, torch or STAC library is needed to read one.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from .errors import AssetError, BundleError, BundleVersionError
from .samples.spec import SampleSpec
from .spec import ModelSpec

if TYPE_CHECKING:
    import numpy as np

FORMAT = "1.1"  # 1.1 added contracts for samples
ITEM = "item.json"
GOLDEN = "golden"
TILES = "tiles"

# Multihash of SHA-256: function code 0x12, digest length 0x20, then the digest.
SHA256_MULTIHASH = "1220"
_CHUNK = 1 << 20


def sha256_of(path: Path) -> str:
    """SHA-256 of a file in hexadecimal, read in pieces of 1 MiB."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


@dataclass(frozen=True)
class Asset:
    """One file of a bundle, as ``item.json`` states it.

    Attributes:
        key: Its name in the item: ``model-fp32``, ``golden``.
        href: Its path below the bundle, with forward slashes.
        sha256: What its content must hash to, hexadecimal.
        size: Bytes, or None where the item does not say.
        title: What it is, for a person.
        media_type: Its media type, or empty.
        precision: ``fp32``, ``fp16`` and so on for a network, or None.
        needs: Keys of the assets that this one refers to (weights outside of an ONNX file).
        target: For what an engine was built, or None.
    """

    key: str
    href: str
    sha256: str
    size: int | None
    title: str
    media_type: str
    precision: str | None
    needs: tuple[str, ...]
    target: str | None = None


class Bundle:
    """An opened bundle. Build one with :meth:`open`.

    Attributes:
        path: The folder.
        item: The STAC Item, as parsed.
        spec: The contract: roles, bands, units and tile rule of rasters, or roles and dims of samples.
        assets: Every asset by key.
        sha256: Identity of the bundle: the hash of ``item.json``, which itself states the hash of every asset, as it
            was before engines and tiles were added to it.
    """

    def __init__(
        self, path: Path, item: dict[str, Any], spec: ModelSpec | SampleSpec, assets: dict[str, Asset], sha256: str
    ) -> None:
        self.path, self.item, self.spec, self.assets, self.sha256 = path, item, spec, assets, sha256
        self._verified: set[str] = set()

    @classmethod
    def open(cls, path: str | Path) -> Bundle:
        """Open a bundle and check its description; assets are verified when they are asked for.

        Raises:
            BundleError: No folder, no ``item.json``, or a description that is not complete.
            BundleVersionError: The format is one that this version does not know.
            AssetError: An asset is stated without a hash or lies outside of the folder.
        """
        path = Path(path)
        if not path.is_dir():
            what = "A bundle is a folder, and this is a file" if path.exists() else "There is no bundle at this path"
            raise BundleError(what, got=path, fix="`stf-infer export` makes a bundle")
        raw = _read_item(path)
        item = _parse_item(path, raw)
        properties = item.get("properties")
        if not isinstance(properties, dict):
            raise BundleError(f"{ITEM} has no properties", got=path)
        _check_format(path, properties)
        spec = _parse_contract(path, properties)
        assets = _parse_assets(path, item)
        return cls(path, item, spec, assets, _identity(raw, item, assets))

    def reload(self) -> None:
        """Read the description again, after an engine has been added.

        Raises:
            BundleError: As :meth:`open`.
        """
        fresh = Bundle.open(self.path)
        self.item, self.spec, self.assets, self.sha256 = fresh.item, fresh.spec, fresh.assets, fresh.sha256
        self._verified.clear()

    def __repr__(self) -> str:
        return f"Bundle({str(self.path)!r}, network={self.spec.network!r})"

    @property
    def properties(self) -> dict[str, Any]:
        """Properties of the STAC Item."""
        found: dict[str, Any] = self.item["properties"]
        return found

    @property
    def parity(self) -> dict[str, Any]:
        """What the parity check of the export measured; empty where the bundle does not say."""
        return dict(self.properties.get("stf:parity", {}))

    @property
    def precisions(self) -> dict[str, str]:
        """Precision to asset key of the network in that precision: ``{"fp32": "model-fp32"}``."""
        return {a.precision: key for key, a in self.assets.items() if a.precision is not None and a.target is None}

    def asset(self, key: str) -> Path:
        """Path of an asset, verified on first use, together with the assets that it refers to.

        Raises:
            AssetError: Unknown key, missing file, a link out of the folder, another size or another hash.
        """
        if key not in self.assets:
            raise AssetError("The bundle has no asset of that name", got=key, allowed=", ".join(self.assets) or "none")
        asset = self.assets[key]
        path = self.path / asset.href
        if key not in self._verified:
            self._verify(asset, path)
            self._verified.add(key)
            for other in asset.needs:
                self.asset(other)
        return path

    def verify(self) -> None:
        """Verify every asset.

        Raises:
            AssetError: As :meth:`asset`, for the first one that is wrong.
        """
        for key in self.assets:
            self.asset(key)

    def golden(self) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """The golden tile or sample: inputs by role and the output, in network values and the tensors' types.

        Those of rasters are float32 ``(C, H, W)``, those of samples have the shapes of the contract.

        Raises:
            AssetError: There is none, or it does not fit the contract.
        """
        return self._golden

    def golden_feed(self, tiles: int) -> dict[str, np.ndarray]:
        """What an engine is called with: the golden tile or sample, ``tiles`` times, by name of the tensor.

        Raises:
            AssetError: As :meth:`golden`.
        """
        import numpy as np

        inputs, _ = self.golden()
        return {tensor.name: np.repeat(inputs[tensor.role][None], tiles, axis=0) for tensor in self.spec.tensors}

    @cached_property
    def _golden(self) -> tuple[dict[str, np.ndarray], np.ndarray]:
        from zipfile import BadZipFile

        import numpy as np

        path = self.asset(GOLDEN)
        try:
            with np.load(path, allow_pickle=False) as data:
                arrays = {name: data[name] for name in data.files}
        except (OSError, EOFError, ValueError, TypeError, BadZipFile) as error:
            raise AssetError("The golden tile cannot be read", got=f"{path}: {error}") from error
        tensors = self.spec.tensors
        wanted = {**{f"input_{t.role}": t.shape for t in tensors}, "output": self.spec.output_shape}
        found = {name: array.shape for name, array in arrays.items()}
        if found != wanted:
            raise AssetError("The golden tile does not fit the contract", got=found, allowed=wanted)
        inputs = {t.role: np.asarray(arrays[f"input_{t.role}"], t.dtype, order="C") for t in tensors}
        return inputs, np.asarray(arrays["output"], np.float32, order="C")

    def _verify(self, asset: Asset, path: Path) -> None:
        root = self.path.resolve()
        if not path.resolve().is_relative_to(root):
            raise AssetError(f"Asset {asset.key} is a link out of the bundle", got=asset.href)
        if not path.is_file():
            raise AssetError(f"Asset {asset.key} is missing", got=path, fix=_again(asset))
        size = path.stat().st_size
        if asset.size is not None and size != asset.size:
            raise _changed(asset, f"{size} bytes", f"{asset.size} bytes")
        found = sha256_of(path)
        if found != asset.sha256:
            raise _changed(asset, f"SHA-256 {found}", f"SHA-256 {asset.sha256}")


def _changed(asset: Asset, got: str, allowed: str) -> AssetError:
    made = "built" if asset.target is not None else "stored" if asset.key == TILES else "exported"
    return AssetError(
        f"Asset {asset.key} ({asset.href}) is not the file that was {made}", got=got, allowed=allowed, fix=_again(asset)
    )


def _again(asset: Asset) -> str:
    if asset.target is not None:
        return f"`stf-infer build NAME.stf --target {asset.target}` builds it again"
    if asset.key == TILES:
        return "Copy the whole bundle folder again, or cut others: `stf-infer tiles NAME.stf ...`"
    return "Copy the whole bundle folder again, or export again"


def _identity(raw: bytes, item: dict[str, Any], assets: dict[str, Asset]) -> str:
    """The hash of ``item.json``; engines and tiles that were added to it do not make another bundle of it."""
    kept = {key: entry for key, entry in item["assets"].items() if assets[key].target is None and key != TILES}
    if len(kept) == len(assets):
        return hashlib.sha256(raw).hexdigest()
    return hashlib.sha256(item_text({**item, "assets": kept}).encode()).hexdigest()


def item_text(item: dict[str, Any]) -> str:
    """An item as it is written to ``item.json``."""
    return json.dumps(item, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _read_item(path: Path) -> bytes:
    try:
        return (path / ITEM).read_bytes()
    except FileNotFoundError:
        raise BundleError(f"The folder holds no {ITEM}: it is no bundle", got=path) from None
    except OSError as error:
        raise BundleError(f"{ITEM} cannot be read", got=f"{path}: {error.strerror}") from error


def _parse_item(path: Path, raw: bytes) -> dict[str, Any]:
    try:
        item = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{ITEM} is not valid JSON", got=f"{path}: {error}") from error
    if not isinstance(item, dict):
        raise BundleError(f"{ITEM} is no JSON object", got=path)
    return item


def _check_format(path: Path, properties: dict[str, Any]) -> None:
    found = properties.get("stf:format")
    if not isinstance(found, str):
        raise BundleVersionError(
            f"{ITEM} does not say which bundle format it has", got=f"{path}: {found!r}", allowed=FORMAT
        )
    if found.split(".")[0] != FORMAT.split(".")[0]:
        raise BundleVersionError(
            "The bundle has a format that is not known here",
            got=found,
            allowed=f"{FORMAT.split('.')[0]}.x",
            fix="Update stf-infer, or export the network again with this version",
        )


def _minor(version: str) -> int:
    digits = version.partition(".")[2]
    return int(digits) if digits.isdigit() else 0


def _parse_contract(path: Path, properties: dict[str, Any]) -> ModelSpec | SampleSpec:
    stated = properties.get("stf:contract")
    is_samples = isinstance(stated, dict) and stated.get("kind") == "samples"
    try:
        return SampleSpec.model_validate(stated) if is_samples else ModelSpec.model_validate(stated)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'contract'}: {e['msg']}" for e in error.errors())
        newer = _minor(properties["stf:format"]) > _minor(FORMAT)
        raise BundleError(
            "The contract in the bundle is not valid",
            got=f"{path}: {wrong}",
            fix=f"It was written as format {properties['stf:format']}: update stf-infer" if newer else None,
        ) from error


def _parse_assets(path: Path, item: dict[str, Any]) -> dict[str, Asset]:
    stated = item.get("assets")
    if not isinstance(stated, dict) or not all(isinstance(a, dict) for a in stated.values()):
        raise BundleError(f"{ITEM} states no assets", got=path)
    assets = {key: _parse_asset(key, entry) for key, entry in stated.items()}
    for asset in assets.values():
        for other in asset.needs:
            if other not in assets:
                raise AssetError(f"Asset {asset.key} refers to an asset that the bundle does not have", got=other)
    return assets


def _parse_asset(key: str, entry: dict[str, Any]) -> Asset:
    needs, size, precision = entry.get("stf:needs", []), entry.get("file:size"), entry.get("stf:precision")
    target = entry.get("stf:target")
    if not (
        isinstance(needs, list)
        and all(isinstance(n, str) for n in needs)
        and (size is None or isinstance(size, int))
        and (precision is None or isinstance(precision, str))
        and (target is None or isinstance(target, str))
    ):
        raise AssetError(f"Asset {key} is not described as an asset of a bundle", got=entry)
    return Asset(
        key=key,
        href=_safe_href(key, entry.get("href")),
        sha256=_sha256_from_multihash(key, entry.get("file:checksum")),
        size=size,
        title=str(entry.get("title", "")),
        media_type=str(entry.get("type", "")),
        precision=precision,
        needs=tuple(needs),
        target=target,
    )


def _safe_href(key: str, href: Any) -> str:
    """A relative path that stays below the bundle, as text; links are looked at when the file is opened."""
    fix = "Export the network again; a bundle refers to its own files only"
    if not isinstance(href, str) or not href or "\0" in href:
        raise AssetError(f"Asset {key} has no path", got=repr(href), fix=fix)
    parts = PurePosixPath(href).parts
    # A colon is a scheme or a drive letter, a backslash a separator on some systems: neither is ever written.
    if ":" in href or "\\" in href or href.startswith("/") or ".." in parts:
        raise AssetError(
            f"Asset {key} points out of the bundle", got=href, allowed="a relative path below the bundle", fix=fix
        )
    return href


def _sha256_from_multihash(key: str, checksum: Any) -> str:
    digest = checksum[len(SHA256_MULTIHASH) :] if isinstance(checksum, str) else ""
    if (
        not isinstance(checksum, str)
        or not checksum.startswith(SHA256_MULTIHASH)
        or len(digest) != 64
        or not set(digest.lower()) <= set("0123456789abcdef")
    ):
        raise AssetError(
            f"Asset {key} has no SHA-256 in file:checksum",
            got=repr(checksum),
            allowed=f"{SHA256_MULTIHASH} and 64 hexadecimal digits",
        )
    return digest.lower()
