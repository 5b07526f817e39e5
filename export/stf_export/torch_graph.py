# SPDX-License-Identifier: Apache-2.0
"""A torch module as an ONNX graph that is bound by role, static in rows and columns, free in the batch."""

from __future__ import annotations

import contextlib
import inspect
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from stf_infer.errors import ExportError
from stf_infer.grid import Shape

from .contract import AnyContract, Contract
from .lower import Nodes, simplify
from .onnx_graph import BATCH_AXIS, OPSET, save
from .samples import Tile, scene_tile


class RoleBound(nn.Module):
    """A module that takes tensors in the order of a contract's inputs and hands them on by name.

    Args:
        module: The network.
        names: The parameter of the network's ``forward`` for each input.
        output: Name of the output, for a network that returns a dict.
    """

    def __init__(self, module: nn.Module, names: tuple[str, ...], output: str) -> None:
        super().__init__()
        self.module, self.names, self.output = module, names, output

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        """The output ``(N, C, H, W)``."""
        result = self.module(**dict(zip(self.names, tensors, strict=True)))
        if isinstance(result, dict):
            if self.output not in result:
                raise ExportError(
                    "The network returns no tensor of the output's name",
                    got=", ".join(map(str, result)),
                    allowed=self.output,
                    fix="Name one of them as `tensor` of the contract's [output]",
                )
            result = result[self.output]
        if not isinstance(result, torch.Tensor):
            raise ExportError(
                "The network must return one tensor, or a dict of tensors by name",
                got=type(result).__name__,
                fix="Wrap it in a module that returns the fine image at t2 only",
            )
        return result


def bind(module: nn.Module, contract: AnyContract) -> RoleBound:
    """The module with its inputs bound by name, in evaluation mode, in float32 on the CPU.

    A parameter of ``forward`` belongs to the input whose role it is named by, or else to the input whose tensor it
    is named by. Position says nothing.

    Raises:
        ExportError: ``forward`` wants other inputs than the contract names.
    """
    return RoleBound(ready(module), parameter_names(module, contract), contract.output.tensor)


def ready(module: nn.Module) -> nn.Module:
    """The module itself: in evaluation mode, in float32 on the CPU, its weights fixed."""
    for parameter in module.eval().float().cpu().parameters():
        parameter.requires_grad_(False)
    return module


def parameter_names(module: nn.Module, contract: AnyContract, *others: str) -> tuple[str, ...]:
    """The parameter of ``forward`` that each input of a contract belongs to, then ``others``.

    Raises:
        ExportError: ``forward`` wants other inputs.
    """
    parameters = inspect.signature(module.forward).parameters
    anything = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    named = {n for n, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    needed = {n for n in named if parameters[n].default is inspect.Parameter.empty}
    needed |= {n for n, p in parameters.items() if p.kind is p.POSITIONAL_ONLY}
    names = []
    for spec in contract.inputs:
        name = next((n for n in (spec.role, spec.tensor) if n in named), spec.role if anything else None)
        if name is None:
            raise _unbound(f"forward has no parameter for {spec.role}", parameters)
        names.append(name)
    for name in others:
        if name not in named and not anything:
            raise _unbound(f"forward has no parameter {name}", parameters)
    if missing := sorted(needed - {*names, *others}):
        raise _unbound(f"no input of the contract is meant for {', '.join(missing)}", parameters)
    return (*names, *others)


def _unbound(what: str, parameters: Any) -> ExportError:
    return ExportError(
        f"The contract does not fit the network: {what}",
        got=f"forward({', '.join(parameters)})",
        fix="Name each parameter of forward by its role, or state its name as `tensor` of the contract's [[input]]",
    )


def to_onnx(module: RoleBound, contract: Contract, tile: Shape, path: Path) -> Nodes:
    """Write a bound module as an ONNX file, simplified.

    Tensors are named by the contract. Rows and columns are static, the batch axis is free. Weights lie inside the
    file, or beside it (``NAME.data``) where they are heavy. They are not copied as a whole on the way: what is read is
    the module's own memory.

    Args:
        module: What :func:`bind` returned.
        contract: Names of inputs and output.
        tile: Rows and columns in fine pixels.
        path: The file to write.

    Returns:
        How many operators the graph had as traced, and has now.

    Raises:
        ExportError: torch cannot translate the network; the message carries torch's reason.
    """
    return write_graph(module, contract, scene_tile(contract, tile), path)


def write_graph(module: RoleBound, contract: AnyContract, example: Tile, path: Path) -> Nodes:
    """Write a bound module as an ONNX file, as :func:`to_onnx`, by one tile or sample of it.

    Args:
        module: What :func:`bind` returned.
        contract: Names of inputs and output.
        example: Inputs by role, without a batch axis.
        path: The file to write.

    Raises:
        ExportError: As :func:`to_onnx`.
    """
    return write_module(
        module, examples(contract, example), [i.tensor for i in contract.inputs], [contract.output.tensor], path
    )


def examples(contract: AnyContract, tile: Tile) -> tuple[torch.Tensor, ...]:
    """Inputs to trace a module with: two of them, since an axis of length one would be taken for a constant."""
    return tuple(torch.from_numpy(np.stack([tile[i.role]] * 2)) for i in contract.inputs)


def write_module(
    module: nn.Module, examples: tuple[torch.Tensor, ...], inputs: list[str], outputs: list[str], path: Path
) -> Nodes:
    """Write a module whose ``forward`` takes ``*tensors`` as an ONNX file, as :func:`to_onnx`.

    Args:
        module: The module.
        examples: Tensors to trace it with; only the first axis is free afterwards.
        inputs: What to call them.
        outputs: What to call what it returns.
        path: The file to write.

    Raises:
        ExportError: As :func:`to_onnx`.
    """
    model = trace(module, examples, inputs, outputs)
    nodes = simplify(model)
    save(model, path)
    return nodes


def trace(module: nn.Module, examples: tuple[torch.Tensor, ...], inputs: list[str], outputs: list[str]) -> Any:
    """A module as torch translates it, an ``onnx_ir.Model`` that is still to be simplified; as :func:`write_module`."""
    batch = torch.export.Dim(BATCH_AXIS, min=1)
    try:
        with _quiet():
            program = torch.onnx.export(
                module,
                examples,
                dynamo=True,
                opset_version=OPSET,
                input_names=inputs,
                output_names=outputs,
                dynamic_shapes={"tensors": tuple({0: batch} for _ in examples)},
                optimize=False,  # what it would do is done by `simplify`, in a tenth of the time
                verbose=False,
            )
    except ExportError:
        raise
    except Exception as error:  # torch wraps what it cannot translate in many classes
        raise ExportError(
            "torch cannot write this network as ONNX",
            got=_first_reason(error),
            fix="Call stf_export from Python to see torch's whole report",
        ) from error
    assert program is not None
    return program.model


def _first_reason(error: BaseException) -> str:
    """The innermost message of a chain of exceptions, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks about packages and names that mean nothing to the user."""
    loggers = [logging.getLogger(n) for n in ("torch.onnx", "torch.onnx._internal.exporter", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings(), contextlib.redirect_stdout(None):
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
