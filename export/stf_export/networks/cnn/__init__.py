# SPDX-License-Identifier: Apache-2.0
"""Convolutional networks."""
