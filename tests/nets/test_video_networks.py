"""Encoders and decoders of clips: sizes, errors, what they are made of, inflation of images'."""

import pytest
import torch
import torch.nn.functional as F

from vqkit.errors import ConfigError, ShapeError
from vqkit.nets import (
    CosmosDecoder,
    CosmosEncoder,
    LightVideoDecoder,
    LightVideoEncoder,
    OmniTokenizerDecoder,
    OmniTokenizerEncoder,
    VideoGPTDecoder,
    VideoGPTEncoder,
    VideoVQGANDecoder,
    VideoVQGANEncoder,
    VidTokDecoder,
    VidTokEncoder,
    VQGANDecoder,
    VQGANEncoder,
    inflated_decoder,
    inflated_encoder,
)
from vqkit.nets.omnitokenizer import _SpaceLayer
from vqkit.nets.videogpt import _AxisAttention
from vqkit.tokenizers import build, describe

# Encoder, decoder, what both are made of, and the stride that comes of it.
PAIRS = {
    "VidTok 4x8x8": (
        VidTokEncoder, VidTokDecoder,
        {"dim": 3, "base_width": 4, "multipliers": (1, 1, 2, 2), "num_res_blocks": 1}, (4, 8, 8),
    ),
    "VidTok, not causal": (
        VidTokEncoder, VidTokDecoder,
        {"dim": 3, "base_width": 4, "multipliers": (1, 1, 2), "num_res_blocks": 1, "causal": False},
        (4, 4, 4),
    ),
    "light": (
        LightVideoEncoder, LightVideoDecoder,
        {"dim": 3, "frames": 8, "patch": 4, "widths": (6, 8), "num_blocks": (1, 1)}, (8, 8, 8),
    ),
    "light images": (
        LightVideoEncoder, LightVideoDecoder,
        {"dim": 3, "frames": 1, "patch": 4, "widths": (6,), "num_blocks": (1,)}, (1, 4, 4),
    ),
    "Cosmos": (
        CosmosEncoder, CosmosDecoder,
        {"dim": 3, "base_width": 8, "multipliers": (1, 1, 1), "num_res_blocks": 1,
         "time_factor": 4, "space_factor": 16}, (4, 16, 16),
    ),
    "OmniTokenizer": (
        OmniTokenizerEncoder, OmniTokenizerDecoder,
        {"dim": 3, "width": 8, "num_heads": 2, "space_windows": (0, 2), "num_time_layers": 1},
        (4, 8, 8),
    ),
    "VideoGPT": (
        VideoGPTEncoder, VideoGPTDecoder,
        {"dim": 3, "width": 8, "num_blocks": 1, "stride": (2, 4, 8)}, (2, 4, 8),
    ),
    "VQGAN": (
        VideoVQGANEncoder, VideoVQGANDecoder,
        {"dim": 3, "base_width": 32, "multipliers": (1, 1, 1), "num_res_blocks": 1,
         "attention_levels": (2,), "time_levels": (1,), "latent_width": 8}, (2, 4, 4),
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if name in ("VQGAN", "Cosmos") else name
        for name in PAIRS
    ],
)
def test_sizes_gradients_and_descriptions(name):
    make_encoder, make_decoder, sizes, stride = PAIRS[name]
    encoder, decoder = make_encoder(**sizes), make_decoder(**sizes)
    assert encoder.stride == decoder.stride == stride
    alone = int(encoder.first_frame_alone)
    assert alone == decoder.first_frame_alone
    clip = torch.randn(2, 3, alone + 2 * stride[0], 2 * stride[1], stride[2])
    latent = encoder(clip)
    assert latent.shape == (2, 3, alone + 2, 2, 1)
    pixels = decoder(latent)
    assert pixels.shape == clip.shape
    pixels.square().mean().backward()
    for network in (encoder, decoder):
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())
        assert describe(build(describe(network))) == describe(network)
    assert decoder.last_layer.shape


