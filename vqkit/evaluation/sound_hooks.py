"""Places in an evaluation of sounds for models of others: estimates of quality, recognisers."""

import math
from collections.abc import Mapping
from dataclasses import replace

from vqkit.evaluation.quality import Metric, Scores
from vqkit.evaluation.sound_metrics import SoundMetric, SoundPair, scores_of
from vqkit.metrics import (
    EditCount,
    ItemScores,
    ReferenceFreeScorer,
    Transcriber,
    Unmeasured,
    word_edits,
)

__all__ = ["scorer_metric", "word_error_metric"]

_SPEECH_RATE_HZ = 16_000
_NO_TRANSCRIPT = "no transcript of it"


def scorer_metric(
    name: str, scorer: ReferenceFreeScorer, sample_rate_hz: int = _SPEECH_RATE_HZ
) -> SoundMetric:
    """What a model says of a reconstruction without its original, and what of the original.

    Args:
        name: In the report, e.g. ``utmos``; the original's is ``NAME_original``.
        scorer: Called with the mean of the channels, ``[1, samples]``, and the rate.
        sample_rate_hz: Rate that the scorer wants.
    """
    definition = f"{_path(scorer)} on the mean of the channels at {sample_rate_hz} Hz"
    metric = Metric(name, name, definition, higher_is_better=True)
    of_original = replace(
        metric,
        name=f"{name}_original",
        title=f"{name} of the originals",
        definition=f"the same of the originals: {definition}",
    )

    def score(pair: SoundPair) -> Scores:
        scores = [float(scorer(part[0], sample_rate_hz)) for part in pair.mono_at(sample_rate_hz)]
        found = [value if math.isfinite(value) else Unmeasured.NOT_A_NUMBER for value in scores]
        return scores_of((metric.name, of_original.name), ItemScores.of(found))

    return SoundMetric((metric, of_original), score)


def word_error_metric(
    transcriber: Transcriber,
    transcripts: Mapping[str, str],
    sample_rate_hz: int = _SPEECH_RATE_HZ,
) -> SoundMetric:
    """Errors per word of what a recogniser hears in reconstructions, and in the originals.

    Args:
        transcriber: Called with the mean of the channels, ``[1, samples]``, and the rate.
        transcripts: What was said, by the names of the sounds.
        sample_rate_hz: Rate that the recogniser wants.
    """
    definition = (
        f"errors per word of {_path(transcriber)} on the mean of the channels at "
        f"{sample_rate_hz} Hz, after vqkit.metrics.normalise_transcript; pooled: all errors by "
        "all words"
    )
    metric = Metric(
        "word_error_rate", "word error rate", definition, higher_is_better=False, digits=4
    )
    of_original = replace(
        metric,
        name="word_error_rate_original",
        title="word error rate of the originals",
        definition=f"the same of the originals: {definition}",
    )

    def score(pair: SoundPair) -> Scores:
        expected = transcripts.get(pair.name, "")
        counts = [
            word_edits(transcriber(part[0], sample_rate_hz), expected)
            for part in pair.mono_at(sample_rate_hz)
        ]
        return _word_scores((metric.name, of_original.name), counts)

    return SoundMetric((metric, of_original), score)


def _word_scores(names: tuple[str, ...], counts: list[EditCount]) -> Scores:
    values: dict[str, float | None] = {"num_words": counts[0].num_expected}
    for name, count in zip(names, counts, strict=True):
        values[name] = count.rate if count.num_expected else None
    missing = [name for name in names if values[name] is None]
    return Scores(values, dict.fromkeys(missing, _NO_TRANSCRIPT))


def _path(hook: object) -> str:
    """Where a hook of a user comes from."""
    kind = hook if hasattr(hook, "__qualname__") else type(hook)
    return f"{kind.__module__}.{kind.__qualname__}"
