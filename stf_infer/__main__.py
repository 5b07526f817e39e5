# SPDX-License-Identifier: Apache-2.0
"""``python -m stf_infer``: the same as the command ``stf-infer``."""

from .cli import main

main(prog_name="stf-infer")
