"""Causal recipes of clips in their full size: chunks and tiles give what the whole gives."""

import math
from collections.abc import Sequence

import pytest
import torch
from hydra.utils import instantiate
from torch import Tensor

from tests.recipes.test_configurations import RECIPES, composed
from vqkit.data import MovingShapes
from vqkit.media import VideoReader
from vqkit.tokenizers import Tiling, Tokenizer

QUICK = "video/quickstart"
WHOLE = {"video/videogpt"}  # attention to all frames
CAUSAL = sorted(recipe for recipe in RECIPES if recipe.startswith("video/") and recipe not in WHOLE)
LIGHT = {QUICK, "video/light-small"}
CHUNKS = (1, 2, 5, 16)
"""In latent frames."""
CLIPS = (
    "vp8/ice_hockey_cif_30f_1410.ivf",
    "openh264/foreman_cif_300f_test_cif_P.264",
    "torchcodec/nasa_13013_320x180.mp4",
)
# Of media in [-1, 1]: an eightieth of a level of 8 bits. Kernels are chosen by the shape, and round
# differently; that nothing else differs is tested in double precision in tests/nets.
ROUNDING = 1e-4


def tokenizer_of(recipe: str) -> Tokenizer:
    torch.manual_seed(0)
    config = composed(f"recipe={recipe}")
    tokenizer = instantiate(config.tokenizer, _convert_="all")
    if recipe in LIGHT:
        # Random weights keep latents near the middle; trained ones spread them like this.
        with torch.no_grad():
            tokenizer.encoder.head.weight.mul_(5)
    return tokenizer.eval()


def check_chunks(
    tokenizer: Tokenizer, clip: Tensor, chunks: Sequence[int], decoded_chunks: Sequence[int]
) -> None:
    """The same bits of tokens whatever the length of chunks, and the same pixels."""
    whole = tokenizer.encode([clip], frame_rate=25, chunk_frames=clip.shape[1])
    assert len(whole.indices.unique()) > 8
    for latents in chunks:
        frames = latents * tokenizer.stride[0]
        chunked = tokenizer.encode([clip], frame_rate=25, chunk_frames=frames)
        assert chunked.same_as(whole), latents
    decoded = tokenizer.decode(whole, chunk_frames=clip.shape[1])[0]
    for latents in decoded_chunks:
        pieces = tokenizer.decode_pieces(whole, chunk_frames=latents * tokenizer.stride[0])
        torch.testing.assert_close(torch.cat(list(pieces), dim=1), decoded, atol=ROUNDING, rtol=0)


@pytest.mark.parametrize(
    "recipe",
    [name if name == QUICK else pytest.param(name, marks=pytest.mark.slow) for name in CAUSAL],
)
def test_shapes_in_chunks(recipe: str) -> None:
    tokenizer = tokenizer_of(recipe)
    num_frames = 17 * tokenizer.stride[0] + 3
    shapes = MovingShapes(1, num_frames=num_frames, side=21).load(0)
    noisy = (shapes + 0.3 * torch.randn(shapes.shape)).clamp(-1, 1)
    check_chunks(tokenizer, noisy, CHUNKS if recipe in LIGHT else (5,), (5,))


@pytest.mark.slow
@pytest.mark.parametrize("recipe", CAUSAL)
def test_real_clips_in_chunks(recipe: str, development_media) -> None:
    tokenizer = tokenizer_of(recipe)
    for name in CLIPS if recipe in LIGHT else CLIPS[1:2]:
        with VideoReader(development_media / "video" / name) as reader:
            frames = next(iter(reader.blocks(17 * tokenizer.stride[0])))
        height, width = (side // 2 for side in frames.shape[2:])
        part = frames[:, :, height : height + 22, width : width + 32].clone()
        check_chunks(tokenizer, part, CHUNKS, (1, 5))


@pytest.mark.slow
def test_real_clips_in_tiles(development_media) -> None:
    """Tokens away from the borders of tiles are those of the whole, seams are not to be seen."""
    tokenizer = tokenizer_of(QUICK)
    tiling = Tiling(tile_pixels=128, overlap_pixels=64, whole_pixels=0)
    for name in CLIPS[1:]:
        with VideoReader(development_media / "video" / name) as reader:
            clip = next(iter(reader.blocks(9)))
        whole = tokenizer.encode([clip], tiling=Tiling(whole_pixels=1 << 24))
        tiled = tokenizer.encode([clip], tiling=tiling)
        assert (tiled.indices == whole.indices).float().mean() > 0.999
        decoded = tokenizer.decode(whole, tiling=tiling)[0]
        error = (decoded - clip).square().mean(dim=(0, 1))
        near = torch.zeros_like(error, dtype=torch.bool)
        for axis, length in enumerate(error.shape):
            for border in range(128, length, 128):
                near.narrow(axis, border - 16, min(32, length - border + 16)).fill_(True)
        of_whole = (tokenizer.decode(whole, tiling=Tiling(whole_pixels=1 << 24))[0] - clip).square()
        of_whole = of_whole.mean(dim=(0, 1))
        change_db = 10 * math.log10(error[near].mean() / of_whole[near].mean())
        assert abs(change_db) < 0.1
