"""Tensors in [-1, 1] -> audio files."""

import io
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vqkit.errors import ConfigError, MediaError, ShapeError
from vqkit.media.audio_decoder import METADATA_KEYS
from vqkit.media.audio_m4a import M4AEncoder
from vqkit.media.audio_soundfile import load_soundfile
from vqkit.media.targets import MediaTarget, check_free, opened_whole, suffix_of
from vqkit.shapes import Float

__all__ = ["AudioWriter", "BitDepth", "write_audio"]

BitDepth = Literal[16, 24, "float"]
"""Bits of a sample in WAV and FLAC; ``"float"`` is 32-bit floating point, WAV only."""

_BLOCK_SAMPLES = 1 << 18
_WAV_LIMIT_BYTES = (1 << 32) - (1 << 16)


@dataclass(frozen=True)
class _Writable:
    """A format that is written.

    Attributes:
        suffixes: file name endings, the usual one first.
        container: libsndfile's name of it.
        bit_depths: libsndfile's encodings by bit depth; empty for a lossy format.
        rates_hz: sample rates that it can hold; empty where any will do.
        default_bps: bits per second and channel, unless told; None where the rate cannot be set.
        holds_nothing: a file without any sample is possible.
    """

    suffixes: tuple[str, ...]
    container: str = ""
    bit_depths: Mapping[int | str, str] = field(default_factory=dict)
    rates_hz: tuple[int, ...] = ()
    default_bps: int | None = None
    holds_nothing: bool = False


_MPEG_RATES_HZ = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_AAC_RATES_HZ = (7350, *_MPEG_RATES_HZ, 64000, 88200, 96000)

_WRITABLE = {
    "wav": _Writable(
        (".wav", ".wave"), "WAV", {16: "PCM_16", 24: "PCM_24", "float": "FLOAT"}, holds_nothing=True
    ),
    "flac": _Writable((".flac",), "FLAC", {16: "PCM_16", 24: "PCM_24"}),
    "ogg": _Writable((".ogg", ".oga"), "OGG", holds_nothing=True),
    "opus": _Writable(
        (".opus",), "OGG", rates_hz=(8000, 12000, 16000, 24000, 48000), default_bps=64_000
    ),
    "mp3": _Writable((".mp3",), "MP3", rates_hz=_MPEG_RATES_HZ, default_bps=64_000),
    "m4a": _Writable((".m4a",), rates_hz=_AAC_RATES_HZ, default_bps=80_000),
}
_NUM_BITS = {"PCM_16": 16, "PCM_24": 24}
_HIGHEST_MP3_LEVEL = 0.999
_LOSSY_ENCODINGS = {"ogg": "VORBIS", "opus": "OPUS", "mp3": "MPEG_LAYER_III"}


