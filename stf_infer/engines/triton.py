# SPDX-License-Identifier: Apache-2.0
"""Write a model repository for the Triton Inference Server: the network or a TensorRT plan, its configuration, and the
container that matches.

    model_repository/<name>/config.pbtxt
    model_repository/<name>/<version>/model.onnx or model.plan
    serve.sh

Nothing here runs a server; the configuration is checked against Triton's own schema in the tests.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import EngineError, UsageError
from . import store
from .base import Engine, EngineInfo
from .key import EngineKey, fixed_batch, graph_of
from .target import Compiled, Job, Option, Target

if TYPE_CHECKING:
    from ..bundle import Asset, Bundle
    from .store import StoredEngine

REPOSITORY = "model_repository"
_IMAGE = "nvcr.io/nvidia/tritonserver:{}-py3"

# The release whose container is taken for ONNX files; it holds ONNX Runtime 1.28.0 (the server's table of versions).
_FOR_ONNX = "26.08"

# TensorRT of a plan: the release whose containers hold exactly that one (TensorRT's and Triton's of a release agree).
_FOR_TENSORRT = {
    "10.3.0": "24.08",
    "10.5.0": "24.10",
    "10.8.0": "25.01",
    "10.9.0": "25.03",
    "10.11.0": "25.06",
    "10.13.3": "25.09",
    "10.14.1": "25.11",
}

_KINDS = {"auto": "KIND_AUTO", "gpu": "KIND_GPU", "cpu": "KIND_CPU"}
_TYPES = {
    "float32": "TYPE_FP32",
    "float16": "TYPE_FP16",
    "int8": "TYPE_INT8",
    "uint8": "TYPE_UINT8",
    "int32": "TYPE_INT32",
    "int64": "TYPE_INT64",
    "bool": "TYPE_BOOL",
}


def target(name: str) -> Target:
    """The one target of this module."""
    return TritonTarget()


class TritonTarget(Target):
    """A model repository; it is served elsewhere."""

    name = "triton"
    batch = 8
    options = (
        Option("engine", "What is served: onnx, or a tensorrt-smXX engine of the bundle.", "onnx"),
        Option("device", "Where instances run.", "auto", tuple(_KINDS)),
        Option("instances", "Instances of the model on each device.", 1, minimum=1),
        Option("delay", "Microseconds to wait for requests that make a batch full.", 100),
        Option("version", "Number of the model's version.", 1, minimum=1),
        Option("container", "Image to serve with; empty takes the one that matches.", ""),
    )

    def probe(self) -> EngineInfo:
        """Always to be written, never to be run here."""
        reason = "it is served by a Triton Inference Server"
        return EngineInfo(self.name, False, precisions=("fp32", "fp16", "bf16", "int8"), reason=reason, builds=True)

    def backend(self) -> str:
        return f"triton {_FOR_ONNX}"

    def device(self, options: Mapping[str, Any]) -> str:
        return str(options["device"])

    def key(self, bundle: Bundle, precision: str, batch: int, options: Mapping[str, Any]) -> EngineKey:
        """Of a plan, the key names the plan."""
        key = super().key(bundle, precision, batch, options)
        if options["engine"] == "onnx":
            return key
        plan = _plan(bundle, options["engine"], precision)
        parts = {**key.as_dict(), "device": f"{options['device']}, {options['engine']} {plan.sha256[:12]}"}
        return EngineKey.from_dict(parts)

    def compile(self, job: Job) -> Compiled:
        job.say("writing the model repository")
        spec, engine = job.bundle.spec, job.options["engine"]
        name = re.sub(r"[^A-Za-z0-9_.-]", "_", spec.name)
        home = job.folder / REPOSITORY / name
        (home / str(job.options["version"])).mkdir(parents=True)
        if engine == "onnx":
            image, platform, files, arguments = self._onnx(job, home)
        else:
            image, platform, files, arguments = self._tensorrt(job, home)
        image = job.options["container"] or image
        (home / "config.pbtxt").write_text(_config(job, name, platform, image))
        on_gpu = job.options["device"] != "cpu"
        command = _command(image, on_gpu, arguments)
        (job.folder / "serve.sh").write_text(_script(spec.name, command))
        paths = [home / "config.pbtxt", *files, job.folder / "serve.sh"]
        names = tuple(path.relative_to(job.folder).as_posix() for path in paths)
        return Compiled(names, {"container": image, "serve": f"sh {names[-1]}"})

    def _onnx(self, job: Job, home: Path) -> tuple[str, str, list[Path], str]:
        place = home / str(job.options["version"])
        files = [Path(shutil.copy(job.graph, place / "model.onnx"))]
        # The graph refers to weights outside of it by their own name.
        asset = job.bundle.assets[graph_of(job.bundle, job.precision)]
        files += [Path(shutil.copy(job.bundle.asset(other), place)) for other in asset.needs]
        return _IMAGE.format(_FOR_ONNX), "onnxruntime_onnx", files, ""

    def _tensorrt(self, job: Job, home: Path) -> tuple[str, str, list[Path], str]:
        stored = store.read(job.bundle, _plan(job.bundle, job.options["engine"], job.precision))
        if stored.settings.get("weights") == "stripped":
            raise EngineError("Triton cannot serve a plan without weights", fix="Build the plan with weights inside")
        if job.batch > stored.key.batch:
            raise EngineError(
                "The batch is larger than the plan was built for",
                got=job.batch,
                allowed=f"1 to {stored.key.batch}",
                fix=f"Give --tile-batch {stored.key.batch}, or build the plan for more",
            )
        image = job.options["container"] or _image_for(stored)
        compatible = stored.key.flags.get("version_compatible")
        arguments = "--backend-config=tensorrt,version-compatible=true" if compatible else ""
        place = home / str(job.options["version"]) / "model.plan"
        return image, "tensorrt_plan", [Path(shutil.copy(stored.files[0], place))], arguments

    def open(self, bundle: Bundle, stored: StoredEngine | None, precision: str, threads: int | None) -> Engine:
        raise EngineError("A model repository is served, not opened", fix="Run its serve.sh")


def _plan(bundle: Bundle, engine: str, precision: str) -> Asset:
    """The plan of the bundle that is to be served; of several the one for the largest batch."""
    if not re.fullmatch(r"tensorrt-sm\d+", engine):
        raise UsageError("Triton does not serve such an engine", got=engine, allowed="onnx, tensorrt-smXX")
    found = [asset for asset in store.entries(bundle, engine) if asset.precision == precision]
    if not found:
        raise EngineError(
            f"The bundle holds no plan of {engine} in {precision}",
            got=bundle.path,
            fix=f"`{store.command(bundle, engine, precision)}` on a device with such a GPU",
        )
    return max(found, key=store.batch_of)


def _image_for(stored: StoredEngine) -> str:
    version = stored.key.backend.rpartition(" ")[2]
    release = _FOR_TENSORRT.get(".".join(version.split(".")[:3]))
    if release is None:
        raise EngineError(
            f"No Triton container is known to hold TensorRT {version}, and no other one loads the plan",
            got=version,
            allowed=", ".join(_FOR_TENSORRT),
            fix="Name one with --option container=IMAGE, or build the plan in a TensorRT container of its release",
        )
    return _IMAGE.format(release)


# The files ------------------------------------------------------------------------------------------------------


def _config(job: Job, name: str, platform: str, image: str) -> str:
    """``config.pbtxt``: a text of Triton's ModelConfig."""
    spec, fixed = job.bundle.spec, fixed_batch(job.bundle)
    axes: tuple[int, ...]
    # A batch axis that is not free is an axis like any other to Triton.
    batch, axes = (job.batch, ()) if fixed is None else (0, (fixed,))
    inputs = [(t.name, t.dtype, (*axes, *t.shape)) for t in spec.tensors]
    outputs = [(spec.output.tensor, "float32", (*axes, *spec.output_shape))]
    options = job.options
    lines = [
        f"# {spec.name}, {spec.network}: tensors in network values. Written by stf-infer; serve with",
        f"# {image}",
        f"name: {_quoted(name)}",
        f"platform: {_quoted(platform)}",
        f"max_batch_size: {batch}",
        *[_tensor("input", *one) for one in inputs],
        *[_tensor("output", *one) for one in outputs],
        f"instance_group [ {{ kind: {_KINDS[options['device']]} count: {options['instances']} }} ]",
        f"version_policy {{ specific {{ versions: [ {options['version']} ] }} }}",
    ]
    if batch > 1:
        lines.append(
            f"dynamic_batching {{ preferred_batch_size: [ {batch} ] max_queue_delay_microseconds: {options['delay']} }}"
        )
    facts = {"stf_bundle": spec.name, "stf_bundle_sha256": job.bundle.sha256, "stf_precision": job.precision}
    for key, value in {**facts, "stf_container": image}.items():
        lines.append(f"parameters {{ key: {_quoted(key)} value {{ string_value: {_quoted(value)} }} }}")
    return "\n".join(lines) + "\n"


def _tensor(kind: str, name: str, dtype: str, shape: tuple[int, ...]) -> str:
    # One number a sample has no axis of its own, and Triton asks for one.
    dims = f"dims: [ {', '.join(map(str, shape))} ]" if shape else "dims: [ 1 ] reshape { shape: [ ] }"
    return f"{kind} [ {{ name: {_quoted(name)} data_type: {_TYPES[str(np.dtype(dtype))]} {dims} }} ]"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _command(image: str, on_gpu: bool, arguments: str) -> str:
    gpus = "--gpus all " if on_gpu else ""
    return (
        f'docker run --rm {gpus}-p 8000:8000 -p 8001:8001 -p 8002:8002 -v "$here/{REPOSITORY}:/models:ro" '
        f"{shlex.quote(image)} tritonserver --model-repository=/models {arguments}".strip()
    )


def _script(name: str, command: str) -> str:
    return f'#!/bin/sh\n# Serves {name}.\nhere=$(cd "$(dirname "$0")" && pwd)\nexec {command} "$@"\n'
