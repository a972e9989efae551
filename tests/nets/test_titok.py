"""TiTok's networks against torch's own attention, and what a row of tokens means."""

import pytest
import torch
from torch import nn

from tests.nets.image_references import (
    titok_decoder,
    titok_encoder,
    titok_two_stage_decoder,
)
from vqkit.errors import ConfigError, ShapeError
from vqkit.nets import MaskGITDecoder, TiTokDecoder, TiTokEncoder, TiTokTwoStageDecoder

SMALL = {
    "dim": 4,
    "side_pixels": 24,
    "patch_pixels": 8,
    "num_tokens": 5,
    "width": 12,
    "num_layers": 2,
    "num_heads": 3,
}


def theirs(network):
    """Weights under the names of the description."""
    return {
        name.replace("attn.in_proj.", "attn.in_proj_").replace("ffn.", "ffn.0."): value
        for name, value in network.named_parameters()
    }


def randomised(network):
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    return network.double()


@pytest.mark.parametrize("legacy", [False, True])
def test_encoder_equals_reference_in_values_and_gradients(legacy):
    encoder = randomised(TiTokEncoder(**SMALL, unit_range=True, mixes_features=legacy))
    x = torch.rand(2, 3, 24, 24, dtype=torch.float64) * 2 - 1
    weights = theirs(encoder)
    expected = titok_encoder(
        weights, weights["latent_tokens"], (x + 1) / 2, num_heads=3, legacy=legacy
    )
    check(encoder, encoder(x), expected)


def test_decoder_equals_reference_in_values_and_gradients():
    decoder = randomised(TiTokDecoder(**SMALL, unit_range=True))
    z = torch.randn(2, 4, 5, dtype=torch.float64)
    check(decoder, decoder(z), 2 * titok_decoder(theirs(decoder), z, num_heads=3, side=3) - 1)


def test_two_stage_decoder_equals_reference_in_values_and_gradients():
    sizes = {"dim": 6, "base_width": 32, "multipliers": (1, 2, 2, 1), "num_res_blocks": 1}
    decoder = randomised(TiTokTwoStageDecoder(MaskGITDecoder(**sizes), 7, **SMALL))
    z = torch.randn(2, 4, 5, dtype=torch.float64)
    weights = {
        name.replace("attn.in_proj.", "attn.in_proj_"): value
        for name, value in decoder.named_parameters()
    }
    prefix = "pixel_decoder."
    pixels = {n.removeprefix(prefix): w for n, w in weights.items() if n.startswith(prefix)}
    codes = weights["pixel_quantize.weight"]
    expected = titok_two_stage_decoder(weights, pixels, codes, z, num_heads=3, side=3)
    check(decoder, decoder(z), 2 * expected - 1)
    assert decoder.last_layer is decoder.pixel_decoder.conv_out.weight
    with pytest.raises(ConfigError, match="factor 4, got"):
        TiTokTwoStageDecoder(MaskGITDecoder(**sizes), 7, **SMALL | {"patch_pixels": 4})


def check(network, ours, expected):
    torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-9)
    weights = list(network.parameters())
    target = torch.randn_like(ours)
    gradients = (torch.autograd.grad((y * target).sum(), weights) for y in (ours, expected))
    for mine, other in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-7, atol=1e-7)


def test_trap_43_the_order_of_the_first_models_mixes_tokens():
    """A feature of one latent, as they have it, depends on several tokens of the transformer."""
    torch.manual_seed(0)
    encoder = TiTokEncoder(**SMALL, mixes_features=True)
    right = TiTokEncoder(**SMALL)
    right.load_state_dict(encoder.state_dict())
    x = torch.rand(1, 3, 24, 24)
    assert not torch.allclose(encoder(x), right(x))


def test_pixels_of_either_range():
    """Weights for pixels in [0, 1] see those, and give them."""
    plain, unit = TiTokEncoder(**SMALL), TiTokEncoder(**SMALL, unit_range=True)
    unit.load_state_dict(plain.state_dict())
    x = torch.rand(1, 3, 24, 24)
    torch.testing.assert_close(unit(2 * x - 1), plain(x))
    decoder = TiTokDecoder(**SMALL)
    scaled = TiTokDecoder(**SMALL, unit_range=True)
    scaled.load_state_dict(decoder.state_dict())
    z = torch.randn(1, 4, 5)
    torch.testing.assert_close(scaled(z), 2 * decoder(z) - 1)


def test_sizes_of_the_published_models():
    """Base and large, of 64 tokens."""
    with torch.device("meta"):
        encoder, decoder = TiTokEncoder(), TiTokDecoder()

    def num_layer(width):
        return 12 * width**2 + 13 * width

    def num_places(width):
        return (257 + 1 + 64) * width + 4 * width

    count = sum(p.numel() for p in encoder.parameters())
    patches = 3 * 256 * 768 + 768
    expected = 12 * num_layer(768) + num_places(768) + patches + 64 * 768 + 768 * 64 + 64
    assert count == expected
    count = sum(p.numel() for p in decoder.parameters())
    ends = 64 * 1024 + 1024 + 1024 + 1024 * 768 + 768 + 9 * 9 + 3
    assert count == 24 * num_layer(1024) + num_places(1024) + ends


def test_attributes_and_settings():
    for kind in (TiTokEncoder, TiTokDecoder):
        network = kind(**SMALL)
        assert {name: getattr(network, name) for name in SMALL} == SMALL
        assert (network.grid, network.stride) == ((3, 3), (8, 8))
        with pytest.raises(ConfigError, match="patch_pixels divides, got 24 and 7"):
            kind(**SMALL | {"patch_pixels": 7})
        with pytest.raises(ConfigError, match="num_heads divides, got 12 and 5"):
            kind(**SMALL | {"num_heads": 5})
        with pytest.raises(ConfigError, match="sizes from 1 on"):
            kind(**SMALL | {"num_tokens": 0})
    assert TiTokDecoder(**SMALL).last_layer.shape == (3, 3, 3, 3)
    with pytest.raises(ShapeError, match=r"\[batch, 3, 24, 24\], got \[1, 3, 24, 32\]"):
        TiTokEncoder(**SMALL)(torch.zeros(1, 3, 24, 32))
    with pytest.raises(ShapeError, match=r"\[batch, 4, 5\], got \[1, 4, 6\]"):
        TiTokDecoder(**SMALL)(torch.zeros(1, 4, 6))
