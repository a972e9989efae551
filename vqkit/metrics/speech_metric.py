"""Quality of speech as torchmetrics: PESQ, STOI, ViSQOL, scorers of your own, word errors."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from vqkit.errors import ShapeError
from vqkit.metrics.audio_metric import AudioMetric, without_padding
from vqkit.metrics.item_scores import ItemScores, Unmeasured
from vqkit.metrics.scorers import ReferenceFreeScorer, Transcriber
from vqkit.metrics.speech import PesqMode, check_speech_package, pesq, stoi
from vqkit.metrics.transcripts import EditCount, word_edits
from vqkit.metrics.visqol_score import VISQOL_RATES_HZ, VisqolMode, check_visqol, visqol
from vqkit.shapes import Float

__all__ = ["PESQ", "STOI", "ReferenceFreeScore", "ViSQOL", "WordErrorRate"]


class PESQ(AudioMetric):
    """Mean over items of the perceptual quality of speech; see :func:`vqkit.metrics.pesq`.

    Args:
        sample_rate_hz: 16000, for the narrow band also 8000.
        mode: ``wide`` or ``narrow``.
        **metric_options: for ``torchmetrics.Metric``.

    Raises:
        MissingExtraError: the package ``pesq`` is not installed.
    """

    higher_is_better = True

    def __init__(
        self, sample_rate_hz: int, *, mode: PesqMode = "wide", **metric_options: Any
    ) -> None:
        check_speech_package("pesq")
        super().__init__(**metric_options)
        self.sample_rate_hz = sample_rate_hz
        self.mode = mode

    def _measure(self, reconstruction: Tensor, target: Tensor) -> ItemScores:
        return pesq(reconstruction, target, self.sample_rate_hz, mode=self.mode)


class STOI(AudioMetric):
    """Mean over items of the intelligibility of speech; see :func:`vqkit.metrics.stoi`.

    Args:
        sample_rate_hz: of the audio.
        extended: ESTOI.
        **metric_options: for ``torchmetrics.Metric``.

    Raises:
        MissingExtraError: the package ``pystoi`` is not installed.
    """

    higher_is_better = True

    def __init__(
        self, sample_rate_hz: int, *, extended: bool = False, **metric_options: Any
    ) -> None:
        check_speech_package("pystoi")
        super().__init__(**metric_options)
        self.sample_rate_hz = sample_rate_hz
        self.extended = extended

    def _measure(self, reconstruction: Tensor, target: Tensor) -> ItemScores:
        return stoi(reconstruction, target, self.sample_rate_hz, extended=self.extended)


class ViSQOL(AudioMetric):
    """Mean over items of ViSQOL; see :func:`vqkit.metrics.visqol`.

    Args:
        mode: ``speech``, of audio at 16 kHz, or ``audio``, at 48 kHz.
        **metric_options: for ``torchmetrics.Metric``.

    Raises:
        MissingExtraError: the package ``visqol-python`` is not installed.
    """

    higher_is_better = True

    def __init__(self, *, mode: VisqolMode = "speech", **metric_options: Any) -> None:
        check_visqol()
        super().__init__(**metric_options)
        self.mode = mode

    @property
    def sample_rate_hz(self) -> int:
        """Of the audio."""
        return VISQOL_RATES_HZ[self.mode]

    def _measure(self, reconstruction: Tensor, target: Tensor) -> ItemScores:
        return visqol(reconstruction, target, self.sample_rate_hz, mode=self.mode)


class ReferenceFreeScore(AudioMetric):
    """Mean over items of what a model of yours says of the reconstruction, e.g. UTMOS.

    Args:
        scorer: called with each reconstruction ``[channels, samples]`` and the rate.
        sample_rate_hz: of the audio.
        **metric_options: for ``torchmetrics.Metric``.

    Example:
        >>> metric = ReferenceFreeScore(lambda samples, rate: samples.abs().max().item(), 16_000)
        >>> metric.update(torch.full((1, 1, 8), 0.5), torch.zeros(1, 1, 8))
        >>> metric.compute().item()
        0.5
    """

    higher_is_better = True

    def __init__(
        self, scorer: ReferenceFreeScorer, sample_rate_hz: int, **metric_options: Any
    ) -> None:
        super().__init__(**metric_options)
        self.scorer = scorer
        self.sample_rate_hz = sample_rate_hz

    def _measure(self, reconstruction: Tensor, target: Tensor) -> ItemScores:
        scores = [float(self.scorer(samples, self.sample_rate_hz)) for samples in reconstruction]
        return ItemScores.of(
            [score if math.isfinite(score) else Unmeasured.NOT_A_NUMBER for score in scores]
        )


class WordErrorRate(Metric):
    """Errors per word, over all items together, of what a recogniser hears.

    Args:
        transcriber: called with each reconstruction ``[channels, samples]`` and the rate.
        sample_rate_hz: of the audio.
        normalise: compare after :func:`vqkit.metrics.normalise_transcript`.
        **metric_options: for ``torchmetrics.Metric``.

    Example:
        >>> metric = WordErrorRate(lambda samples, rate: "one too", 16_000)
        >>> metric.update(torch.zeros(1, 1, 8), ["One, two."])
        >>> metric.compute().item()
        0.5
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False

    num_errors: Tensor
    num_expected: Tensor

    def __init__(
        self,
        transcriber: Transcriber,
        sample_rate_hz: int,
        *,
        normalise: bool = True,
        **metric_options: Any,
    ) -> None:
        super().__init__(**metric_options)
        self.transcriber = transcriber
        self.sample_rate_hz = sample_rate_hz
        self.normalise = normalise
        for name in ("num_errors", "num_expected"):
            self.add_state(name, torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(
        self,
        reconstruction: Float[Tensor, "batch channels samples"],
        transcripts: Sequence[str],
        lengths: Sequence[int] | None = None,
    ) -> None:
        """Add a batch of audio in [-1, 1] and the words that were said in it.

        Args:
            reconstruction: what was decoded.
            transcripts: one for each item.
            lengths: samples of each item, where the rest of its row is padding.

        Raises:
            ShapeError: there is not one transcript per item, or a length does not fit.
        """
        if len(transcripts) != len(reconstruction):
            raise ShapeError(
                f"Measuring the word error rate failed: expected {len(reconstruction)} "
                f"transcripts, got {len(transcripts)}. Give one for each item."
            )
        if lengths is None:
            lengths = [reconstruction.shape[-1]] * len(reconstruction)
        items = without_padding(reconstruction, lengths)
        edits = EditCount(0, 0)
        for item, reference in zip(items, transcripts, strict=True):
            heard = self.transcriber(item[0], self.sample_rate_hz)
            edits += word_edits(heard, reference, normalise=self.normalise)
        self.num_errors += edits.num_errors
        self.num_expected += edits.num_expected

    def compute(self) -> Tensor:
        """All errors by all words, NaN without any word."""
        return self.num_errors.double() / self.num_expected
