"""The cards as JSON and as a page."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from vqkit.evaluation.cards.contestants import BITS, CONTESTANTS
from vqkit.evaluation.cards.costs import NUM_MEMORY_VECTORS, NUM_VECTORS, Cost
from vqkit.evaluation.cards.measure import BATCH_SIZE, Quality
from vqkit.evaluation.cards.sources import DIM, Source
from vqkit.evaluation.document import plain
from vqkit.evaluation.environment import Environment

__all__ = ["Cards"]

_FORMAT, _FORMAT_VERSION = "vqkit quantizer cards", 1
_INTRODUCTION = """\
Every quantizer on the same vectors, {dim} features each, at {bits} bits per vector ({rate:g} bits
per feature): trained for {steps:,} steps of {batch:,} vectors with Adam, measured on
{tokens:,} others. `vqkit.quantizers` says what each is.

- **SNR**: variance over squared error. **Gap**: how much more a code of as many bits could reach
  by theory, whatever its dimension and complexity. No code of {dim} features gets to 0; what counts
  is the difference between two.
- **Usage**: share of the codes seen, over that of a uniform source of as many vectors, mean over
  the codebooks. **Perplexity**: of all codebooks together, at most 2^{bits}.
- A star marks quantizers between two trained linear layers, because they bound their input, or
  want one made for them. They stand for what these layers do behind an encoder: a deep one shapes
  its latents better than a linear layer can.
- Learning rates and the ranges of gains are those of a coarse search on the Gaussian, the mixture
  and the photographs, one setting for all sources, judged by the vectors that are measured here.
  Differences of a few tenths of a dB say little.
- Quantizers of whole grids (`MultiScaleResidual`) and of two kinds of position (`DualCodebook`)
  have no place in a comparison vector by vector.
- A short training: one seed, one budget. Large codebooks and quantizers with a schedule gain from
  more steps (`--steps`)."""


@dataclass(frozen=True)
class Cards:
    """Results of all quantizers on all sources.

    Attributes:
        command: What was run.
        environment: Where.
        num_steps: Training steps of each quantizer.
        seed: Of vectors and quantizers.
        sources: In the order of the report.
        qualities: Of every pair of quantizer and source that fit.
        costs: Of every quantizer.
    """

    command: str
    environment: Environment
    num_steps: int
    seed: int
    sources: tuple[Source, ...]
    qualities: tuple[Quality, ...]
    costs: tuple[Cost, ...]

    def of(self, source: str) -> tuple[Quality, ...]:
        """Results on one source, the least gap first."""
        found = (quality for quality in self.qualities if quality.source == source)
        return tuple(sorted(found, key=lambda quality: quality.gap_db))

    def to_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        content = {
            "format": _FORMAT,
            "version": _FORMAT_VERSION,
            "command": self.command,
            "environment": asdict(self.environment),
            "setting": {
                "dim": DIM,
                "bits": BITS,
                "num_steps": self.num_steps,
                "batch_size": BATCH_SIZE,
                "seed": self.seed,
            },
            "sources": [
                {
                    "name": source.name,
                    "text": source.text,
                    "bound": source.bound,
                    "bound_text": source.bound_text,
                    "quantizers": [asdict(quality) for quality in self.of(source.name)],
                }
                for source in self.sources
            ],
            "costs": [asdict(cost) for cost in self.costs],
        }
        document: dict[str, Any] = plain(content)
        return document

    def markdown(self, picture: str | None = None) -> str:
        """The page.

        Args:
            picture: Address of the picture on the page; None for a page without.
        """
        return "\n\n".join(self._sections(picture)) + "\n"

    def _sections(self, picture: str | None) -> Iterator[str]:
        machine = self.environment
        versions = ", ".join(f"{k} {v}" for k, v in machine.versions.items() if v is not None)
        yield "# Quantizer cards"
        yield f"Made by `{self.command}`; do not edit."
        yield (
            f"{machine.date}, {machine.device}, {machine.cpu}, {machine.num_threads} thread(s); "
            f"{versions}. Seed {self.seed}."
        )
        yield _INTRODUCTION.format(
            dim=DIM,
            bits=BITS,
            rate=BITS / DIM,
            steps=self.num_steps,
            batch=BATCH_SIZE,
            tokens=max((quality.num_tokens for quality in self.qualities), default=0),
        )
        if picture is not None:
            yield f"![Gap to the bound and use of the codes, source by source]({picture})"
        for source in self.sources:
            yield f"## {source.name.capitalize()}"
            kind = {
                "exact": "exact",
                "lower": "lower bound: no code does better",
                "upper": "upper bound: a negative gap is possible",
            }[source.bound]
            yield f"{source.text}. Theory ({kind}): {source.bound_text}."
            yield "\n".join(self._quality_rows(self.of(source.name)))
        if self.costs:
            yield "## Speed and memory"
            yield (
                f"Median of some rounds of {NUM_VECTORS:,} Gaussian vectors. A training step is "
                "forward, backward and the optimizer's step; memory is what a step of "
                f"{NUM_MEMORY_VECTORS:,} vectors adds to the process or the device at its peak."
            )
            yield "\n".join(self._cost_rows())

    def _quality_rows(self, qualities: Sequence[Quality]) -> Iterator[str]:
        yield "| Quantizer | | Bits | SNR, dB | Theory, dB | Gap, dB | Usage | Perplexity |"
        yield "|---|---|--:|--:|--:|--:|--:|--:|"
        for q in qualities:
            text = CONTESTANTS[q.quantizer].text + (" *" if q.is_projected else "")
            # A star alone would begin emphasis in Markdown.
            text = text.replace("*", r"\*")
            yield (
                f"| `{q.quantizer}` | {text} | {q.bits:.2f} | {q.snr_db:.2f} | "
                f"{q.bound_snr_db:.2f} | {q.gap_db:.2f} | {q.relative_usage:.1%} | "
                f"{q.perplexity:.1f} |"
            )

    def _cost_rows(self) -> Iterator[str]:
        yield "| Quantizer | Encode, vectors/s | Train, vectors/s | Memory of a step, MiB |"
        yield "|---|--:|--:|--:|"
        for cost in self.costs:
            memory = cost.training_memory_bytes
            yield (
                f"| `{cost.quantizer}` | {_rounded(cost.encode_vectors_per_second)} | "
                f"{_rounded(cost.training_vectors_per_second)} | "
                f"{'-' if memory is None else format(memory / 2**20, '.1f')} |"
            )


def _rounded(number: float) -> str:
    """Two digits: more of a speed is noise."""
    return f"{float(f'{number:.2g}'):,.0f}"
