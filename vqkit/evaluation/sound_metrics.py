"""The metrics of sounds that an evaluation offers by name."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from torch import Tensor

from vqkit.errors import ConfigError, MissingExtraError
from vqkit.evaluation.quality import Metric, Scores
from vqkit.metrics import (
    ItemScores,
    Unmeasured,
    mel_distance,
    pesq,
    si_sdr,
    snr,
    stft_distance,
    stoi,
    visqol,
    waveform_l1,
)
from vqkit.metrics.speech import check_speech_package
from vqkit.metrics.visqol_score import VISQOL_RATES_HZ, check_visqol
from vqkit.ops import resample

__all__ = [
    "SOUND_METRICS",
    "SoundMetric",
    "SoundPair",
    "scores_of",
    "sound_metric",
]

_SPEECH_RATE_HZ = 16_000


class SoundPair:
    """A sound and its reconstruction, at whatever rate a metric is defined for.

    Args:
        name: Of the sound in the report.
        reconstruction: ``[channels, samples]`` in [-1, 1].
        original: Of the same shape.
        sample_rate_hz: Of both.

    >>> import torch
    >>> pair = SoundPair("a", torch.zeros(2, 800), torch.ones(2, 800) / 2, 8000)
    >>> [part.shape for part in pair.mono_at(16_000)]
    [torch.Size([1, 1, 1600]), torch.Size([1, 1, 1600])]
    """

    def __init__(
        self, name: str, reconstruction: Tensor, original: Tensor, sample_rate_hz: int
    ) -> None:
        self.name = name
        self.sample_rate_hz = sample_rate_hz
        self._pair = reconstruction, original
        # Several metrics share a rate, and filters are not free.
        self._at_rate: dict[int, tuple[Tensor, Tensor]] = {}

    def at(self, sample_rate_hz: int) -> tuple[Tensor, Tensor]:
        """Both ``[1, channels, samples]``, resampled if need be."""
        if sample_rate_hz not in self._at_rate:
            reconstruction, original = (
                resample(part, self.sample_rate_hz, sample_rate_hz)[None] for part in self._pair
            )
            self._at_rate[sample_rate_hz] = reconstruction, original
        return self._at_rate[sample_rate_hz]

    def mono_at(self, sample_rate_hz: int) -> tuple[Tensor, Tensor]:
        """The means of their channels, ``[1, 1, samples]``."""
        reconstruction, original = self.at(sample_rate_hz)
        return reconstruction.mean(dim=1, keepdim=True), original.mean(dim=1, keepdim=True)


@dataclass(frozen=True)
class SoundMetric:
    """One or more numbers of a sound, and what they are."""

    metrics: tuple[Metric, ...]
    score: Callable[[SoundPair], Scores] | None
    """None where a package is missing: the reasons of ``metrics`` say which."""


def scores_of(names: tuple[str, ...], found: ItemScores) -> Scores:
    """Scores of one sound by name."""
    values = dict(zip(names, found.values.tolist(), strict=True))
    reasons = dict(zip(names, found.reasons, strict=True))
    return Scores(
        {name: None if reasons[name] else value for name, value in values.items()},
        {name: str(reason) for name, reason in reasons.items() if reason},
    )


def _found(function: Callable[..., Tensor | ItemScores]) -> Callable[..., ItemScores]:
    """The same with reasons: a plain function gives NaN where the original is silent."""

    def measure(reconstruction: Tensor, target: Tensor, sample_rate_hz: int) -> ItemScores:
        found = function(reconstruction, target, sample_rate_hz)
        if isinstance(found, ItemScores):
            return found
        values = found.tolist()
        return ItemScores.of([Unmeasured.SILENT_TARGET if v != v else v for v in values])

    return measure


@dataclass(frozen=True)
class _Offered:
    """A metric that goes by name.

    Attributes:
        metric: What it is.
        function: Of a reconstruction, its original and their rate.
        rate_hz: The one it is defined at; None for that of the evaluation.
        lowest_hz: Below, an evaluation at a lower rate has nothing to say.
        is_mono: Measured on the mean of the channels.
        check: Raises where its package is missing.
    """

    metric: Metric
    function: Callable[..., Tensor | ItemScores]
    rate_hz: int | None = None
    lowest_hz: int = 0
    is_mono: bool = False
    check: Callable[[], None] = lambda: None

    def at(self, evaluation_hz: int) -> SoundMetric:
        """The metric in an evaluation at a rate."""
        rate_hz = self.rate_hz or evaluation_hz
        channels = "mean of the channels" if self.is_mono else "all channels"
        metric = replace(
            self.metric, definition=f"{self.metric.definition}; {channels} at {rate_hz} Hz"
        )
        if evaluation_hz < self.lowest_hz:
            reason = f"needs {self.lowest_hz} Hz, and this is an evaluation at {evaluation_hz} Hz"
            return SoundMetric((replace(metric, reason=reason),), None)
        try:
            self.check()
        except MissingExtraError as error:
            return SoundMetric((replace(metric, reason=str(error)),), None)
        measure = _found(self.function)

        def score(pair: SoundPair) -> Scores:
            parts = pair.mono_at(rate_hz) if self.is_mono else pair.at(rate_hz)
            return scores_of((metric.name,), measure(*parts, rate_hz))

        return SoundMetric((metric,), score)


_HIGHER, _LOWER = True, False
_check_pesq = partial(check_speech_package, "pesq")
_check_stoi = partial(check_speech_package, "pystoi")

_OFFERED = (
    _Offered(
        Metric("mel_distance", "mel distance", "vqkit.metrics.mel_distance, DAC_MEL", _LOWER, 4),
        mel_distance,
    ),
    _Offered(
        Metric("stft_distance", "STFT distance", "vqkit.metrics.stft_distance, DAC_STFT", _LOWER),
        lambda reconstruction, target, rate_hz: stft_distance(reconstruction, target),
    ),
    _Offered(
        Metric("si_sdr", "SI-SDR in dB", "Le Roux et al. 2019, zero mean, one gain", _HIGHER, 2),
        lambda reconstruction, target, rate_hz: si_sdr(reconstruction, target),
    ),
    _Offered(
        Metric("snr", "SNR in dB", "energy of the original by that of the error", _HIGHER, 2),
        lambda reconstruction, target, rate_hz: snr(reconstruction, target),
    ),
    _Offered(
        Metric("waveform_l1", "waveform L1", "mean absolute difference", _LOWER, 5),
        lambda reconstruction, target, rate_hz: waveform_l1(reconstruction, target),
    ),
    _Offered(
        Metric("pesq", "PESQ, wide band", "ITU-T P.862.2 by the package pesq", _HIGHER),
        partial(pesq, mode="wide"),
        rate_hz=_SPEECH_RATE_HZ,
        lowest_hz=_SPEECH_RATE_HZ,
        is_mono=True,
        check=_check_pesq,
    ),
    _Offered(
        Metric("pesq_narrow", "PESQ, narrow band", "ITU-T P.862.1 by the package pesq", _HIGHER),
        partial(pesq, mode="narrow"),
        rate_hz=8000,
        is_mono=True,
        check=_check_pesq,
    ),
    _Offered(
        Metric("stoi", "STOI", "Taal et al. 2011 by the package pystoi", _HIGHER, 4),
        stoi,
        is_mono=True,
        check=_check_stoi,
    ),
    _Offered(
        Metric("estoi", "ESTOI", "Jensen and Taal 2016 by the package pystoi", _HIGHER, 4),
        partial(stoi, extended=True),
        is_mono=True,
        check=_check_stoi,
    ),
    _Offered(
        Metric(
            "visqol_speech",
            "ViSQOL, speech",
            "ViSQOL v3, mode speech with the polynomial mapping, by the package visqol-python",
            _HIGHER,
        ),
        partial(visqol, mode="speech"),
        rate_hz=VISQOL_RATES_HZ["speech"],
        is_mono=True,
        check=check_visqol,
    ),
    _Offered(
        Metric(
            "visqol_audio",
            "ViSQOL, audio",
            "ViSQOL v3, mode audio, by the package visqol-python",
            _HIGHER,
        ),
        partial(visqol, mode="audio"),
        rate_hz=VISQOL_RATES_HZ["audio"],
        is_mono=True,
        check=check_visqol,
    ),
)

SOUND_METRICS = tuple(offered.metric.name for offered in _OFFERED)
"""The names that :func:`sound_metric` knows."""


def sound_metric(name: str, sample_rate_hz: int) -> SoundMetric:
    """A metric by its name, in an evaluation at a rate.

    Where a package is missing it is there with the reason, and without a score.

    Raises:
        ConfigError: There is none of that name.

    >>> sound_metric("si_sdr", 24_000).metrics[0].definition
    'Le Roux et al. 2019, zero mean, one gain; all channels at 24000 Hz'
    """
    for offered in _OFFERED:
        if offered.metric.name == name:
            return offered.at(sample_rate_hz)
    raise ConfigError(
        f"Metric of sounds: expected one of {', '.join(SOUND_METRICS)}, got {name!r}."
    )
