"""Tokens that the tests of token files share; the same on every machine."""

from dataclasses import replace

import numpy as np
import torch

from vqkit.tokenizers.tokens import Tokens, TokenStream

FINGERPRINT = "0123456789abcdef" * 2


def stream(
    shape: tuple[int, ...], codebook_sizes: tuple[int, ...], axes: tuple[str, ...], seed: int = 0
) -> TokenStream:
    """One item of random indices that hold the lowest and the highest of each codebook."""
    random = np.random.Generator(np.random.PCG64(seed))
    columns = [random.integers(0, size, shape, dtype=np.int64) for size in codebook_sizes]
    for column, size in zip(columns, codebook_sizes, strict=True):
        column.reshape(-1)[:1] = size - 1
        column.reshape(-1)[1:2] = 0
    return TokenStream(torch.from_numpy(np.stack(columns, axis=-1))[None], codebook_sizes, axes)


def holed(whole: TokenStream, share: float, seed: int = 0) -> TokenStream:
    """The stream with about this share of its tokens, the first among them, unknown."""
    random = np.random.Generator(np.random.PCG64(seed))
    lost = random.random(tuple(whole.indices.shape)) < share
    lost.reshape(-1)[:1] = True
    return replace(whole, indices=torch.where(torch.from_numpy(lost), -1, whole.indices))


def photo() -> Tokens:
    """The grid of a 451x300 photo at factor 8, one codebook of 512."""
    return Tokens(
        streams={"tokens": stream((38, 57), (512,), ("height", "width"))},
        media=({"height": 300, "width": 451},),
        modality="image",
        tokenizer="image/quickstart",
        fingerprint=FINGERPRINT,
    )


def tiny() -> Tokens:
    """One token."""
    return Tokens(
        streams={"tokens": stream((1, 1), (2,), ("height", "width"))},
        media=({"height": 1, "width": 1},),
        modality="image",
        tokenizer="",
        fingerprint="0" * 32,
    )


def speech() -> Tokens:
    """Residual levels in time beside a slower stream, a global one and one without symbols."""
    return Tokens(
        streams={
            "tokens": stream((75, 4), (1024, 1024, 1000, 3), ("time", "band"), seed=1),
            "gain": stream((10,), (64,), ("time",), seed=2),
            "speaker": stream((), (1 << 40, 1), (), seed=3),
            "pauses": stream((0,), (7,), ("time",), seed=4),
        },
        media=({"samples": 24_000, "sample_rate_hz": 24_000, "channels": 1},),
        modality="audio",
        tokenizer="audio/beispiel-ä",
        fingerprint="f" * 32,
    )


def drawing() -> Tokens:
    """Few of many codes, in two levels, those of the second too large for one table.

    No two neighbours are equal: of places whose sum is even the codes are even, else odd.
    """
    random = np.random.Generator(np.random.PCG64(7))
    parity = np.add.outer(np.arange(10), np.arange(20)) % 2
    few = (random.integers(0, 4, (10, 20), dtype=np.int64) * 2 + parity) ** 2
    fewer = (random.integers(0, 2, (10, 20), dtype=np.int64) * 2 + parity) * 300_003
    levels = TokenStream(
        torch.from_numpy(np.stack([few, fewer], axis=-1))[None],
        (64, 1 << 20),
        ("height", "width"),
    )
    media = {"height": 160, "width": 320}
    return Tokens({"tokens": levels}, (media,), "image", "image/example", FINGERPRINT)


def cartoon() -> Tokens:
    """Areas of one index in a clip of two levels, moved from frame to frame."""
    frames = [np.add.outer(np.arange(9) // 4 * 7, (np.arange(17) + t) // 5) for t in range(4)]
    level = np.stack(frames).astype(np.int64)
    levels = TokenStream(
        torch.from_numpy(np.stack([level * 31 % 512, level % 3], axis=-1))[None],
        (512, 3),
        ("time", "height", "width"),
    )
    media = {"frames": 13, "height": 72, "width": 136}
    return Tokens({"tokens": levels}, (media,), "video", "video/example", FINGERPRINT)


def silence() -> Tokens:
    """One code all the time: almost no bits."""
    still = TokenStream(torch.full((1, 700, 1), 3), (1024,), ("time",))
    media = {"samples": 224_000, "sample_rate_hz": 16_000, "channels": 1}
    return Tokens({"tokens": still}, (media,), "audio", "audio/example", FINGERPRINT)


def clip() -> Tokens:
    """Three axes, codebooks of every kind of size."""
    return Tokens(
        streams={
            "tokens": stream(
                (5, 3, 4),
                (1, 2, 3, 512, 1000, 65_536, 1 << 24, 1 << 62),
                ("time", "height", "width"),
                seed=5,
            ),
            "mask": stream((5, 3, 4), (2,), ("time", "height", "width"), seed=6),
        },
        media=({"height": 24, "width": 32, "frames": 17, "frame_rate_numerator": 30_000},),
        modality="video",
        tokenizer="video/example",
        fingerprint=FINGERPRINT,
    )


def damaged() -> Tokens:
    """Areas of one index with holes, and a stream of which nothing is known."""
    random = np.random.Generator(np.random.PCG64(9))
    areas = np.add.outer(np.arange(24) // 5, np.arange(30) // 6)[..., None] * [5, 3] % [60, 16]
    areas[random.random((24, 30)) < 0.1] = -1
    areas[3:5, :, 1] = -1
    levels = TokenStream(torch.from_numpy(areas)[None], (60, 16), ("height", "width"))
    gone = TokenStream(torch.full((1, 9, 1), -1), (1000,), ("time",))
    media = {"height": 192, "width": 240}
    return Tokens({"tokens": levels, "gain": gone}, (media,), "image", "image/example", FINGERPRINT)


# Name -> tokens and rows in a chunk.
SAMPLES = {
    "photo": (photo(), None),
    "tiny": (tiny(), None),
    "speech": (speech(), 20),
    "clip": (clip(), 2),
    "drawing": (drawing(), 5),
    "silence": (silence(), None),
    "cartoon": (cartoon(), 3),
    "damaged": (damaged(), 8),
}
