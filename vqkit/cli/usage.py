"""``vqkit usage``: how codebooks are used, by tokens and by the model behind them."""

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vqkit.cli.batch import run_batch
from vqkit.cli.console import Console, printable
from vqkit.cli.exit_status import ExitStatus
from vqkit.cli.model_search import find_named, model_folder
from vqkit.cli.options import Parser, add_batch_options, add_trust_option
from vqkit.cli.sources import Source, expand, find_token_files
from vqkit.cli.targets import Job
from vqkit.cli.tokens import read_token_file
from vqkit.cli.usage_error import UsageError
from vqkit.errors import ConfigError, VqkitError

if TYPE_CHECKING:
    from torch import Tensor

    from vqkit.evaluation import CodebookHealthReport, TableHealth
    from vqkit.metrics import CodebookLevel, CodebookUsage, LevelInformation
    from vqkit.tokenizers import Tokens

__all__ = ["add_parser", "run"]

_LIMITS = {
    "min_usage": ("SHARE", "usage over that of a uniform source of as many tokens"),
    "min_entropy": ("SHARE", "entropy over log2 of the number of codes"),
    "min_perplexity": ("CODES", "perplexity"),
    "max_overused": ("SHARE", "tokens in codes used ten times their fair share or more"),
    "max_twins": ("SHARE", "codes that are copies of another"),
    "max_shared": ("SHARE", "what two codebooks say twice, over the smaller entropy"),
}


def add_parser(verbs: "argparse._SubParsersAction[Parser]") -> None:
    parser = verbs.add_parser(
        "usage",
        usage="vqkit usage TOKENS_OR_MODEL... [options]",
        help="show how codebooks are used, and fail below limits",
        description="Count the codes of token files (.vqt): usage against a uniform source of as "
        "many tokens, entropy, perplexity, dead and over-used codes, what codebooks say twice. "
        "Look at the tables of a model folder: twins, drift. Exit status 1 beyond a limit.",
    )
    parser.add_names(
        "names", "TOKENS_OR_MODEL", "token files of one model, folders of them, model folders, or -"
    )
    parser.add_argument(
        "-r", "--recursive", action="store_true", help="search folders below folders as well"
    )
    parser.add_argument(
        "--against",
        metavar="TOKENS_OR_MODEL",
        help="another checkpoint or other tokens: report the drift from there",
    )
    parser.add_argument(
        "--pairs",
        choices=("adjacent", "all"),
        default="adjacent",
        help="codebooks whose shared information is measured (default: adjacent)",
    )
    add_trust_option(parser)
    limits = parser.add_argument_group("limits", "exit status 1 beyond them")
    for name, (metavar, what) in _LIMITS.items():
        word = "at least" if name.startswith("min") else "at most"
        option = f"--{name.replace('_', '-')}"
        limits.add_argument(option, type=float, metavar=metavar, help=f"{word}: {what}")
    group = parser.add_argument_group("output")
    group.add_argument("--output-dir", metavar="DIR", help="write usage.json and usage.png there")
    group.add_argument("-f", "--force", action="store_true", help="overwrite files that exist")
    add_batch_options(parser)
    parser.set_defaults(run=run, verb="usage")


def run(arguments: argparse.Namespace, console: Console) -> int:
    from vqkit.evaluation import HealthLimits
    from vqkit.evaluation.health import HEALTH_FILE

    limits = HealthLimits(**{name: getattr(arguments, name) for name in _LIMITS})
    if arguments.output_dir and not arguments.force:
        file = Path(arguments.output_dir) / HEALTH_FILE
        if file.exists():
            raise UsageError(f"{str(file)!r} exists. Overwrite it with -f, or choose another.")
    report, is_complete = _measure(arguments, console)
    if arguments.json:
        console.document(report.to_dict())
    else:
        console.data("\n".join(map(printable, report.text().split("\n"))))
    if arguments.output_dir:
        written = report.save(arguments.output_dir)
        console.note(f"Wrote {', '.join(printable(str(file)) for file in written)}.")
    broken = report.broken(limits)
    for sentence in broken:
        console.error(sentence)
    return ExitStatus.SOME_FAILED if broken or not is_complete else ExitStatus.DONE


