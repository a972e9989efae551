"""Measure a supervised speech tokenizer: how much of what is said its tokens keep."""

import json
import math
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import reduce
from pathlib import Path
from typing import Any

from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.evaluation.document import plain
from vqkit.evaluation.environment import Environment
from vqkit.evaluation.output import write_output
from vqkit.metrics import EditCount, character_edits, word_edits
from vqkit.metrics.codebook import CodebookLevel, codebook_level
from vqkit.tokenizers import SpeechRecogniser, TokenizerSpec

__all__ = ["RECOGNITION_FILE", "RecognisedItem", "RecognitionReport", "evaluate_recognition"]

RECOGNITION_FILE = "recognition.json"


@dataclass(frozen=True)
class RecognisedItem:
    """One sound.

    Attributes:
        name: Of the sound.
        transcript: What is said.
        recognised: What was understood.
        seconds: Its length.
        num_tokens: Positions of its tokens; None without a quantizer.
    """

    name: str
    transcript: str
    recognised: str
    seconds: float
    num_tokens: int | None


@dataclass(frozen=True)
class RecognitionReport:
    """Errors of the transcripts of a set, and what the tokens cost.

    Attributes:
        name: Of the model.
        dataset: Of the set.
        items: The sounds.
        spec: Description of the tokenizer; None without a quantizer.
        codebooks: Use of each codebook over the set.
        environment: Where it was measured.
    """

    name: str
    dataset: str
    items: tuple[RecognisedItem, ...]
    spec: TokenizerSpec | None
    codebooks: tuple[CodebookLevel, ...]
    environment: Environment

    @property
    def words(self) -> EditCount:
        """Errors of words over all sounds."""
        return _sum(word_edits(item.recognised, item.transcript) for item in self.items)

    @property
    def characters(self) -> EditCount:
        """Errors of characters over all sounds."""
        return _sum(character_edits(item.recognised, item.transcript) for item in self.items)

    @property
    def tokens_per_second(self) -> float | None:
        """Tokens of all sounds by their length, the fill of each last token in it."""
        if self.spec is None:
            return None
        seconds = math.fsum(item.seconds for item in self.items)
        return sum(item.num_tokens or 0 for item in self.items) / seconds if seconds else None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        nominal = None
        if self.spec is not None and self.spec.bits_per_second is not None:
            nominal = self.spec.bits_per_second / self.spec.bits_per_position
        document = {
            "model": self.name,
            "dataset": self.dataset,
            "num_items": len(self.items),
            "word_error_rate": self.words.rate,
            "num_words": self.words.num_expected,
            "character_error_rate": self.characters.rate,
            "num_characters": self.characters.num_expected,
            "nominal_tokens_per_second": nominal,
            "tokens_per_second": self.tokens_per_second,
            "nominal_bits_per_second": None if self.spec is None else self.spec.bits_per_second,
            "codebooks": [asdict(level) for level in self.codebooks],
            "tokenizer": None if self.spec is None else self.spec.to_dict(),
            "environment": asdict(self.environment),
            "items": [asdict(item) for item in self.items],
        }
        plain_document: dict[str, Any] = plain(document)
        return plain_document

    def summary(self) -> str:
        """A few lines for a terminal."""
        lines = [
            f"{self.name} on {self.dataset}: {len(self.items)} sounds, word error rate "
            f"{self.words.rate:.1%} of {self.words.num_expected} words, character error rate "
            f"{self.characters.rate:.1%}"
        ]
        if self.spec is not None and self.tokens_per_second is not None:
            lines.append(
                f"{self.tokens_per_second:.2f} tokens per second, "
                f"{self.spec.bits_per_second:.1f} bit/s nominal"
            )
        lines += [
            f"codebook {number}: usage {level.usage:.1%} of {level.codebook_size} codes over "
            f"{level.num_tokens} tokens (uniform: {level.uniform_usage:.1%}), perplexity "
            f"{level.perplexity:.1f}"
            for number, level in enumerate(self.codebooks)
        ]
        return "\n".join(lines)

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write ``recognition.json`` into a folder, whole or not at all; return its path."""
        text = json.dumps(self.to_dict(), indent=1, ensure_ascii=False, allow_nan=False)
        return write_output(folder, RECOGNITION_FILE, f"{text}\n".encode())


def evaluate_recognition(
    recogniser: SpeechRecogniser,
    items: Iterable[tuple[str, Tensor, str]],
    *,
    sample_rate_hz: int,
    dataset: str = "held-out sounds",
) -> RecognitionReport:
    """Transcribe sounds, through their tokens if the recogniser has a quantizer.

    Args:
        recogniser: The model.
        items: Name, sound ``[channels, samples]`` and transcript of each.
        sample_rate_hz: Of all sounds.
        dataset: What the report calls them.

    Raises:
        ConfigError: There is no sound.
    """
    from vqkit.metrics import CodebookUsage  # loads torchmetrics, which takes seconds

    tokenizer = None if recogniser.quantizer is None else recogniser.tokenizer
    usage = None if tokenizer is None else CodebookUsage(tokenizer.quantizer.codebook_sizes)
    results = []
    for name, sound, transcript in items:
        num_tokens = None
        if tokenizer is None or usage is None:
            (text,) = recogniser.transcribe([sound], sample_rate_hz)
        else:
            tokens = tokenizer.encode([sound], sample_rate_hz=sample_rate_hz)
            (text,) = tokenizer.transcribe(tokens)
            usage.update(tokens.indices.cpu())
            num_tokens = tokens.indices.shape[1]
        seconds = sound.shape[-1] / sample_rate_hz
        results.append(RecognisedItem(name, transcript, text, seconds, num_tokens))
    if not results:
        raise ConfigError("Measuring recognition: expected at least one sound, got none.")
    histograms = () if usage is None else usage.histograms()
    return RecognitionReport(
        name=recogniser.name,
        dataset=dataset,
        items=tuple(results),
        spec=None if tokenizer is None else tokenizer.spec,
        codebooks=tuple(codebook_level(histogram) for histogram in histograms),
        environment=Environment.current(next(recogniser.parameters()).device),
    )


def _sum(edits: Iterable[EditCount]) -> EditCount:
    return reduce(lambda a, b: a + b, edits, EditCount(0, 0))
