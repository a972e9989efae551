"""The patch discriminator: layout of the paper, independence of the batch where promised."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from vqkit.errors import ConfigError, ShapeError
from vqkit.nets import PatchDiscriminator


def test_layout_of_the_paper():
    discriminator = PatchDiscriminator()
    convolutions = [module for module in discriminator.main if isinstance(module, nn.Conv2d)]
    layout = [(c.in_channels, c.out_channels, c.stride[0]) for c in convolutions]
    assert layout == [(3, 64, 2), (64, 128, 2), (128, 256, 2), (256, 512, 1), (512, 1, 1)]
    assert {c.kernel_size for c in convolutions} == {(4, 4)}
    # Ca. 2.8 M: biases stand only where no norm follows.
    assert sum(p.numel() for p in discriminator.parameters()) == 16 * (
        3 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512
    ) + (64 + 1) + 2 * (128 + 256 + 512)
    assert discriminator(torch.zeros(1, 3, 256, 256)).shape == (1, 1, 30, 30)


def test_equals_a_chain_of_functions():
    discriminator = PatchDiscriminator(base_width=4, num_layers=2).double()
    nn.init.normal_(discriminator.main[3].bias)
    x = torch.randn(3, 3, 20, 16, dtype=torch.float64, requires_grad=True)
    weights = discriminator.state_dict(keep_vars=True)

    hidden = F.leaky_relu(
        F.conv2d(x, weights["main.0.weight"], weights["main.0.bias"], stride=2, padding=1), 0.2
    )
    for conv, stride in ((2, 2), (5, 1)):
        hidden = F.conv2d(hidden, weights[f"main.{conv}.weight"], stride=stride, padding=1)
        variance, mean = torch.var_mean(hidden, dim=(0, 2, 3), unbiased=False, keepdim=True)
        hidden = (hidden - mean) / (variance + 1e-5).sqrt()
        scale, shift = weights[f"main.{conv + 1}.weight"], weights[f"main.{conv + 1}.bias"]
        hidden = F.leaky_relu(hidden * scale[:, None, None] + shift[:, None, None], 0.2)
    expected = F.conv2d(hidden, weights["main.8.weight"], weights["main.8.bias"], padding=1)

    logits = discriminator(x)
    torch.testing.assert_close(logits, expected)
    (ours,) = torch.autograd.grad(logits.square().sum(), x)
    (theirs,) = torch.autograd.grad(expected.square().sum(), x)
    torch.testing.assert_close(ours, theirs)


def test_initial_weights():
    discriminator = PatchDiscriminator()
    for module in discriminator.main:
        if isinstance(module, nn.Conv2d):
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.1)
            assert abs(module.weight.mean().item()) < 0.002
        if isinstance(module, nn.BatchNorm2d):
            assert module.weight.mean().item() == pytest.approx(1.0, abs=0.01)
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.3)
            assert not module.bias.any()


def gradient_of_first_layer(discriminator: PatchDiscriminator, images: torch.Tensor):
    loss = discriminator(images).square().mean()
    return torch.autograd.grad(loss, discriminator.main[0].weight)[0]


def test_group_norm_makes_halves_equal_the_whole():
    images = torch.randn(4, 3, 32, 32, dtype=torch.float64)
    images[2:] *= 3.0
    halves = {}
    for norm in ("group", "batch"):
        discriminator = PatchDiscriminator(base_width=32, norm=norm).double()
        whole = gradient_of_first_layer(discriminator, images)
        parts = [gradient_of_first_layer(discriminator, part) for part in images.split(2)]
        halves[norm] = torch.allclose(whole, sum(parts) / 2)
    assert halves == {"group": True, "batch": False}


def test_group_norm_keeps_no_state():
    discriminator = PatchDiscriminator(base_width=32, norm="group")
    assert not list(discriminator.buffers())


def test_batch_norm_converts_to_synchronised():
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(PatchDiscriminator(base_width=4))
    assert sum(isinstance(module, nn.SyncBatchNorm) for module in converted.modules()) == 3


@pytest.mark.parametrize("num_layers", [1, 2, 3, 4])
def test_minimum_side_is_sharp(num_layers: int):
    discriminator = PatchDiscriminator(base_width=2, num_layers=num_layers).eval()
    side = discriminator.minimum_side
    assert discriminator(torch.zeros(1, 3, side, side)).shape == (1, 1, 1, 1)
    with pytest.raises(ShapeError, match=f"sides of at least {side}"):
        discriminator(torch.zeros(1, 3, side, side - 1))


def test_refuses_settings_and_channels():
    with pytest.raises(ShapeError, match="3, height, width"):
        PatchDiscriminator(base_width=2)(torch.zeros(1, 1, 32, 32))
    with pytest.raises(ConfigError, match="num_layers >= 1, got 0"):
        PatchDiscriminator(num_layers=0)
    with pytest.raises(ConfigError, match="a width that 32 divides, got 16"):
        PatchDiscriminator(base_width=8, norm="group")