class AudioWriter:
    """An audio file written block by block, in memory that does not grow with its length.

    It is complete, and appears under its name, when the ``with`` block ends without an exception;
    otherwise nothing is left behind. What goes to a stream is kept in memory until then.
    :func:`write_audio` says how values are rounded and has the arguments in words.

    Args:
        target: a path or a binary stream.
        sample_rate_hz: sample rate.
        channels: number of channels.
        format: by default what the path's ending says.
        bit_depth: of WAV and FLAC.
        bitrate_bps: of Opus, MP3 and M4A.
        metadata: title, artist and the like.
        overwrite: replace a file that exists.

    Raises:
        ConfigError: a setting is unknown, or the format has no such rate.
        MediaError: the file exists, or it cannot be written, or the format cannot hold the samples.
        MissingExtraError: the package for the format is not installed.

    Example:
        >>> file = io.BytesIO()
        >>> with AudioWriter(file, 16000, channels=1) as writer:
        ...     for _ in range(3):
        ...         writer.write(torch.zeros(1, 100))
        >>> len(file.getvalue())
        644
    """

    def __init__(
        self,
        target: MediaTarget,
        sample_rate_hz: int,
        channels: int,
        *,
        format: str | None = None,
        bit_depth: BitDepth | None = None,
        bitrate_bps: int | None = None,
        metadata: Mapping[str, str] | None = None,
        overwrite: bool = False,
    ):
        self._name = _format_of(target, format)
        settings = _settings(self._name, channels, sample_rate_hz, bit_depth, bitrate_bps)
        check_free(target, overwrite)
        known = {key: value for key, value in (metadata or {}).items() if key in METADATA_KEYS}
        self._sound = f"{channels} channels at {sample_rate_hz} Hz as {self._name}"
        self._channels = channels
        self._bytes_per_value = {"FLOAT": 4, "PCM_24": 3}.get(settings.get("subtype", ""), 2)
        self._num_samples = 0
        # Encoders get blocks of one size: what Vorbis makes of a sound depends on them.
        self._waiting: list[Tensor] = []
        self._num_waiting = 0
        with ExitStack() as stack:
            file = stack.enter_context(opened_whole(target))
            with self._failures_named():
                self._encoder: M4AEncoder | _SoundFileEncoder = (
                    M4AEncoder(file, channels, sample_rate_hz, settings["bitrate_bps"], known)
                    if self._name == "m4a"
                    else _SoundFileEncoder(file, channels, sample_rate_hz, settings, known)
                )
            self._opened = stack.pop_all()

    def write(self, samples: Float[Tensor, "channels samples"]) -> None:
        """Take the next values in [-1, 1], any number of them.

        Raises:
            ShapeError: they are no finite floats of the channels.
            MediaError: the format cannot hold so many, or the disk is full.
        """
        _check_samples(samples)
        if samples.shape[0] != self._channels:
            raise ShapeError(
                f"audio to write: expected {self._channels} channels, got {tuple(samples.shape)}."
            )
        self._num_samples += samples.shape[1]
        size_bytes = self._num_samples * self._channels * self._bytes_per_value
        if self._name == "wav" and size_bytes > _WAV_LIMIT_BYTES:
            raise MediaError(f"Cannot encode {size_bytes} bytes as wav: at most 4 GiB. Write FLAC.")
        self._waiting.append(samples.detach().to("cpu", torch.float32))
        self._num_waiting += samples.shape[1]
        if self._num_waiting > _BLOCK_SAMPLES:
            *blocks, rest = self._joined().split(_BLOCK_SAMPLES, dim=1)
            with self._failures_named():
                for block in blocks:
                    self._encoder.write(block)
            self._waiting, self._num_waiting = [rest], rest.shape[1]

    def _joined(self) -> Tensor:
        return torch.cat([torch.zeros(self._channels, 0), *self._waiting], dim=1)

    def __enter__(self) -> "AudioWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._complete()
            else:
                with suppress(Exception):  # that of the block is the one to tell of
                    self._encoder.discard()
        except BaseException as failure:
            self._opened.__exit__(type(failure), failure, failure.__traceback__)
            raise
        self._opened.__exit__(kind, error, traceback)

    def _complete(self) -> None:
        if self._num_samples == 0 and not _WRITABLE[self._name].holds_nothing:
            raise MediaError(f"Cannot encode 0 samples as {self._name}. Write WAV instead.")
        with self._failures_named():
            self._encoder.write(self._joined())
            self._encoder.close()

    @contextmanager
    def _failures_named(self) -> Iterator[None]:
        try:
            yield
        except (MemoryError, ImportError):
            raise
        # The encoders refuse with exceptions of their own.
        except Exception as error:
            reason = str(error).strip(" .") or type(error).__name__
            raise MediaError(f"Cannot encode {self._sound}: {reason}.") from error


