"""Tensors in [-1, 1] -> audio files."""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vqkit.errors import ConfigError, MediaError, ShapeError
from vqkit.media.audio_decoder import METADATA_KEYS
from vqkit.media.audio_m4a import encode_m4a
from vqkit.media.audio_soundfile import load_soundfile
from vqkit.media.targets import MediaTarget, check_free, suffix_of, write_whole
from vqkit.shapes import Float

__all__ = ["BitDepth", "write_audio"]

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
_HIGHEST_MP3_LEVEL = 0.999
_LOSSY_ENCODINGS = {"ogg": "VORBIS", "opus": "OPUS", "mp3": "MPEG_LAYER_III"}


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
    name = _format_of(target, format)
    settings = _settings(name, samples, sample_rate_hz, bit_depth, bitrate_bps)
    check_free(target, overwrite)
    known = {key: value for key, value in (metadata or {}).items() if key in METADATA_KEYS}
    values = samples.detach().to("cpu")
    try:
        if name == "m4a":
            data = encode_m4a(_floats(values), sample_rate_hz, settings["bitrate_bps"], known)
        else:
            data = _encoded(values, sample_rate_hz, settings, known)
    except (MemoryError, ImportError):
        raise
    # The encoders refuse with exceptions of their own.
    except Exception as error:
        raise MediaError(
            f"Cannot encode {values.shape[0]} channels at {sample_rate_hz} Hz as {name}: "
            f"{str(error).strip(' .') or type(error).__name__}."
        ) from error
    write_whole(data, target)


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
    samples: Tensor,
    sample_rate_hz: int,
    bit_depth: BitDepth | None,
    bitrate_bps: int | None,
) -> dict[str, Any]:
    """Everything that is checked before anything is encoded, as what soundfile calls it."""
    writable = _WRITABLE[name]
    _check_samples(samples)
    channels, num_samples = samples.shape
    _check_rate(name, writable.rates_hz, sample_rate_hz)
    if num_samples == 0 and not writable.holds_nothing:
        raise MediaError(f"Cannot encode 0 samples as {name}. Write WAV instead.")
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
    size_bytes = num_samples * channels * (4 if depth == "float" else depth // 8)
    if name == "wav" and size_bytes > _WAV_LIMIT_BYTES:
        raise MediaError(f"Cannot encode {size_bytes} bytes as wav: at most 4 GiB. Write FLAC.")
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


def _encoded(
    samples: Tensor, sample_rate_hz: int, settings: dict[str, Any], metadata: Mapping[str, str]
) -> bytes:
    file = io.BytesIO()
    num_bits = {"PCM_16": 16, "PCM_24": 24}.get(settings["subtype"])
    with load_soundfile().SoundFile(
        file, "w", samplerate=sample_rate_hz, channels=samples.shape[0], **settings
    ) as sound:
        for key, value in metadata.items():
            setattr(sound, key, value)
        for block in samples.split(_BLOCK_SAMPLES, dim=1):
            sound.write(_floats(block).T if num_bits is None else _integers(block, num_bits).T)
    return file.getvalue()


def _floats(samples: Tensor) -> npt.NDArray[np.float32]:
    array: npt.NDArray[np.float32] = samples.to(torch.float32).clamp(-1, 1).numpy()
    return array


def _integers(samples: Tensor, num_bits: int) -> npt.NDArray[Any]:
    """Of 24 bits as libsndfile takes them: the upper ones of 32."""
    scale = 2.0 ** (num_bits - 1)
    levels = (samples.double() * scale).round().clamp(-scale, scale - 1)
    array: npt.NDArray[Any] = levels.to(torch.int32).numpy()
    return array.astype(np.int16) if num_bits == 16 else array << (32 - num_bits)