def _measure(
    arguments: argparse.Namespace, console: Console
) -> "tuple[CodebookHealthReport, bool]":
    """What the names hold, and whether all of it could be read."""
    from vqkit.evaluation import CodebookHealthReport
    from vqkit.metrics import divergence_bits

    models, names = _split(arguments.names)
    if len(models) > 1:
        raise UsageError("Usage: expected one model, got several. Compare two with --against.")
    tokens, other = _Counted(arguments.pairs), _Counted(arguments.pairs)
    is_complete = not names or _count(names, tokens, arguments, console)
    others: dict[str, Tensor] = {}
    if arguments.against is not None:
        other_models, other_names = _split([arguments.against])
        if bool(other_models) != bool(models) and not names:
            raise UsageError("--against: expected a model to compare a model with.")
        others = _tables(other_models[0], arguments.trust) if other_models else {}
        if other_names:
            is_complete = _count(other_names, other, arguments, console) and is_complete
    tables = _tables(models[0], arguments.trust) if models else {}
    divergence: tuple[float, ...] = ()
    if other.usage is not None and tokens.usage is not None:
        if other.sizes != tokens.sizes:
            raise ConfigError(
                f"--against: expected tokens of codebooks {tokens.sizes}, got {other.sizes}."
            )
        pairs = zip(other.usage.histograms(), tokens.usage.histograms(), strict=True)
        divergence = tuple(divergence_bits(*pair) for pair in pairs)
    report = CodebookHealthReport(
        name=", ".join(arguments.names),
        levels=tokens.levels(),
        information=tokens.information.information() if tokens.information is not None else (),
        tables=tuple(_look(name, codes, others) for name, codes in tables.items()),
        divergence_bits=divergence,
        histograms=tokens.usage.histograms() if tokens.usage is not None else (),
    )
    return report, is_complete


def _split(names: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Model folders, and names of anything else."""
    models, others = [], []
    for name in names:
        folder = None if Path(name).is_file() else find_named(name)
        if folder is None:
            others.append(name)
        else:
            models.append(folder)
    return models, others


class _Counted:
    """Counts of all tokens so far; the first file decides what the codebooks are."""

    def __init__(self, pairs: Literal["adjacent", "all"]) -> None:
        self.pairs = pairs
        self.maker: tuple[str, str] | None = None
        self.sizes: tuple[int, ...] = ()
        self.usage: CodebookUsage | None = None
        self.information: LevelInformation | None = None

    def add(self, tokens: "Tokens") -> None:
        """Count the tokens of a file, at the positions of which all are known.

        Raises:
            VqkitError: Another model made it, or its codebooks are others.
        """
        from vqkit.metrics import CodebookUsage, LevelInformation
        from vqkit.quantizers import NO_TOKEN

        maker = (tokens.tokenizer, tokens.fingerprint)
        if self.usage is None:
            self.maker, self.sizes = maker, tokens.codebook_sizes
            self.usage = CodebookUsage(self.sizes)
            if len(self.sizes) > 1:
                self.information = LevelInformation(self.sizes, self.pairs)
        if maker != self.maker or tokens.codebook_sizes != self.sizes:
            raise VqkitError(
                f"Counting codes: expected tokens of {self.maker} with codebooks {self.sizes}, got "
                f"tokens of {maker} with {tokens.codebook_sizes}. Count each model by itself."
            )
        for i in range(len(tokens)):
            indices = tokens.item(i).indices
            indices = indices[(indices != NO_TOKEN).all(-1)]
            self.usage.update(indices)
            if self.information is not None:
                self.information.update(indices)

    def levels(self) -> "tuple[CodebookLevel, ...]":
        """Use of each codebook; none before any token."""
        from vqkit.metrics import codebook_level

        if self.usage is None:
            return ()
        return tuple(codebook_level(histogram) for histogram in self.usage.histograms())


def _count(
    names: Iterable[str], counted: _Counted, arguments: argparse.Namespace, console: Console
) -> bool:
    """Count all files; say whether each could be read."""
    sources: list[Source] = expand(
        [*names], find_token_files, recursive=arguments.recursive, what="token files"
    )

    def work(job: Job) -> dict[str, object]:
        tokens, facts = read_token_file(job.source)
        counted.add(tokens)
        return facts

    jobs = [Job(source) for source in sources]
    outcome = run_batch(jobs, work, console, title="Counting", bar=not arguments.no_progress)
    if outcome.interrupted:
        raise KeyboardInterrupt
    return not outcome.failures


def _tables(folder: Path, trusted: Sequence[str]) -> "dict[str, Tensor]":
    """The tables of codes of a model."""
    from vqkit.tokenizers import Tokenizer

    found = model_folder(folder)
    assert found is not None, "only model folders are asked for"
    return Tokenizer.from_pretrained(found, trusted=trusted).quantizer.tables()


def _look(name: str, codes: "Tensor", others: "dict[str, Tensor]") -> "TableHealth":
    from vqkit.evaluation import TableHealth

    if others and (name not in others or others[name].shape != codes.shape):
        raise ConfigError(
            f"--against: expected a table {name or 'of codes'!r} of {list(codes.shape)}, got "
            f"{ {key: list(table.shape) for key, table in others.items()} }."
        )
    return TableHealth.of(name, codes, others.get(name))
