"""Quality of sounds: distances of spectra, ratios of waveforms, measures of speech."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.evaluation.media_kind import SOUNDS
from vqkit.evaluation.quality import Medium, Metric, Quality, Reconstruction, Scores
from vqkit.evaluation.sound_metrics import SoundMetric, SoundPair, sound_metric
from vqkit.media import Audio

__all__ = ["DEFAULT_SOUND_METRICS", "SoundQuality"]

DEFAULT_SOUND_METRICS = ("mel_distance", "stft_distance", "si_sdr", "snr", "pesq", "stoi")
"""What is measured unless told otherwise: what papers report and what takes little time."""

_RESAMPLER = "vqkit.ops.resample: sinc in a Kaiser window for 100 dB, half amplitude at 0.95"


class SoundQuality(Quality):
    """Metrics of sounds, all brought to one rate so that their mean over a set means something.

    Original and reconstruction, which has the rate of the original, are both resampled.

    Args:
        sample_rate_hz: Rate of the evaluation; the model's, if numbers shall say what it can do.
        metrics: Names of :data:`vqkit.evaluation.SOUND_METRICS`, and metrics of your own models
            (:func:`vqkit.evaluation.scorer_metric`, :func:`vqkit.evaluation.word_error_metric`).

    Raises:
        ConfigError: A metric is unknown or there twice.
    """

    kind = SOUNDS
    packages = ("soundfile", "av", "pesq", "pystoi", "visqol-python")

    def __init__(
        self,
        sample_rate_hz: int,
        metrics: Sequence[str | SoundMetric] = DEFAULT_SOUND_METRICS,
    ) -> None:
        self.sample_rate_hz = sample_rate_hz
        self._measured = tuple(
            sound_metric(metric, sample_rate_hz) if isinstance(metric, str) else metric
            for metric in metrics
        )
        names = [metric.name for metric in self.metrics]
        if len(set(names)) < len(names):
            raise ConfigError(f"Metrics of sounds: expected each once, got {', '.join(names)}.")

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What is measured, and what cannot be here with the reason."""
        return tuple(metric for measured in self._measured for metric in measured.metrics)

    @property
    def settings(self) -> Mapping[str, Any]:
        """Rate and resampler."""
        return {"sample_rate_hz": self.sample_rate_hz, "resampler": _RESAMPLER}

    def measure(self, name: str, reconstruction: Reconstruction, original: Medium) -> Scores:
        """All scores; samples without a rate are taken to be at that of the evaluation."""
        assert isinstance(reconstruction, Tensor)
        assert isinstance(original, Tensor | Audio)
        if isinstance(original, Audio):
            samples, rate_hz = original.samples, original.sample_rate_hz
        else:
            samples, rate_hz = original, self.sample_rate_hz
        pair = SoundPair(name, reconstruction.cpu(), samples.cpu(), rate_hz)
        values: dict[str, float | None] = {metric.name: None for metric in self.metrics}
        reasons: dict[str, str] = {}
        for measured in self._measured:
            if measured.score is not None:
                scores = measured.score(pair)
                values |= scores.values
                reasons |= scores.reasons
        return Scores(values, reasons)
