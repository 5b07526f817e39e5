# SPDX-License-Identifier: Apache-2.0
"""Networks of other kinds: perceptrons over pixels and patches, dual stages, dual branches, graphs."""
