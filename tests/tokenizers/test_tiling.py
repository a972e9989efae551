"""Large pictures in tiles: the tokens of the whole, and no seams."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from vqkit.errors import ConfigError, ShapeError
from vqkit.quantizers import FSQ, MultiScaleResidual, RandomInit, VectorQuantizer
from vqkit.tokenizers import ImageFrontend, Tiling, Tokenizer
from vqkit.tokenizers.tiling import AxisTiles, blend

SMALL = Tiling(tile_pixels=32, overlap_pixels=32, whole_pixels=0)


class Blur(nn.Module):
    """Looks four pixels around a patch of four, and no further."""

    in_channels = out_channels = 3
    dim = 4
    stride = (4, 4)

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 4, 12, stride=4, padding=4)

    def forward(self, x):
        return 3 * self.conv(x)


class Unblur(nn.Module):
    """The way back: what a token says reaches four pixels beyond its patch."""

    out_channels = 3
    dim = 4
    stride = (4, 4)

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.conv = nn.ConvTranspose2d(4, 3, 12, stride=4, padding=4)

    def forward(self, x):
        return self.conv(x)


def blurring() -> Tokenizer:
    return Tokenizer(ImageFrontend(), Blur(), FSQ([8, 8, 8, 8]), Unblur())


def picture(height, width):
    generator = torch.Generator().manual_seed(0)
    return 2 * torch.rand(3, height, width, generator=generator) - 1


@pytest.mark.parametrize("size", [(100, 100), (33, 200), (4, 70), (129, 31), (1, 1)])
def test_tokens_and_pixels_of_tiles_are_those_of_the_whole(size):
    tokenizer, image = blurring(), picture(*size)
    whole, tiled = tokenizer.encode([image]), tokenizer.encode([image], tiling=SMALL)
    assert tiled.same_as(whole)
    (expected,), (decoded,) = tokenizer.decode(whole), tokenizer.decode(whole, tiling=SMALL)
    torch.testing.assert_close(decoded, expected, rtol=0, atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(
    height=st.integers(1, 90),
    cuts=st.lists(st.integers(1, 89), max_size=5, unique=True),
    tiling=st.sampled_from([SMALL, Tiling(), Tiling(40, 8, 3000)]),
)
def test_strips_have_the_tokens_of_the_whole_picture(height, cuts, tiling):
    tokenizer, image = blurring(), picture(height, 50)
    strips = torch.tensor_split(image, sorted(cut for cut in cuts if cut < height), dim=1)
    tokens = tokenizer.encode([image], tiling=tiling)
    assert tokenizer.encode_pieces(strips, tiling=tiling).same_as(tokens)
    pieces = tokenizer.decode_pieces(tokens, tiling=tiling)
    assert torch.equal(torch.cat(list(pieces), dim=1), tokenizer.decode(tokens, tiling=tiling)[0])


def test_tiles_of_a_batch_are_those_of_the_picture_alone():
    tokenizer = blurring()
    images = [picture(40, 40), picture(90, 70), picture(40, 40)]
    tiling = Tiling(32, 16, whole_pixels=2000)
    alone = tokenizer.encode(images, tiling=tiling)
    assert tokenizer.encode(images, tiling=tiling, batched=True).same_as(alone)
    together = tokenizer.decode(alone, tiling=tiling, batched=True)
    for mine, expected in zip(together, tokenizer.decode(alone, tiling=tiling), strict=True):
        torch.testing.assert_close(mine, expected, rtol=0, atol=1e-6)


@given(
    high=st.integers(1, 20),
    wide=st.integers(1, 20),
    size=st.integers(1, 7),
    margin=st.integers(0, 7),
    stride=st.integers(1, 5),
)
def test_tiles_that_are_all_the_same_blend_to_that(high, wide, size, margin, stride):
    axis = AxisTiles(stride, size, min(margin, size))
    picture = torch.rand(2, high * stride, wide * stride)

    def tiles(row):
        for column in axis.tiles(wide):
            rows, columns = (slice(tile.low * stride, tile.high * stride) for tile in (row, column))
            yield column, picture[:, rows, columns]

    rows = ((row, tiles(row)) for row in axis.tiles(high))
    strips = list(blend(rows, (axis, high), (axis, wide)))
    torch.testing.assert_close(torch.cat(strips, dim=1), picture)


def test_one_tile_fades_into_the_next_linearly():
    axis = AxisTiles(stride=2, size=4, margin=2)
    first, second = axis.tiles(8)
    assert axis.weighted(first, 8)[:2] == (0, 10)
    assert axis.weighted(second, 8)[:2] == (6, 16)
    falling, rising = axis.weighted(first, 8)[2][-4:], axis.weighted(second, 8)[2][:4]
    torch.testing.assert_close(rising, torch.tensor([0.125, 0.375, 0.625, 0.875]))
    torch.testing.assert_close(falling + rising, torch.ones(4))


def test_memory_is_that_of_a_row_of_tiles():
    tokenizer = blurring()
    seen = []

    def hook(module, arguments):
        seen.append(arguments[0].shape[-2:])

    tokenizer.encoder.register_forward_pre_hook(hook)
    strips = (picture(16, 64) for _ in range(20))
    tokens = tokenizer.encode_pieces(strips, tiling=SMALL)
    assert tokens.media[0] == {"height": 320, "width": 64}
    assert max(height for height, _ in seen) == 64
    assert max(width for _, width in seen) == 48


@pytest.mark.parametrize("arguments", [(8, 16), (0, 0), (8, -1), (8, 8, -1)])
def test_tiles_that_cannot_be(arguments):
    with pytest.raises(ConfigError, match="expected"):
        Tiling(*arguments)


def test_strips_that_are_no_picture():
    tokenizer = blurring()
    with pytest.raises(ShapeError, match="at least one"):
        tokenizer.encode_pieces([])
    with pytest.raises(ShapeError, match="width of 8"):
        tokenizer.encode_pieces([picture(4, 8), picture(4, 9)])
    with pytest.raises(ConfigError, match="no rate"):
        tokenizer.encode_pieces([picture(4, 8)], sample_rate_hz=24_000)
    with pytest.raises(ConfigError, match="chunk_seconds for a tokenizer of audio"):
        tokenizer.encode([picture(4, 8)], chunk_seconds=1.0)


def test_a_quantizer_of_one_grid_takes_the_whole():
    vq = VectorQuantizer(4, 16, init=RandomInit())
    quantizer = MultiScaleResidual(vq, [[1, 1], [4, 4]])
    tokenizer = Tokenizer(ImageFrontend(), Blur(), quantizer, Unblur())
    tokens = tokenizer.encode([picture(16, 16)], tiling=Tiling(8, 0, 0))
    assert tokens.indices.shape == (1, 17, 1)
    assert tokenizer.decode(tokens, tiling=Tiling(8, 0, 0))[0].shape == (3, 16, 16)
