"""A tokenizer of clips without a network: means of frames and pixels, in coarse levels."""

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor

from vqkit.evaluation import TensorFootage
from vqkit.tokenizers.spec import TokenizerSpec
from vqkit.tokenizers.tokens import Tokens, TokenStream

RATE = Fraction(25)


class BlockClips:
    """Two frames and 4 x 4 pixels a token; three codebooks, one per colour."""

    def __init__(self, num_levels: int = 20, piece_frames: int = 3) -> None:
        self.num_levels = num_levels
        self.piece_frames = piece_frames

    @property
    def spec(self) -> TokenizerSpec:
        return TokenizerSpec(
            name="test/block-clips",
            modality="video",
            channels=3,
            axes=("time", "height", "width"),
            strides=(2, 4, 4),
            codebook_sizes=(self.num_levels,) * 3,
            fingerprint=f"{self.num_levels:032x}",
            first_frame_alone=False,
        )

    def encode(self, media: Sequence[Tensor]) -> Tokens:
        return Tokens.stack([self.encode_pieces([clip]) for clip in media])

    def encode_pieces(
        self, pieces: Iterable[Tensor], *, frame_rate: int | Fraction | None = None
    ) -> Tokens:
        clip = torch.cat(list(pieces), dim=1)
        rate = Fraction(frame_rate or 0)
        even = F.pad(clip[None], (0, 0, 0, 0, 0, clip.shape[1] % 2), mode="replicate")
        means = F.avg_pool3d(even, (2, 4, 4), ceil_mode=True)
        levels = ((means + 1) / 2 * self.num_levels).long().clamp(0, self.num_levels - 1)
        stream = TokenStream(
            levels.movedim(1, -1).contiguous(), self.spec.codebook_sizes, self.spec.axes
        )
        sides = dict(zip(("frames", "height", "width"), clip.shape[1:], strict=True))
        size = {
            **sides, "frame_rate_numerator": rate.numerator,
            "frame_rate_denominator": rate.denominator,
        }  # fmt: skip
        return Tokens({"tokens": stream}, (size,), "video", self.spec.name, self.spec.fingerprint)

    def decode(self, tokens: Tokens) -> list[Tensor]:
        pieces = [list(self.decode_pieces(tokens.item(i))) for i in range(len(tokens))]
        return [torch.cat(parts, dim=1) for parts in pieces]

    def decode_pieces(self, tokens: Tokens) -> Iterator[Tensor]:
        size = tokens.media[0]
        clip = (tokens.indices[0].movedim(-1, 0) + 0.5) * 2 / self.num_levels - 1
        for axis, times in ((1, 2), (2, 4), (3, 4)):
            clip = clip.repeat_interleave(times, axis)
        clip = clip[:, : size["frames"], : size["height"], : size["width"]]
        yield from clip.split(self.piece_frames, dim=1)


def clips(count: int, *, height: int = 24, width: int = 32) -> list[tuple[str, TensorFootage]]:
    """Different smooth clips that move, of different lengths, the same on every call."""
    y = torch.linspace(0, 4, height)[:, None]
    x = torch.linspace(0, 5, width)[None, :]
    found = []
    for number in range(count):
        frames = []
        for t in range(3 + 2 * number):
            wave = torch.sin((number + 1) * x + t / 4) * torch.cos(y - t / 6) * 0.8
            frames.append(torch.stack([wave, wave.flip(0), -wave]))
        found.append((f"clip {number}.mp4", TensorFootage(torch.stack(frames, dim=1), RATE)))
    return found