def write_audio(
    samples: Float[Tensor, "channels samples"],
    target: MediaTarget,
    sample_rate_hz: int,
    *,
    format: str | None = None,
    bit_depth: BitDepth | None = None,
    bitrate_bps: int | None = None,
    metadata: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> None:
    """Write an audio file, all of it or nothing.

    Values are clamped to [-1, 1]. For ``b`` bits they are multiplied by ``2^(b - 1)``, rounded to
    the nearest integer (halves to even) and held below full scale, without dither: what
    ``read_audio`` gave from a file of 16 or 24 bits is written back exactly. A path is written
    under a temporary name in the same folder and then renamed.

    Args:
        samples: values in [-1, 1], one or more channels.
        target: a path or a binary stream.
        sample_rate_hz: sample rate. Opus takes 8, 12, 16, 24 and 48 kHz; MP3 8 to 48 kHz and M4A
            7.35 to 96 kHz, those of their standards. Nothing is resampled.
        format: ``"wav"``, ``"flac"``, ``"ogg"`` (Vorbis), ``"opus"``, ``"mp3"`` or ``"m4a"`` (AAC);
            by default what the path's ending says, and WAV for a stream or a path without ending.
        bit_depth: 16 (the default) or 24 for WAV and FLAC, ``"float"`` for WAV.
        bitrate_bps: bits per second of Opus (6000 to 256000 times channels), MP3 (32000 to 320000,
            below 32 kHz 8000 to 160000, the nearest that its standard has) and M4A (8000 to 512000
            times channels); by default 64 kbit/s per channel, 80 for M4A.
        metadata: title, artist, album, comment, date, genre, copyright, software, license,
            tracknumber, as far as the format has a place for them; others are left out.
        overwrite: replace a file that exists.

    Raises:
        ShapeError: the samples are no finite floats [channels, samples].
        ConfigError: a setting is unknown, or the format has no such rate.
        MediaError: the file exists, or it cannot be written, or the format cannot hold the samples.
        MissingExtraError: the package for the format is not installed.

    Example:
        >>> file = io.BytesIO()
        >>> write_audio(torch.zeros(1, 8000), file, 16000, format="flac")
        >>> file.getvalue()[:4]
        b'fLaC'
    """
    _check_samples(samples)
    with AudioWriter(
        target,
        sample_rate_hz,
        samples.shape[0],
        format=format,
        bit_depth=bit_depth,
        bitrate_bps=bitrate_bps,
        metadata=metadata,
        overwrite=overwrite,
    ) as writer:
        writer.write(samples)


def _format_of(target: MediaTarget, format: str | None) -> str:
    asked = suffix_of(target) if format is None else f".{format.lower().removeprefix('.')}"
    if not asked:
        return "wav"
    for name, writable in _WRITABLE.items():
        if asked in writable.suffixes:
            return name
    raise ConfigError(
        f"format of an audio file: expected one of {', '.join(_WRITABLE)}, "
        f"got {asked.removeprefix('.')!r}."
    )


def _settings(
    name: str,
    channels: int,
    sample_rate_hz: int,
    bit_depth: BitDepth | None,
    bitrate_bps: int | None,
) -> dict[str, Any]:
    """Everything that is checked before anything is encoded, as what soundfile calls it."""
    writable = _WRITABLE[name]
    _check_rate(name, writable.rates_hz, sample_rate_hz)
    if not writable.bit_depths:
        if bit_depth is not None:
            raise ConfigError(f"bit_depth: {name} is lossy and has none. Leave it out.")
        return _lossy_settings(name, writable, channels, sample_rate_hz, bitrate_bps)
    if bitrate_bps is not None:
        raise ConfigError(f"bitrate_bps: {name} is lossless and has none. Leave it out.")
    depth = 16 if bit_depth is None else bit_depth
    if depth not in writable.bit_depths:
        expected = ", ".join(repr(known) for known in writable.bit_depths)
        raise ConfigError(f"bit_depth of {name}: expected one of {expected}, got {depth!r}.")
    return {"format": writable.container, "subtype": writable.bit_depths[depth]}


def _lossy_settings(
    name: str, writable: _Writable, channels: int, sample_rate_hz: int, bitrate_bps: int | None
) -> dict[str, Any]:
    if writable.default_bps is None:
        if bitrate_bps is not None:
            raise ConfigError(f"bitrate_bps: {name} has none to set. Use opus, mp3 or m4a.")
        return {"format": writable.container, "subtype": _LOSSY_ENCODINGS[name]}
    # libsndfile knows Opus and MP3 by a level between their highest rate, 0, and their lowest, 1.
    lowest, highest = {
        "opus": (6000, 256_000 * channels),
        "mp3": (32_000, 320_000) if sample_rate_hz >= 32_000 else (8000, 160_000),
        "m4a": (8000, 512_000 * channels),
    }[name]
    default_bps = min(writable.default_bps * channels, highest)
    bps = default_bps if bitrate_bps is None else bitrate_bps
    if not lowest <= bps <= highest:
        raise ConfigError(
            f"bitrate_bps of {name} at {sample_rate_hz} Hz with {channels} channels: expected "
            f"{lowest} to {highest}, got {bps}."
        )
    if name == "m4a":
        return {"bitrate_bps": bps}
    level = (highest - bps) / (highest - lowest)
    settings = {"format": writable.container, "subtype": _LOSSY_ENCODINGS[name]}
    if name == "mp3":
        # libsndfile 1.2.2 refuses the level of MP3's lowest rate; a bit less is rounded to it.
        return settings | {
            "compression_level": min(level, _HIGHEST_MP3_LEVEL),
            "bitrate_mode": "CONSTANT",
        }
    return settings | {"compression_level": level}


def _check_samples(samples: Tensor) -> None:
    if samples.dim() != 2 or samples.shape[0] == 0:
        raise ShapeError(
            f"audio to write: expected [1 or more channels, samples], got {tuple(samples.shape)}."
        )
    if not samples.is_floating_point() or not bool(samples.isfinite().all()):
        raise ShapeError(
            f"audio to write: expected finite floats in [-1, 1], got {samples.dtype} "
            "or values that are not finite."
        )


def _check_rate(name: str, rates_hz: tuple[int, ...], sample_rate_hz: int) -> None:
    if sample_rate_hz < 1:
        raise ConfigError(f"sample_rate_hz: expected 1 or more, got {sample_rate_hz}.")
    if rates_hz and sample_rate_hz not in rates_hz:
        raise ConfigError(
            f"sample_rate_hz of {name}: expected one of {', '.join(map(str, rates_hz))}, "
            f"got {sample_rate_hz}. Resample it first (vqkit.ops.resample)."
        )


class _SoundFileEncoder:
    """A file of libsndfile's in the making."""

    def __init__(
        self,
        file: io.BufferedIOBase,
        channels: int,
        sample_rate_hz: int,
        settings: Mapping[str, Any],
        metadata: Mapping[str, str],
    ):
        self._num_bits = _NUM_BITS.get(settings["subtype"])
        self._sound = load_soundfile().SoundFile(
            file, "w", samplerate=sample_rate_hz, channels=channels, **settings
        )
        for key, value in metadata.items():
            setattr(self._sound, key, value)

    def write(self, samples: Tensor) -> None:
        """Take ``[channels, samples]``."""
        bits = self._num_bits
        self._sound.write(_floats(samples).T if bits is None else _integers(samples, bits).T)

    def close(self) -> None:
        """Write what the encoder holds back, and the header's lengths."""
        self._sound.close()

    discard = close


def _floats(samples: Tensor) -> npt.NDArray[np.float32]:
    array: npt.NDArray[np.float32] = samples.to(torch.float32).clamp(-1, 1).numpy()
    return array


def _integers(samples: Tensor, num_bits: int) -> npt.NDArray[Any]:
    """Of 24 bits as libsndfile takes them: the upper ones of 32."""
    scale = 2.0 ** (num_bits - 1)
    levels = (samples.double() * scale).round().clamp(-scale, scale - 1)
    array: npt.NDArray[Any] = levels.to(torch.int32).numpy()
    return array.astype(np.int16) if num_bits == 16 else array << (32 - num_bits)
