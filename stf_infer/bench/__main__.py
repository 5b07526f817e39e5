# SPDX-License-Identifier: Apache-2.0
"""``python -m stf_infer.bench``: the same as ``stf-infer bench``."""

from ..cli.bench import bench

bench(prog_name="python -m stf_infer.bench")
