"""Clips that lie in files: folders, lists, any paths."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction

import torch
from torch import Tensor

from vqkit.data.clips import Clip, TensorClip
from vqkit.data.files import ItemCache, check_some, files_in_folders, files_of_list
from vqkit.data.video_source import VideoSource
from vqkit.errors import MediaError
from vqkit.media import Alpha, VideoReader, find_videos

__all__ = ["VideoFileList", "VideoFiles", "VideoFolder"]


class VideoFiles(VideoSource):
    """The clips in these files, in this order, of any format and size.

    At a frame rate of the set's own, each frame is the one of the file that begins nearest to its
    time: some are left out, or come twice, and none is blended. Decoding begins at the key frame
    before the first frame that is wanted (MP4, Matroska, WebM; other formats are decoded from their
    start) and keeps the wanted frames alone, as bytes.

    Args:
        paths: the files; a folder of numbered pictures is one clip.
        channels: 1 for grey, 3 for colour.
        frame_rate: frames per second of what comes out; None leaves each clip its own.
        alpha: what stands behind transparent pixels.
        cache_size_bytes: keep decoded clips in memory, whole, until they take this much (each
            worker process keeps its own); a clip that is larger than what is left is read in parts.

    Raises:
        MediaError: there are no files.
        ConfigError: the channels or the frame rate are out of range.
    """

    def __init__(
        self,
        paths: Sequence[str | os.PathLike[str]],
        *,
        channels: int = 3,
        frame_rate: Fraction | float | None = None,
        alpha: Alpha = "white",
        cache_size_bytes: int = 0,
    ) -> None:
        check_some(paths, self.kind)
        super().__init__(len(paths), channels=channels, frame_rate=frame_rate)
        self.paths = paths
        self.alpha = alpha
        self.cache_size_bytes = cache_size_bytes
        self._cache = ItemCache(cache_size_bytes)
        self._not_cached: set[int] = set()
        self._seconds: dict[int, Fraction] = {}
        self._rates: dict[int, Fraction] = {}

    def name(self, index: int) -> str:
        """The file's path."""
        return str(self.paths[index])

    @contextmanager
    def open(self, index: int) -> Iterator[Clip]:
        """Open the file, or give what an earlier reading kept."""
        kept = self._kept(index)
        if kept is not None:
            yield TensorClip(kept, self._rates.get(index))
        else:
            with self._opened(index) as clip:
                yield clip

    def _kept(self, index: int) -> Tensor | None:
        """The whole clip, if it is in the cache or fits into it."""
        kept = self._cache.get(index)
        if kept is not None or self.cache_size_bytes == 0 or index in self._not_cached:
            return kept
        try:
            with self._opened(index) as clip:
                if self._cache.has_room(clip.size_bytes):
                    self._cache.offer(index, clip.read(0, clip.num_frames))
        except MediaError:
            pass  # What is whole of it is read in parts, as without a cache.
        if self._cache.get(index) is None:
            self._not_cached.add(index)
        return self._cache.get(index)

    @contextmanager
    def _opened(self, index: int) -> Iterator["_FileClip"]:
        with VideoReader(
            self.paths[index], channels=self.channels, alpha=self.alpha, dtype=torch.uint8
        ) as reader:
            if index not in self._seconds:
                self._seconds[index] = reader.measure_seconds()
                self._rates[index] = self._rate or reader.info.frame_rate
            yield _FileClip(reader, self._seconds[index], self._rates[index])


class VideoFolder(VideoFiles):
    """All clips below one or several folders, sorted by path (``vqkit.media.find_videos``).

    Args:
        path: a folder, or several.
        channels: 1 for grey, 3 for colour.
        frame_rate: frames per second of what comes out; None leaves each clip its own.
        alpha: what stands behind transparent pixels.
        recursive: search the folders below as well.
        cache_size_bytes: keep decoded clips in memory until they take this much.

    Raises:
        MediaError: a folder does not exist or holds no clips.
        ConfigError: the channels or the frame rate are out of range.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        *,
        channels: int = 3,
        frame_rate: Fraction | float | None = None,
        alpha: Alpha = "white",
        recursive: bool = True,
        cache_size_bytes: int = 0,
    ) -> None:
        self.path = path
        self.recursive = recursive
        super().__init__(
            files_in_folders(path, find_videos, self.kind, recursive=recursive),
            channels=channels,
            frame_rate=frame_rate,
            alpha=alpha,
            cache_size_bytes=cache_size_bytes,
        )


class VideoFileList(VideoFiles):
    """The clips named in a text file, one path per line.

    A path is absolute or relative to the list. Empty lines and lines that begin with ``#`` say
    nothing. Whether a file exists is found out when it is read.

    Args:
        path: the list, UTF-8.
        channels: 1 for grey, 3 for colour.
        frame_rate: frames per second of what comes out; None leaves each clip its own.
        alpha: what stands behind transparent pixels.
        cache_size_bytes: keep decoded clips in memory until they take this much.

    Raises:
        ConfigError: the list cannot be read or is no text, or a number is out of range.
        MediaError: the list names no files.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        channels: int = 3,
        frame_rate: Fraction | float | None = None,
        alpha: Alpha = "white",
        cache_size_bytes: int = 0,
    ) -> None:
        self.path = path
        super().__init__(
            files_of_list(path, self.kind),
            channels=channels,
            frame_rate=frame_rate,
            alpha=alpha,
            cache_size_bytes=cache_size_bytes,
        )


class _FileClip(Clip):
    """An opened file at a frame rate.

    Args:
        reader: the file.
        seconds: how long it lasts.
        frame_rate: frames per second of what comes out.
    """

    def __init__(self, reader: VideoReader, seconds: Fraction, frame_rate: Fraction) -> None:
        super().__init__(max(1, round(seconds * frame_rate)), frame_rate)
        self._reader = reader
        self._step_seconds = 1 / frame_rate

    @property
    def size_bytes(self) -> int:
        """Memory of the whole clip."""
        return self.num_frames * self._reader.channels * self._reader.height * self._reader.width

    def _read(self, start: int, num_frames: int) -> Tensor:
        return self._reader.nearest([(start + i) * self._step_seconds for i in range(num_frames)])
