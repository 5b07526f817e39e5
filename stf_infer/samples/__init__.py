# SPDX-License-Identifier: Apache-2.0
"""Networks whose inputs are no rasters: series, points, nodes of a graph.

A sample is what such a network sees at once: arrays with named dims (``time``, ``station``). Whatever else the user's
arrays extend along are dims of samples; samples are stacked, run in batches and put back in place.
"""
