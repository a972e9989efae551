"""Perceptual similarity of audio by ViSQOL, by the package ``visqol-python``."""

from functools import lru_cache
from typing import Any, Literal

import numpy as np
from torch import Tensor

from vqkit.errors import MissingExtraError, ShapeError
from vqkit.metrics.audio import checked_audio, is_silent
from vqkit.metrics.item_scores import ItemScores, Unmeasured
from vqkit.shapes import Float

__all__ = ["VISQOL_RATES_HZ", "VisqolMode", "check_visqol", "visqol"]

VisqolMode = Literal["speech", "audio"]

VISQOL_RATES_HZ = {"speech": 16_000, "audio": 48_000}
"""The rate that each mode is defined at."""

# Below, the package finds no patch of the spectrogram to compare and fails in various ways.
_MINIMUM_SECONDS = 1.0


def visqol(
    reconstruction: Float[Tensor, "batch 1 samples"],
    target: Float[Tensor, "..."],
    sample_rate_hz: int,
    *,
    mode: VisqolMode = "speech",
) -> ItemScores:
    """ViSQOL v3 (Chinen et al. 2020), by the package ``visqol-python``.

    A mean opinion score from 1 to 5; identical audio gets 5 in the mode ``speech`` and about 4.73
    in the mode ``audio``. The similarity of speech is mapped by the polynomial of the original,
    scaled to 5, and not by its newer lattice: the two differ. Slow: about a sixth of the duration
    in the mode ``audio``.

    Args:
        reconstruction: audio in [-1, 1], one channel.
        target: of the same shape.
        sample_rate_hz: 16000 for ``speech``, 48000 for ``audio``. Resample before, and say how.
        mode: ``audio`` (bands to 24 kHz) is what papers on codecs of music and of general audio
            report.

    Raises:
        MissingExtraError: the package ``visqol-python`` is not installed.
        ShapeError: the shapes differ, there are several channels, the rate is another, an item is
            empty or a value is not finite.
    """
    check_visqol()
    if sample_rate_hz != VISQOL_RATES_HZ[mode]:
        raise ShapeError(
            f"Measuring ViSQOL failed: expected {VISQOL_RATES_HZ[mode]} Hz in the mode {mode}, got "
            f"{sample_rate_hz} Hz. Resample both signals first."
        )
    reconstruction, target = checked_audio(reconstruction, target)
    if target.shape[1] != 1:
        raise ShapeError(
            f"Measuring ViSQOL failed: expected one channel, got {target.shape[1]}. Mix the "
            "channels, or measure each by itself."
        )
    pairs = zip(reconstruction.cpu(), target.cpu(), strict=True)
    return ItemScores.of([_score(*pair, sample_rate_hz, mode) for pair in pairs])


def check_visqol() -> None:
    """Load the package.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import visqol  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            "Measuring ViSQOL failed: the package 'visqol-python' is not installed. "
            "Install vqkit[visqol]."
        ) from error


def _score(
    reconstruction: Tensor, target: Tensor, sample_rate_hz: int, mode: VisqolMode
) -> float | Unmeasured:
    if is_silent(target[None]):
        return Unmeasured.SILENT_TARGET
    if is_silent(reconstruction[None]):
        return Unmeasured.SILENT_RECONSTRUCTION
    if target.shape[-1] < _MINIMUM_SECONDS * sample_rate_hz:
        return Unmeasured.TOO_SHORT
    # Silence within the audio is divided by: it compares as NaN, which is seen below.
    with np.errstate(divide="ignore", invalid="ignore"):
        try:
            score = _measure_of(mode)(target[0].numpy(), reconstruction[0].numpy(), sample_rate_hz)
        except IndexError:  # no patch is loud enough
            return Unmeasured.NO_SPEECH
    return Unmeasured.NOT_A_NUMBER if np.isnan(score.moslqo) else float(score.moslqo)


@lru_cache
def _measure_of(mode: VisqolMode) -> Any:
    from visqol import VisqolApi

    api = VisqolApi()
    api.create(mode=mode, use_lattice_model=False)
    return api.measure_from_arrays
