"""Clips beside their reconstructions and errors: as a video, and as a sheet of some frames."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.evaluation.clip_measures import eight_bit_blocks
from vqkit.evaluation.coding import ClipTokenizer
from vqkit.evaluation.drawing import DARK, GREY, new_figure, png, printable
from vqkit.evaluation.footage import Footage
from vqkit.evaluation.item import ItemResult
from vqkit.evaluation.output import write_output
from vqkit.evaluation.quality import Reconstruction
from vqkit.evaluation.ranking import extremes
from vqkit.evaluation.report import Report
from vqkit.media import MediaTarget, VideoEncoding, VideoWriter, to_levels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["save_clips", "side_by_side", "write_side_by_side"]

_ERROR_GAIN = 4
_GAP = 2
_USUAL_RATE = Fraction(25)
_CRF = 18
_NUM_SHOWN = 6
_LARGEST_PANEL = 200
_LABEL_WIDTH = 110
_ROWS = ("original", "reconstruction", f"absolute error, {_ERROR_GAIN} times")
_MARGIN, _HEAD, _LABEL = 12, 34, 20


def side_by_side(original: Tensor, reconstruction: Tensor) -> Tensor:
    """Original, reconstruction and the absolute error times four, from left to right.

    Args:
        original: ``[channels, frames, height, width]`` in [-1, 1].
        reconstruction: of the same shape.

    Returns:
        ``[channels, frames, height, 3 * width]`` and a little more: black lines between, and sides
        that are even, as players want them.

    Example:
        >>> clip = torch.zeros(3, 2, 15, 20)
        >>> side_by_side(clip, clip).shape
        torch.Size([3, 2, 16, 64])
    """
    error = (reconstruction - original).abs() * _ERROR_GAIN - 1
    parts = [F.pad(part, (0, _GAP), value=-1.0) for part in (original, reconstruction)]
    joined = torch.cat([*parts, error.clamp(-1, 1)], dim=-1)
    height, width = joined.shape[-2:]
    return F.pad(joined, (0, width % 2, 0, height % 2), value=-1.0)


def write_side_by_side(
    original: Footage,
    reconstruction: Reconstruction,
    target: MediaTarget,
    *,
    overwrite: bool = False,
) -> None:
    """Write :func:`side_by_side` as a video, block by block.

    Args:
        original: the clip.
        reconstruction: as many frames of the same size, e.g. from ``Tokenizer.decode_pieces``.
        target: as for :class:`vqkit.media.VideoWriter`; ``.mp4`` is H.264.
        overwrite: replace a file that exists.

    Raises:
        ShapeError: the two have not the same frames, or there are none.
        MediaError: the clip cannot be read, or the video cannot be written.
    """
    for _ in _written(original, eight_bit_blocks(reconstruction, original), target, overwrite):
        pass


def save_clips(
    report: Report,
    folder: str | os.PathLike[str],
    tokenizer: ClipTokenizer,
    read: Callable[[str], Footage],
    metric: str = "psnr",
) -> tuple[Path, ...]:
    """Write ``clip_worst.mp4``, ``_median`` and ``_best``, and of each ``frames_worst.png`` ...

    Args:
        report: an evaluation of clips with the tokenizer.
        folder: where to.
        tokenizer: encodes and decodes these three once more: a report keeps no clips.
        read: gives a clip by the name that it has in the report.
        metric: what worst and best are by.

    Raises:
        ConfigError: there is no such metric.
        VqkitError: a clip cannot be read any more, or the file system refuses.
    """
    paths = []
    for word, item in extremes(report, metric).items():
        footage = read(item.name)
        tokens = tokenizer.encode_pieces(footage.blocks(), frame_rate=footage.frame_rate)
        blocks = eight_bit_blocks(tokenizer.decode_pieces(tokens), footage)
        path = Path(folder) / f"clip_{word}.mp4"
        _make_folder(path.parent)
        sheet = _Sheet(item)
        for frames, decoded in _written(footage, blocks, path, True):
            sheet.add(frames, decoded)
        picture = write_output(folder, f"frames_{word}.png", png(sheet.figure(word)))
        paths += [path, picture]
    return tuple(paths)


def _written(
    original: Footage,
    blocks: Iterable[tuple[Tensor, Tensor]],
    target: MediaTarget,
    overwrite: bool,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Write blocks of reconstructions and originals, and hand them on, originals first."""
    blocks = iter(blocks)
    decoded, frames = next(blocks)
    height, width = side_by_side(frames[0, :, :1], decoded[0, :, :1]).shape[-2:]
    with VideoWriter(
        target,
        original.frame_rate or _USUAL_RATE,
        height,
        width,
        encoding=VideoEncoding("h264", crf=_CRF) if _is_h264(target) else None,
        overwrite=overwrite,
    ) as writer:
        while True:
            writer.write(side_by_side(frames[0].cpu(), decoded[0].cpu()))
            yield frames[0].cpu(), decoded[0].cpu()
            following = next(blocks, None)
            if following is None:
                return
            decoded, frames = following


