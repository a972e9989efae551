"""Open-MAGVIT2's networks against a reference written from the description of their layout."""

import pytest
import torch
from torch import nn

from tests.nets.image_references import magvit2_decoder, magvit2_encoder
from vqkit.errors import ConfigError, ShapeError
from vqkit.nets import MAGVIT2Decoder, MAGVIT2Encoder

SMALL = {"dim": 5, "base_width": 32, "multipliers": (1, 2, 1), "num_res_blocks": 2}


@pytest.mark.parametrize(
    ("network", "reference", "shape"),
    [
        (MAGVIT2Encoder, magvit2_encoder, (2, 3, 8, 12)),
        (MAGVIT2Decoder, magvit2_decoder, (2, 5, 2, 3)),
    ],
    ids=["encoder", "decoder"],
)
def test_equals_reference_in_values_and_gradients(network, reference, shape):
    network = network(**SMALL).double()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2)
    weights = dict(network.named_parameters())
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    inputs = [x, *weights.values()]
    ours, theirs = network(x), reference(weights, x, num_levels=3, num_blocks=2)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    target = torch.randn_like(ours)
    gradients = (torch.autograd.grad((y * target).sum(), inputs) for y in (ours, theirs))
    for mine, other in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-8, atol=1e-8)


def test_size_of_the_published_model():
    """Counted from the description, not from the networks."""
    with torch.device("meta"):
        both = (MAGVIT2Encoder(), MAGVIT2Decoder())
    counts = [sum(p.numel() for p in network.parameters()) for network in both]
    assert [network.stride for network in both] == [(16, 16), (16, 16)]
    assert counts == [num_encoder(), num_decoder()]


def num_block(width, out_width):
    shortcut = width * out_width if width != out_width else 0
    return 9 * width * out_width + 9 * out_width**2 + 2 * width + 2 * out_width + shortcut


WIDTHS = [128, 128, 256, 256, 512]


def num_encoder():
    total = 9 * 3 * 128
    for before, width in zip([128, *WIDTHS], WIDTHS, strict=False):
        total += num_block(before, width) + 3 * num_block(width, width)
    total += sum(9 * width**2 + width for width in WIDTHS[:-1])
    return total + 4 * num_block(512, 512) + 2 * 512 + 512 * 18 + 18


def num_decoder():
    total = 9 * 18 * 512 + 512 + 4 * num_block(512, 512)
    for width, before in zip(WIDTHS, [*WIDTHS[1:], 512], strict=True):
        total += num_block(before, width) + 3 * num_block(width, width) + 2 * (18 + 1) * before
    total += sum(9 * width * 4 * width + 4 * width for width in WIDTHS[1:])
    return total + 2 * 128 + 9 * 128 * 3 + 3


def test_trap_42_a_single_latent_decodes_to_numbers():
    """The published deviation, unbiased, divides by zero there."""
    latent = torch.randn(2, 5, 1, 1)
    with pytest.warns(UserWarning, match="degrees of freedom"):
        assert latent.flatten(2).var(dim=2).isnan().all()
    assert MAGVIT2Decoder(**SMALL)(latent).isfinite().all()


def test_attributes_and_settings():
    for network in (MAGVIT2Encoder(**SMALL), MAGVIT2Decoder(**SMALL)):
        assert {name: getattr(network, name) for name in SMALL} == SMALL
    assert MAGVIT2Decoder(**SMALL).last_layer.shape == (3, 32, 3, 3)
    with pytest.raises(ConfigError, match="at least one multiplier"):
        MAGVIT2Encoder(multipliers=())
    with pytest.raises(ConfigError, match="32 divides, got 48"):
        MAGVIT2Decoder(base_width=48)
    with pytest.raises(ShapeError, match="multiples of 4 x 4"):
        MAGVIT2Encoder(**SMALL)(torch.zeros(1, 3, 8, 6))
    with pytest.raises(ShapeError, match=r"\[batch, 5, height, width\]"):
        MAGVIT2Decoder(**SMALL)(torch.zeros(1, 4, 2, 2))
