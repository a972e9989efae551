"""Fresh networks hand signals on: neither dead nor exploding."""

import pytest
import torch
from torch import nn

from vqkit.nets import ConvStyle, SEANetDecoder, SEANetEncoder
from vqkit.nets.initial_gain import keep_variance


@pytest.mark.parametrize("make", [
    lambda: nn.Conv1d(32, 48, 7, groups=4),
    lambda: nn.ConvTranspose1d(64, 32, 16, stride=8),
    lambda: nn.utils.parametrizations.weight_norm(nn.ConvTranspose1d(64, 32, 10, stride=5)),
])  # fmt: skip
def test_a_layer_keeps_the_variance(make):
    torch.manual_seed(0)
    layer = make()
    keep_variance(layer)
    channels = 32 if isinstance(layer, nn.Conv1d) else 64
    out = layer(torch.randn(4, channels, 500)).detach()
    assert float(out[..., 20:-20].std()) == pytest.approx(1.0, abs=0.15)
    assert (layer.bias == 0).all()


@pytest.mark.parametrize("norm", ["none", "weight"])
def test_latents_of_a_fresh_encoder_differ_between_frames(norm):
    """PyTorch's own weights give latents of which a thousandth depends on the sound."""
    torch.manual_seed(0)
    style = ConvStyle(padding="zero", norm=norm)
    encoder = SEANetEncoder(dim=16, num_filters=8, num_lstm_layers=0, style=style)
    latent = encoder(0.1 * torch.randn(2, 1, 6400)).detach()
    over_frames, over_all = latent.std(-1).mean(), latent.std()
    assert float(over_frames) > 0.5 * float(over_all)
    assert 0.02 < float(over_all) < 2.0
    decoder = SEANetDecoder(dim=16, num_filters=8, num_lstm_layers=0, style=style)
    assert 0.1 < float(decoder(torch.randn(2, 16, 20)).detach().std()) < 10.0
