# SPDX-License-Identifier: Apache-2.0
"""The contract of a whole sampling, made of the contract of the step that it repeats."""

from __future__ import annotations

from stf_infer.diffusion import SamplerSpec
from stf_infer.spec import InputSpec, Values

from .contract import Contract


class SampledContract(Contract):
    """The contract of a whole sampling: the conditions and noise in, the sample out."""

    sampling: SamplerSpec

    @property
    def steps(self) -> SamplerSpec:
        """All steps of the sampling."""
        return self.sampling


def sampled(step: Contract, sampling: SamplerSpec) -> SampledContract:
    """The contract of a sampling.

    Args:
        step: That of a step: the conditions and the output. Noise and noisy images have the output's bands.
        sampling: All steps. Each draw of noise is an input, ``noise``, ``noise_1`` and so on; a loop on the host
            asks for its later draws itself.
    """
    noises = []
    for draw in sampling.inputs:
        name = f"noise_{draw}" if draw else "noise"
        noise = InputSpec(
            role=name, tensor=name, bands=step.output.bands, grid="noise", draw=draw, values=Values(unit="1")
        )
        noises.append(noise)
    fields = {name: getattr(step, name) for name in Contract.model_fields}
    return SampledContract(**{**fields, "inputs": (*step.inputs, *noises), "sampler": None, "sampling": sampling})
