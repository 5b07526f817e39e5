# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from stf_export.networks.blocks.normalisation import SwitchNorm, adain, plane_moments


def test_plane_moments_of_known_planes():
    image = torch.tensor([[[[1.0, 3.0]], [[2.0, 2.0]]]])
    mean, variance = plane_moments(image)
    assert mean.flatten().tolist() == [2.0, 2.0]
    assert variance.flatten().tolist() == [2.0, 0.0]  # (1 + 1) / (2 - 1)
    assert mean.shape == variance.shape == (1, 2, 1, 1)


def test_plane_moments_are_torch_s_unbiased_ones():
    image = torch.rand(3, 4, 5, 7, dtype=torch.float64) + 100
    mean, variance = plane_moments(image)
    torch.testing.assert_close(mean, image.mean((2, 3), keepdim=True))
    torch.testing.assert_close(variance, image.var((2, 3), correction=1, keepdim=True))


def test_variance_of_one_pixel_is_zero():
    assert plane_moments(torch.full((1, 2, 1, 1), 5.0))[1].flatten().tolist() == [0.0, 0.0]


def test_adain_gives_the_statistics_of_the_style():
    content, style = torch.rand(2, 3, 6, 8, dtype=torch.float64), 4 + 2 * torch.rand(2, 3, 4, 4, dtype=torch.float64)
    for got, wanted in zip(plane_moments(adain(content, style, eps=0.0)), plane_moments(style), strict=True):
        torch.testing.assert_close(got, wanted)


def test_adain_keeps_what_already_has_the_style():
    image = torch.rand(1, 2, 9, 9)
    torch.testing.assert_close(adain(image, image.flip(-1)), image, rtol=1e-5, atol=1e-6)


def test_adain_adds_eps_to_both_variances():
    flat, style = torch.zeros(1, 1, 1, 2), torch.tensor([[[[-1.0, 1.0]]]])  # variances 0 and 2
    content = torch.tensor([[[[-3.0, 3.0]]]])  # variance 18
    assert adain(flat, style, eps=2.0).flatten().tolist() == [0.0, 0.0]
    torch.testing.assert_close(adain(content, style, eps=2.0).flatten(), torch.tensor([-3.0, 3.0]) * (4 / 20) ** 0.5)


def mixing(norm: SwitchNorm, which: int | None) -> SwitchNorm:
    """The norm with one kind of statistics alone, or all three alike."""
    with torch.no_grad():
        for weight in (norm.mean_weight, norm.var_weight):
            weight.fill_(0.0)
            if which is not None:
                weight[which] = 100.0
    return norm


def reference(norm: SwitchNorm, x: torch.Tensor) -> torch.Tensor:
    """Equations 3 to 5 of the paper, statistics over the axes as the paper lists them."""
    mean_in, var_in = x.mean((2, 3), keepdim=True), x.var((2, 3), correction=1, keepdim=True)
    mean_ln = mean_in.mean(1, keepdim=True)
    var_ln = (var_in + mean_in**2).mean(1, keepdim=True) - mean_ln**2
    means = (mean_in, mean_ln, norm.running_mean[..., None])
    variances = (var_in, var_ln, norm.running_var[..., None])
    mean = sum(w * m for w, m in zip(norm.mean_weight.softmax(0), means, strict=True))
    variance = sum(w * v for w, v in zip(norm.var_weight.softmax(0), variances, strict=True))
    return norm.weight * (x - mean) / (variance + norm.eps).sqrt() + norm.bias


@pytest.mark.parametrize("which", [0, 1, 2, None])
def test_switch_norm_is_the_formula_of_the_paper(which: int | None):
    norm = mixing(SwitchNorm(5), which).double()
    with torch.no_grad():
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        norm.weight.normal_()
        norm.bias.normal_()
        x = torch.randn(2, 5, 6, 4, dtype=torch.float64) + torch.arange(5.0)[:, None, None]
        torch.testing.assert_close(norm(x), reference(norm, x))


def test_switch_norm_survives_half_precision():
    """Far from zero, the usual difference of squares loses the layer variance in half precision."""
    norm = mixing(SwitchNorm(4), 1)
    x = 50 + 0.5 * torch.randn(1, 4, 16, 16)
    with torch.no_grad():
        exact = norm(x.half().float())
        torch.testing.assert_close(norm.half()(x.half()).float(), exact, rtol=0, atol=0.1)
        broken = (x.half().var((2, 3)) + x.half().mean((2, 3)) ** 2).mean(1) - x.half().mean((1, 2, 3)) ** 2
        assert abs(float(broken) - 0.25) > 0.2


def test_switch_norm_in_training_mode_is_the_same():
    norm = SwitchNorm(2)
    x = torch.randn(1, 2, 4, 4)
    torch.testing.assert_close(norm.train()(x), norm.eval()(x), rtol=0, atol=0)
