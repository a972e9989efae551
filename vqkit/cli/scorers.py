"""Models of the user's in an evaluation: objects named by ``MODULE:NAME``, and transcripts."""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqkit.cli.sources import Source
from vqkit.cli.usage_error import UsageError

if TYPE_CHECKING:
    from vqkit.evaluation import SoundMetric

__all__ = ["imported", "metrics_of_user"]


def metrics_of_user(
    scorers: Sequence[str],
    transcriber: str | None,
    transcripts: str | None,
    sources: Sequence[Source],
) -> "list[SoundMetric]":
    """The metrics that ``--scorer``, ``--transcriber`` and ``--transcripts`` ask for.

    Raises:
        UsageError: One of them names nothing that can be called, or a file that cannot be read.
    """
    from vqkit.evaluation import scorer_metric, word_error_metric

    metrics = []
    for text in scorers:
        name, _, path = text.partition("=")
        if not path:
            raise UsageError(f"--scorer {text}: expected NAME=MODULE:OBJECT.")
        metrics.append(scorer_metric(name, imported("--scorer", path)))
    if (transcriber is None) != (transcripts is None):
        raise UsageError("Expected --transcriber and --transcripts together, got one of them.")
    if transcriber is not None and transcripts is not None:
        said = _said(_read(Path(transcripts)), sources)
        if not said:
            raise UsageError(f"--transcripts {transcripts}: it names none of the sounds.")
        metrics.append(word_error_metric(imported("--transcriber", transcriber), said))
    return metrics


def imported(option: str, path: str) -> Any:
    """An object that is called, made without arguments if it is a class.

    Raises:
        UsageError: It names nothing that can be called.
    """
    module_name, _, name = path.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), name)
        found = found() if isinstance(found, type) else found
    # Importing runs code of the user's, which may fail in any way.
    except Exception as error:
        raise UsageError(
            f"{option} {path}: expected MODULE:OBJECT that can be imported, got "
            f"{type(error).__name__}: {error}."
        ) from error
    if not callable(found):
        raise UsageError(
            f"{option} {path}: expected what can be called, got {type(found).__name__}."
        )
    return found


def _read(path: Path) -> dict[str, str]:
    """Lines of a name, a tab or a space, and what was said."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError) as error:
        raise UsageError(f"--transcripts {path}: cannot read it ({error}).") from error
    rows = {}
    for line in lines:
        separator = "\t" if "\t" in line else None
        name, *text = line.strip().split(separator, 1) or [""]
        rows[name] = text[0] if text else ""
    return rows


def _said(rows: Mapping[str, str], sources: Sequence[Source]) -> dict[str, str]:
    """By the names of the sounds: as given, the file's name, or that without its ending."""
    said = {}
    for source in sources:
        path = Path(source.name)
        for key in (source.name, path.name, path.stem):
            if key in rows:
                said[source.name] = rows[key]
                break
    return said
