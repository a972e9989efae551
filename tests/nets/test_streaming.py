"""Networks over pieces of a signal give what they give of the whole."""

import itertools
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from vqkit.errors import StreamingError
from vqkit.nets import (
    CausalTransformer,
    ConvStyle,
    DACDecoder,
    DACEncoder,
    ISTFTHead,
    LightDecoder,
    LightEncoder,
    MimiDecoder,
    MimiEncoder,
    PaddedConv,
    PaddedTransposedConv,
    SEANetDecoder,
    SEANetEncoder,
    VocosDecoder,
    open_stream,
)

STYLES = {
    "encodec": ConvStyle(),
    "zero": ConvStyle(padding="zero"),
    "replicate": ConvStyle(padding="replicate", norm="none"),
    "symmetric": ConvStyle(causal=False),
    "symmetric zero": ConvStyle(causal=False, padding="zero", norm="none"),
}


def _mimi(half: str) -> nn.Module:
    style = ConvStyle(padding="zero", norm="none")
    sizes = {"dim": 8, "num_filters": 2, "strides": [2, 3], "num_lstm_layers": 0, "style": style}
    transformer = CausalTransformer(8, 2, 2, hidden_dim=16, window=5, initial_gain=1.0)
    if half == "encoder":
        return MimiEncoder(SEANetEncoder(**sizes), transformer)
    return MimiDecoder(SEANetDecoder(**sizes), transformer)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    **{
        f"SEANet encoder, {name}": lambda style=style: SEANetEncoder(
            num_filters=2, dim=4, strides=[2, 3, 4], style=style
        )
        for name, style in STYLES.items()
    },
    **{
        f"SEANet decoder, {name}": lambda style=style: SEANetDecoder(
            num_filters=2, dim=4, strides=[2, 3, 4], style=style
        )
        for name, style in STYLES.items()
    },
    "light encoder": lambda: LightEncoder(dim=4, width=8, strides=[8, 3], num_blocks=1),
    "light decoder": lambda: LightDecoder(dim=4, width=8, strides=[8, 3], num_blocks=1),
    "DAC encoder": lambda: DACEncoder(dim=4, num_filters=2, strides=[2, 3, 4]),
    "DAC decoder": lambda: DACDecoder(dim=4, num_filters=16, strides=[2, 3, 4]),
    "DAC encoder, odd strides": lambda: DACEncoder(dim=4, num_filters=2, strides=[5, 3]),
    "DAC decoder, odd strides": lambda: DACDecoder(dim=4, num_filters=8, strides=[5, 3]),
    "Mimi encoder": lambda: _mimi("encoder"),
    "Mimi decoder": lambda: _mimi("decoder"),
    "Vocos": lambda: VocosDecoder(4, 32, 48, num_layers=2, hop=6, n_fft=24, position_net=False),
    "transformer": lambda: CausalTransformer(8, 2, 2, hidden_dim=16, window=4, initial_gain=1.0),
}


def _channels(network: nn.Module) -> int:
    return int(getattr(network, "in_channels", None) or network.dim)  # type: ignore[arg-type]


def _pushed(network: nn.Module, pieces: list[Tensor]) -> Tensor:
    stream = open_stream(network)
    return torch.cat([*(stream.push(piece) for piece in pieces), stream.finish()], dim=-1)


def _cut(x: Tensor, cuts: list[int]) -> list[Tensor]:
    places = sorted(min(cut, x.shape[-1]) for cut in cuts)
    bounds = [0, *places, x.shape[-1]]
    return [x[..., a:b] for a, b in itertools.pairwise(bounds)]


