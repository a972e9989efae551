"""What encoders and decoders of audio promise: lengths, causality, limits, values at the edge."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from transformers.models.xcodec2.modeling_xcodec2 import Xcodec2ISTFTHead

from vqkit.errors import ConfigError, ShapeError
from vqkit.nets import (
    CausalTransformer,
    ConvStyle,
    DACDecoder,
    DACEncoder,
    ISTFTHead,
    MimiDecoder,
    MimiEncoder,
    SEANetDecoder,
    SEANetEncoder,
    Snake,
    VocosDecoder,
)
from vqkit.nets.causal_transformer import _windowed_attention


def test_snake_is_the_formula_and_the_identity_at_alpha_zero():
    snake = Snake(3)
    with torch.no_grad():
        snake.alpha.copy_(torch.tensor([[0.0], [0.5], [3.0]]))
    x = torch.randn(2, 3, 50, requires_grad=True)
    out = snake(x)
    torch.testing.assert_close(out[:, 0], x[:, 0])
    for channel, alpha in ((1, 0.5), (2, 3.0)):
        expected = x[:, channel] + torch.sin(alpha * x[:, channel]) ** 2 / alpha
        torch.testing.assert_close(out[:, channel], expected)
    out.sum().backward()
    assert x.grad.isfinite().all()
    assert snake.alpha.grad.isfinite().all()


@pytest.mark.parametrize("strides", [(2, 4, 8, 8), (2, 4, 5, 8), (3, 2), (5, 7)])
def test_dac_has_its_length_for_odd_strides_too(strides):
    encoder, decoder = DACEncoder(1, 8, 2, strides), DACDecoder(1, 8, 16, strides)
    (hop,) = encoder.stride
    for length in (1, hop - 1, hop, hop + 1, 3 * hop):
        frames = encoder(torch.zeros(1, 1, length))
        assert frames.shape == (1, 8, -(-length // hop))
        assert decoder(frames).shape == (1, 1, frames.shape[-1] * hop)


@pytest.mark.parametrize("lstm", [0, 2])
def test_a_causal_seanet_does_not_look_ahead(lstm):
    style = ConvStyle(padding="zero")
    sizes = {"dim": 4, "num_filters": 4, "strides": (2, 3), "num_lstm_layers": lstm, "style": style}
    encoder, decoder = SEANetEncoder(**sizes).eval(), SEANetDecoder(**sizes).eval()
    x = torch.randn(1, 1, 60)
    other = torch.cat([x[..., :30], torch.randn(1, 1, 30)], dim=-1)
    with torch.no_grad():
        # Convolutions of other parts of a batch differ in the last bit at most.
        torch.testing.assert_close(encoder(x)[..., :5], encoder(other)[..., :5])
        assert not torch.allclose(encoder(x)[..., 5:], encoder(other)[..., 5:])
        latent, changed = encoder(x), encoder(other)
        torch.testing.assert_close(decoder(latent)[..., :30], decoder(changed)[..., :30])


def naive_attention(q, k, v, window):
    out = torch.zeros_like(q)
    for frame in range(q.shape[2]):
        first = max(0, frame - window + 1)
        scores = q[:, :, frame : frame + 1] @ k[:, :, first : frame + 1].mT / q.shape[-1] ** 0.5
        out[:, :, frame : frame + 1] = scores.softmax(-1) @ v[:, :, first : frame + 1]
    return out


@pytest.mark.parametrize("window", [1, 2, 5, 8])
@pytest.mark.parametrize("frames", [1, 2, 5, 10, 11, 16, 17, 33])
def test_attention_in_blocks_is_that_of_a_loop(window, frames):
    ours, theirs = [], []
    for function, gradients in ((_windowed_attention, ours), (naive_attention, theirs)):
        generator = torch.Generator().manual_seed(frames)
        q, k, v = (
            torch.randn(2, 3, frames, 4, generator=generator, dtype=torch.float64) for _ in range(3)
        )
        for x in (q, k, v):
            x.requires_grad_()
        out = function(q, k, v, window)
        (out.square() * torch.arange(1, frames + 1)[:, None]).sum().backward()
        gradients += [out.detach(), q.grad, k.grad, v.grad]
    for mine, naive in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, naive)


def test_a_transformer_sees_its_window_and_no_more():
    transformer = CausalTransformer(8, 1, 2, 16, window=3, initial_gain=1.0).eval()
    x = torch.randn(1, 8, 20)
    other = x.clone()
    other[..., 10] = torch.randn(8)
    with torch.no_grad():
        changed = (transformer(x) - transformer(other)).abs().amax(dim=(0, 1)) > 1e-5
    assert changed.nonzero().flatten().tolist() == [10, 11, 12]


@pytest.mark.parametrize(("n_fft", "hop"), [(16, 4), (1280, 320), (30, 10), (8, 4)])
def test_istft_is_that_of_torch(n_fft, hop):
    head = ISTFTHead(6, n_fft, hop)
    x = torch.randn(2, 6, 9)
    sound = head(x)
    assert sound.shape == (2, 1, 9 * hop)
    magnitude, phase = head.linear(x.mT).chunk(2, dim=-1)
    spectrum = torch.polar(magnitude.exp().clamp(max=100.0), phase)
    frames = torch.fft.irfft(spectrum, n_fft, dim=-1)
    window = torch.hann_window(n_fft)
    whole, weight = torch.zeros(2, 8 * hop + n_fft), torch.zeros(8 * hop + n_fft)
    for number in range(9):
        place = slice(number * hop, number * hop + n_fft)
        whole[:, place] += frames[:, number] * window
        weight[place] += window**2
    cut = (n_fft - hop) // 2
    expected = (whole / weight.clamp_min(1e-11))[:, cut : cut + 9 * hop]
    torch.testing.assert_close(sound[:, 0], expected, rtol=1e-4, atol=1e-5)


def test_istft_is_that_of_xcodec2():
    config = SimpleNamespace(hidden_size=24, n_fft=1280, hop_length=320)
    peer = Xcodec2ISTFTHead(config)
    head = ISTFTHead(24, config.n_fft, config.hop_length)
    head.linear.load_state_dict(peer.linear.state_dict())
    for frames in (1, 2, 50):
        x = torch.randn(3, 24, frames)
        with torch.no_grad():
            torch.testing.assert_close(head(x), peer(x.mT), rtol=0, atol=1e-5)


def test_a_spectrum_of_great_magnitude_stays_finite():
    head = ISTFTHead(4, 16, 4)
    nn.init.constant_(head.linear.bias, 1000.0)
    sound = head(torch.zeros(1, 4, 5))
    assert sound.isfinite().all()
    sound.sum().backward()
    assert all(p.grad.isfinite().all() for p in head.parameters())


def test_the_decoder_of_vocos_without_and_with_positions():
    for position_net, most in ((False, 4), (True, 9)):
        decoder = VocosDecoder(
            4, width=32, hidden_dim=64, num_layers=1, hop=4, n_fft=8, position_net=position_net
        ).eval()
        latent = torch.randn(1, 4, 40)
        other = latent.clone()
        other[..., 20] += 1.0
        with torch.no_grad():
            difference = (decoder(latent) - decoder(other)).view(40, 4).abs().amax(1) > 1e-7
        reach = (difference.nonzero().flatten() - 20).abs().max().item()
        # Two convolutions of seven, one window; attention reaches everywhere.
        assert reach <= most + 4 if not position_net else reach > most


@pytest.mark.usefixtures("unchecked_shapes")
def test_networks_refuse_what_is_not_theirs():
    encoder, decoder = SEANetEncoder(dim=4, num_filters=2), SEANetDecoder(dim=4, num_filters=2)
    for network in (encoder, DACEncoder(dim=4, num_filters=2)):
        for shape in ((1, 2, 100), (1, 1, 0), (1, 100)):
            with pytest.raises(ShapeError, match=r"expected \[batch, 1, samples\]"):
                network(torch.zeros(shape))
    for network in (decoder, DACDecoder(dim=4, num_filters=16), VocosDecoder(4, width=32)):
        for shape in ((1, 5, 3), (1, 4, 0)):
            with pytest.raises(ShapeError, match=r"expected \[batch, 4, frames\]"):
                network(torch.zeros(shape))
    with pytest.raises(ConfigError, match="strides"):
        SEANetEncoder(strides=(2, 0))
    with pytest.raises(ConfigError, match="num_filters >= 16"):
        DACDecoder(num_filters=8)
    with pytest.raises(ConfigError, match="of one dim"):
        MimiEncoder(encoder, CausalTransformer(8, 1, 2, 8))
    with pytest.raises(ConfigError, match="of one dim"):
        MimiDecoder(decoder, CausalTransformer(8, 1, 2, 8))
    with pytest.raises(ConfigError, match="twice the hop"):
        ISTFTHead(4, 16, 10)
    with pytest.raises(ConfigError, match="32 divides"):
        VocosDecoder(4, width=40)
    with pytest.raises(ConfigError, match="twice the heads divide"):
        CausalTransformer(8, 1, 3, 8)


@pytest.mark.parametrize("decoder", [SEANetDecoder(dim=4, num_filters=2), DACDecoder(1, 4, 16)])
def test_the_last_layer_gets_a_gradient(decoder):
    decoder(torch.randn(1, 4, 3)).square().sum().backward()
    assert decoder.last_layer.grad.any()
