# SPDX-License-Identifier: Apache-2.0
"""Networks built on attention."""
