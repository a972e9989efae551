"""How far the encoding of a data set is, live on a terminal."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from vqkit.cli.console import Console
from vqkit.cli.rates import duration_words, speed_words

if TYPE_CHECKING:
    from vqkit.pipeline import Progress

__all__ = ["dataset_progress"]


@contextmanager
def dataset_progress(console: Console, *, wanted: bool) -> Iterator[Callable[["Progress"], None]]:
    """Yield what shows the progress: a bar on a terminal, else a line per shard when verbose."""
    if not wanted or not sys.stderr.isatty():
        yield lambda progress: console.detail(_line(progress))
        return
    from rich.console import Console as Terminal
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bar

    bar = Bar(
        SpinnerColumn(),
        TextColumn("Encoding"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("files"),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[stages]}"),
        console=Terminal(stderr=True),
        transient=True,
        # Results that go into a file or a pipe are not the bar's to show.
        redirect_stdout=sys.stdout.isatty(),
    )
    with bar:
        task = bar.add_task("", total=None, rate="", stages="starting")

        def show(progress: "Progress") -> None:
            before = bar.tasks[0].fields.setdefault("earlier", progress.num_done_inputs)
            done = progress.num_done_inputs - before
            elapsed = bar.tasks[0].elapsed or 0.0
            bar.update(
                task,
                total=progress.num_inputs,
                completed=progress.num_done_inputs,
                rate=_rate(progress, done, elapsed),
                stages=_stages(progress),
            )

        yield show


def _rate(progress: "Progress", num_done: int, elapsed_seconds: float) -> str:
    """Files per second, and of what lasts how much there is by now and how fast it is encoded."""
    if not num_done or not elapsed_seconds:
        return ""
    words = [f"{num_done / elapsed_seconds:.1f}/s"]
    if progress.media_seconds:
        words.append(duration_words(progress.media_seconds))
        words.append(speed_words(progress.new_media_seconds / elapsed_seconds))
    return ", ".join(words)


def _line(progress: "Progress") -> str:
    seconds = progress.media_seconds
    duration = f" {duration_words(seconds)} of {progress.medium}," if seconds else ""
    return (
        f"{progress.num_done_shards:,} of {progress.num_shards:,} shards, "
        f"{progress.num_done_inputs:,} of {progress.num_inputs:,} files,{duration} "
        f"{progress.num_failed:,} failed; {_stages(progress) or 'starting'}"
    )


def _stages(progress: "Progress") -> str:
    """Where the workers' time goes."""
    total = sum(progress.seconds.values())
    if not total:
        return ""
    return " ".join(
        f"{stage} {seconds / total:.0%}" for stage, seconds in progress.seconds.items() if seconds
    )
