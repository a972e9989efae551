"""The bar that a long batch shows on a terminal."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["progress_bar"]


@contextmanager
def progress_bar(total: int, title: str, *, wanted: bool) -> Iterator[Callable[[], None]]:
    """Show a bar on standard error, if it is a terminal; yield what advances it by one file.

    Colours follow ``NO_COLOR``. Lines said meanwhile appear above the bar.
    """
    if not wanted or total < 2 or not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        # Results that go into a file or a pipe are not the bar's to show.
        redirect_stdout=sys.stdout.isatty(),
    )
    with bar:
        task = bar.add_task(title, total=total)
        yield lambda: bar.advance(task)
