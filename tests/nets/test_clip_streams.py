"""Networks over pieces of a clip give what they give of the whole; the first frame stands alone."""

from collections.abc import Callable, Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from vqkit.errors import StreamingError
from vqkit.nets import (
    ClipConv,
    CosmosDecoder,
    CosmosEncoder,
    LightVideoDecoder,
    LightVideoEncoder,
    OmniTokenizerDecoder,
    OmniTokenizerEncoder,
    SteppedStream,
    VideoGPTEncoder,
    VideoVQGANDecoder,
    VideoVQGANEncoder,
    VidTokDecoder,
    VidTokEncoder,
    open_stream,
)

_VIDTOK = {"dim": 3, "base_width": 4, "multipliers": (1, 2, 2), "num_res_blocks": 1}
_LIGHT = {"dim": 3, "patch": 2, "widths": [6, 8], "num_blocks": [1, 2]}
_COSMOS = {"dim": 3, "base_width": 8, "multipliers": (1, 1), "num_res_blocks": 1, "window": 3}
_OMNI = {"dim": 3, "stride": (2, 4, 4), "width": 8, "num_heads": 2, "num_time_layers": 2}
_VQGAN = {"dim": 3, "base_width": 32, "multipliers": (1, 1), "num_res_blocks": 1}

ENCODERS: dict[str, Callable[[], nn.Module]] = {
    "VidTok": lambda: VidTokEncoder(**_VIDTOK),
    "VidTok, time 2": lambda: VidTokEncoder(**_VIDTOK, time_levels=[1]),
    "VidTok, group norm": lambda: VidTokEncoder(
        dim=3, base_width=32, multipliers=(1, 1), num_res_blocks=1, time_levels=[0], norm="group"
    ),
    "VidTok, not causal": lambda: VidTokEncoder(**_VIDTOK, causal=False),
    "light": lambda: LightVideoEncoder(**_LIGHT),
    "Cosmos": lambda: CosmosEncoder(**_COSMOS, time_factor=4, space_factor=4, patch=2),
    "OmniTokenizer": lambda: OmniTokenizerEncoder(**_OMNI, space_windows=[0, 2], time_window=3),
    "VQGAN": lambda: VideoVQGANEncoder(**_VQGAN, time_levels=[0], latent_width=4),
}
DECODERS: dict[str, Callable[[], nn.Module]] = {
    "VidTok": lambda: VidTokDecoder(**_VIDTOK),
    "VidTok, time 8": lambda: VidTokDecoder(
        dim=3, base_width=4, multipliers=(1, 1, 1, 1), num_res_blocks=1, time_levels=[1, 2, 3]
    ),
    "VidTok, not causal": lambda: VidTokDecoder(**_VIDTOK, causal=False),
    "light": lambda: LightVideoDecoder(**_LIGHT),
    "Cosmos": lambda: CosmosDecoder(**_COSMOS, time_factor=4, space_factor=4, patch=2),
    "OmniTokenizer": lambda: OmniTokenizerDecoder(**_OMNI, space_windows=[0, 2], time_window=3),
    "VQGAN": lambda: VideoVQGANDecoder(**_VQGAN, time_levels=[0], latent_width=4),
}
NETWORKS = {
    **{f"{name} encoder": make for name, make in ENCODERS.items()},
    **{f"{name} decoder": make for name, make in DECODERS.items()},
}
NAMES = [
    name
    if name.startswith("light") or name in ("VidTok encoder", "VidTok decoder")
    else pytest.param(name, marks=pytest.mark.slow)
    for name in NETWORKS
]


def _made(name: str) -> nn.Module:
    """With weights of which none is zero."""
    torch.manual_seed(0)
    network = NETWORKS[name]().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network


def _precise(name: str) -> nn.Module:
    """In float64, where the rounding of kernels says nothing."""
    return _made(name).double()


