# SPDX-License-Identifier: Apache-2.0
"""Networks for benchmarks of speed: as a bundle, and as torch writes them by itself.

Weights are random, from a seed: the time does not depend on them. The plain graph is what a user gets without this
package: ``torch.onnx.export`` of the network as published, with the exporter's own optimiser, every shape static.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from stf_export import export, networks
from stf_export.contract import Contract
from stf_export.networks.diffusion.denoiser import Denoiser
from stf_export.sampled import Sampling
from stf_export.samplers import Sampler
from stf_export.samples import scene_tile
from stf_export.torch_graph import examples, parameter_names
from stf_infer.bundle import Bundle
from stf_infer.grid import Shape


@dataclass(frozen=True)
class Network:
    """A network as it is measured.

    Attributes:
        name: In the zoo.
        tile: Rows and columns of a tile.
        kind: ``convolutional``, or ``other``.
        options: The network's own options.
        sampler: How it is sampled.
    """

    name: str
    tile: int
    kind: str
    options: dict[str, Any] = field(default_factory=dict)
    sampler: Sampler | None = None

    def module(self) -> nn.Module:
        """The network as published, with the same random weights every time."""
        torch.manual_seed(0)
        return networks.create(self.name, **self.options).eval()

    def bundle(self, folder: Path) -> Bundle:
        """Its bundle in a folder, exported where it is not there yet."""
        path = folder / f"{self.name}-{self.tile}.stf"
        if path.is_dir():
            return Bundle.open(path)
        weights = folder / f"{self.name}.pth"
        torch.save(self.module().state_dict(), weights)
        tile = None if "tile" in self.options else self.tile
        return export(self.name, weights, tile=tile, options=self.options, sampler=self.sampler, out=path)

    def plain(self, folder: Path) -> Path:
        """Its plain graph in a folder, written where it is not there yet."""
        path = folder / f"{self.name}-{self.tile}-plain.onnx"
        if not path.is_file():
            _write_plain(*self._bare(), Shape(self.tile, self.tile), path)
        return path

    def _bare(self) -> tuple[nn.Module, Contract]:
        module = self.module()
        if self.name == "stfmlp":  # the weight of the dates comes from the scene, not from a tile
            module = module.for_export()  # type: ignore[operator]
            return module, module.network.contract()  # type: ignore[union-attr, return-value, operator]
        contract = module.contract()  # type: ignore[operator]
        if not isinstance(module, Denoiser):
            return module, contract
        sampling = Sampling.of(module, contract, self.sampler or Sampler(), None)
        steps = sampling.steps()
        return sampling.unrolled(steps), sampling.contract_of(steps)


def _write_plain(module: nn.Module, contract: Contract, tile: Shape, path: Path) -> None:
    tensors = [image[:1] for image in examples(contract, scene_tile(contract, tile))]
    inputs: Mapping[str, torch.Tensor] = dict(zip(parameter_names(module, contract), tensors, strict=True))
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (), kwargs=dict(inputs), f=str(path), dynamo=True, external_data=False, verbose=False)


NETWORKS = {
    network.name: network
    for network in (
        Network("edcstfn", 256, "convolutional", {"coarse_grid": "fine"}),
        Network("swinstfm", 256, "other", {"tile": 256}),
        Network("mlffgan", 256, "convolutional", {"degrade": False}),
        Network("stfdiff", 64, "other", {"activations": "silu"}, Sampler(name="ddim", steps=4)),
        Network("stfmlp", 40, "other", {"tile": 40}),
    )
}
