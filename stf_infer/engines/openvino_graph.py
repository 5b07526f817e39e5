# SPDX-License-Identifier: Apache-2.0
"""What is changed of a graph before OpenVINO compiles it, where OpenVINO alone does worse.

Each change keeps what is computed. It is made here, and not in the exported graph, where other engines read it better
as it is.
"""

from __future__ import annotations

import importlib
from typing import Any

# Pads that repeat numbers of the tensor: of rounded numbers as of others. A constant one adds a number of its own.
_REPEATING = ("edge", "reflect", "symmetric")


def pad_rounded(model: Any) -> int:
    """Pad 8-bit numbers in place of the float32 ones that they are made of, in place; how often.

    ``Q(Pad(x))`` is ``Pad(Q(x))`` where what is padded are numbers of ``x``. A convolution then rounds what it gives to
    8 bits, and neither is float32 written nor are four times as many bytes padded.
    """
    opset, changed = importlib.import_module("openvino.opset13"), 0
    for quantise in model.get_ordered_ops():
        pad = _maker(quantise) if quantise.get_type_name() == "FakeQuantize" else None
        if pad is None or pad.get_type_name() != "Pad" or pad.get_attributes()["pad_mode"] not in _REPEATING:
            continue
        readers = [port.get_node() for port in quantise.output(0).get_target_inputs()]
        alone = len(pad.output(0).get_target_inputs()) == len(readers) == 1
        if not alone or readers[0].get_type_name() != "Convert" or not _by_tensor(quantise):
            continue
        short = readers[0].output(0)
        after = list(short.get_target_inputs())
        quantise.input(0).replace_source_output(pad.input_value(0))
        padded = opset.pad(short, pad.input_value(1), pad.input_value(2), pad.get_attributes()["pad_mode"])
        padded.set_friendly_name(pad.get_friendly_name())
        for port in after:
            port.replace_source_output(padded.output(0))
        changed += 1
    if changed:
        model.validate_nodes_and_infer_types()
    return changed


def _maker(node: Any) -> Any:
    return node.input_value(0).get_node()


def _by_tensor(quantise: Any) -> bool:
    """Whether a tensor is rounded in one way, which is the same wherever a number lies."""
    limits = (quantise.input_value(i).get_partial_shape() for i in range(1, 5))
    return all(shape.is_static and all(length == 1 for length in shape.to_shape()) for shape in limits)
