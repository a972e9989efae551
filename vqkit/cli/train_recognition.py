"""What remains of the training of a supervised tokenizer: a model, and what it understands."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vqkit.data import TranscribedDataModule
    from vqkit.training import SupervisedTraining

__all__ = ["finish_recogniser"]


def finish_recogniser(
    training: "SupervisedTraining",
    data: "TranscribedDataModule",
    output: Path,
    *,
    measures: bool,
) -> None:
    """Write the model folder, if there are tokens, and measure on the held-out sounds."""
    from vqkit.evaluation import evaluate_recognition

    recogniser = training.exported.cpu().eval()
    if recogniser.quantizer is None:
        _say("no model: without a quantizer there are no tokens")
    else:
        recogniser.tokenizer.save_pretrained(output / "model")
        _say(f"model in {output / 'model'} ({training.step} steps)")
    source = data.validation
    if not measures or source is None:
        return
    items = (
        (source.name(index), sound, source.transcript(index))
        for index in range(len(source))
        if (sound := source.load_or_skip(index)) is not None
    )
    report = evaluate_recognition(recogniser, items, sample_rate_hz=source.sample_rate_hz)
    report.save(output)
    print(report.summary())


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
