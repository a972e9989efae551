"""``vqkit dataset``: show, check, export and decode data sets of tokens."""

import argparse
from collections.abc import Callable

from vqkit.cli.console import Console
from vqkit.cli.options import (
    Parser,
    add_batch_options,
    add_codebooks_option,
    add_model_options,
)
from vqkit.cli.usage_error import UsageError

__all__ = ["add_parser", "run"]

_EPILOG = """\
actions:
  info     what it holds: tokens, failures, entropies, sizes
  verify   check every hash, every checksum, every row, and that nothing is missing or too many
  export   write it in the format of a trainer of language models
  decode   turn its samples, or those of --key, into media

--format of an export, and who reads it:
  megatron    Megatron-LM, NeMo, GPT-NeoX: tokens.bin, tokens.idx
  datatrove   nanotron: tokens.ds, tokens.ds.index
  litdata     litgpt: chunk-0-N.bin, index.json
  memmap      nanoGPT, OLMo, torchtitan: tokens.bin, offsets.npy
  webdataset  WebDataset, Hugging Face datasets: tokens-N.tar of arrays

--order of an export, for a grid of positions with several levels (codebooks) each:
  raster       position after position, all levels of each
  time-major   along the first axis, at each step level after level
  level-major  level after level
  delay        as raster, level k by k positions later (MusicGen)

Beside an export lies export.json, with which it is turned back.

  vqkit dataset info TOKENS
  vqkit dataset export TOKENS -o megatron --format megatron --separator end
  vqkit dataset decode TOKENS -o decoded --key cats/1.jpg
"""

_OPTIONS: dict[str, frozenset[str]] = {
    "info": frozenset(),
    "verify": frozenset(("quick",)),
    "export": frozenset(
        ("output", "force", "format", "order", "level_offsets", "separator", "stream")
    ),
    "decode": frozenset(("output", "force", "format", "key", "model", "codebooks")),
}
"""The options of each action beside those that all have."""


def add_parser(verbs: "argparse._SubParsersAction[Parser]") -> None:
    parser = verbs.add_parser(
        "dataset",
        usage="vqkit dataset ACTION DATASET [options]",
        help="show, check, export and decode data sets of tokens",
        description="Show, check, export or decode a data set of tokens, which vqkit encode "
        "--dataset writes: a folder, or a URL such as s3://bucket/tokens.",
        epilog=_EPILOG,
    )
    parser.add_names("words", "ACTION DATASET", "what to do, and with which folder or URL")
    verify = parser.add_argument_group("verify")
    verify.add_argument(
        "--quick", action="store_true", default=None, help="names, sizes and records alone"
    )
    result = parser.add_argument_group("export, decode")
    result.add_argument("-o", "--output", metavar="DIR", help="folder to write")
    result.add_argument(
        "-f", "--force", action="store_true", default=None, help="overwrite what exists"
    )
    result.add_argument(
        "--format", metavar="NAME", help="export: see below; decode: png, jpeg, ... (default: png)"
    )
    export = parser.add_argument_group("export")
    export.add_argument("--order", metavar="NAME", help="see below (default: raster)")
    export.add_argument(
        "--level-offsets",
        action="store_true",
        default=None,
        help="give each codebook ids of its own",
    )
    export.add_argument(
        "--separator",
        choices=("none", "end", "both"),
        help="ids around each sample: none, one at its end, or one at both (default: none)",
    )
    export.add_argument("--stream", metavar="NAME", help="which stream of tokens (default: tokens)")
    decode = parser.add_argument_group("decode")
    decode.add_argument(
        "--key", action="append", metavar="KEY", help="decode this sample; may be repeated"
    )
    add_codebooks_option(parser, "decode from")
    add_model_options(
        parser, required=False, help="decode: model folder, id or hub id, if it is elsewhere"
    )
    add_batch_options(parser)
    parser.set_defaults(run=run, verb="dataset")


def run(arguments: argparse.Namespace, console: Console) -> int:
    action, location = _action_and_location(arguments)
    return _action(action)(location, arguments, console)


def _action_and_location(arguments: argparse.Namespace) -> tuple[str, str]:
    action, *locations = arguments.words
    if action not in _OPTIONS:
        raise UsageError(f"Action {action!r}: expected one of {', '.join(_OPTIONS)}.")
    if len(locations) != 1:
        raise UsageError(f"vqkit dataset {action}: expected one data set, got {len(locations)}.")
    for name in sorted(set().union(*_OPTIONS.values()) - _OPTIONS[action]):
        if getattr(arguments, name) is not None:
            raise UsageError(f"--{name.replace('_', '-')} is not an option of {action}.")
    if "output" in _OPTIONS[action] and arguments.output is None:
        raise UsageError(f"vqkit dataset {action}: expected -o DIR, got none.")
    return action, locations[0]


def _action(name: str) -> Callable[[str, argparse.Namespace, Console], int]:
    # Loaded when a data set is worked on: help is to be quick.
    from vqkit.cli import dataset_decoding, dataset_export, dataset_report

    return {
        "info": dataset_report.describe,
        "verify": dataset_report.verify,
        "export": dataset_export.export,
        "decode": dataset_decoding.decode,
    }[name]
