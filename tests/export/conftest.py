# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from shared_work import folder_of_the_run
from tiny_networks import ThreeInputs, contract_for


@pytest.fixture(scope="session")
def tiny_contract():
    """Three inputs on the fine grid, two bands."""
    return contract_for({"coarse_t1": "fine", "fine_t1": "fine", "coarse_t2": "fine"})


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory, tiny_contract):
    """An exported bundle with tiles of 48; tests must not change it."""
    from stf_export import export_module

    out = tmp_path_factory.mktemp("bundles") / "tiny.stf"
    return export_module(ThreeInputs(), tiny_contract, tile=48, out=out)


@pytest.fixture(scope="session")
def exports(tmp_path_factory):
    """Bundles of the zoo, each written once in a run of the tests, whatever the number of processes."""
    import torch

    from zoo_support import Exports

    threads = torch.get_num_threads()
    torch.set_num_threads(min(2, threads))
    yield Exports(folder_of_the_run(tmp_path_factory, "zoo"))
    torch.set_num_threads(threads)
