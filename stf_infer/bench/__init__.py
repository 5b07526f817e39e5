# SPDX-License-Identifier: Apache-2.0
"""Latency and accuracy of engines on this machine, side by side: ``python -m stf_infer.bench``."""
