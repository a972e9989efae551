"""Videos that are numbered pictures in a folder."""

import itertools
import os
import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

from vqkit.media.audio_decoder import TrackError
from vqkit.media.finding import find_images
from vqkit.media.pixels import Alpha
from vqkit.media.reading import image_size, read_image
from vqkit.media.video_decoder import TimedFrame, VideoInfo, unreadable_video
from vqkit.media.video_frames import Picture

__all__ = ["SequenceDecoder", "numbered_pictures"]

_NUMBER = re.compile(r"%(0?)(\d*)d")


def numbered_pictures(source: object) -> list[Path] | None:
    """The pictures of a folder or of a pattern such as ``frame_%05d.png``, in their order.

    In a folder the order is that of the names, numbers in them by their value; a pattern takes the
    files that fit it, by number.

    Returns:
        None if the source is neither.

    Raises:
        MediaError: there are no pictures, or a pattern's numbers have a gap.
    """
    if not isinstance(source, (str, os.PathLike)):
        return None
    path, name = Path(source), repr(str(source))
    if path.is_dir():
        found = sorted(find_images(path, recursive=False), key=_by_numbers)
        if not found:
            raise unreadable_video(name, "the folder holds no pictures")
        return found
    pattern = _NUMBER.search(path.name)
    if pattern is None or path.exists():
        return None
    before, after = path.name[: pattern.start()], path.name[pattern.end() :]
    digits = rf"\d{{{pattern[2]},}}" if pattern[1] and pattern[2] else r"\d+"
    fitting = re.compile(f"{re.escape(before)}({digits}){re.escape(after)}")
    if not path.parent.is_dir():
        raise unreadable_video(name, "there is no such folder")
    numbered = {
        int(match[1]): file
        for file in path.parent.iterdir()
        if (match := fitting.fullmatch(file.name)) is not None
    }
    if not numbered:
        raise unreadable_video(name, "no picture has a name like this")
    numbers = sorted(numbered)
    for number, following in itertools.pairwise(numbers):
        if following != number + 1:
            raise unreadable_video(name, f"picture {number + 1} is missing")
    return [numbered[number] for number in numbers]


class SequenceDecoder:
    """Pictures of one size, one after the other.

    Args:
        paths: the pictures.
        frame_rate: how many of them a second has.
        alpha: what stands behind transparent pixels.

    Raises:
        MediaError: the first picture cannot be read.
    """

    seeks = True

    def __init__(self, paths: Sequence[Path], frame_rate: Fraction, alpha: Alpha):
        self._paths = paths
        self._alpha = alpha
        self._rest = self._from(0)
        height, width = image_size(paths[0])
        self.info = VideoInfo(
            format="images",
            encoding=paths[0].suffix.lower().removeprefix("."),
            height=height,
            width=width,
            channels=3,
            frame_rate=frame_rate,
            time_base=1 / frame_rate,
            num_frames=len(paths),
            seconds=float(len(paths) / frame_rate),
            pixel_format="",
        )

    def frames(self) -> Iterator[TimedFrame]:
        """See :class:`VideoDecoder`."""
        return self._rest

    def picture(self, frame: TimedFrame, channels: int) -> Picture:
        """See :class:`VideoDecoder`."""
        image = read_image(frame.content, channels=channels, alpha=self._alpha)
        if image.shape[1:] != (self.info.height, self.info.width):
            raise TrackError(
                f"expected {self.info.width} x {self.info.height} pixels as in the first picture, "
                f"got {image.shape[2]} x {image.shape[1]} in {str(frame.content)!r}"
            )
        return Picture(image)

    def seek(self, ticks: int) -> bool:
        """See :class:`VideoDecoder`."""
        self._rest = self._from(ticks)
        return True

    def close(self) -> None:
        """See :class:`VideoDecoder`."""

    def _from(self, start: int) -> Iterator[TimedFrame]:
        return (TimedFrame(i, 1, self._paths[i]) for i in range(start, len(self._paths)))


def _by_numbers(path: Path) -> list[tuple[int, str]]:
    """``frame_2`` before ``frame_10``."""
    parts = re.findall(r"\d+|\D+", path.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]