def _is_h264(target: MediaTarget) -> bool:
    return isinstance(target, str | os.PathLike) and str(target).lower().endswith((".mp4", ".mov"))


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"Writing clips failed: expected a folder that can be made, got {error.strerror} "
            f"({folder}). Choose another folder."
        ) from error


class _Sheet:
    """Some frames of a clip at equal distances, small, as they come by.

    Args:
        item: What the report says of the clip.
    """

    def __init__(self, item: ItemResult) -> None:
        self._item = item
        count = item.size["frames"]
        places = torch.linspace(0, count - 1, min(count, _NUM_SHOWN)).round().long().tolist()
        self._wanted: list[int] = places
        self._num_seen = 0
        self._columns: list[tuple[Tensor, ...]] = []

    def add(self, frames: Tensor, decoded: Tensor) -> None:
        for frame, made in zip(frames.unbind(1), decoded.unbind(1), strict=True):
            if self._num_seen in self._wanted:
                error = (made - frame).abs() * _ERROR_GAIN - 1
                self._columns.append(tuple(map(_panel, (frame, made, error))))
            self._num_seen += 1

    def figure(self, word: str) -> "Figure":
        """A column for each frame."""
        high, wide = self._columns[0][0].shape[:2]
        width = 2 * _MARGIN + len(self._columns) * (wide + _GAP)
        height = _HEAD + 3 * (high + _LABEL) + _MARGIN
        figure = new_figure(width, height, constrained=False)

        def write(text: str, x: float, top: float, size: float, color: str) -> None:
            figure.text(
                x / width, 1 - (top + 1.4 * size) / height, text,
                size=size, color=color, va="baseline", ha="left", parse_math=False,
            )  # fmt: skip

        write(_headline(self._item, word, int(width / 7)), _MARGIN, 8, 9.5, DARK)
        series = self._item.series.get("psnr", ())
        for row, title in enumerate(_ROWS):
            top = _HEAD + row * (high + _LABEL)
            write(title, _MARGIN, top, 8, GREY)
            for number, column in enumerate(self._columns):
                # The first column has the row's name there.
                left = _MARGIN + number * (wide + _GAP)
                figure.figimage(
                    column[row].numpy(), left, height - top - _LABEL - high, origin="upper"
                )
                if row == 0 and number:
                    write(_place(self._wanted[number], series), left, top, 8, GREY)
        return figure


def _headline(item: ItemResult, word: str, characters: int) -> str:
    size = item.size
    numbers = (
        f"{size['width']} x {size['height']}, {size['frames']} frames · "
        f"{item.scores['psnr']:.2f} dB · {item.actual_rate:.4f} bpp"
    )
    if item.bits_per_second is not None:
        numbers += f", {item.bits_per_second / 1000:.1f} kbit/s"
    name = printable(Path(item.name).name, max(12, characters - len(numbers) - len(word)))
    return f"{word}: {name} · {numbers}"


def _place(frame: int, series: Sequence[float | None]) -> str:
    score = series[frame] if frame < len(series) else None
    return f"frame {frame}" + ("" if score is None else f" · {score:.1f} dB")


def _panel(frame: Tensor) -> Tensor:
    """uint8 ``[height, width, 3]`` of at most 200 pixels a side, wide enough for its label."""
    frame = frame if len(frame) == 3 else frame[:1].expand(3, -1, -1)
    scale = min(1.0, _LARGEST_PANEL / max(frame.shape[-2:]))
    if scale < 1:
        size = [max(1, round(side * scale)) for side in frame.shape[-2:]]
        frame = F.interpolate(frame[None], size, mode="bilinear", antialias=True)[0]
    else:
        repeats = max(1, min(-(-_LABEL_WIDTH // frame.shape[2]), _LARGEST_PANEL // frame.shape[1]))
        frame = frame.repeat_interleave(repeats, 1).repeat_interleave(repeats, 2)
    return to_levels(frame.clamp(-1, 1)).permute(1, 2, 0).contiguous()
