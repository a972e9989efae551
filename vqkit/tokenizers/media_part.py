"""A part of the media: which tokens it needs, and where it lies in what they decode to."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from vqkit.errors import ShapeError
from vqkit.tokenizers.frame_groups import FrameGroups
from vqkit.tokenizers.spec import CHANNEL_AXIS, TokenizerSpec

__all__ = ["MediaPart"]


@dataclass(frozen=True)
class MediaPart:
    """Ranges of the media, of the grid of tokens, and of what these tokens decode to.

    Attributes:
        grid: By axis the tokens needed, first and one after the last, with those around them that
            the decoder looks at.
        size: Size of the media that these tokens stand for.
        crop: By axis of the media where the part lies in them.
        side: By axis the positions needed of the streams beside the tokens.
    """

    grid: Mapping[str, tuple[int, int]]
    size: Mapping[str, int]
    crop: Mapping[str, tuple[int, int]]
    side: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @staticmethod
    def of(
        spec: TokenizerSpec,
        size: Mapping[str, int],
        ranges: Mapping[str, tuple[int, int]],
        context: int,
    ) -> "MediaPart":
        """The part of media of a size that lies in some ranges.

        Args:
            spec: Of the tokenizer.
            size: Of the whole media, by axis.
            ranges: By axis in samples of what the networks take (pixels, frames, samples at the
                model's rate), first and one after the last; other axes are whole.
            context: Tokens around the part that are decoded with it. Where a sound is encoded in
                chunks, these are decoded whole, and the part is that of the whole exactly. A clip
                is decoded from its first frame on.

        Raises:
            ShapeError: There is no such axis or range, or tokens lie on no axis of the media.

        Example:
            >>> spec = TokenizerSpec("t", "image", 3, ("height", "width"), (8, 8), (512,), "0" * 32)
            >>> part = MediaPart.of(spec, {"height": 100, "width": 60}, {"height": (20, 30)}, 1)
            >>> part.grid["height"], part.size["height"], part.crop["height"]
            ((1, 5), 32, (12, 22))
        """
        if spec.latent_grid is not None:
            raise ShapeError(
                f"Decoding a part: expected tokens on the axes of the media, got those of "
                f"{spec.name!r}, which stand for all of it. Decode the whole."
            )
        media_axes = [axis for axis in spec.axes if axis != CHANNEL_AXIS]
        for axis in ranges:
            if axis not in media_axes:
                raise ShapeError(
                    f"Decoding a part: expected ranges along {media_axes}, got {axis!r}."
                )
        extents = spec.extents(size)
        grid, covered, crop, side = {}, {}, {}, {}
        for axis, stride, length in zip(spec.axes, spec.strides, spec.grid(size), strict=True):
            start, stop = ranges.get(axis, (0, extents[axis]))
            if not 0 <= start < stop <= extents[axis]:
                raise ShapeError(
                    f"Decoding a part: expected a range within 0 to {extents[axis]} along "
                    f"{axis!r}, got {start} to {stop}."
                )
            if axis == CHANNEL_AXIS:
                grid[axis] = (0, length)
                continue
            if spec.chunking is not None:
                chunk, end = spec.chunking.covering(extents[axis], start, stop)
                begin = chunk * spec.chunking.step_samples
                side["chunk"] = (chunk, chunk + spec.chunking.num_chunks(end - begin))
                first = chunk * -(-spec.chunking.chunk_samples // stride)
                last = first + spec.chunking.num_frames(end - begin, stride)
            elif axis == "time" and spec.first_frame_alone is not None:
                # From the start on: what a network has seen of a clip decides how it goes on.
                groups = FrameGroups(stride, spec.first_frame_alone)
                first, last = 0, min(length, groups.num_latents(stop) + context)
                begin, end = 0, min(groups.num_frames(last), extents[axis])
            else:
                first = max(0, start // stride - context)
                last = min(length, -(-stop // stride) + context)
                begin, end = first * stride, min(last * stride, extents[axis])
            grid[axis] = (first, last)
            covered[axis] = end - begin
            crop[axis] = (start - begin, stop - begin)
        return MediaPart(grid, covered, crop, side)

    def cut(self, media: Tensor) -> Tensor:
        """The part of ``[channels, *size]``, decoded from the tokens of ``grid``."""
        return media[(slice(None), *(slice(*bounds) for bounds in self.crop.values()))]
