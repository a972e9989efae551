"""``vqkit bench``: measure all quantizers on the same vectors; draw their cells."""

import argparse
import json
import os
import shlex
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from vqkit.cli.console import Console, printable
from vqkit.cli.exit_status import ExitStatus
from vqkit.cli.options import Parser, add_batch_options, positive
from vqkit.cli.progress import progress_bar
from vqkit.cli.usage_error import UsageError

__all__ = ["add_parser", "run"]

_STEPS = {"quantizers": 150, "cells": 200}
_EPILOG = """\
what:
  quantizers  train each quantizer on vectors of known distributions and on features of photos, at
              equal bits; measure distortion against rate-distortion theory, use of the codes,
              speed and memory
  cells       draw the cells that each quantizer cuts the plane into

  vqkit bench quantizers
  vqkit bench quantizers -o cards.md --source gaussian --quantizer fsq --quantizer residual
  vqkit bench cells -o pictures
"""


def add_parser(verbs: "argparse._SubParsersAction[Parser]") -> None:
    parser = verbs.add_parser(
        "bench",
        usage="vqkit bench WHAT [options]",
        help="measure all quantizers on the same vectors, draw their cells",
        description="Compare the quantizers. The numbers follow from the seed, speed and memory "
        "from the machine.",
        epilog=_EPILOG,
    )
    parser.add_names("what", "WHAT", "quantizers or cells")
    parser.add_argument(
        "--quantizer",
        action="append",
        metavar="NAME",
        help="this one alone; may be repeated (default: all)",
    )
    default = ", ".join(f"{steps} for {what}" for what, steps in _STEPS.items())
    parser.add_argument(
        "--steps", type=positive, metavar="N", help=f"training steps of each (default: {default})"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="(default: 0)")
    cards = parser.add_argument_group("quantizers")
    cards.add_argument(
        "--source",
        action="append",
        metavar="NAME",
        help="gaussian, laplace, sphere, mixture or images; may be repeated (default: all)",
    )
    cards.add_argument(
        "--image-folder",
        metavar="DIR",
        help="photos for the source images (default: those inside scikit-image)",
    )
    cards.add_argument("--no-costs", action="store_true", help="measure neither speed nor memory")
    cards.add_argument(
        "--device", default="auto", metavar="NAME", help="cpu, cuda, ... (default: auto)"
    )
    group = parser.add_argument_group("output")
    group.add_argument(
        "-o",
        "--output",
        metavar="NAME",
        help="quantizers: the page to write, NAME.md, and NAME.json; cells: the folder of pictures",
    )
    group.add_argument(
        "--picture", metavar="FILE", help="quantizers: the picture (default: NAME.png)"
    )
    group.add_argument("-f", "--force", action="store_true", help="overwrite files that exist")
    add_batch_options(parser)
    parser.set_defaults(run=run, verb="bench")


def run(arguments: argparse.Namespace, console: Console) -> int:
    kinds: dict[str, Callable[[argparse.Namespace, Console], int]] = {
        "quantizers": _quantizers,
        "cells": _cells,
    }
    what, *more = arguments.what
    if more or what not in kinds:
        raise UsageError(f"Bench {' '.join(arguments.what)!r}: expected {' or '.join(kinds)}.")
    return kinds[what](arguments, console)


