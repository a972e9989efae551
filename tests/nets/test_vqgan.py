"""VQGAN networks against a reference written from the description of the published layout."""

import itertools

import pytest
import torch
from torch import nn

from tests.nets.image_references import Weights, vqgan_decoder, vqgan_encoder
from vqkit.errors import ConfigError, ShapeError
from vqkit.nets import VQGANDecoder, VQGANEncoder

SMALL = {
    "dim": 5,
    "base_width": 32,
    "multipliers": (1, 2, 1),
    "num_res_blocks": 1,
    "attention_levels": (1, 2),
    "latent_width": 7,
}


def randomise(network: nn.Module) -> None:
    """Norms start as the identity and would hide a scale or shift that is forgotten."""
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2)


@pytest.mark.parametrize(
    ("network", "reference", "shape"),
    [
        (VQGANEncoder(**SMALL), vqgan_encoder, (2, 3, 8, 12)),
        (VQGANDecoder(**SMALL), vqgan_decoder, (2, 5, 2, 3)),
    ],
    ids=["encoder", "decoder"],
)
def test_equals_reference_in_values_and_gradients(network, reference, shape):
    network = network.double()
    randomise(network)
    weights = dict(network.named_parameters())
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    inputs = [x, *weights.values()]

    ours, theirs = network(x), reference(weights, x, num_levels=3, num_blocks=1)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)

    direction = torch.randn_like(ours)
    for mine, other in zip(
        torch.autograd.grad(ours, inputs, direction),
        torch.autograd.grad(theirs, inputs, direction),
        strict=True,
    ):
        torch.testing.assert_close(mine, other, rtol=1e-8, atol=1e-10)


def num_conv(in_width: int, out_width: int, kernel: int) -> int:
    return in_width * out_width * kernel**2 + out_width


def num_residual(in_width: int, out_width: int) -> int:
    shortcut = num_conv(in_width, out_width, 1) if in_width != out_width else 0
    norms = 2 * in_width + 2 * out_width
    return norms + num_conv(in_width, out_width, 3) + num_conv(out_width, out_width, 3) + shortcut


def num_attention(width: int) -> int:
    return 2 * width + 4 * num_conv(width, width, 1)


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_parameter_count_of_the_paper():
    widths = [128, 128, 256, 256, 512]
    encoder = num_conv(3, 128, 3)
    for in_width, out_width in itertools.pairwise([128, *widths]):
        encoder += num_residual(in_width, out_width) + num_residual(out_width, out_width)
    encoder += sum(num_conv(width, width, 3) for width in widths[:-1])
    encoder += 2 * num_attention(512)
    mid = 2 * num_residual(512, 512) + num_attention(512)
    encoder += mid + 2 * 512 + num_conv(512, 256, 3) + num_conv(256, 256, 1)

    decoder = num_conv(256, 256, 1) + num_conv(256, 512, 3) + mid
    for in_width, out_width in itertools.pairwise([512, *reversed(widths)]):
        decoder += num_residual(in_width, out_width) + 2 * num_residual(out_width, out_width)
    decoder += sum(num_conv(width, width, 3) for width in widths[1:])
    decoder += 3 * num_attention(512)
    decoder += 2 * 128 + num_conv(128, 3, 3)

    with torch.device("meta"):
        assert count(VQGANEncoder()) == encoder
        assert count(VQGANDecoder()) == decoder
        # LlamaGen publishes 72 M and 70 M for these two, codebooks of 16384 x 8 included.
        for multipliers, level, total in (((1, 1, 2, 2, 4), 4, 72), ((1, 2, 2, 4), 3, 70)):
            setting = {"dim": 8, "multipliers": multipliers, "attention_levels": (level,)}
            both = count(VQGANEncoder(**setting)) + count(VQGANDecoder(**setting))
            assert round((both + 16384 * 8) / 1e6) == total


@pytest.mark.parametrize("factor", [4, 8, 16, 32])
def test_factors_and_channels(factor: int):
    multipliers = (1,) * (factor.bit_length())
    setting = {
        "dim": 3,
        "base_width": 32,
        "multipliers": multipliers,
        "num_res_blocks": 1,
        "attention_levels": (),
        "latent_width": 4,
    }
    encoder, decoder = VQGANEncoder(2, **setting), VQGANDecoder(2, **setting)
    assert encoder.stride == decoder.stride == (factor, factor)
    latent = encoder(torch.zeros(1, 2, factor, 3 * factor))
    assert latent.shape == (1, 3, 1, 3)
    assert decoder(latent).shape == (1, 2, factor, 3 * factor)


def test_attributes_repeat_the_arguments():
    for network in (VQGANEncoder(**SMALL), VQGANDecoder(**SMALL)):
        assert {name: getattr(network, name) for name in SMALL} == SMALL


def test_without_any_attention():
    encoder = VQGANEncoder(**SMALL | {"attention_levels": (), "middle_attention": False})
    assert not any(".attn" in name or "mid.attn" in name for name, _ in encoder.named_parameters())


def test_dropout_acts_in_training_only():
    encoder = VQGANEncoder(**SMALL, dropout=0.5)
    x = torch.randn(1, 3, 8, 8)
    assert not torch.equal(encoder(x), encoder(x))
    encoder.eval()
    assert torch.equal(encoder(x), encoder(x))


def test_last_layer_is_the_last_weight():
    decoder = VQGANDecoder(**SMALL)
    before = decoder(torch.ones(1, 5, 2, 2))
    with torch.no_grad():
        decoder.last_layer.mul_(2.0)
    bias = decoder.conv_out.bias[:, None, None]
    torch.testing.assert_close(decoder(torch.ones(1, 5, 2, 2)) - bias, 2 * (before - bias))


def test_seed_decides_the_weights():
    def built(seed: int) -> Weights:
        torch.manual_seed(seed)
        return VQGANDecoder(**SMALL).state_dict()

    first, again, other = built(1), built(1), built(2)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["conv_in.weight"], other["conv_in.weight"])


def test_bf16_autocast_runs_backwards():
    encoder, decoder = VQGANEncoder(**SMALL), VQGANDecoder(**SMALL)
    with torch.autocast("cpu", torch.bfloat16):
        output = decoder(encoder(torch.randn(1, 3, 8, 8)))
    output.float().square().mean().backward()
    assert all(p.grad.isfinite().all() for p in (*encoder.parameters(), *decoder.parameters()))


@pytest.mark.parametrize("shape", [(1, 3, 16, 18), (1, 3, 0, 16), (1, 1, 16, 16)])
def test_refuses_other_images(shape):
    with pytest.raises(ShapeError, match="multiples of 4 x 4, got"):
        VQGANEncoder(**SMALL)(torch.zeros(shape))


@pytest.mark.parametrize("shape", [(1, 4, 2, 2), (1, 5, 0, 2)])
def test_refuses_other_latents(shape):
    with pytest.raises(ShapeError, match=r"expected \[batch, 5, height, width\], got"):
        VQGANDecoder(**SMALL)(torch.zeros(shape))


@pytest.mark.parametrize("network", [VQGANEncoder, VQGANDecoder])
def test_refuses_settings(network):
    with pytest.raises(ConfigError, match="a width that 32 divides, got 48"):
        network(base_width=48, multipliers=(1, 2), attention_levels=())
    with pytest.raises(ConfigError, match=r"attention_levels within 0\.\.1 .* got \[2\]"):
        network(multipliers=(1, 2), attention_levels=(2,))
    with pytest.raises(ConfigError, match="at least one multiplier"):
        network(multipliers=(), attention_levels=())