@pytest.mark.parametrize("name", PAIRS)
def test_other_sizes_are_refused(name, unchecked_shapes):
    make_encoder, make_decoder, sizes, stride = PAIRS[name]
    encoder, decoder = make_encoder(**sizes), make_decoder(**sizes)
    alone = int(encoder.first_frame_alone)
    good = [1, 3, alone + stride[0], stride[1], stride[2]]
    for axis, size in ((1, 4), (2, alone + stride[0] + 1), (3, stride[1] - 1), (4, 0)):
        if axis == 2 and stride[0] == 1:
            continue
        with pytest.raises(ShapeError, match="Pad the clip"):
            encoder(torch.zeros([*good[:axis], size, *good[axis + 1 :]]))
    with pytest.raises(ShapeError, match="channels first"):
        decoder(torch.zeros(1, 4, 1, 1, 1))
    with pytest.raises(ShapeError, match="channels first"):
        decoder(torch.zeros(1, 3, 0, 1, 1))


@pytest.mark.parametrize(
    ("make", "arguments"),
    [
        (VidTokEncoder, {"time_levels": [3]}),
        (VidTokDecoder, {"space_levels": [4]}),
        (VidTokEncoder, {"norm": "batch", "base_width": 4}),
        (LightVideoEncoder, {"widths": [8]}),
        (LightVideoDecoder, {"patch": 0}),
        (CosmosEncoder, {"time_factor": 6}),
        (CosmosEncoder, {"patch": 3, "time_factor": 6, "space_factor": 6}),
        (CosmosDecoder, {"space_factor": 64}),
        (OmniTokenizerEncoder, {"width": 36}),
        (OmniTokenizerDecoder, {"stride": [8, 8]}),
        (VideoGPTEncoder, {"stride": [3, 4, 4]}),
        (VideoGPTDecoder, {"stride": [1, 1, 1]}),
        (VideoVQGANEncoder, {"time_levels": [3]}),
        (VideoVQGANDecoder, {"attention_levels": [4]}),
    ],
)
def test_settings_that_do_not_fit_are_refused(make, arguments, unchecked_shapes):
    with pytest.raises(ConfigError, match="expected"):
        make(**arguments)


@pytest.mark.parametrize("time_levels", [(0,), pytest.param((0, 1), marks=pytest.mark.slow)])
@torch.no_grad()
def test_one_frame_of_an_inflated_network_is_the_image(time_levels):
    sizes = {"dim": 4, "base_width": 32, "multipliers": (1, 1, 2), "num_res_blocks": 1}
    sizes |= {"attention_levels": (2,), "latent_width": 8}
    image_encoder, image_decoder = VQGANEncoder(**sizes).eval(), VQGANDecoder(**sizes).eval()
    for network in (image_encoder, image_decoder):
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    encoder = inflated_encoder(image_encoder, time_levels)
    decoder = inflated_decoder(image_decoder, time_levels)
    assert not encoder.training
    assert encoder.stride == (2 ** len(time_levels), 4, 4)
    picture = torch.randn(2, 3, 16, 12)
    latent = image_encoder(picture)
    torch.testing.assert_close(encoder(picture[:, :, None])[:, :, 0], latent, atol=1e-5, rtol=1e-5)
    pixels = decoder(latent[:, :, None])
    torch.testing.assert_close(pixels[:, :, 0], image_decoder(latent), atol=1e-5, rtol=1e-5)

    # Of a clip, each latent frame is that of the last of its frames, and becomes equal frames.
    clip = torch.randn(1, 3, 1 + 2 * encoder.stride[0], 16, 12)
    latents = encoder(clip)
    last = image_encoder(clip[:, :, -1])
    torch.testing.assert_close(latents[:, :, -1], last, atol=1e-5, rtol=1e-5)
    frames = decoder(latents)
    torch.testing.assert_close(frames[:, :, -1], image_decoder(last), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        frames[:, :, -encoder.stride[0]], frames[:, :, -1], atol=1e-5, rtol=1e-5
    )


