# SPDX-License-Identifier: Apache-2.0
"""From a trained network that takes samples to a bundle: write the graph, compare, describe."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stf_infer.bundle import Bundle
from stf_infer.errors import ExportError
from stf_infer.samples.spec import SampleSpec

from .. import bundle_writer, onnx_graph
from ..extras import need
from ..oracle import OnnxOracle, Oracle, TorchOracle
from ..parity import TOLERANCE, compare_on, stack
from ..samples import Tile
from .graph import pin
from .trials import noise_sample, smooth_sample

if TYPE_CHECKING:
    from torch import nn

    from ..job import Job

# Beside a smooth one: four samples go through the graph one by one, and all at once.
_NOISE_SAMPLES = 3


def export_torch(
    job: Job, module: nn.Module, contract: SampleSpec, tile: int | None, notes: Sequence[str], source: str
) -> Bundle:
    """Export a torch module whose ``forward`` takes one batch of samples of each input.

    Args:
        job: Destination, name and tolerance.
        module: The module, with its weights.
        contract: What it wants and gives.
        tile: Must be None.
        notes: What is remarked already.
        source: What kind of source it is, for the item.

    Raises:
        ExportError, ParityError, OutputError: As :func:`stf_export.export`.
    """
    from ..torch_graph import bind, write_graph

    spec = _named(job, contract, tile)
    job.notes += notes
    bound = bind(module, spec)
    with bundle_writer.staging(job.out, force=job.force) as folder:
        job.say("writing the graph")
        job.nodes = write_graph(bound, spec, smooth_sample(spec), folder / bundle_writer.MODEL)
        made = {"source": source, "torch": need("torch").__version__}
        _finish(job, folder, TorchOracle(bound, spec), spec, "torch", made)
        job.reduce(folder)
    return job.opened()


def export_onnx(job: Job, model: str | Path, contract: SampleSpec, tile: int | None) -> Bundle:
    """Make a bundle of an existing ONNX file whose inputs and output are samples behind a batch axis.

    Args:
        job: Destination, name and tolerance.
        model: The file.
        contract: What it wants and gives.
        tile: Must be None.

    Raises:
        ExportError, ParityError, OutputError: As :func:`stf_export.export_onnx`.
    """
    spec = _named(job, contract, tile)
    job.say("reading the graph")
    graph = onnx_graph.load(model)
    pin(graph, spec)
    with bundle_writer.staging(job.out, force=job.force) as folder:
        job.nodes = onnx_graph.simplify_and_save(graph, Path(model).parent, folder / bundle_writer.MODEL)
        given = OnnxOracle(Path(model), spec)
        _finish(job, folder, given, spec, "the file as given", {"source": "onnx"})
        job.reduce(folder)
    return job.opened()


def _named(job: Job, contract: SampleSpec, tile: int | None) -> SampleSpec:
    if tile is not None:
        raise ExportError(
            f"{contract.network} takes samples, which are not cut into tiles", got=f"tile {tile}", fix="Leave it out"
        )
    return contract.model_copy(update={"name": job.asked_name or contract.name or job.name})


def _finish(
    job: Job, folder: Path, reference: Oracle, spec: SampleSpec, reference_name: str, made: dict[str, str]
) -> None:
    """What follows once the graph is written: parity, inputs that do nothing, the golden sample, the description."""
    path = folder / bundle_writer.MODEL
    facts = onnx_graph.facts(onnx_graph.load(path))
    rng = np.random.default_rng(3)
    golden = smooth_sample(spec)
    samples = [golden, *(noise_sample(spec, rng) for _ in range(_NOISE_SAMPLES))]
    job.say(f"comparing {reference_name} with the graph")
    _check_output(reference, golden, spec)
    parity = compare_on(
        reference,
        OnnxOracle(path, spec),
        samples,
        named=reference_name,
        tolerance=job.allowed(TOLERANCE),
        batched=facts.batch is None,
    )
    job.explain(parity)
    unused = _unused(reference, samples[1], samples[2])
    for role in unused:
        job.warn(f"{role} does not move the output: the network ignores it")
    job.say("writing the bundle")
    bundle_writer.write_description(
        folder,
        spec,
        golden,
        reference(stack([golden]))[0],
        facts,
        {
            "stf:parity": parity.as_dict(),
            "stf:probe": {"unused": unused},
            "stf:graph": job.graph(),
            "stf:created": job.created(facts, made),
            "stf:notes": job.notes,
        },
    )


def _check_output(reference: Oracle, sample: Tile, spec: SampleSpec) -> None:
    found = reference(stack([sample])).shape
    if found != (1, *spec.output_shape):
        raise ExportError(
            f"The output {spec.output.tensor} has another shape than the contract says",
            got=found,
            allowed=(onnx_graph.BATCH_AXIS, *spec.output_shape),
            fix="Check the dims of the [output]",
        )


def _unused(network: Oracle, sample: Tile, other: Tile) -> list[str]:
    """Roles that do not move the output when they are taken from another sample."""
    before = network(stack([sample]))
    return [role for role in sample if np.array_equal(network(stack([{**sample, role: other[role]}])), before)]
