"""SEANet with an LSTM in both directions, against two that run in one."""

import pytest
import torch
from torch import nn

from vqkit.errors import ConfigError
from vqkit.nets import BidirectionalLSTM, ConvStyle, SEANetDecoder, SEANetEncoder
from vqkit.tokenizers import build, describe

SIZES = {"dim": 4, "num_filters": 2, "strides": (2, 3), "style": ConvStyle(causal=False)}


def one_way(lstm: nn.LSTM, suffix: str) -> nn.LSTM:
    """The layer that runs in one direction of the one that runs in both."""
    single = nn.LSTM(lstm.input_size, lstm.hidden_size)
    for name, parameter in single.named_parameters():
        parameter.data.copy_(getattr(lstm, name + suffix))
    return single


@torch.no_grad()
def test_directions_lie_side_by_side_each_with_its_input_added():
    encoder = SEANetEncoder(**SIZES, num_lstm_layers=BidirectionalLSTM(1)).eval()
    place = next(i for i, layer in enumerate(encoder.layers) if hasattr(layer, "lstm"))
    layer = encoder.layers[place]
    x = torch.randn(2, 8, 5)
    frames = x.permute(2, 0, 1)
    forward = one_way(layer.lstm, "")(frames)[0] + frames
    backward = one_way(layer.lstm, "_reverse")(frames.flip(0))[0].flip(0) + frames
    expected = torch.cat([forward, backward], dim=-1).permute(1, 2, 0)
    torch.testing.assert_close(layer(x), expected)
    assert encoder.layers[place + 2].conv.in_channels == 16
    assert encoder(torch.zeros(1, 1, 13)).shape == (1, 4, 3)


@pytest.mark.parametrize("layers", [1, BidirectionalLSTM(2)])
@torch.no_grad()
def test_only_both_directions_look_at_what_comes(layers):
    # A kernel of 1 at the end: nothing but the LSTM looks ahead by more than a few frames.
    encoder = SEANetEncoder(**SIZES, kernels=(1, 1, 1), num_lstm_layers=layers).eval()
    x = torch.randn(1, 1, 600)
    changed = x.clone()
    changed[..., 590:] = 0.0
    differs = (encoder(x) - encoder(changed)).abs().amax(1)[0] > 0
    assert differs[:80].any() == isinstance(layers, BidirectionalLSTM)


@torch.no_grad()
def test_decoders_and_descriptions():
    decoder = SEANetDecoder(**SIZES, num_lstm_layers=BidirectionalLSTM(1))
    assert decoder(torch.zeros(1, 4, 3)).shape == (1, 1, 18)
    again = build(describe(decoder))
    assert again.num_lstm_layers == BidirectionalLSTM(1)
    again.load_state_dict(decoder.state_dict(), strict=True)
    with pytest.raises(ConfigError, match="layers >= 1, got 0"):
        BidirectionalLSTM(0)
