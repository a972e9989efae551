"""The border of video: frames of any number and size, padded to what networks take, cut back."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor

from vqkit.errors import ConfigError, ShapeError
from vqkit.shapes import Float
from vqkit.tokenizers.frame_groups import FrameGroups
from vqkit.tokenizers.frontend import Frontend, check_range
from vqkit.tokenizers.spec import VIDEO_SIZES

__all__ = ["VideoFrontend", "frame_rate_of", "repeat_last"]

_MAX_RATE = 1_000_000


@final
class VideoFrontend(Frontend):
    """Clips ``[channels, frames, height, width]`` in [-1, 1], of any length and size from 1x1.

    The right and lower edge and the last frame are repeated up to what the networks take, and cut
    off after decoding. The rate of the frames is kept, and changes nothing.

    Args:
        channels: 1 for grey, 3 for RGB.
        first_frame_alone: As the networks have it: whether the first latent frame stands for the
            first frame alone.

    Raises:
        ConfigError: ``channels < 1``.

    >>> frontend = VideoFrontend()
    >>> padded, size = frontend.prepare(torch.zeros(3, 7, 30, 45), (4, 8, 8), Fraction(25))
    >>> padded.shape, size["frames"], size["height"], size["width"]
    (torch.Size([3, 9, 32, 48]), 7, 30, 45)
    """

    modality = "video"
    axes = ("time", "height", "width")

    def __init__(self, channels: int = 3, first_frame_alone: bool = True) -> None:
        if channels < 1:
            raise ConfigError(f"VideoFrontend channels: expected >= 1, got {channels}.")
        self.channels = channels
        self.first_frame_alone: bool = first_frame_alone

    def prepare(
        self,
        media: Float[Tensor, "channels frames height width"],
        stride: tuple[int, ...],
        rate: int | Fraction | None = None,
    ) -> tuple[Float[Tensor, "channels padded_frames high wide"], dict[str, int]]:
        """Pad to the stride; the rate is that of the frames, None where it is not known.

        Raises:
            ConfigError: A rate that no clip has.
            ShapeError: Wrong channels, no frame, an empty side, or values outside [-1, 1] or not
                finite.
        """
        self.check(media)
        frames, height, width = media.shape[1:]
        missing = FrameGroups(stride[0], self.first_frame_alone).missing(frames)
        padded = repeat_last(self.padded(media, stride), missing)
        return padded, self.sizes(frames, height, width, rate)

    def are_whole(self, sides: Sequence[int], stride: Sequence[int]) -> bool:
        """Whether clips of such sides need no padding."""
        missing = FrameGroups(stride[0], self.first_frame_alone).missing(sides[0])
        return not missing and super().are_whole(sides[1:], stride[1:])

    def check(self, media: Float[Tensor, "channels frames height width"]) -> None:
        """Refuse what is no clip.

        Raises:
            ShapeError: Wrong channels, no frame, an empty side, or values outside [-1, 1] or not
                finite.
        """
        if media.ndim != 4 or media.shape[0] != self.channels or 0 in media.shape:
            raise ShapeError(
                f"Video: expected [channels, frames, height, width] with {self.channels} channels, "
                f"at least one frame and no empty side, got {list(media.shape)}."
            )
        check_range(media, "Video", "Scale 8-bit values by x / 127.5 - 1.")

    def sizes(
        self, frames: int, height: int, width: int, rate: int | Fraction | None
    ) -> dict[str, int]:
        """What tokens keep of a clip; the rate is 0 of 1 where it is not known.

        Raises:
            ConfigError: A rate that no clip has.
        """
        if rate is not None and not 0 < rate <= _MAX_RATE:
            raise ConfigError(f"Video: expected 0 to {_MAX_RATE:,} frames a second, got {rate}.")
        fraction = Fraction(rate or 0)
        numbers = (frames, height, width, fraction.numerator, fraction.denominator)
        return dict(zip(VIDEO_SIZES, numbers, strict=True))

    def padded(
        self, media: Float[Tensor, "channels frames height width"], stride: tuple[int, ...]
    ) -> Float[Tensor, "channels frames high wide"]:
        """Frames whose sides the stride divides."""
        height, width = media.shape[2:]
        padding = (0, -width % stride[2], 0, -height % stride[1])
        return F.pad(media, padding, mode="replicate") if any(padding) else media

    def restore(
        self, output: Float[Tensor, "channels padded_frames high wide"], size: Mapping[str, int]
    ) -> Float[Tensor, "channels frames height width"]:
        """Cut, and clamp to [-1, 1].

        Raises:
            ShapeError: The output is smaller than the size asked for.
        """
        return torch.cat(list(self.restored_pieces([output], size)), dim=1)

    def restored_pieces(
        self, pieces: Iterable[Float[Tensor, "channels frames high wide"]], size: Mapping[str, int]
    ) -> Iterator[Float[Tensor, "channels frames height width"]]:
        """As :meth:`restore`, of a clip that comes in pieces.

        Raises:
            ShapeError: The pieces are smaller than the size asked for.
        """
        frames, height, width = size["frames"], size["height"], size["width"]
        num_given = 0
        for piece in pieces:
            high, wide = piece.shape[2:]
            if not (0 < height <= high and 0 < width <= wide):
                raise ShapeError(
                    f"Video size: expected frames of 1x1 to {high}x{wide}, which the tokens cover, "
                    f"got {height}x{width}."
                )
            piece = piece[:, : frames - num_given, :height, :width].clamp(-1.0, 1.0)
            num_given += piece.shape[1]
            yield piece
        if num_given != frames:
            raise ShapeError(
                f"Video size: expected at most {num_given} frames, which the tokens cover, got "
                f"{frames}."
            )


def repeat_last(
    media: Float[Tensor, "*batch frames height width"], times: int
) -> Float[Tensor, "*batch more_frames height width"]:
    """Frames, with the last one so many times more."""
    if not times:
        return media
    last = media[..., -1:, :, :]
    return torch.cat([media, last.expand(*last.shape[:-3], times, -1, -1)], dim=-3)


def frame_rate_of(size: Mapping[str, int]) -> Fraction | None:
    """Frames per second of a clip of a size; None where it is not known.

    >>> frame_rate_of({"frame_rate_numerator": 30000, "frame_rate_denominator": 1001})
    Fraction(30000, 1001)
    """
    numerator, denominator = (size.get(name, 0) for name in VIDEO_SIZES[3:])
    return Fraction(numerator, denominator) if numerator and denominator else None
