"""Sounds that lie in files: folders, lists, any paths."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from vqkit.data.audio_source import AudioSource
from vqkit.data.files import ItemCache, check_some, files_in_folders, files_of_list
from vqkit.data.sounds import Sound, TensorSound
from vqkit.errors import ConfigError, MediaError
from vqkit.media import AudioReader, find_audio
from vqkit.ops import part_inputs, resample_part, resampled_length

__all__ = ["AudioFileList", "AudioFiles", "AudioFolder"]

_BLOCK_SAMPLES = 1 << 18
_FLOAT32_BYTES = 4


class AudioFiles(AudioSource):
    """The sounds in these files, in this order, of any format, rate and number of channels.

    A file of another rate is resampled (``vqkit.ops.resample``); of one with another number of
    channels the mean is taken for each channel asked for. Of PCM and FLAC only the part that is
    wanted is decoded. Lossy formats are decoded from their start up to it, whose cost grows with
    the length: keep long recordings as FLAC.

    Args:
        paths: the files.
        sample_rate_hz: rate of what comes out.
        channels: channels of what comes out.
        cache_size_bytes: keep decoded sounds in memory, whole, until they take this much (each
            worker process keeps its own); a sound that is larger than what is left is read in
            parts. Worth it where the set is small.

    Raises:
        MediaError: there are no files.
        ConfigError: the rate or the number of channels is below 1.
    """

    def __init__(
        self,
        paths: Sequence[str | os.PathLike[str]],
        *,
        sample_rate_hz: int = 24_000,
        channels: int = 1,
        cache_size_bytes: int = 0,
    ) -> None:
        check_some(paths, self.kind)
        super().__init__(len(paths), sample_rate_hz=sample_rate_hz, channels=channels)
        self.paths = paths
        self.cache_size_bytes = cache_size_bytes
        self._cache = ItemCache(cache_size_bytes)
        self._not_cached: set[int] = set()
        self._counted: dict[int, int] = {}
        self._opened_before: set[int] = set()

    def name(self, index: int) -> str:
        """The file's path."""
        return str(self.paths[index])

    @contextmanager
    def open(self, index: int) -> Iterator[Sound]:
        """Open the file, or give what an earlier reading kept."""
        kept = self._kept(index)
        if kept is not None:
            yield TensorSound(kept)
        else:
            with self._opened(index) as sound:
                yield sound

    def _kept(self, index: int) -> Tensor | None:
        """The whole sound, if it is in the cache or fits into it."""
        kept = self._cache.get(index)
        if kept is not None or self.cache_size_bytes == 0 or index in self._not_cached:
            return kept
        try:
            with self._opened(index) as sound:
                if self._cache.has_room(_FLOAT32_BYTES * self.channels * sound.num_samples):
                    self._cache.offer(index, sound.read(0, sound.num_samples))
        except MediaError:
            pass  # What is whole of it is read in parts, as without a cache.
        if self._cache.get(index) is None:
            self._not_cached.add(index)
        return self._cache.get(index)

    @contextmanager
    def _opened(self, index: int) -> Iterator["_FileSound"]:
        # A sample in a million need not say again that its file is clipped.
        logs_clipping = index not in self._opened_before
        self._opened_before.add(index)
        with AudioReader(self.paths[index], logs_clipping=logs_clipping) as reader:
            if reader.num_samples is None and index not in self._counted:
                self._counted[index] = sum(x.shape[1] for x in reader.blocks(_BLOCK_SAMPLES))
            length = self._counted[index] if reader.num_samples is None else reader.num_samples
            try:
                sound = _FileSound(reader, length, self.sample_rate_hz, self.channels)
            except ConfigError as error:
                raise MediaError(f"Cannot read {self.name(index)}: {error}") from error
            yield sound


class AudioFolder(AudioFiles):
    """All sounds below one or several folders, sorted by path (``vqkit.media.find_audio``).

    Videos count: their first audio track is read.

    Args:
        path: a folder, or several.
        sample_rate_hz: rate of what comes out.
        channels: channels of what comes out.
        recursive: search the folders below as well.
        cache_size_bytes: keep decoded sounds in memory until they take this much.

    Raises:
        MediaError: a folder does not exist or holds no sounds.
        ConfigError: the rate or the number of channels is below 1.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        *,
        sample_rate_hz: int = 24_000,
        channels: int = 1,
        recursive: bool = True,
        cache_size_bytes: int = 0,
    ) -> None:
        self.path = path
        self.recursive = recursive
        super().__init__(
            files_in_folders(path, find_audio, self.kind, recursive=recursive),
            sample_rate_hz=sample_rate_hz,
            channels=channels,
            cache_size_bytes=cache_size_bytes,
        )


class AudioFileList(AudioFiles):
    """The sounds named in a text file, one path per line.

    A path is absolute or relative to the list. Empty lines and lines that begin with ``#`` say
    nothing. Whether a file exists is found out when it is read.

    Args:
        path: the list, UTF-8.
        sample_rate_hz: rate of what comes out.
        channels: channels of what comes out.
        cache_size_bytes: keep decoded sounds in memory until they take this much.

    Raises:
        ConfigError: the list cannot be read or is no text, or the rate or the number of channels is
            below 1.
        MediaError: the list names no files.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        sample_rate_hz: int = 24_000,
        channels: int = 1,
        cache_size_bytes: int = 0,
    ) -> None:
        self.path = path
        super().__init__(
            files_of_list(path, self.kind),
            sample_rate_hz=sample_rate_hz,
            channels=channels,
            cache_size_bytes=cache_size_bytes,
        )


class _FileSound(Sound):
    """An opened file at another rate and with other channels.

    Args:
        reader: the file.
        num_inputs: its samples.
        sample_rate_hz: rate of what comes out.
        channels: channels of what comes out.

    Raises:
        ConfigError: the file's rate is too far from that asked for.
    """

    def __init__(
        self, reader: AudioReader, num_inputs: int, sample_rate_hz: int, channels: int
    ) -> None:
        self._reader = reader
        self._num_inputs = num_inputs
        self._rates = (reader.sample_rate_hz, sample_rate_hz)
        self._channels = channels
        part_inputs(0, 0, *self._rates)  # refuses rates before anything is read
        super().__init__(resampled_length(num_inputs, *self._rates))

    def _read(self, start: int, num_samples: int) -> Tensor:
        if num_samples == 0:
            return torch.zeros(self._channels, 0)
        first, end = part_inputs(start, num_samples, *self._rates)
        first = max(first, 0)
        self._reader.seek(first)
        samples = self._reader.read(min(end, self._num_inputs) - first)
        samples = _with_channels(samples, self._channels)
        part = resample_part(samples, first, start, num_samples, *self._rates)
        # A resampled sound overshoots where its file is near full scale.
        return part.clamp(-1, 1)


def _with_channels(samples: Tensor, channels: int) -> Tensor:
    if samples.shape[0] == channels:
        return samples
    # One after the other: a sum in blocks could differ between a part and the whole.
    mean = sum(samples[1:], start=samples[0]) / samples.shape[0]
    return mean.expand(channels, -1)