@pytest.mark.parametrize("name", NETWORKS)
@settings(max_examples=12, deadline=None)
@given(length=st.integers(1, 150), cuts=st.lists(st.integers(0, 150), max_size=6))
@torch.no_grad()
def test_any_split_gives_what_the_whole_gives(name: str, length: int, cuts: list[int]) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name]().eval()
    x = torch.randn(2, _channels(network), length)

    torch.testing.assert_close(_pushed(network, _cut(x, cuts)), network(x), atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("padding", ["reflect", "zero", "replicate"])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(
    ("kernel", "stride", "dilation"), [(1, 1, 1), (7, 1, 3), (4, 4, 1), (9, 4, 1)]
)
@torch.no_grad()
def test_every_length_of_a_convolution(
    padding: str, causal: bool, kernel: int, stride: int, dilation: int
) -> None:
    style = ConvStyle(causal=causal, padding=padding, norm="none")  # type: ignore[arg-type]
    conv = PaddedConv(1, 2, kernel, style, stride=stride, dilation=dilation)
    for length in range(1, 3 * kernel * dilation + 3):
        x = torch.randn(1, 1, length)
        torch.testing.assert_close(_pushed(conv, list(x.split(1, dim=-1))), conv(x))
        torch.testing.assert_close(_pushed(conv, list(x.split(5, dim=-1))), conv(x))


@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_outputs_come_as_soon_as_is_said(name: str) -> None:
    network = NETWORKS[name]().eval()
    stream = open_stream(network)
    x = torch.randn(1, _channels(network), 700)
    num_outputs, num_steps = 0, 0
    for i in range(x.shape[-1]):
        before, num_outputs = num_outputs, num_outputs + stream.push(x[..., i : i + 1]).shape[-1]
        if num_outputs > before:
            assert open_stream(network).inputs_for(num_outputs) == i + 1
            num_steps += 1
        if num_steps == 3:
            return
    pytest.fail("too few outputs to compare")


@pytest.mark.parametrize("name", NETWORKS)
def test_the_span_is_what_outputs_depend_on(name: str) -> None:
    """The naive reference: which inputs have a gradient."""
    torch.manual_seed(0)
    network = NETWORKS[name]().eval()
    x = torch.randn(1, _channels(network), 1200, requires_grad=True)
    out = network(x)
    middle = out.shape[-1] // 2
    out[..., middle].sum().backward()
    assert x.grad is not None
    touched = (x.grad != 0).any(dim=1).nonzero()[:, 1]

    first, last = open_stream(network).span(middle, middle)

    assert touched.max() == last
    assert first == -float("inf") or touched.min() == first


def test_the_receptive_field_of_encodec() -> None:
    stream = open_stream(SEANetEncoder(num_filters=2, dim=1, num_lstm_layers=0))
    first, last = stream.span(10, 10)
    assert last == 11 * 320 - 1  # no look-ahead
    # By hand, from the last layer back: 6 frames, then per stage what the kernels overlap.
    reach = 6
    for stride in (8, 5, 4, 2):
        reach = reach * stride + (2 * stride - stride) + 2
    assert 10 * 320 - first == reach + 6


@torch.no_grad()
def test_rows_restart_alone() -> None:
    for name in ("SEANet encoder, zero", "SEANet encoder, replicate", "Mimi encoder"):
        torch.manual_seed(0)
        network = NETWORKS[name]().eval()
        hop = network.stride[0]  # type: ignore[index]
        x = torch.randn(3, 1, 20 * hop)
        stream = open_stream(network)
        parts = [stream.push(x[..., : 7 * hop])]
        stream.restart(torch.tensor([False, True, False]))
        parts.append(stream.push(x[..., 7 * hop : 8 * hop]))
        parts.append(stream.push(x[..., 8 * hop :]))
        out = torch.cat(parts, dim=-1)

        torch.testing.assert_close(out[[0, 2]], network(x[[0, 2]]), atol=2e-6, rtol=1e-5)
        torch.testing.assert_close(
            out[1:2, :, :7], network(x[1:2, :, : 7 * hop]), atol=2e-6, rtol=1e-5
        )
        torch.testing.assert_close(
            out[1:2, :, 7:], network(x[1:2, :, 7 * hop :]), atol=2e-6, rtol=1e-5
        )


@torch.no_grad()
def test_a_decoders_rows_restart_alone() -> None:
    for name in ("SEANet decoder, zero", "Mimi decoder"):
        torch.manual_seed(0)
        network = NETWORKS[name]().eval()
        x = torch.randn(2, network.dim, 12)  # type: ignore[arg-type]
        stream = open_stream(network)
        first = stream.push(x[..., :5])
        stream.restart(torch.tensor([True, False]))
        second = stream.push(x[..., 5:])

        torch.testing.assert_close(second[:1], network(x[:1, :, 5:]), atol=2e-6, rtol=1e-5)
        whole = torch.cat([first[1:], second[1:]], dim=-1)
        torch.testing.assert_close(whole, network(x[1:]), atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize(
    "name", ["SEANet encoder, encodec", "SEANet encoder, symmetric zero", "DAC decoder"]
)
@torch.no_grad()
def test_rows_of_what_looks_ahead_do_not_restart(name: str) -> None:
    network = NETWORKS[name]().eval()
    stream = open_stream(network)
    stream.push(torch.randn(2, _channels(network), 96))
    with pytest.raises(StreamingError, match="stream of its own"):
        stream.restart(torch.tensor([True, False]))


@torch.no_grad()
def test_rows_restart_at_whole_frames_alone() -> None:
    network = NETWORKS["SEANet encoder, zero"]().eval()
    stream = open_stream(network)
    stream.push(torch.randn(2, 1, 25))
    with pytest.raises(StreamingError, match="whole frames"):
        stream.restart(torch.tensor([True, False]))


def test_what_needs_the_whole_does_not_stream() -> None:
    group = SEANetEncoder(num_filters=2, dim=4, strides=[2], style=ConvStyle(norm="group"))
    with pytest.raises(StreamingError, match="GroupNorm"):
        open_stream(group)
    with pytest.raises(StreamingError, match="position net"):
        open_stream(VocosDecoder(4, 32, 48, num_layers=1, hop=4, n_fft=16))
    with pytest.raises(StreamingError, match="BatchNorm1d"):
        open_stream(nn.Sequential(nn.BatchNorm1d(4)))


@torch.no_grad()
def test_positions_of_hours_keep_their_digits() -> None:
    """At 25 Hz a day has two million frames; angles in float32 would be wrong by a tenth."""
    transformer = CausalTransformer(8, 1, 2, hidden_dim=16, window=4, initial_gain=1.0)
    x = torch.randn(1, 8, 12)
    late = open_stream(transformer)
    late._num_frames = 2_000_000  # type: ignore[attr-defined]
    torch.testing.assert_close(late.push(x), transformer(x), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_an_inverse_stft_in_pieces() -> None:
    head = ISTFTHead(8, n_fft=16, hop=4)
    x = torch.randn(2, 8, 9)
    torch.testing.assert_close(_pushed(head, list(x.split(1, dim=-1))), head(x))


@torch.no_grad()
def test_groups_of_a_transposed_convolution() -> None:
    conv = PaddedTransposedConv(4, 4, 6, ConvStyle(causal=False, norm="none"), stride=3, groups=4)
    x = torch.randn(2, 4, 9)
    torch.testing.assert_close(_pushed(conv, list(x.split(2, dim=-1))), conv(x))
