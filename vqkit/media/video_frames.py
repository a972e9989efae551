"""Frames as FFmpeg decodes them -> colours in [-1, 1]."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vqkit.media.audio_decoder import TrackError
from vqkit.media.video_colour import (
    Colour,
    ColourMatrix,
    ColourRange,
    rgb_of_yuv,
    usual_matrix,
    widened,
)
from vqkit.shapes import Float

__all__ = ["FrameColour", "Picture", "orientation_of", "picture_of"]

# How often rows and columns of the colour differences are halved, by the digits of FFmpeg's names.
_SHIFTS = {
    "444": (0, 0),
    "440": (1, 0),
    "422": (0, 1),
    "420": (1, 1),
    "411": (0, 2),
    "410": (2, 2),
}
_YUV = re.compile(r"yuv(j|a|)(\d{3})p(\d*)(?:le|be)?")
_RGB = re.compile(r"gbr(a?)p(\d*)(?:le|be)?")
_GREY = re.compile(r"(?:gray(\d*)|y(a)(8|16))(?:le|be)?")

# ITU-T H.273, table 4, as FFmpeg numbers it; 2 and 3 say nothing.
_MATRICES: dict[int, ColourMatrix] = {
    0: "rgb",
    1: "bt709",
    4: "fcc",
    5: "bt601",
    6: "bt601",
    7: "smpte240m",
    8: "ycgco",
    9: "bt2020",
}
_UNSAID_MATRICES = (2, 3)
_RANGES: dict[int, ColourRange] = {1: "limited", 2: "full"}
# Whose grey is luma of a video; grey of other codecs is that of pictures.
_LIMITED_GREY = ("h264", "hevc", "libdav1d", "av1", "vp9", "mpeg2video", "mpeg4")
# Of a display matrix (ISO/IEC 14496-12, 6.2.2): the signs of a, b, c and d.
_ORIENTATIONS = {
    (1, 0, 0, 1): 1,
    (-1, 0, 0, 1): 2,
    (-1, 0, 0, -1): 3,
    (1, 0, 0, -1): 4,
    (0, 1, 1, 0): 5,
    (0, 1, -1, 0): 6,
    (0, -1, -1, 0): 7,
    (0, -1, 1, 0): 8,
}


@dataclass(frozen=True)
class Picture:
    """One frame, as it is stored.

    Attributes:
        colours: [1 or 3, rows, columns] in [-1, 1].
        opacity: [1, rows, columns] in [0, 1]; None is opaque.
    """

    colours: Tensor
    opacity: Tensor | None = None


@dataclass(frozen=True)
class FrameColour:
    """What a file says of its colours, and what is assumed where it does not.

    Attributes:
        colour: how its numbers stand for colours.
        is_assumed: the file names no matrix.
        channels: 1 if it is grey, else 3.
        has_alpha: it says how opaque a pixel is.
    """

    colour: Colour
    is_assumed: bool
    channels: int
    has_alpha: bool

    @classmethod
    def of(cls, frame: Any, codec_name: str, track_colours: tuple[int, int]) -> "FrameColour":
        """That of a frame of PyAV's.

        Args:
            frame: the frame.
            codec_name: FFmpeg's name of the decoder.
            track_colours: matrix and range of the track, where the frame does not say.

        Raises:
            TrackError: its colours are of a kind that is not read.
        """
        name, components = frame.format.name, frame.format.components
        is_grey = _GREY.fullmatch(name) is not None or name.startswith("mono")
        is_rgb = not is_grey and (frame.format.is_rgb or frame.format.has_palette)
        number = frame.colorspace if frame.colorspace not in _UNSAID_MATRICES else track_colours[0]
        matrix = _MATRICES.get(number, usual_matrix(frame.height, frame.width))
        if is_rgb or is_grey:
            matrix = "rgb"
        elif matrix == "rgb" or (number not in _MATRICES and number not in _UNSAID_MATRICES):
            raise TrackError(
                f"its colours ({name} of matrix {number} of ITU-T H.273) are of a kind that is not "
                "read. Convert it to BT.709 first"
            )
        unsaid: ColourRange = "limited"
        if is_rgb or name.startswith("yuvj") or (is_grey and codec_name not in _LIMITED_GREY):
            unsaid = "full"
        said = _RANGES.get(frame.color_range or track_colours[1], unsaid)
        colour_range = "full" if is_rgb or name.startswith("yuvj") else said
        bit_depth = max((component.bits for component in components), default=8)
        return cls(
            colour=Colour(matrix, colour_range, bit_depth),
            is_assumed=number not in _MATRICES and not (is_rgb or is_grey),
            channels=1 if is_grey else 3,
            has_alpha=any(component.is_alpha for component in components),
        )


def picture_of(frame: Any, kind: FrameColour, channels: int) -> Picture:
    """Decode the numbers of a frame.

    Args:
        frame: a frame of PyAV's.
        kind: of its colours.
        channels: 1 takes the luma of Y, Cb and Cr alone, which is grey already.
    """
    frame = _planar(frame, kind)
    name = frame.format.name
    if (grey := _GREY.fullmatch(name)) is not None:
        values, opacity = _grey_planes(frame, has_alpha=grey[2] is not None)
        colour = kind.colour
        picture = (values - colour.black).div_(colour.luma_span / 2).sub_(1).clamp_(-1, 1)
        peak = 2.0**colour.bit_depth - 1
        return Picture(picture[None], None if opacity is None else opacity[None] / peak)
    planes = [_plane(frame, number) for number in range(len(frame.planes))]
    if (rgb := _RGB.fullmatch(name)) is not None:
        peak = 2.0 ** int(rgb[2] or 8) - 1
        green, blue, red = planes[:3]
        colours = torch.stack([red, green, blue]).div_(peak / 2).sub_(1)
        return Picture(colours, planes[3][None].div_(peak) if rgb[1] else None)
    yuv = _YUV.fullmatch(name)
    assert yuv is not None, name
    colour = kind.colour
    opacity = planes[3][None].div_(2.0**colour.bit_depth - 1) if yuv[1] == "a" else None
    if channels == 1:
        luma = planes[0].sub_(colour.black).div_(colour.luma_span / 2).sub_(1)
        return Picture(luma.clamp_(-1, 1)[None], opacity)
    shifts = _SHIFTS[yuv[2]]
    blue, red = (widened(plane, frame.height, frame.width, shifts) for plane in planes[1:3])
    return Picture(rgb_of_yuv(planes[0], blue, red, colour), opacity)


def orientation_of(frame: Any) -> int:
    """The EXIF orientation, 1 to 8, that a frame's display matrix amounts to; 1 without one.

    Turns by other angles than quarters are left out, as of a camera that was not held straight.
    """
    # Iterated as a sequence: what PyAV gives is half a mapping.
    for side_data in frame.side_data:
        if side_data.type.name == "DISPLAYMATRIX":
            a, b, _u, c, d = np.frombuffer(side_data, np.int32)[:5].tolist()
            return _ORIENTATIONS.get((_sign(a), _sign(b), _sign(c), _sign(d)), 1)
    return 1


def _sign(number: int) -> int:
    # What is below a tenth is a rounding error of an angle.
    return 0 if abs(number) < (1 << 16) // 10 else (1 if number > 0 else -1)


def _planar(frame: Any, kind: FrameColour) -> Any:
    """The same numbers in planes; FFmpeg only moves them."""
    name, depth = frame.format.name, kind.colour.bit_depth
    if any(form.fullmatch(name) for form in (_YUV, _RGB, _GREY)) and not name.endswith("be"):
        return frame
    suffix = "" if depth <= 8 else f"{depth}le"
    if name.startswith("mono"):
        return frame.reformat(format="gray")
    if kind.channels == 1:
        return frame.reformat(format=name.removesuffix("be") + "le")
    if kind.colour.matrix == "rgb":
        deep = "" if depth <= 8 else "16le"
        return frame.reformat(format=("gbrap" if kind.has_alpha else "gbrp") + deep)
    chroma = frame.format.components[1]
    digits = {(0, 0): "444", (0, 1): "422", (1, 1): "420"}[
        (int(chroma.height < frame.height), int(chroma.width < frame.width))
    ]
    return frame.reformat(format=f"yuv{'a' if kind.has_alpha else ''}{digits}p{suffix}")


def _plane(frame: Any, number: int) -> Float[Tensor, "rows columns"]:
    plane = frame.planes[number]
    deep = max(component.bits for component in frame.format.components) > 8
    values = np.frombuffer(plane, "<u2" if deep else np.uint8)
    line = plane.line_size // values.itemsize
    rows = values[: plane.height * line].reshape(plane.height, line)
    return torch.from_numpy(rows[:, : plane.width].astype(np.float32))


def _grey_planes(frame: Any, *, has_alpha: bool) -> tuple[Tensor, Tensor | None]:
    if not has_alpha:
        return _plane(frame, 0), None
    plane = frame.planes[0]
    values = np.frombuffer(plane, "<u2" if "16" in frame.format.name else np.uint8)
    line = plane.line_size // values.itemsize
    pairs = values[: frame.height * line].reshape(frame.height, line)[:, : 2 * frame.width]
    grey, opacity = (torch.from_numpy(pairs[:, band::2].astype(np.float32)) for band in (0, 1))
    return grey, opacity
