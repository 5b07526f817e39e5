# SPDX-License-Identifier: Apache-2.0
"""Denoising diffusion networks: one call is one step; what a sampler repeats."""
