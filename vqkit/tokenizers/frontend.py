"""What is particular to a modality: value range, padding to the stride, cropping back."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor

from vqkit.errors import ConfigError, ShapeError
from vqkit.shapes import Float

__all__ = ["Frontend", "ImageFrontend", "check_range"]


class Frontend(ABC):
    """The border between media and the networks.

    Attributes:
        modality: "image", "audio" or "video".
        channels: Channels of the media.
        axes: Names of the grid's axes, which are the media's axes over the stride.
        sample_rate_hz: Rate of the waveforms that the networks take; None without a time axis.
        codes_channels_alone: Whether the networks take each channel of a prepared item as an item.
        further_sizes: Names of the numbers that it keeps of an item beside the usual sizes.
        max_channels: Most channels that a sound may have; None of media of a fixed number.
        first_frame_alone: Whether the first latent frame of a clip stands for its first frame
            alone; None of other media.
    """

    modality: str
    channels: int
    axes: tuple[str, ...]
    sample_rate_hz: int | None = None
    codes_channels_alone: bool = False
    further_sizes: tuple[str, ...] = ()
    max_channels: int | None = None
    first_frame_alone: bool | None = None

    @abstractmethod
    def prepare(
        self, media: Tensor, stride: tuple[int, ...], rate: int | Fraction | None = None
    ) -> tuple[Tensor, dict[str, int]]:
        """Make one item what the networks take; return it with its original size.

        Args:
            media: ``[channels, *size]``.
            stride: Of the encoder.
            rate: Samples per second of a sound, if it is not the networks'; frames per second of a
                clip, if it is known.
        """

    @abstractmethod
    def restored_pieces(
        self, pieces: Iterable[Tensor], size: Mapping[str, int]
    ) -> Iterator[Tensor]:
        """Give the decoder's output for one item, in pieces, its original size and value range."""

    @abstractmethod
    def restore(self, output: Tensor, size: Mapping[str, int]) -> Tensor:
        """Give the decoder's output for one item its original size and value range."""

    def are_whole(self, sides: Sequence[int], stride: Sequence[int]) -> bool:
        """Whether media of such sides need no padding."""
        return not any(side % step for side, step in zip(sides, stride, strict=True))


@final
class ImageFrontend(Frontend):
    """Images ``[channels, height, width]`` in [-1, 1], of any size from 1x1.

    Args:
        channels: 1 for grey, 3 for RGB.

    The right and lower edge are repeated up to a multiple of the stride and cut off after decoding.

    Raises:
        ConfigError: ``channels < 1``.

    >>> frontend = ImageFrontend()
    >>> padded, size = frontend.prepare(torch.zeros(3, 30, 45), (8, 8))
    >>> padded.shape, size
    (torch.Size([3, 32, 48]), {'height': 30, 'width': 45})
    """

    modality = "image"
    axes = ("height", "width")

    def __init__(self, channels: int = 3) -> None:
        if channels < 1:
            raise ConfigError(f"ImageFrontend channels: expected >= 1, got {channels}.")
        self.channels = channels

    def prepare(
        self,
        media: Float[Tensor, "channels height width"],
        stride: tuple[int, ...],
        rate: int | Fraction | None = None,
    ) -> tuple[Float[Tensor, "channels padded_height padded_width"], dict[str, int]]:
        """Pad to the stride.

        Raises:
            ConfigError: A rate, which images do not have.
            ShapeError: Wrong channels, an empty side, or values outside [-1, 1] or not finite.
        """
        if rate is not None:
            raise ConfigError(f"Image: expected no rate over time, got {rate} per second.")
        self.check(media)
        height, width = media.shape[1:]
        padding = (0, -width % stride[1], 0, -height % stride[0])
        padded = F.pad(media[None], padding, mode="replicate")[0] if any(padding) else media
        return padded, {"height": height, "width": width}

    def restore(
        self, output: Float[Tensor, "channels padded_height padded_width"], size: Mapping[str, int]
    ) -> Float[Tensor, "channels height width"]:
        """Crop, and clamp to [-1, 1].

        Raises:
            ShapeError: The output is smaller than the size asked for.
        """
        return torch.cat(list(self.restored_pieces([output], size)), dim=1)

    def restored_pieces(
        self, pieces: Iterable[Float[Tensor, "channels rows wide"]], size: Mapping[str, int]
    ) -> Iterator[Float[Tensor, "channels rows width"]]:
        """As :meth:`restore`, of a picture that comes in strips from the top.

        Raises:
            ShapeError: The strips are smaller than the size asked for.
        """
        height, width = size["height"], size["width"]
        rows = wide = given = 0
        for piece in pieces:
            rows, wide = rows + piece.shape[1], piece.shape[2]
            if 0 < width <= wide:
                strip = piece[:, : height - given, :width].clamp(-1.0, 1.0)
                given += strip.shape[1]
                yield strip
        if not (0 < height <= rows and 0 < width <= wide):
            raise ShapeError(
                f"Image size: expected 1x1 to {rows}x{wide}, which the tokens cover, got "
                f"{height}x{width}."
            )

    def check(self, media: Tensor) -> None:
        """Refuse what is no image.

        Raises:
            ShapeError: Wrong channels, an empty side, or values outside [-1, 1] or not finite.
        """
        if media.ndim != 3 or media.shape[0] != self.channels or 0 in media.shape:
            raise ShapeError(
                f"Image: expected [channels, height, width] with {self.channels} channels and no "
                f"empty side, got {list(media.shape)}."
            )
        check_range(media, "Image", "Scale 8-bit values by x / 127.5 - 1.")


def check_range(media: Tensor, what: str, fix: str) -> None:
    """Check that values are finite and in [-1, 1].

    Raises:
        ShapeError: They are not.
    """
    low, high = torch.aminmax(media.float())
    # Resampling overshoots by a rounding error at most once clamped to the range.
    if not (low >= -1.001 and high <= 1.001):
        raise ShapeError(
            f"{what}: expected finite values in [-1, 1], got {float(low):.4g} to "
            f"{float(high):.4g}. {fix}"
        )
