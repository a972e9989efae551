"""Batched = single: an item of a batch of different lengths has what it has alone."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from vqkit.errors import ShapeError
from vqkit.nets import (
    CausalTransformer,
    ConvStyle,
    DACDecoder,
    DACEncoder,
    LightDecoder,
    LightEncoder,
    MimiDecoder,
    MimiEncoder,
    PaddedConv,
    PaddedTransposedConv,
    SEANetDecoder,
    SEANetEncoder,
    VocosDecoder,
)
from vqkit.nets.lengths import Lengths
from vqkit.nets.ragged import RaggedGroupNorm
from vqkit.ops.stft import reflect_pad

STRIDES = (2, 3, 4)
HOP = 24
PADDINGS = ("reflect", "zero", "replicate")


def seanet(style, **changes):
    sizes = {"dim": 4, "num_filters": 4, "strides": STRIDES, "num_lstm_layers": 1} | changes
    return SEANetEncoder(style=style, **sizes), SEANetDecoder(style=style, **sizes)


def dac(strides=STRIDES):
    return DACEncoder(1, 4, 2, strides), DACDecoder(1, 4, 16, strides)


def mimi():
    style = ConvStyle(padding="zero", norm="none")
    encoder, decoder = seanet(style, dim=8, strides=(3, 4), num_lstm_layers=0)
    transformers = [CausalTransformer(8, 1, 2, 16, window=3, initial_gain=1.0) for _ in range(2)]
    return MimiEncoder(encoder, transformers[0]), MimiDecoder(decoder, transformers[1])


def vocos(position_net):
    sizes = {"width": 64, "hidden_dim": 64, "num_layers": 2, "hop": HOP, "n_fft": 4 * HOP}
    encoder, _ = seanet(ConvStyle())
    return encoder, VocosDecoder(4, **sizes, position_net=position_net)


FAMILIES = {
    f"SEANet, {padding}, {norm} norm, {'causal' if causal else 'not causal'}": (
        lambda causal=causal, padding=padding, norm=norm: seanet(ConvStyle(causal, padding, norm))
    )
    for padding in PADDINGS
    for norm in ("weight", "group")
    for causal in (True, False)
} | {
    "SEANet, two blocks": lambda: seanet(ConvStyle(), num_blocks=2, learned_shortcut=False),
    "light": lambda: (LightEncoder(1, 4, 8, STRIDES, 1), LightDecoder(1, 4, 8, STRIDES, 1)),
    "DAC": dac,
    "DAC, odd strides": lambda: dac((3, 1, 5, 2)),
    "Mimi": mimi,
    "Vocos": lambda: vocos(position_net=False),
    "Vocos, attention": lambda: vocos(position_net=True),
}


def with_noise_after(x, lengths):
    """What is in the padding must not matter, however loud."""
    after = torch.arange(x.shape[-1]) >= lengths[:, None]
    return torch.where(after[:, None], 10.0 * torch.randn(x.shape), x)


def check(network, x, lengths, factor):
    given_x = x.clone()
    together = network(x, lengths)
    assert torch.equal(x, given_x)
    for number, length in enumerate(lengths.tolist()):
        alone = network(x[number : number + 1, :, :length])[0]
        assert alone.shape[-1] == factor(length)
        mine = together[number, :, : alone.shape[-1]]
        torch.testing.assert_close(mine, alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_batched_is_single(family):
    torch.manual_seed(0)
    encoder, decoder = FAMILIES[family]()
    encoder, decoder = encoder.eval(), decoder.eval()
    (hop,) = encoder.stride
    edges = [1, hop - 1, hop, hop + 1, int(3.7 * hop)]
    drawn = torch.randint(1, 8 * hop, (3,)).tolist()
    for lengths in (torch.tensor(edges), torch.tensor([*drawn, 7 * hop])):
        x = with_noise_after(torch.randn(len(lengths), 1, int(lengths.max())), lengths)
        check(encoder, x, lengths, lambda length: -(-length // hop))
        frames = (lengths + hop - 1) // hop
        latent = with_noise_after(torch.randn(len(frames), decoder.dim, int(frames.max())), frames)
        check(decoder, latent, frames, lambda length: length * hop)


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 30), min_size=2, max_size=5),
    kernel=st.integers(1, 9),
    stride=st.integers(1, 5),
    dilation=st.integers(1, 3),
    causal=st.booleans(),
    padding=st.sampled_from(PADDINGS),
    norm=st.sampled_from(["none", "group"]),
)
@torch.no_grad()
def test_a_convolution_of_any_size(lengths, kernel, stride, dilation, causal, padding, norm):
    """Kernels wider than the items too."""
    style = ConvStyle(causal, padding, norm)
    kernel = max(kernel, stride)
    lengths = torch.tensor(lengths)
    x = with_noise_after(torch.randn(len(lengths), 2, int(lengths.max())), lengths)
    of_items = Lengths.of(lengths, x)
    for conv, factor in (
        (
            PaddedConv(2, 3, kernel, style, stride=stride, dilation=dilation),
            lambda n: -(-n // stride),
        ),
        (PaddedTransposedConv(2, 3, kernel, style, stride=stride), lambda n: n * stride),
    ):
        check(
            lambda x, lengths=None, conv=conv: conv(x, Lengths.of(lengths, x)), x, lengths, factor
        )
        if of_items is not None:
            after = conv.lengths_after(of_items)
            assert after.values.tolist() == [factor(n) for n in lengths.tolist()]
            assert after.longest == factor(int(lengths.max()))


@pytest.mark.parametrize("family", ["SEANet, reflect, group norm, not causal", "DAC", "Mimi"])
def test_gradients_are_those_of_items_alone(family):
    torch.manual_seed(0)
    encoder, decoder = FAMILIES[family]()
    (hop,) = encoder.stride
    lengths = torch.tensor([2 * hop + 1, 4 * hop])
    x = with_noise_after(torch.randn(2, 1, 4 * hop), lengths)
    for network, media, of_items in (
        (encoder, x, lengths),
        (decoder, torch.randn(2, decoder.dim, 4), torch.tensor([3, 4])),
    ):
        parameters = list(network.parameters())
        outputs = [network(media[i : i + 1, :, : of_items[i]]) for i in range(2)]
        weights = [torch.randn_like(output) for output in outputs]
        loss = sum((out * weight).sum() for out, weight in zip(outputs, weights, strict=True))
        alone = torch.autograd.grad(loss, parameters)
        together = network(media, of_items)
        loss = sum(
            (together[i, :, : weight.shape[-1]] * weight).sum() for i, weight in enumerate(weights)
        )
        for mine, theirs in zip(torch.autograd.grad(loss, parameters), alone, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


def test_items_that_are_whole_take_the_plain_way():
    x = torch.randn(3, 1, 50)
    assert Lengths.of(None, x) is None
    assert Lengths.of(torch.tensor([50, 50, 50]), x) is None
    assert Lengths.of(torch.tensor([50, 49, 50]), x) is not None


@pytest.mark.parametrize("lengths", [[50, 50], [50, 50, 0], [50, 50, 51], [50, -1, 50]])
def test_lengths_that_are_none_are_refused(lengths):
    with pytest.raises(ShapeError, match="expected 3 of 1 to 50"):
        Lengths.of(torch.tensor(lengths), torch.randn(3, 1, 50))


def test_a_reflection_of_a_short_item_is_that_of_it_alone():
    """Of a loop over items, for paddings wider than all of them."""
    lengths = torch.tensor([1, 2, 3, 5, 9])
    x = torch.randn(5, 2, 9)
    padded = Lengths(lengths, 9).padded(x, 6, 4, 3, "reflect")
    for item, row, length in zip(x, padded, lengths.tolist(), strict=True):
        expected = reflect_pad(item[:, :length], 6, 4 + -length % 3)
        assert torch.equal(row[:, : expected.shape[-1]], expected)


def test_statistics_are_those_of_the_item():
    norm = RaggedGroupNorm(2, 4)
    lengths = torch.tensor([1, 7])
    x = with_noise_after(5.0 + torch.randn(2, 4, 7), lengths)
    together = norm(x, Lengths(lengths, 7))
    for item, row, length in zip(x, together, lengths.tolist(), strict=True):
        expected = F.group_norm(item[None, :, :length], 2)[0]
        torch.testing.assert_close(row[:, :length], expected, rtol=0, atol=1e-5)
