# SPDX-License-Identifier: Apache-2.0
"""The graphs that a loop on the host repeats: the encoder of the conditions, once a tile, and the step."""

from __future__ import annotations

from pathlib import Path

import torch

from stf_infer.diffusion import SamplerSpec
from stf_infer.engines.host_loop import IMAGE, TIME
from stf_infer.grid import Shape

from . import bundle_writer
from .contract import Contract
from .lower import Nodes
from .samplers.parts import PlainStep, StepParts
from .samplers.unrolled import Encoder, Step, check_output
from .samples import scene_tile
from .torch_graph import examples, ready, write_module


def write_host_graphs(step: StepParts, contract: Contract, sampler: SamplerSpec, tile: Shape, folder: Path) -> Nodes:
    """Write both graphs; a step that cannot tell its encoder apart has one graph, which takes the conditions.

    All tensors are float32 ``(N, C, h, w)``: features ``feature_0`` and so on or the conditions by their tensors,
    the noisy image ``x_t``, and the time as a number ``t`` of shape ``(N, 1, 1, 1)``.

    Args:
        step: One step of the network.
        contract: Its conditions and its output.
        sampler: What the step is repeated for.
        tile: Rows and columns in fine pixels.
        folder: Where to.

    Returns:
        How many operators the graphs had as traced, and have now, together.

    Raises:
        ExportError: torch cannot translate the network, or its output is not what the sampler reads.
    """
    given = dict(zip(contract.inputs, examples(contract, scene_tile(contract, tile)), strict=True))
    ordered = [next(i for i in given if name in (i.tensor, i.role)) for name in step.conditions]
    names, conditions = [i.tensor for i in ordered], tuple(given[i] for i in ordered)
    features, nodes = conditions, Nodes(0, 0)
    if not isinstance(step, PlainStep):
        encoder = ready(Encoder(step))
        with torch.no_grad():
            features = encoder(*conditions)
        outputs = [f"feature_{k}" for k in range(len(features))]
        nodes = write_module(encoder, conditions, names, outputs, folder / bundle_writer.ENCODER)
        names = outputs
    generator = torch.Generator().manual_seed(0)
    x_t = torch.randn(2, len(contract.output.bands), tile.height, tile.width, generator=generator)
    time = torch.tensor([sampler.timesteps[0], sampler.timesteps[-1]], dtype=torch.float32).reshape(2, 1, 1, 1)
    module = ready(Step(step))
    with torch.no_grad():
        check_output(sampler, x_t, module(*features, x_t, time))
    model = folder / bundle_writer.MODEL
    return nodes + write_module(module, (*features, x_t, time), [*names, IMAGE, TIME], ["output"], model)
