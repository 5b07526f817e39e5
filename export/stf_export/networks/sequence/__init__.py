# SPDX-License-Identifier: Apache-2.0
"""Recurrent networks; the loop over dates or steps is unrolled for a fixed number of them."""
