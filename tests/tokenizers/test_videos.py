"""Clips: padded, cut back, the same tokens in chunks and tiles as of the whole."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vqkit.errors import ConfigError, ShapeError, StreamingError
from vqkit.files import dumps, loads
from vqkit.nets import LightVideoDecoder, LightVideoEncoder
from vqkit.quantizers import FSQ, MultiScaleResidual
from vqkit.testing import tokenizer_checks
from vqkit.tokenizers import ImageFrontend, Tiling, Tokenizer, VideoFrontend
from vqkit.tokenizers.frame_groups import FrameGroups
from vqkit.tokenizers.spec import seconds_of
from vqkit.tokenizers.video_frontend import frame_rate_of


def light() -> Tokenizer:
    torch.manual_seed(0)
    settings = {"dim": 4, "frames": 4, "patch": 4, "widths": [8, 8], "num_blocks": [1, 1]}
    encoder, decoder = LightVideoEncoder(**settings), LightVideoDecoder(**settings)
    return Tokenizer(VideoFrontend(), encoder, FSQ([8, 5, 5, 5]), decoder).eval()


def clip(frames, height=16, width=24):
    generator = torch.Generator().manual_seed(frames)
    return 2 * torch.rand(3, frames, height, width, generator=generator) - 1


@pytest.fixture(scope="module")
def tokenizer():
    return light()


@pytest.mark.parametrize("check", tokenizer_checks(), ids=lambda check: check.__name__)
def test_the_contract_of_tokenizers(tokenizer, check):
    check(tokenizer)


@pytest.mark.parametrize("size", [(1, 1, 1), (2, 17, 9), (5, 8, 8), (9, 15, 24)])
def test_clips_of_any_size_keep_it(tokenizer, size):
    tokens = tokenizer.encode([clip(*size)], frame_rate=Fraction(30_000, 1001))
    frames, height, width = size
    grid = (1 + -(-(frames - 1) // 4), -(-height // 8), -(-width // 8))
    assert tokens.indices.shape == (1, *grid, 1)
    assert tokens.media[0] == {
        "frames": frames,
        "height": height,
        "width": width,
        "frame_rate_numerator": 30_000,
        "frame_rate_denominator": 1001,
    }
    read = loads(dumps(tokens))
    assert read.same_as(tokens)
    assert frame_rate_of(read.media[0]) == Fraction(30_000, 1001)
    assert seconds_of(read.media[0]) == pytest.approx(frames * 1001 / 30_000)
    assert tokenizer.decode(read)[0].shape == (3, *size)


def test_a_clip_of_one_frame_is_a_picture_by_itself(tokenizer):
    moving = clip(9)
    tokens = tokenizer.encode([moving, moving[:, :1]])
    assert torch.equal(tokens.item(0).indices[:, :1], tokens.item(1).indices)
    decoded = tokenizer.decode(tokens)
    torch.testing.assert_close(decoded[0][:, :1], decoded[1], rtol=0, atol=1e-6)


@settings(max_examples=15, deadline=None)
@given(
    frames=st.integers(1, 40),
    cuts=st.lists(st.integers(1, 39), max_size=4, unique=True),
    chunk=st.sampled_from([1, 4, 8, 20, 64]),
    tiling=st.sampled_from([Tiling(), Tiling(8, 0, 0), Tiling(16, 16, 0)]),
)
def test_pieces_have_the_tokens_of_the_clip(tokenizer, frames, cuts, chunk, tiling):
    media = clip(frames)
    cutting = {"chunk_frames": chunk, "tiling": tiling}
    tokens = tokenizer.encode([media], **cutting)
    pieces = torch.tensor_split(media, sorted(cut for cut in cuts if cut < frames), dim=1)
    assert tokenizer.encode_pieces(pieces, **cutting).same_as(tokens)
    decoded = list(tokenizer.decode_pieces(tokens, **cutting))
    assert torch.equal(torch.cat(decoded, dim=1), tokenizer.decode(tokens, **cutting)[0])


@pytest.mark.parametrize("latents", [1, 2, 5, 16])
def test_chunks_have_the_tokens_of_the_whole(tokenizer, latents):
    media = clip(70)
    whole = tokenizer.encode([media], chunk_frames=1000)
    assert tokenizer.encode([media], chunk_frames=4 * latents).same_as(whole)
    expected = tokenizer.decode(whole, chunk_frames=1000)[0]
    decoded = tokenizer.decode(whole, chunk_frames=4 * latents)[0]
    torch.testing.assert_close(decoded, expected, rtol=0, atol=1e-5)


def test_tiles_have_the_tokens_of_the_whole(tokenizer):
    media = clip(13, 100, 60)
    whole = tokenizer.encode([media], chunk_frames=4)
    tiling = Tiling(tile_pixels=48, overlap_pixels=48, whole_pixels=0)
    assert tokenizer.encode([media], chunk_frames=4, tiling=tiling).same_as(whole)
    decoded = tokenizer.decode(whole, chunk_frames=4, tiling=tiling)[0]
    torch.testing.assert_close(decoded, tokenizer.decode(whole)[0], rtol=0, atol=1e-5)


def test_token_maps_from_coarse_to_fine_are_of_the_whole_clip():
    """A quantizer of one grid sees all of it, however the clip comes; other clips are refused."""
    made = light()
    scales = [[1, 1, 1], [2, 1, 1], [2, 2, 3]]
    quantizer = MultiScaleResidual(FSQ([8, 5, 5, 5]), scales)
    tokenizer = Tokenizer(VideoFrontend(), made.encoder, quantizer, made.decoder).eval()
    item = clip(5)
    tokens = tokenizer.encode([item], chunk_frames=4)
    assert tokens.axes == ("token",)
    assert tokens.indices.shape == (1, 1 + 2 + 2 * 2 * 3, 1)
    with torch.no_grad():
        latents = tokenizer.encoder(item[None]).movedim(1, -1)
        expected = quantizer.encode(latents)
        decoded = tokenizer.decoder(quantizer.decode(expected).movedim(-1, 1))[0].clamp(-1, 1)
    assert torch.equal(tokens.indices, expected)
    assert torch.equal(tokenizer.decode(loads(dumps(tokens)))[0], decoded)
    pieces = tokenizer.encode_pieces(item.split(2, dim=1))
    assert pieces.same_as(tokens)
    assert torch.equal(torch.cat(list(tokenizer.decode_pieces(pieces)), dim=1), decoded)
    for other in (clip(9), clip(5, 16, 16)):
        with pytest.raises(ShapeError):
            tokenizer.encode([other])
        with pytest.raises(ShapeError):
            tokenizer.encode_pieces([other])


def test_memory_is_that_of_a_chunk(tokenizer, monkeypatch):
    seen = []
    encode = tokenizer.quantizer.encode

    def watched(latents):
        seen.append(latents.shape[1])
        return encode(latents)

    monkeypatch.setattr(tokenizer.quantizer, "encode", watched)
    tokens = tokenizer.encode_pieces((clip(7) for _ in range(30)), chunk_frames=8)
    assert tokens.media[0]["frames"] == 210
    assert sum(seen) == tokens.indices.shape[1]
    assert max(seen) == 2


def test_what_is_no_clip(tokenizer):
    with pytest.raises(ShapeError, match="at least one frame"):
        tokenizer.encode([torch.zeros(3, 0, 8, 8)])
    with pytest.raises(ShapeError, match="3 channels"):
        tokenizer.encode([torch.zeros(1, 2, 8, 8)])
    with pytest.raises(ShapeError, match="finite values"):
        tokenizer.encode([torch.full((3, 1, 8, 8), torch.nan)])
    with pytest.raises(ShapeError, match="frames of"):
        tokenizer.encode_pieces([clip(2, 8, 8), clip(2, 8, 9)])
    with pytest.raises(ShapeError, match="at least one, got none"):
        tokenizer.encode_pieces([])
    for rate in (0, -1, 10**7):
        with pytest.raises(ConfigError, match="frames a second"):
            tokenizer.encode([clip(1)], frame_rate=rate)
    with pytest.raises(ConfigError, match="no sample_rate_hz"):
        tokenizer.encode([clip(1)], sample_rate_hz=16_000)
    with pytest.raises(ConfigError, match="chunk_frames"):
        tokenizer.encode([clip(1)], chunk_frames=0)
    with pytest.raises(StreamingError, match="sounds"):
        tokenizer.stream()


def test_frontend_and_networks_agree_on_the_first_frame(tokenizer):
    frontend = VideoFrontend(first_frame_alone=False)
    with pytest.raises(ConfigError, match="first_frame_alone"):
        Tokenizer(frontend, tokenizer.encoder, tokenizer.quantizer, tokenizer.decoder)
    with pytest.raises(ConfigError, match="axes"):
        Tokenizer(ImageFrontend(), tokenizer.encoder, tokenizer.quantizer, tokenizer.decoder)


@given(frames=st.integers(0, 100), stride=st.integers(1, 8), alone=st.booleans())
def test_groups_of_frames(frames, stride, alone):
    groups = FrameGroups(stride, alone)
    latents, missing = groups.num_latents(frames), groups.missing(frames)
    assert 0 <= missing < stride
    assert groups.num_frames(latents) == frames + missing
    assert groups.num_latents(frames + missing) == latents
    counted = 0 if not frames else int(alone) + -(-(frames - int(alone)) // stride)
    assert latents == counted
