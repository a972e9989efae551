"""What is measured on held-out media while a model trains."""

from contextlib import suppress

from torchmetrics import Metric

from vqkit.errors import MissingExtraError
from vqkit.metrics import SISDR, STOI, MelDistance

__all__ = ["sound_metrics"]


def sound_metrics(sample_rate_hz: int, channels: int = 1) -> dict[str, Metric]:
    """SI-SDR in dB, DAC's mel distance, and STOI of one channel where ``pystoi`` is installed.

    Args:
        sample_rate_hz: Of the sounds.
        channels: Of the sounds; STOI is of one.

    Example:
        >>> list(sound_metrics(48_000, channels=2))
        ['si_sdr_db', 'mel_distance']
    """
    metrics: dict[str, Metric] = {
        "si_sdr_db": SISDR(),
        "mel_distance": MelDistance(sample_rate_hz),
    }
    if channels == 1:
        # An extra: the training does not depend on it.
        with suppress(MissingExtraError):
            metrics["stoi"] = STOI(sample_rate_hz)
    return metrics
