# SPDX-License-Identifier: Apache-2.0
"""Contracts as TOML text: a commented template, and the contract of a network."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from .contract import AnyContract, Contract

# Kind of contract: its commented file.
TEMPLATES = {"rasters": "contract_template.toml", "samples": "by_sample/contract_template.toml"}


def template(kind: str = "rasters") -> str:
    """A commented contract file of a kind; it is a valid one."""
    return files(__package__).joinpath(TEMPLATES[kind]).read_text(encoding="utf-8")


def to_toml(contract: AnyContract) -> str:
    """A contract as a file that :func:`read_contract` reads; what is left at its default is not written."""
    data = contract.model_dump(mode="json", exclude_defaults=True)
    if isinstance(contract, Contract) and contract.sampler is not None:
        data["sampler"] = contract.sampler.asked
    inputs, also_read, output = data.pop("inputs"), data.pop("also_read", ()), data.pop("output")
    tables = {name: data.pop(name) for name in ("tile", "sampler", "options") if name in data}
    always = {"ratio": contract.ratio} if isinstance(contract, Contract) else {"kind": contract.kind}
    blocks = [_lines({**data, **always})]
    blocks += [["[[input]]", *_lines(one)] for one in inputs]
    blocks += [["[[also_read]]", *_lines(one)] for one in also_read]
    blocks.append(["[output]", *_lines(output)])
    blocks += [[f"[{name}]", *_lines(table)] for name, table in tables.items()]
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def _lines(table: dict[str, Any]) -> list[str]:
    return [f"{key} = {_value(value)}" for key, value in table.items() if value is not None]


def _value(value: Any) -> str:
    """A value in TOML; its strings and numbers are written as JSON writes them."""
    if isinstance(value, dict):
        inner = ", ".join(f"{key} = {_value(item)}" for key, item in value.items() if item is not None)
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_value(item) for item in value)}]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