def test_inflated_networks_learn_in_time():
    sizes = {"dim": 4, "base_width": 32, "multipliers": (1, 1), "num_res_blocks": 1}
    sizes |= {"attention_levels": (), "latent_width": 8}
    encoder = inflated_encoder(VQGANEncoder(**sizes), [0])
    encoder(torch.randn(1, 3, 5, 8, 8)).square().mean().backward()
    taps = encoder.conv_in.weight.grad
    step = encoder.down[0].time_downsample.weight.grad
    assert taps is not None
    assert step is not None
    assert (taps.abs().sum(dim=(0, 1, 3, 4)) > 0).all()
    assert step.abs().sum() > 0


def test_attention_along_an_axis_is_that_of_each_line():
    attention = _AxisAttention(8, 2, axis=3)
    x = torch.randn(2, 8, 3, 4, 5)
    line = x[1, :, 2, :, 3].T  # [rows, channels]
    query, key, value = attention.in_proj(line).chunk(3, dim=-1)
    mixed = []
    for head in (slice(0, 4), slice(4, 8)):
        scores = (query[:, head] @ key[:, head].T / 2.0).softmax(dim=-1)
        mixed.append(scores @ value[:, head])
    expected = attention.out_proj(torch.cat(mixed, dim=-1))
    torch.testing.assert_close(attention(x)[1, :, 2, :, 3], expected.T)


@torch.no_grad()
def test_attention_in_windows_is_that_of_each_window():
    torch.manual_seed(0)
    windowed, whole = _SpaceLayer(8, 2, window=4), _SpaceLayer(8, 2, window=0)
    whole.load_state_dict(windowed.state_dict())
    for parameter in (windowed.gain1, whole.gain1):
        parameter.fill_(1.0)
    x = torch.randn(2, 8, 3, 8, 6)
    out = windowed(x)
    for rows, columns in ((slice(0, 4), slice(0, 4)), (slice(4, 8), slice(4, 6))):
        part = x[..., rows, columns]
        torch.testing.assert_close(out[..., rows, columns], whole(part), atol=1e-6, rtol=1e-5)


def test_transposed_convolutions_of_videogpt_are_those_of_padded_input():
    """Its code pads the latents and cuts the kernel's reach off, which is the same."""
    decoder = VideoGPTDecoder(dim=2, width=4, num_blocks=0, stride=(2, 2, 2), num_heads=1).eval()
    conv = decoder.body[-1]
    x = torch.randn(1, 4, 2, 3, 2)
    padded = F.conv_transpose3d(F.pad(x, (1, 1) * 3), conv.weight, conv.bias, stride=2, padding=3)
    torch.testing.assert_close(conv(x), padded)


def test_the_light_network_sees_its_neighbourhood_alone():
    """No statistic over frames or pixels: what is far away changes no bit of a latent."""
    encoder = LightVideoEncoder(dim=3, patch=2, widths=[6, 8], num_blocks=[1, 1])
    clip = torch.randn(1, 3, 5, 16, 48)
    changed = clip.clone()
    changed[..., 24:] = 0.0
    with torch.no_grad():
        latent, other = encoder(clip), encoder(changed)
    # Of 12 columns the last 6 change, and those that blocks look at them from.
    assert torch.equal(latent[..., :3], other[..., :3])
    assert not torch.allclose(latent[..., 6:], other[..., 6:])


def test_latents_of_a_fresh_light_network_spread_over_the_levels():
    torch.manual_seed(0)
    ramp = torch.linspace(-1, 1, 64)
    picture = (ramp[:, None] * ramp).expand(1, 3, 9, 64, 64) + 0.2 * torch.randn(1, 3, 9, 64, 64)
    deviation = LightVideoEncoder()(picture.clamp(-1, 1)).std()
    assert 0.2 < deviation < 2.0
