# SPDX-License-Identifier: Apache-2.0
"""A bench as one HTML file that opens anywhere, offline: style, script, drawings and pictures are inside."""

from __future__ import annotations

from .page import page

__all__ = ["page"]
