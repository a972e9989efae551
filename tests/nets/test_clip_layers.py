"""Layers over clips against the plain ones of PyTorch."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from vqkit.errors import ConfigError, ShapeError
from vqkit.nets import ClipConv, PatchDiscriminator
from vqkit.nets.clip_blocks import SpaceUpsample
from vqkit.nets.clip_conv import BlendConv, SumConv
from vqkit.nets.clip_discriminators import ClipPatchDiscriminator, FrameDiscriminator
from vqkit.nets.clip_layers import ChannelNorm, FrameGroupNorm
from vqkit.nets.clip_patches import (
    ClipPatches,
    ClipUnpatches,
    blocks_to_channels,
    channels_to_blocks,
    cosine_basis,
    haar_basis,
)
from vqkit.nets.discriminator import DiscriminatorOutput

CLIP = (2, 4, 6, 8, 4)


def both_orders(x):
    """The clip in both orders that it may have in memory."""
    return x, x.contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("kernel", [(1, 1, 1), (3, 1, 1), (1, 3, 3), (3, 3, 3), (2, 1, 1)])
def test_a_convolution_is_the_plain_one_of_a_padded_clip(kernel, causal):
    conv = ClipConv(4, 5, kernel, causal=causal)
    for x in both_orders(torch.randn(CLIP)):
        total = kernel[0] - 1
        left = total if causal else total // 2
        padded = F.pad(x, (0, 0, 0, 0, 0, total - left))
        front = [x[:, :, :1] if causal else torch.zeros_like(x[:, :, :1])] * left
        padded = torch.cat([*front, padded], dim=2)
        side = kernel[1] // 2
        expected = F.conv3d(padded, conv.weight, conv.bias, padding=(0, side, side))
        torch.testing.assert_close(conv(x), expected, atol=1e-5, rtol=1e-5)


def test_a_strided_convolution_has_the_zeros_below_and_on_the_right():
    conv = ClipConv(4, 5, (1, 3, 3), stride=(1, 2, 2))
    x = torch.randn(CLIP)
    expected = F.conv3d(F.pad(x, (0, 1, 0, 1)), conv.weight, conv.bias, stride=(1, 2, 2))
    torch.testing.assert_close(conv(x), expected, atol=1e-5, rtol=1e-5)


def test_a_kernel_smaller_than_its_stride_is_refused():
    with pytest.raises(ConfigError, match="at least the stride"):
        ClipConv(4, 5, 2, stride=3)
    with pytest.raises(ConfigError, match="three"):
        ClipConv(4, 5, (2, 2))


@pytest.mark.parametrize("causal", [True, False])
def test_a_blend_is_the_mean_of_three_frames_and_a_convolution(causal):
    layer = BlendConv(4, [1 / 3] * 3, causal=causal, stride=2, mix_factor=0.3)
    x = torch.randn(CLIP)
    padded = torch.cat([x[:, :, :1], x], dim=2) if causal else F.pad(x, (0, 0, 0, 0, 0, 1))
    mean = F.avg_pool3d(padded, (3, 1, 1), stride=(2, 1, 1))
    conv = F.conv3d(padded, layer.weight, layer.bias, stride=(2, 1, 1), padding=(0, 1, 1))
    share = torch.sigmoid(torch.tensor(0.3))
    expected = share * mean + (1 - share) * conv
    torch.testing.assert_close(layer(x), expected, atol=1e-6, rtol=1e-5)
    layer(x).square().sum().backward()
    assert layer.mix_factor.grad is not None
    assert layer.mix_factor.grad.abs() > 0


def test_a_sum_with_weights_of_zero_is_its_filter():
    layer = SumConv(4, [[[0.25, 0.25, 0.0], [0.25, 0.25, 0.0], [0.0] * 3]], stride=(1, 2, 2))
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    x = torch.randn(CLIP)
    torch.testing.assert_close(layer(x), F.avg_pool3d(x, (1, 2, 2)))


def test_doubling_without_repeating_is_doubling():
    layer = SpaceUpsample(4)
    for x in both_orders(torch.randn(2, 4, 3, 5, 4)):
        repeated = layer(x)
        with torch.no_grad():
            folded = layer(x)
        assert repeated.requires_grad
        torch.testing.assert_close(folded, repeated.detach(), atol=1e-5, rtol=1e-5)


def test_norms_see_one_position_or_one_frame():
    for x in both_orders(torch.randn(2, 8, 3, 4, 5)):
        norm = FrameGroupNorm(8, num_groups=2)
        frames = [norm(x[:, :, i : i + 1]) for i in range(3)]
        torch.testing.assert_close(norm(x), torch.cat(frames, dim=2))
        positions = ChannelNorm(8)(x)
        alone = F.layer_norm(x[1, :, 2, 3, 4], (8,), eps=1e-6)
        torch.testing.assert_close(positions[1, :, 2, 3, 4], alone)
    with pytest.raises(ConfigError, match="that 32 divides"):
        FrameGroupNorm(8)


def test_blocks_are_channels_in_the_order_of_pixel_unshuffle():
    x = torch.randn(2, 3, 4, 6, 8)
    channels = blocks_to_channels(x, (1, 2, 2))
    for frame in range(4):
        expected = F.pixel_unshuffle(x[:, :, frame], 2)
        assert torch.equal(channels[:, :, frame], expected)
    assert torch.equal(channels_to_blocks(blocks_to_channels(x, (2, 3, 4)), (2, 3, 4)), x)


@pytest.mark.parametrize("basis", [cosine_basis(3, (4, 4, 4)), haar_basis(3, 4)])
def test_patches_have_an_inverse(basis):
    analysis, synthesis = (part.float() for part in basis)
    x = torch.randn(1, 3, 8, 4, 8)
    block = (4, 4, 4)
    features = ClipPatches(block, analysis)(x)
    assert features.shape == (1, 192, 2, 1, 2)
    torch.testing.assert_close(ClipUnpatches(block, synthesis)(features), x, atol=1e-4, rtol=1e-4)


def test_wavelets_are_sums_and_differences_again_and_again():
    """The naive reference: one split after the other, as the published code does it."""

    def bands(x):
        parts = [x]
        for axis in (2, 3, 4):
            parts = [
                part
                for whole in parts
                for pair in [whole.unflatten(axis, (-1, 2)).unbind(axis + 1)]
                for part in ((pair[0] + pair[1]) / 2, (pair[0] - pair[1]) / 2)
            ]
        return torch.cat(parts, dim=1)

    x = torch.randn(2, 3, 4, 8, 4)
    expected = bands(bands(x))
    analysis, _ = haar_basis(3, 4)
    torch.testing.assert_close(ClipPatches((4, 4, 4), analysis)(x), expected, atol=1e-6, rtol=1e-5)


def test_a_discriminator_of_pictures_judges_every_frame():
    torch.manual_seed(0)
    pictures = PatchDiscriminator(base_width=32, num_layers=1, norm="group")
    clips = torch.randn(2, 3, 3, 16, 16)
    (logits,) = FrameDiscriminator(pictures)(clips).logits
    assert torch.equal(logits[4], pictures(clips[1, :, 1][None])[0])


def test_a_discriminator_of_clips():
    judge = ClipPatchDiscriminator(base_width=32, num_layers=2, num_time_layers=1)
    assert judge.minimum_side == 12
    clip = torch.randn(2, 3, 5, 16, 12)
    output = judge(clip)
    assert isinstance(output, DiscriminatorOutput)
    assert [part.shape[1] for part in output.features[0]] == [32, 64, 128]
    assert output.logits[0].shape == (2, 1, 3, 2, 1)
    assert judge(clip[:, :, :1]).logits[0].shape[2] == 1  # an image
    # Each clip is judged alone, and by all of its frames.
    torch.testing.assert_close(judge(clip[1:]).logits[0], output.logits[0][1:])
    changed = clip.clone()
    changed[:, :, 4] = 0.0
    assert not torch.allclose(judge(changed).logits[0][:, :, 2], output.logits[0][:, :, 2])
    output.logits[0].mean().backward()
    assert all(parameter.grad is not None for parameter in judge.parameters())


def test_a_discriminator_of_clips_refuses(unchecked_shapes):
    with pytest.raises(ConfigError, match="num_time_layers"):
        ClipPatchDiscriminator(num_layers=1, num_time_layers=2)
    with pytest.raises(ConfigError, match="norm"):
        ClipPatchDiscriminator(norm="none")
    with pytest.raises(ShapeError, match="sides of at least 24"):
        ClipPatchDiscriminator(base_width=32)(torch.zeros(1, 3, 2, 8, 32))
    with pytest.raises(ShapeError, match="FrameDiscriminator"):
        FrameDiscriminator(PatchDiscriminator(base_width=8))(torch.zeros(1, 3, 32, 32))
