"""What a verb writes and where: never over a file unless told to, never one file for two inputs."""

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from vqkit.cli.sources import STANDARD_STREAM, Source
from vqkit.cli.usage_error import UsageError
from vqkit.errors import VqkitError

__all__ = ["Job", "Target", "plan"]

Rename = Callable[[Path, Source], Path]
"""From the path of an input, whole or below the folder that was named, to that of its output."""


@dataclass(frozen=True)
class Target:
    """One thing to write.

    Attributes:
        path: The file; None for standard output.
        force: Replace it if it exists.
        make_folder: Make the folder that it lies in.
    """

    path: Path | None
    force: bool = False
    make_folder: bool = False

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return STANDARD_STREAM if self.path is None else str(self.path)

    def refuse_existing(self) -> None:
        """Raise if the file is there and may not be replaced; asked before anything is computed."""
        if self.path is not None and not self.force and os.path.lexists(self.path):
            raise VqkitError(
                f"Cannot write {self.name!r}: the file exists. Overwrite it with -f, or choose "
                "another place with -o or --output-dir."
            )

    def open(self) -> Path | io.BufferedIOBase:
        """What writers take: the path, or the stream."""
        if self.path is None:
            return cast(io.BufferedIOBase, sys.stdout.buffer)
        if self.make_folder:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        return self.path


@dataclass(frozen=True)
class Job:
    """An input and what becomes of it; no target where nothing is written."""

    source: Source
    target: Target | None = None

    @property
    def written(self) -> Target:
        """The target of a job that has one."""
        assert self.target is not None
        return self.target


def plan(sources: Sequence[Source], arguments: argparse.Namespace, rename: Rename) -> list[Job]:
    """Give every input its output, by ``-o``, ``--output-dir`` or beside the input.

    Args:
        sources: The inputs.
        arguments: With ``output``, ``output_dir``, ``force``, ``dry_run`` and ``json``.
        rename: From the path of an input to that of its output.

    Raises:
        UsageError: One output for several inputs, an output that is an input, binary data for a
            terminal or beside a JSON document, no name for what comes from standard input.
    """
    if arguments.output is not None and len(sources) != 1:
        raise UsageError(
            f"-o {arguments.output}: expected one input, got {len(sources)}. Use --output-dir."
        )
    jobs = [Job(source, _target(source, arguments, rename)) for source in sources]
    _refuse_shared(jobs)
    if any(job.target is not None and job.target.path is None for job in jobs):
        if arguments.json:
            raise UsageError("--json and the result cannot share standard output. Use -o FILE.")
        if sys.stdout.isatty() and not arguments.dry_run:
            raise UsageError("Binary data will not be written to a terminal. Use -o FILE.")
    return jobs


def _target(source: Source, arguments: argparse.Namespace, rename: Rename) -> Target | None:
    if source.problem:
        return None
    force = arguments.force
    if arguments.output == STANDARD_STREAM:
        return Target(None)
    if arguments.output is not None:
        path = Path(arguments.output)
        if path.is_dir():
            raise UsageError(f"-o {path}: expected a file, got a folder. Use --output-dir.")
        return Target(path, force)
    if source.path is None:
        if arguments.output_dir is not None:
            raise UsageError("Standard input has no name to write under. Use -o FILE.")
        return Target(None)
    if arguments.output_dir is not None:
        return Target(
            Path(arguments.output_dir) / rename(source.relative, source), force, make_folder=True
        )
    return Target(rename(source.path, source), force)


def _refuse_shared(jobs: Sequence[Job]) -> None:
    inputs = {os.path.realpath(job.source.path) for job in jobs if job.source.path is not None}
    writers: dict[str, Job] = {}
    for job in jobs:
        if job.target is None or job.target.path is None:
            continue
        path = os.path.realpath(job.target.path)
        if path in inputs:
            raise UsageError(f"{job.target.name!r} is an input: it will not be written over.")
        other = writers.setdefault(path, job)
        if other is not job:
            raise UsageError(
                f"{other.source.name!r} and {job.source.name!r} would both be written to "
                f"{job.target.name!r}. Name the folder that holds both with -r, or write them to "
                "different folders."
            )