def _quantizers(arguments: argparse.Namespace, console: Console) -> int:
    from vqkit.cli.models import find_device
    from vqkit.evaluation.cards import (
        CONTESTANTS,
        SOURCES,
        Cards,
        draw_cards,
        make_source,
        measure,
        measure_costs,
    )
    from vqkit.evaluation.drawing import png
    from vqkit.evaluation.environment import Environment

    names = _chosen(arguments.quantizer, CONTESTANTS, "Quantizer")
    source_names = _chosen(arguments.source, SOURCES, "Source")
    page = Path(f"{arguments.output.removesuffix('.md')}.md") if arguments.output else None
    if page is None and arguments.picture:
        raise UsageError("--picture: expected -o NAME beside it, got none.")
    picture = page and Path(arguments.picture or page.with_suffix(".png"))
    data = page and page.with_suffix(".json")
    _refuse_existing([path for path in (page, picture, data) if path], arguments)
    device = find_device(arguments.device)
    environment = Environment.current(device)
    sources = [make_source(name, arguments.image_folder) for name in source_names]
    pairs = [
        (source, CONTESTANTS[name])
        for source in sources
        for name in names
        if CONTESTANTS[name].source in (None, source.name)
    ]
    num_steps = arguments.steps or _STEPS["quantizers"]
    total = len(pairs) + (0 if arguments.no_costs else len(names))
    wanted = not arguments.no_progress and console.verbosity >= 0
    with progress_bar(total, "Measuring", wanted=wanted) as advance:
        qualities = []
        for source, contestant in pairs:
            quality = measure(source, contestant, num_steps, arguments.seed, device)
            qualities.append(quality)
            console.detail(f"{source.name}, {contestant.name}: {quality.snr_db:.2f} dB.")
            advance()
        costs = (
            ()
            if arguments.no_costs
            else measure_costs(names, device, on_cost=lambda cost: advance())
        )
    cards = Cards(
        command=_command(arguments),
        environment=environment,
        num_steps=num_steps,
        seed=arguments.seed,
        sources=tuple(sources),
        qualities=tuple(qualities),
        costs=costs,
    )
    if arguments.json:
        console.document(cards.to_dict())
    elif page is None:
        console.data(cards.markdown().rstrip())
    if page is not None:
        assert picture is not None, "made from the page"
        assert data is not None, "made from the page"
        address = Path(os.path.relpath(picture, page.parent)).as_posix()
        text = json.dumps(cards.to_dict(), indent=2, allow_nan=False)
        _write(page, cards.markdown(address).encode(), console)
        _write(data, f"{text}\n".encode(), console)
        if qualities:
            _write(picture, png(draw_cards(cards), num_colors=128), console)
    return ExitStatus.DONE


def _cells(arguments: argparse.Namespace, console: Console) -> int:
    from vqkit.evaluation.cards.cells import CELLS, draw_cells

    if not arguments.output:
        raise UsageError("vqkit bench cells: expected -o DIR, got none.")
    for option in ("source", "image_folder", "picture", "no_costs"):
        if getattr(arguments, option):
            raise UsageError(f"--{option.replace('_', '-')}: of quantizers, not of cells.")
    names = _chosen(arguments.quantizer, CELLS, "Quantizer")
    files = {name: Path(arguments.output) / f"{name}.png" for name in names}
    _refuse_existing([*files.values()], arguments)
    wanted = not arguments.no_progress and console.verbosity >= 0
    with progress_bar(len(files), "Drawing", wanted=wanted) as advance:
        for name, file in files.items():
            picture = draw_cells(name, arguments.steps or _STEPS["cells"], arguments.seed)
            _write(file, picture, console)
            advance()
    if arguments.json:
        console.document(
            {"pictures": {name: str(file) for name, file in files.items()}, "seed": arguments.seed}
        )
    return ExitStatus.DONE


def _chosen(names: Sequence[str] | None, known: Iterable[str], what: str) -> list[str]:
    """The names asked for, each known and once, in the order of all."""
    for name in names or ():
        if name not in known:
            raise UsageError(f"{what} {name!r}: expected one of {', '.join(known)}.")
    return [name for name in known if not names or name in names]


def _refuse_existing(paths: Sequence[Path], arguments: argparse.Namespace) -> None:
    """Before minutes of work, not after."""
    for path in paths:
        if path.exists() and not arguments.force:
            raise UsageError(f"{str(path)!r} exists. Overwrite it with -f, or choose another.")


def _write(path: Path, content: bytes, console: Console) -> None:
    from vqkit.evaluation.output import write_output

    console.note(f"Wrote {printable(str(write_output(path.parent, path.name, content)))}.")


def _command(arguments: argparse.Namespace) -> str:
    """The command that gives the same numbers."""
    words = ["vqkit", "bench", *arguments.what]
    for option in ("quantizer", "source"):
        for name in getattr(arguments, option) or ():
            words += [f"--{option}", name]
    for option in ("image_folder", "steps", "output", "picture"):
        value = getattr(arguments, option)
        if value is not None:
            words += [f"--{option.replace('_', '-')}", str(value)]
    words += ["--seed", str(arguments.seed)] if arguments.seed else []
    words += ["--no-costs"] if arguments.no_costs else []
    return shlex.join(words)
