"""Audio quality as torchmetrics: exact sums over all items and all ranks, in fp64."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from vqkit.errors import ShapeError
from vqkit.metrics.audio import checked_audio, si_sdr, snr, waveform_l1
from vqkit.metrics.item_scores import ItemScores, Unmeasured
from vqkit.metrics.spectral import (
    DAC_MEL,
    DAC_STFT,
    SpectralDefinition,
    mel_distance,
    stft_distance,
)
from vqkit.shapes import Float

__all__ = [
    "SISDR",
    "SNR",
    "AudioMetric",
    "MelDistance",
    "STFTDistance",
    "WaveformL1",
    "without_padding",
]


class AudioMetric(Metric, ABC):
    """Base of the audio metrics: a mean whose sum and count are kept over items and ranks.

    Items are summed one by one, so the result depends neither on how they are batched nor on how
    they are spread over processes. Items that the metric is not defined for are left out and
    counted by reason. Without any item the result is NaN.

    Args:
        **metric_options: for ``torchmetrics.Metric``, e.g. ``process_group``.
    """

    is_differentiable = False
    full_state_update = False

    total: Tensor
    count: Tensor
    skipped: Tensor
    """Items left out, one number for each member of ``Unmeasured``."""

    def __init__(self, **metric_options: Any) -> None:
        super().__init__(**metric_options)
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state(
            "skipped", torch.zeros(len(Unmeasured), dtype=torch.int64), dist_reduce_fx="sum"
        )

    def update(
        self,
        reconstruction: Float[Tensor, "batch channels samples"],
        target: Float[Tensor, "..."],
        lengths: Sequence[int] | None = None,
    ) -> None:
        """Add a batch of audio in [-1, 1].

        Args:
            reconstruction: what was decoded.
            target: the originals, of the same shape.
            lengths: samples of each item, where the rest of its row is padding. Without them all
                rows count whole.

        Raises:
            ShapeError: the shapes differ, a length does not fit or a value is not finite.
        """
        if lengths is None:
            measured = [self._measure(reconstruction, target)]
        else:
            # Before shapes that differ are cut to one length.
            checked_audio(reconstruction, target)
            pairs = zip(
                without_padding(reconstruction, lengths),
                without_padding(target, lengths),
                strict=True,
            )
            measured = [self._measure(*pair) for pair in pairs]
        for scores in measured:
            self._add(scores)

    def compute(self) -> Tensor:
        """Mean over all items that have a score, NaN without any."""
        return self.total / self.count

    @property
    def num_skipped(self) -> int:
        """Items left out on this rank; inside ``metric.sync_context()`` on all of them."""
        return int(self.skipped.sum())

    def count_reasons(self) -> Counter[Unmeasured]:
        """How many items were left out for which reason, on the ranks of ``num_skipped``."""
        counts = zip(Unmeasured, self.skipped.tolist(), strict=True)
        return Counter({reason: count for reason, count in counts if count})

    @abstractmethod
    def _measure(self, reconstruction: Tensor, target: Tensor) -> ItemScores:
        """One score per item."""

    def _add(self, scores: ItemScores) -> None:
        known = [reason is None for reason in scores.reasons]
        self.total += scores.values[known].sum()
        self.count += sum(known)
        reasons = scores.count_reasons()
        self.skipped += torch.tensor(
            [reasons[reason] for reason in Unmeasured], device=self.skipped.device
        )


class SISDR(AudioMetric):
    """Mean over items of the scale-invariant ratio in dB; see :func:`vqkit.metrics.si_sdr`.

    Items whose original is silent are left out.

    Example:
        >>> metric = SISDR()
        >>> target = torch.tensor([[[1.0, -1.0, 1.0, -1.0]]])
        >>> metric.update(target / 2, target)
        >>> metric.update(target, torch.zeros_like(target))
        >>> metric.compute().item(), metric.num_skipped
        (100.0, 1)
    """

    higher_is_better = True

    def __init__(self, *, zero_mean: bool = True, **metric_options: Any) -> None:
        super().__init__(**metric_options)
        self.zero_mean = zero_mean

    def _measure(self, reconstruction: Tensor, target: Tensor) -> ItemScores:
        return _ratios(si_sdr(reconstruction, target, zero_mean=self.zero_mean))


class SNR(AudioMetric):
    """Mean over items of the signal-to-noise ratio in dB; see :func:`vqkit.metrics.snr`.

    Items whose original is silent are left out.
    """

    higher_is_better = True

    def _measure(self, reconstruction: Tensor, target: Tensor) -> ItemScores:
        return _ratios(snr(reconstruction, target))


class WaveformL1(AudioMetric):
    """Mean over items of the mean absolute difference; see :func:`vqkit.metrics.waveform_l1`."""

    higher_is_better = False

    def _measure(self, reconstruction: Tensor, target: Tensor) -> ItemScores:
        return _complete(waveform_l1(reconstruction, target))


class MelDistance(AudioMetric):
    """Mean over items of the distance of their mel spectrograms.

    Args:
        sample_rate_hz: of the audio.
        definition: what the distance is; see :func:`vqkit.metrics.mel_distance`.
        **metric_options: for ``torchmetrics.Metric``.
    """

    higher_is_better = False

    def __init__(
        self,
        sample_rate_hz: int,
        *,
        definition: SpectralDefinition = DAC_MEL,
        **metric_options: Any,
    ) -> None:
        super().__init__(**metric_options)
        self.sample_rate_hz = sample_rate_hz
        self.definition = definition

    def _measure(self, reconstruction: Tensor, target: Tensor) -> ItemScores:
        return _complete(
            mel_distance(reconstruction, target, self.sample_rate_hz, definition=self.definition)
        )


class STFTDistance(AudioMetric):
    """Mean over items of the distance of their spectrograms.

    Args:
        definition: what the distance is; see :func:`vqkit.metrics.stft_distance`.
        **metric_options: for ``torchmetrics.Metric``.
    """

    higher_is_better = False

    def __init__(self, *, definition: SpectralDefinition = DAC_STFT, **metric_options: Any) -> None:
        super().__init__(**metric_options)
        self.definition = definition

    def _measure(self, reconstruction: Tensor, target: Tensor) -> ItemScores:
        return _complete(stft_distance(reconstruction, target, definition=self.definition))


def without_padding(
    audio: Float[Tensor, "batch channels samples"], lengths: Sequence[int]
) -> list[Tensor]:
    """Each item ``[1, channels, length]``.

    Raises:
        ShapeError: there is not one length per item, from 1 to the samples of a row.
    """
    num_samples = audio.shape[-1]
    if len(lengths) != len(audio) or not all(0 < length <= num_samples for length in lengths):
        raise ShapeError(
            f"Measuring audio failed: expected {len(audio)} lengths from 1 to {num_samples}, "
            f"got {list(lengths)}. Leave empty items out."
        )
    return [item[None, :, :length] for item, length in zip(audio, lengths, strict=True)]


def _ratios(values: Tensor) -> ItemScores:
    silent = values.isnan().tolist()
    return ItemScores(
        values, tuple(Unmeasured.SILENT_TARGET if missing else None for missing in silent)
    )


def _complete(values: Tensor) -> ItemScores:
    return ItemScores(values, (None,) * len(values))
