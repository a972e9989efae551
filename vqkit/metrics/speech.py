"""Quality and intelligibility of speech against a reference: PESQ and STOI, by their packages."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
from torch import Tensor

from vqkit.errors import MissingExtraError, ShapeError
from vqkit.metrics.audio import checked_audio, is_silent
from vqkit.metrics.item_scores import ItemScores, Unmeasured
from vqkit.metrics.pesq_process import SAFE_SECONDS, pesq_score, pesq_score_apart
from vqkit.shapes import Float

__all__ = ["PesqMode", "check_speech_package", "pesq", "stoi"]

PesqMode = Literal["wide", "narrow"]

_PESQ_RATES_HZ = {"wide": (16_000,), "narrow": (8_000, 16_000)}
_PESQ_MINIMUM_SECONDS = 0.25
# A frame of STOI, in seconds; pystoi fails on less and warns below 30 frames.
_STOI_FRAME_SECONDS = 0.0256


def pesq(
    reconstruction: Float[Tensor, "batch 1 samples"],
    target: Float[Tensor, "..."],
    sample_rate_hz: int,
    *,
    mode: PesqMode = "wide",
) -> ItemScores:
    """Perceptual evaluation of speech quality (ITU-T P.862.2, P.862.1), by the package ``pesq``.

    From about 1.0 to 4.644 (wide band) or 4.549 (narrow band), which identical speech gets. It
    aligns time and level, so that neither loudness nor polarity nor a constant delay matters.
    Recordings above 19 s are measured in a process of their own, because the code of P.862
    crashes on many utterances; cut long ones into utterances as papers do.

    Args:
        reconstruction: speech in [-1, 1], one channel.
        target: of the same shape.
        sample_rate_hz: 16000, for the narrow band also 8000. Resample before, and say how.
        mode: ``wide`` (50 to 7000 Hz), which is what papers on codecs report, or ``narrow``.

    Raises:
        MissingExtraError: the package ``pesq`` is not installed.
        ShapeError: the shapes differ, there are several channels, the rate is another, an item is
            empty or a value is not finite.
    """
    check_speech_package("pesq")
    if sample_rate_hz not in _PESQ_RATES_HZ[mode]:
        expected = " or ".join(f"{rate} Hz" for rate in _PESQ_RATES_HZ[mode])
        raise ShapeError(
            f"Measuring PESQ failed: expected {expected} for the {mode} band, got "
            f"{sample_rate_hz} Hz. Resample both signals first."
        )
    pairs = _pairs(reconstruction, target, "PESQ")
    return ItemScores.of([_pesq_of(*pair, sample_rate_hz, mode) for pair in pairs])


def stoi(
    reconstruction: Float[Tensor, "batch 1 samples"],
    target: Float[Tensor, "..."],
    sample_rate_hz: int,
    *,
    extended: bool = False,
) -> ItemScores:
    """Short-time objective intelligibility (Taal et al. 2011), by the package ``pystoi``.

    About 0 to 1, which identical speech gets. Measured at 10 kHz, where pystoi takes the audio by
    itself, without the frames in which the target is 40 dB below its loudest. A silent
    reconstruction gets 0.

    Args:
        reconstruction: speech in [-1, 1], one channel.
        target: of the same shape.
        sample_rate_hz: of both.
        extended: ESTOI (Jensen and Taal 2016), for distortions that come and go quickly.

    Raises:
        MissingExtraError: the package ``pystoi`` is not installed.
        ShapeError: the shapes differ, there are several channels, an item is empty or a value is
            not finite.
    """
    check_speech_package("pystoi")
    pairs = _pairs(reconstruction, target, "STOI")
    return ItemScores.of([_stoi_of(*pair, sample_rate_hz, extended) for pair in pairs])


def check_speech_package(name: Literal["pesq", "pystoi"]) -> None:
    """Load a package of the extra ``speech``.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        __import__(name)
    except ImportError as error:
        raise MissingExtraError(
            f"Measuring speech failed: the package {name!r} is not installed. "
            "Install vqkit[speech]."
        ) from error


def _pesq_of(
    reconstruction: Tensor, target: Tensor, sample_rate_hz: int, mode: PesqMode
) -> float | Unmeasured:
    seconds = target.shape[-1] / sample_rate_hz
    if seconds < _PESQ_MINIMUM_SECONDS:
        return Unmeasured.TOO_SHORT
    if is_silent(target[None]):
        return Unmeasured.SILENT_TARGET
    if is_silent(reconstruction[None]):
        return Unmeasured.SILENT_RECONSTRUCTION
    measure = pesq_score if seconds <= SAFE_SECONDS else pesq_score_apart
    short_mode = "wb" if mode == "wide" else "nb"
    score = measure(target[0].numpy(), reconstruction[0].numpy(), sample_rate_hz, short_mode)
    if score is None:
        return Unmeasured.CRASHED
    return Unmeasured.NO_SPEECH if np.isnan(score) else score


def _stoi_of(
    reconstruction: Tensor, target: Tensor, sample_rate_hz: int, extended: bool
) -> float | Unmeasured:
    from pystoi import stoi as stoi_of_arrays

    if is_silent(target[None]):
        return Unmeasured.SILENT_TARGET
    if is_silent(reconstruction[None]):
        return 0.0
    if target.shape[-1] / sample_rate_hz <= _STOI_FRAME_SECONDS:
        return Unmeasured.TOO_SHORT
    with warnings.catch_warnings(), _own_random_state():
        warnings.filterwarnings("error", "Not enough STFT frames", RuntimeWarning)
        try:
            score = stoi_of_arrays(
                target[0].numpy(), reconstruction[0].numpy(), sample_rate_hz, extended=extended
            )
        except RuntimeWarning:
            return Unmeasured.TOO_SHORT
    return float(score)


@contextmanager
def _own_random_state() -> Iterator[None]:
    """ESTOI adds noise of the global generator: a fixed one here, and the caller's untouched."""
    state = np.random.get_state()
    np.random.seed(0)
    try:
        yield
    finally:
        np.random.set_state(state)


def _pairs(reconstruction: Tensor, target: Tensor, name: str) -> Iterator[tuple[Tensor, Tensor]]:
    """The items, each ``[1, samples]`` on the CPU."""
    reconstruction, target = checked_audio(reconstruction, target)
    if target.shape[1] != 1:
        raise ShapeError(
            f"Measuring {name} failed: expected one channel, got {target.shape[1]}. Mix the "
            "channels, or measure each by itself."
        )
    return zip(reconstruction.cpu(), target.cpu(), strict=True)
