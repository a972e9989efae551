"""``vqkit codebook``: build, change, export and describe codebooks."""

import argparse
from collections.abc import Callable
from typing import Any

from vqkit.cli.console import Console, printable
from vqkit.cli.exit_status import ExitStatus
from vqkit.cli.options import Parser, add_model_options, add_talk_options, positive
from vqkit.cli.usage import UsageError

__all__ = ["add_parser", "run"]

_EPILOG = """\
actions:
  build    cluster the features of a folder of images: --patches, --module or --model
  shrink   fewer codes, by k-means on the codes
  grow     more codes, beside the most used ones; old tokens stay valid
  prune    drop the codes that --tokens use less than --minimum times
  reindex  drop the codes that --tokens never use; no token changes its meaning
  merge    let codes closer than --tolerance become one
  order    number the codes so that neighbours are alike
  remap    turn --tokens of the model before into tokens of the model with the new codebook
  export   the table of decoded codes of a model, projections included
  info     what a codebook file or a model's codebook is

Built from a codebook file, the result is a codebook file; from a model, a model folder. Beside
either lies what became of the indices: NAME.map.safetensors, index_map.safetensors.

  vqkit codebook build photos --patches 8 --size 1024 -o book.safetensors
  vqkit codebook shrink book.safetensors --size 256 -o small.safetensors
  vqkit codebook reindex MODEL --tokens tokens -o compact
  vqkit codebook remap compact --tokens tokens -o tokens.compact
"""

_OPTIONS: dict[str, frozenset[str]] = {
    "build": frozenset(
        ("size", "per_class", "patches", "module", "model", "image_size", "pool", "batch_size")
    )
    | {"seed"},
    "shrink": frozenset(("size", "tokens", "seed")),
    "grow": frozenset(("size", "tokens", "seed")),
    "prune": frozenset(("tokens", "minimum")),
    "reindex": frozenset(("tokens",)),
    "merge": frozenset(("tokens", "tolerance")),
    "order": frozenset(),
    "remap": frozenset(("tokens",)),
    "export": frozenset(("codebook",)),
    "info": frozenset(),
}
"""The options of each action beside those that all have."""

_REQUIRED = {
    "shrink": ("size",),
    "grow": ("size",),
    "prune": ("tokens",),
    "reindex": ("tokens",),
    "merge": ("tolerance",),
    "remap": ("tokens",),
}


def add_parser(verbs: "argparse._SubParsersAction[Parser]") -> None:
    parser = verbs.add_parser(
        "codebook",
        usage="vqkit codebook ACTION SOURCE [options]",
        help="build, shrink, prune, merge, grow, order, export codebooks",
        description="Build a codebook from images, or change one: that of a codebook file "
        "(.safetensors) or that of a model.",
        epilog=_EPILOG,
    )
    parser.add_names("words", "ACTION SOURCE", "what to do, and with which folder, file or model")
    result = parser.add_argument_group("output")
    result.add_argument("-o", "--output", metavar="NAME", help="the file or folder to write")
    result.add_argument("-f", "--force", action="store_true", help="overwrite what exists")
    change = parser.add_argument_group("change")
    change.add_argument("--size", type=positive, metavar="N", help="number of codes of the result")
    change.add_argument(
        "--tokens",
        action="append",
        metavar="FILE",
        help="token files or folders of them, to count codes in; may be repeated",
    )
    change.add_argument(
        "--minimum", type=positive, metavar="N", help="uses that keep a code (default: 1)"
    )
    change.add_argument(
        "--tolerance", type=float, metavar="D", help="greatest distance of codes that become one"
    )
    change.add_argument(
        "--codebook", type=int, metavar="N", help="export the Nth codebook, from 0 on (default: 0)"
    )
    change.add_argument(
        "--seed", type=int, metavar="N", help="of everything that is drawn (default: 0)"
    )
    build = parser.add_argument_group("build")
    build.add_argument(
        "--per-class",
        type=positive,
        metavar="N",
        help="N codes for each folder below the source, instead of --size for all",
    )
    build.add_argument("--patches", type=positive, metavar="P", help="pixels of patches, P x P")
    build.add_argument(
        "--module",
        metavar="PACKAGE:NAME",
        help="a function that maps images [B, 3, H, W] to features, or a class of such modules",
    )
    build.add_argument(
        "--image-size", type=positive, metavar="N", help="scale and cut images to N (default: 256)"
    )
    build.add_argument("--pool", type=positive, metavar="N", help="average features to N x N")
    build.add_argument("--batch-size", type=positive, metavar="N", help="images (default: 16)")
    add_model_options(parser, required=False, help="build: cluster what its encoder gives")
    add_talk_options(parser)
    parser.set_defaults(run=run, verb="codebook")


def run(arguments: argparse.Namespace, console: Console) -> int:
    action, source = _action_and_source(arguments)
    if action == "info":
        facts = _action("describe")(source, arguments, console)
        if arguments.json:
            console.document({"command": "codebook", "action": action, **facts})
        else:
            console.data(printable(source))
            for name, value in facts.items():
                shown = f"{value:.6g}" if isinstance(value, float) else str(value)
                console.data(f"  {name.replace('_', ' ')}: {printable(shown)}")
        return ExitStatus.DONE
    if not arguments.output:
        raise UsageError(f"vqkit codebook {action}: expected -o NAME, got none.")
    import torch

    # The caller's chance is left as it was: the command line is called from programs too.
    with torch.random.fork_rng():
        torch.manual_seed(arguments.seed or 0)
        facts = _action(action)(source, arguments, console)
    if arguments.json:
        console.document(
            {
                "command": "codebook",
                "action": action,
                "source": source,
                "output": arguments.output,
                **facts,
            }
        )
    listed = ", ".join(
        f"{name.replace('_', ' ')} {value:.6g}" if isinstance(value, float)
        else f"{name.replace('_', ' ')} {value}"
        for name, value in facts.items()
    )  # fmt: skip
    console.note(printable(f"{source} -> {arguments.output}: {listed}."))
    return ExitStatus.SOME_FAILED if facts.get("num_skipped") else ExitStatus.DONE


def _action_and_source(arguments: argparse.Namespace) -> tuple[str, str]:
    action, *sources = arguments.words
    if action not in _OPTIONS:
        raise UsageError(f"Action {action!r}: expected one of {', '.join(_OPTIONS)}.")
    if len(sources) != 1:
        raise UsageError(f"vqkit codebook {action}: expected one source, got {len(sources)}.")
    others = set().union(*_OPTIONS.values()) - _OPTIONS[action]
    for name in sorted(others):
        if getattr(arguments, name) is not None:
            raise UsageError(f"--{name.replace('_', '-')} is not an option of {action}.")
    for name in _REQUIRED.get(action, ()):
        if getattr(arguments, name) is None:
            raise UsageError(f"vqkit codebook {action}: expected --{name}, got none.")
    return action, sources[0]


def _action(name: str) -> Callable[[str, argparse.Namespace, Console], dict[str, Any]]:
    # Loaded when a codebook is worked on: help is to be quick.
    from vqkit.cli import codebook_building, codebook_editing

    if name == "build":
        return codebook_building.build
    if name in ("export", "describe", "remap"):
        action: Callable[[str, argparse.Namespace, Console], dict[str, Any]]
        action = getattr(codebook_editing, name)
        return action
    return lambda source, arguments, console: codebook_editing.edit(
        name, source, arguments, console
    )
