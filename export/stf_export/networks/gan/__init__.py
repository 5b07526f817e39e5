# SPDX-License-Identifier: Apache-2.0
"""Generators of adversarial networks; discriminators and losses are training only and not here."""
