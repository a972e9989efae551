"""``vqkit report``: what an evaluation found, read back from its file."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqkit.cli.console import Console
from vqkit.cli.exit_status import ExitStatus
from vqkit.cli.options import Parser, add_talk_options
from vqkit.cli.usage_error import UsageError
from vqkit.errors import ConfigError

if TYPE_CHECKING:
    from vqkit.evaluation import Report

__all__ = ["add_parser", "run"]


def add_parser(verbs: "argparse._SubParsersAction[Parser]") -> None:
    parser = verbs.add_parser(
        "report",
        usage="vqkit report REPORT [--expected RECIPE | --check FILE] [options]",
        help="show a report again, or hold it against what a recipe promises",
        description="Print what vqkit evaluate or a training found. --expected prints the "
        "expected.json of a recipe with these numbers, --check compares them with one.",
    )
    parser.add_names("report", "REPORT", "report.json, or the folder that it lies in")
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--expected", metavar="RECIPE", help="print an expected.json for this recipe, e.g. audio/x"
    )
    what.add_argument(
        "--check", metavar="FILE", help="compare with an expected.json; exit 1 where they differ"
    )
    parser.add_argument("--command", metavar="TEXT", help="with --expected: what trained the model")
    parser.add_argument(
        "--minutes", type=float, metavar="N", help="with --expected: how long that took"
    )
    add_talk_options(parser)
    parser.set_defaults(run=run, verb="report")


def run(arguments: argparse.Namespace, console: Console) -> int:
    from vqkit.evaluation import Report, expected_document, text_summary

    if len(arguments.report) != 1:
        raise UsageError(f"Expected one report, got {len(arguments.report)}.")
    report = Report.load(arguments.report[0])
    if arguments.expected is not None:
        if arguments.minutes is None:
            raise UsageError("--expected: expected --minutes as well: how long the training took.")
        command = arguments.command or f"vqkit train recipe={arguments.expected}"
        document = expected_document(
            report, recipe=arguments.expected, command=command, minutes=arguments.minutes
        )
        console.data(json.dumps(document, indent=2, ensure_ascii=False))
        return ExitStatus.DONE
    if arguments.check is not None:
        return _check(report, Path(arguments.check), console)
    if arguments.json:
        console.document(report.to_dict())
    else:
        console.data(text_summary(report))
    return ExitStatus.DONE


def _check(report: "Report", path: Path, console: Console) -> int:
    from vqkit.evaluation import unexpected

    expected = _read(path)
    sentences = unexpected(report, expected)
    for sentence in sentences:
        console.error(sentence)
    if sentences:
        console.note(f"{len(sentences)} of {len(expected['metrics'])} numbers are not as expected.")
        return ExitStatus.SOME_FAILED
    console.note(f"All {len(expected['metrics'])} numbers are as expected.")
    return ExitStatus.DONE


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"--check {path}: {error.strerror}.") from error
    except (json.JSONDecodeError, UnicodeError) as error:
        raise ConfigError(
            f"Reading {path}: expected an expected.json, got what is no JSON ({error})."
        ) from error