def _input(network: nn.Module, num_latents: int, batch: int = 1) -> Tensor:
    """For an encoder so many latent frames' worth, for a decoder so many latent frames."""
    channels = getattr(network, "in_channels", None)
    dtype = next(network.parameters()).dtype
    if channels is None:
        return torch.randn(batch, network.dim, num_latents, 2, 1, dtype=dtype)  # type: ignore[arg-type]
    time, height, width = network.stride  # type: ignore[misc]
    alone = int(network.first_frame_alone)  # type: ignore[arg-type]
    num_frames = alone + time * (num_latents - alone)
    return torch.randn(batch, channels, num_frames, 2 * height, width, dtype=dtype)


def _pieces(x: Tensor, cuts: list[int]) -> Iterator[Tensor]:
    places = sorted(min(cut, x.shape[2]) for cut in cuts)
    for first, last in zip([0, *places], [*places, x.shape[2]], strict=True):
        yield x[:, :, first:last]


def _pushed(network: nn.Module, pieces: Iterator[Tensor]) -> Tensor:
    stream = open_stream(network)
    return torch.cat([*(stream.push(piece) for piece in pieces), stream.finish()], dim=2)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=4, deadline=None)
@given(num_latents=st.integers(1, 5), cuts=st.lists(st.integers(0, 20), max_size=4))
@torch.no_grad()
def test_any_split_gives_what_the_whole_gives(name: str, num_latents: int, cuts: list[int]) -> None:
    network = _precise(name)
    x = _input(network, num_latents, batch=2)
    pushed = _pushed(network, _pieces(x, cuts))
    torch.testing.assert_close(pushed, network(x), atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_steps_give_the_same_bits_for_every_split(name: str) -> None:
    network = _made(name)
    x = _input(network, 6)
    is_encoder = hasattr(network, "in_channels")
    step = network.stride[0] if is_encoder else 1  # type: ignore[index]
    first = 1 if network.first_frame_alone else step

    def stepped(cuts: list[int]) -> Tensor:
        stream = SteppedStream(open_stream(network), step, first)
        parts = [stream.push(piece) for piece in _pieces(x, cuts)]
        return torch.cat([*parts, stream.finish()], dim=2)

    whole = stepped([])
    assert whole.shape == network(x).shape
    for cuts in ([1, 2, 3, 4, 5], [2, 3], [4], [0, 5, 5]):
        assert torch.equal(stepped(cuts), whole)


def test_steps_wait_until_they_are_whole() -> None:
    stream = SteppedStream(open_stream(nn.SiLU()), step=4, first=1)
    assert [stream.inputs_for(number) for number in (1, 2, 5, 6)] == [1, 5, 5, 9]
    pieces = [torch.zeros(1, 1, length) for length in (0, 1, 3, 2)]
    assert [stream.push(piece).shape[2] for piece in pieces] == [0, 1, 0, 4]
    assert stream.finish().shape[2] == 1
    with pytest.raises(StreamingError, match="whole steps"):
        stream.restart(torch.tensor([True]))


@pytest.mark.parametrize("name", [name for name in ENCODERS if "not causal" not in name])
@torch.no_grad()
def test_the_first_frame_stands_alone(name: str) -> None:
    encoder = _precise(f"{name} encoder")
    x = _input(encoder, 3)
    alone = encoder(x[:, :, :1])
    torch.testing.assert_close(alone, encoder(x)[:, :, :1], atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("name", [name for name in DECODERS if "not causal" not in name])
@torch.no_grad()
def test_the_first_latent_frame_stands_alone(name: str) -> None:
    decoder = _precise(f"{name} decoder")
    latent = _input(decoder, 3)
    alone = decoder(latent[:, :, :1])
    assert alone.shape[2] == 1
    torch.testing.assert_close(alone, decoder(latent)[:, :, :1], atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_outputs_come_as_soon_as_is_said(name: str) -> None:
    network = _made(name)
    stream = open_stream(network)
    x = _input(network, 40)
    num_outputs, num_steps = 0, 0
    for i in range(x.shape[2]):
        before, num_outputs = num_outputs, num_outputs + stream.push(x[:, :, i : i + 1]).shape[2]
        if num_outputs > before:
            assert open_stream(network).inputs_for(num_outputs) == i + 1
            num_steps += 1
        if num_steps == 3:
            return
    pytest.fail("too few outputs to compare")


@pytest.mark.parametrize("name", NAMES)
def test_the_span_is_what_outputs_depend_on(name: str) -> None:
    """The naive reference: which inputs have a gradient."""
    network = _made(name)
    stream = open_stream(network)
    # The first output that does not depend on the beginning, and all that it depends on.
    number = next(n for n in range(1000) if stream.span(n, n)[0] > 0)
    first, last = stream.span(number, number)
    is_encoder = hasattr(network, "in_channels")
    num_latents = number + 15 if is_encoder else int(last) + 3
    x = _input(network, num_latents).requires_grad_()

    network(x)[:, :, number].sum().backward()

    assert x.grad is not None
    touched = (x.grad != 0).any(dim=1).flatten(2).any(dim=-1).nonzero()[:, 1]
    assert (touched.min(), touched.max()) == (first, last)


@torch.no_grad()
def test_a_causal_network_looks_at_no_later_frame() -> None:
    """VidTok's decoder interpolates, and looks at one more latent frame; nothing else does."""
    for name, make in NETWORKS.items():
        network = make()
        last = open_stream(network).span(0, 8 * network.stride[0])[1]  # type: ignore[index,operator]
        own = 8 * network.stride[0] ** 2 if "encoder" in name else 8  # type: ignore[index,operator]
        if "not causal" in name:
            assert last > own
        else:
            assert last == own + ("VidTok" in name and "decoder" in name)


@torch.no_grad()
def test_convolutions_in_pieces_of_every_length() -> None:
    for causal in (True, False):
        for kernel, stride in ((1, 1), (3, 1), (4, 2), ((3, 1, 1), (2, 1, 1)), ((5, 3, 3), 1)):
            conv = ClipConv(2, 3, kernel, causal=causal, stride=stride)
            step = conv.stride[0]
            for length in range(step, 6 * step, step):
                x = torch.randn(2, 2, length, 4, 6)
                torch.testing.assert_close(_pushed(conv, iter(x.split(1, dim=2))), conv(x))
                torch.testing.assert_close(_pushed(conv, iter(x.split(3, dim=2))), conv(x))


@torch.no_grad()
def test_rows_restart_alone_where_any_frame_may_be_the_first() -> None:
    torch.manual_seed(0)
    conv = nn.Sequential(ClipConv(2, 4, 3), nn.SiLU(), ClipConv(4, 2, (3, 1, 1)))
    x = torch.randn(2, 2, 7, 3, 3)
    stream = open_stream(conv)
    first = stream.push(x[:, :, :4])
    stream.restart(torch.tensor([True, False]))
    second = stream.push(x[:, :, 4:])
    torch.testing.assert_close(second[:1], conv(x[:1, :, 4:]))
    torch.testing.assert_close(torch.cat([first[1:], second[1:]], dim=2), conv(x[1:]))


@torch.no_grad()
@pytest.mark.parametrize("name", ["light encoder", "light decoder", "VidTok decoder"])
def test_rows_of_a_network_whose_first_frame_stands_alone_do_not_restart(name: str) -> None:
    network = _made(name)
    stream = open_stream(network)
    stream.push(_input(network, 3, batch=2))
    with pytest.raises(StreamingError, match="stream of its own"):
        stream.restart(torch.tensor([True, False]))


def test_what_needs_the_whole_clip_does_not_stream() -> None:
    with pytest.raises(StreamingError, match="attention"):
        open_stream(VideoGPTEncoder(dim=2, width=4, num_blocks=1, num_heads=1))
