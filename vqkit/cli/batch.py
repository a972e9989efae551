"""Many files, one after another: what fails is named, the others go on, the end sums up."""

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vqkit.cli.console import Console, explain, named_reason, printable
from vqkit.cli.exit_status import ExitStatus
from vqkit.cli.progress import progress_bar
from vqkit.cli.rates import rate_words, speed_words
from vqkit.cli.targets import Job
from vqkit.errors import VqkitError

__all__ = ["BatchOutcome", "ItemOutcome", "list_planned", "report", "run_batch"]

Facts = Mapping[str, Any]
"""What is known of one item when it is done, as JSON types. ``size_bytes``, ``num_pixels`` and
``media_seconds`` are added up for the summary; ``is_damaged`` says that an input was done in
part."""


@dataclass(frozen=True)
class ItemOutcome:
    """What became of one input."""

    input: str
    output: str | None
    facts: Facts
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON types."""
        status = "done" if self.error is None else "failed"
        head = {"input": self.input, "output": self.output, "status": status, "error": self.error}
        return {**head, **self.facts}


@dataclass(frozen=True)
class BatchOutcome:
    """What became of all inputs."""

    items: tuple[ItemOutcome, ...]
    num_inputs: int
    seconds: float
    interrupted: bool

    @property
    def failures(self) -> list[ItemOutcome]:
        """The inputs that failed."""
        return [item for item in self.items if item.error is not None]

    @property
    def num_done(self) -> int:
        """The inputs that did not fail."""
        return len(self.items) - len(self.failures)

    @property
    def exit_status(self) -> ExitStatus:
        """What to tell the shell."""
        if self.interrupted:
            return ExitStatus.INTERRUPTED
        is_damaged = any(item.facts.get("is_damaged") for item in self.items)
        return ExitStatus.SOME_FAILED if self.failures or is_damaged else ExitStatus.DONE

    def total(self, fact: str) -> Any:
        """Sum of a fact over the inputs that are done; None where it is not known of all."""
        values = [item.facts.get(fact) for item in self.items if item.error is None]
        known = [value for value in values if value is not None]
        return sum(known) if known and len(known) == len(values) else None

    @property
    def bits_per_pixel(self) -> float | None:
        """Of all files together."""
        size_bytes, num_pixels = self.total("size_bytes"), self.total("num_pixels")
        return 8 * size_bytes / num_pixels if size_bytes is not None and num_pixels else None

    @property
    def media_seconds(self) -> float | None:
        """Of all sounds together."""
        return self.total("media_seconds")

    def rates(self) -> dict[str, float | None]:
        """Bits per pixel, or of sounds bits per second, and how much faster they were than time."""
        if self.media_seconds is None:
            return {"bits_per_pixel": self.bits_per_pixel}
        size_bytes, seconds = self.total("size_bytes"), self.media_seconds
        return {
            # Sounds without any sample last no time at all.
            "bits_per_second": 8 * size_bytes / seconds if size_bytes and seconds else None,
            "times_real_time": self.media_seconds / max(self.seconds, 1e-9),
        }

    def to_dict(self) -> dict[str, Any]:
        """JSON types."""
        return {
            "num_done": self.num_done,
            "num_failed": len(self.failures),
            "num_not_started": self.num_inputs - len(self.items),
            "interrupted": self.interrupted,
            "seconds": self.seconds,
            "size_bytes": self.total("size_bytes"),
            **self.rates(),
            "items": [item.to_dict() for item in self.items],
        }


def run_batch(
    jobs: Sequence[Job],
    work: Callable[[Job], Facts],
    console: Console,
    *,
    title: str,
    bar: bool,
) -> BatchOutcome:
    """Work on every job; an error ends its job alone, Ctrl-C ends the batch.

    Args:
        jobs: In order.
        work: Reads, computes and writes; gives the facts, or raises.
        console: Where failures are named.
        title: What stands before the bar.
        bar: Show one on a terminal, unless the console is told to be quiet.
    """
    begin = time.perf_counter()
    outcomes: list[ItemOutcome] = []
    interrupted = False
    try:
        with progress_bar(len(jobs), title, wanted=bar and console.verbosity >= 0) as advance:
            for job in jobs:
                outcomes.append(_attempt(job, work, console))
                advance()
    except KeyboardInterrupt:
        interrupted = True
    return BatchOutcome(tuple(outcomes), len(jobs), time.perf_counter() - begin, interrupted)


def report(
    outcome: BatchOutcome, console: Console, *, done: str, means: str = "", head: Facts | None
) -> int:
    """Sum up; return the exit status.

    Args:
        outcome: Of the batch.
        console: Where to.
        done: The verb in the past tense.
        means: With what it was done, for the summary.
        head: What a JSON document begins with; None for a summary in words.
    """
    if head is not None:
        console.document({**head, **outcome.to_dict()})
    console.note(_summary(outcome, done, means))
    if outcome.failures and outcome.num_inputs > 1:
        console.note(f"Failed: {len(outcome.failures)} of {_files(outcome.num_inputs)}:")
        for item in outcome.failures:
            console.note(f"  {named_reason(printable(item.input), item.error or '')}")
    if outcome.interrupted:
        num_left = outcome.num_inputs - len(outcome.items)
        console.error(f"interrupted; {num_left:,} of {_files(outcome.num_inputs)} not finished.")
    return outcome.exit_status


def list_planned(jobs: Sequence[Job], arguments: argparse.Namespace, console: Console) -> int:
    """Say what would be written and what could not be; return the status that this would have."""
    rows = [(job, _obstacle(job)) for job in jobs]
    if arguments.json:
        items = [
            {
                "input": job.source.name,
                "output": job.target.name if job.target else None,
                "status": "planned" if obstacle is None else "failed",
                "error": obstacle,
            }
            for job, obstacle in rows
        ]
        console.document({"command": arguments.verb, "dry_run": True, "items": items})
    for job, obstacle in rows:
        if obstacle is not None:
            console.error(obstacle)
        elif not arguments.json:
            console.data(f"{printable(job.source.name)} -> {printable(job.written.name)}")
    has_obstacles = any(obstacle is not None for _, obstacle in rows)
    return ExitStatus.SOME_FAILED if has_obstacles else ExitStatus.DONE


def _attempt(job: Job, work: Callable[[Job], Facts], console: Console) -> ItemOutcome:
    name = job.source.name
    output = job.target.name if job.target else None
    try:
        if job.source.problem:
            raise VqkitError(job.source.problem)
        return ItemOutcome(name, output, work(job))
    # Nobody is left to work for.
    except BrokenPipeError:
        raise
    # Whatever is wrong with this file, the others are still worth their work.
    except Exception as error:
        console.failure(error, printable(name))
        return ItemOutcome(name, output, {}, explain(error))


def _obstacle(job: Job) -> str | None:
    try:
        if job.source.problem:
            raise VqkitError(job.source.problem)
        job.written.refuse_existing()
        if job.source.path is not None:
            job.source.path.stat()
    except Exception as error:
        return explain(error)
    return None


def _summary(outcome: BatchOutcome, done: str, means: str) -> str:
    count = _files(outcome.num_inputs)
    if outcome.num_done != outcome.num_inputs:
        count = f"{outcome.num_done:,} of {count}"
    rate = outcome.num_done / max(outcome.seconds, 1e-9)
    words = (done, count, means, f"in {outcome.seconds:.1f} s ({rate:.1f} files/s)")
    text = " ".join(word for word in words if word)
    size_bytes, rates = outcome.total("size_bytes"), outcome.rates()
    if size_bytes is not None:
        text += f": {size_bytes:,} bytes"
    if (rate_text := rate_words(rates)) is not None:
        text += f", {rate_text}"
    if (speed := rates.get("times_real_time")) is not None:
        text += f", {speed_words(speed)}"
    return f"{text}."


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count:,} files"
