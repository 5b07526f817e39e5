# SPDX-License-Identifier: Apache-2.0
"""HTML and SVG as strings that are escaped by construction: text is escaped, elements are not escaped twice."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import Any

# Elements that hold nothing and have no end.
_VOID = frozenset({"img", "input", "meta", "br"})


class Html(str):
    """Markup that was made by :func:`tag`, or that is known to be."""

    __slots__ = ()


def tag(name: str, /, *inside: Any, **attributes: Any) -> Html:
    """An element.

    Args:
        name: Of the element.
        inside: Its content: :class:`Html` as it is, lists of them one by one, None as nothing, all else as text.
        attributes: Values are escaped; True gives the name alone, None and False nothing. ``_`` in a name is ``-``, and
            one at the end is left out: ``class_``.
    """
    written = "".join(_attribute(key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items())
    if name in _VOID:
        return Html(f"<{name}{written}>")
    return Html(f"<{name}{written}>{joined(inside)}</{name}>")


def joined(parts: Iterable[Any]) -> Html:
    """Several parts one after the other, each as :func:`tag` takes it."""
    return Html("".join(map(_content, parts)))


def number(value: float) -> str:
    """A coordinate: two decimals are finer than any screen."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _attribute(name: str, value: Any) -> str:
    if value is None or value is False:
        return ""
    if value is True:
        return f" {name}"
    text = number(value) if isinstance(value, float) else str(value)
    return f' {name}="{html.escape(text)}"'


def _content(part: Any) -> str:
    if part is None:
        return ""
    if isinstance(part, Html):
        return part
    if isinstance(part, (list, tuple)):
        return joined(part)
    return html.escape(str(part))
