"""``vqkit tables``: count codes, so that the model's token files become smaller."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqkit.cli.batch import run_batch
from vqkit.cli.console import Console
from vqkit.cli.exit_status import ExitStatus
from vqkit.cli.model_search import find_named
from vqkit.cli.options import Parser, add_batch_options, add_token_files
from vqkit.cli.sources import expand, find_token_files, is_dataset
from vqkit.cli.targets import Job
from vqkit.cli.tokens import read_token_file
from vqkit.cli.usage_error import UsageError
from vqkit.errors import ConfigError, ModelMismatchError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from vqkit.files import TableSet
    from vqkit.tokenizers import Tokens

    _Counts = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]

__all__ = ["add_parser", "run"]


def add_parser(verbs: "argparse._SubParsersAction[Parser]") -> None:
    parser = verbs.add_parser(
        "tables",
        usage="vqkit tables FILE... -m MODEL [options]",
        help="count codes, for smaller token files",
        description="Count how often each code comes in token files and data sets, and put the "
        "tables into the model's folder. Files that are encoded from then on begin with what is "
        "frequent instead of learning it, and need the tables to be decoded.",
    )
    add_token_files(parser)
    parser.add_argument("-m", "--model", required=True, metavar="MODEL", help="model folder")
    parser.add_argument(
        "-f", "--force", action="store_true", help="replace the tables that the model has"
    )
    add_batch_options(parser)
    parser.set_defaults(run=run, verb="tables")


def run(arguments: argparse.Namespace, console: Console) -> int:
    from vqkit.files.tables import TABLES_FILE
    from vqkit.tokenizers.folder import read_spec

    folder = find_named(arguments.model)
    if folder is None:
        raise UsageError(f"-m {arguments.model}: expected a model folder, found none of that name.")
    if (folder / TABLES_FILE).exists() and not arguments.force:
        raise UsageError(
            f"{str(folder / TABLES_FILE)!r} exists, and files that were coded with it need it. "
            "Replace it with -f."
        )
    datasets = [name for name in arguments.files if is_dataset(name)]
    files = [name for name in arguments.files if name not in datasets]
    sources = expand(files, find_token_files, recursive=arguments.recursive, what="token files")
    counted = _Counted(read_spec(folder).fingerprint)
    for name in datasets:
        counted.add_dataset(name)

    def work(job: Job) -> dict[str, Any]:
        tokens, facts = read_token_file(job.source)
        counted.add(tokens)
        return facts

    jobs = [Job(source) for source in sources]
    outcome = run_batch(jobs, work, console, title="Counting", bar=not arguments.no_progress)
    if outcome.interrupted or not counted.num_tokens:
        console.error("No tables were written.")
        return outcome.exit_status or ExitStatus.SOME_FAILED
    tables = counted.tables()
    path = tables.save(folder, overwrite=arguments.force)
    if arguments.json:
        console.document(_document(path, tables, counted, outcome.to_dict()))
    console.note(
        f"Wrote {path}: tables of {counted.num_tokens:,} tokens from {outcome.num_done:,} of "
        f"{outcome.num_inputs:,} files and {len(datasets):,} data sets."
    )
    return outcome.exit_status


class _Counted:
    """How often each code came in each stream of a model's tokens."""

    def __init__(self, fingerprint: str) -> None:
        self.fingerprint = fingerprint
        self.num_tokens = 0
        self._sizes: dict[str, tuple[int, ...]] = {}
        self._columns: dict[str, list[list[_Counts]]] = {}

    def add(self, tokens: "Tokens") -> None:
        """Count the tokens of a file; unknown ones do not count.

        Raises:
            ModelMismatchError: Another model made them, or they are of other codebooks.
        """
        import numpy as np

        from vqkit.quantizers import NO_TOKEN

        self._check_maker(tokens.tokenizer, tokens.fingerprint)
        for name, stream in tokens.streams.items():
            levels = self._levels(name, stream.codebook_sizes)
            for level, column in zip(levels, stream.indices.flatten(0, -2).T.numpy(), strict=True):
                known = column[column != NO_TOKEN]
                level.append(np.unique(known, return_counts=True))
                self.num_tokens += known.size

    def add_dataset(self, location: str) -> None:
        """Take what the manifest of a data set has counted.

        Raises:
            ConfigError: It has counted too many different codes to keep them.
            ModelMismatchError: Another model made its tokens, or they are of other codebooks.
        """
        from vqkit.files.dataset import Manifest
        from vqkit.files.storage import Storage

        manifest = Manifest.read(Storage.at(location))
        self._check_maker(manifest.header.tokenizer, manifest.header.fingerprint)
        for name, layout in manifest.header.streams.items():
            levels = self._levels(name, layout.codebook_sizes)
            for level, histogram in zip(levels, manifest.histograms[name], strict=True):
                if histogram is None:
                    raise ConfigError(
                        f"Counting codes: expected counts of stream {name!r} in {location}, got "
                        "none, as too many different codes are in use. Count token files."
                    )
                level.append((histogram.indices, histogram.counts))
                self.num_tokens += histogram.num_tokens

    def _check_maker(self, tokenizer: str, fingerprint: str) -> None:
        if fingerprint != self.fingerprint:
            raise ModelMismatchError(
                f"Counting codes: expected tokens of the model with fingerprint "
                f"{self.fingerprint}, got tokens of {tokenizer!r} ({fingerprint})."
            )

    def _levels(self, name: str, codebook_sizes: tuple[int, ...]) -> "list[list[_Counts]]":
        """What was counted in the codebooks of a stream."""
        sizes = self._sizes.setdefault(name, codebook_sizes)
        if sizes != codebook_sizes:
            raise ModelMismatchError(
                f"Counting codes: expected codebooks {list(sizes)} in stream {name!r}, got "
                f"{list(codebook_sizes)}. Count files of all levels."
            )
        return self._columns.setdefault(name, [[] for _ in sizes])

    def tables(self) -> "TableSet":
        """Tables of everything that was counted."""
        import numpy as np

        from vqkit.files import CodeCounts, TableSet

        histograms = {}
        for name, levels in self._columns.items():
            merged = []
            for size, level in zip(self._sizes[name], levels, strict=True):
                codes = np.concatenate([codes for codes, _ in level])
                counts = np.concatenate([counts for _, counts in level])
                distinct, places = np.unique(codes, return_inverse=True)
                summed = np.bincount(places, weights=counts, minlength=distinct.size)
                merged.append(CodeCounts(size, distinct, summed.astype(np.int64)))
            histograms[name] = merged
        return TableSet.from_counts(histograms)


def _document(
    path: Path, tables: "TableSet", counted: _Counted, outcome: dict[str, Any]
) -> dict[str, Any]:
    streams = {
        name: {"digest": stream.digest.hex(), "codebook_sizes": list(stream.codebook_sizes)}
        for name, stream in tables.streams.items()
    }
    head = {"command": "tables", "output": str(path), "num_tokens": counted.num_tokens}
    return {**head, "streams": streams, **outcome}
