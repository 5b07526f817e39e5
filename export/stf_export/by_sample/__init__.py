# SPDX-License-Identifier: Apache-2.0
"""The export stage for networks that take samples: no tiles, and so nothing to be measured but parity."""
