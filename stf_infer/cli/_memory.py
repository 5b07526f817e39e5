# SPDX-License-Identifier: Apache-2.0
"""Memory that is free goes back to the system."""

from __future__ import annotations

import ctypes
import os

_MMAP_THRESHOLD, _BYTES = -3, 1 << 20  # M_MMAP_THRESHOLD of malloc.h


def give_back_memory() -> None:
    """Have the C library give arrays of 1 MB and more back to the system once they are freed.

    glibc raises that limit to 32 MB when it sees such arrays come and go. Rows, tiles and sums then leave holes between
    one another that stay with the process, and the more panels a scene has, the more of them. For processes of our own
    alone: it holds for the whole process. A limit that the user states (``MALLOC_MMAP_THRESHOLD_``) stands.
    """
    if "MALLOC_MMAP_THRESHOLD_" in os.environ:
        return
    try:
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _BYTES)
    except (AttributeError, OSError, TypeError):
        return  # another C library, with rules of its own
