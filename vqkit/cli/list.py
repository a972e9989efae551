"""``vqkit list``: what there is to choose from."""

import argparse
import inspect
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from vqkit.cli.console import Console, printable
from vqkit.cli.exit_status import ExitStatus
from vqkit.cli.options import Parser, add_talk_options
from vqkit.cli.rates import rate_words
from vqkit.cli.usage_error import UsageError

if TYPE_CHECKING:
    from vqkit.tokenizers import TokenizerSpec

__all__ = ["add_parser", "run"]

Rows = Mapping[str, str]
"""Names and, in a few words, what they stand for."""


def add_parser(verbs: "argparse._SubParsersAction[Parser]") -> None:
    parser = verbs.add_parser(
        "list",
        usage="vqkit list [KIND...] [options]",
        help="list quantizers, networks, losses, recipes, configurations, models",
        description=f"List what there is to choose from. Kinds: {', '.join(_KINDS)}.",
    )
    parser.add_names("kinds", "KIND", "what to list (default: everything)", required=False)
    add_talk_options(parser)
    parser.set_defaults(run=run, verb="list")


def run(arguments: argparse.Namespace, console: Console) -> int:
    unknown = [kind for kind in arguments.kinds if kind not in _KINDS]
    if unknown:
        raise UsageError(f"Kind {unknown[0]!r}: expected one of {', '.join(_KINDS)}.")
    kinds = arguments.kinds or _KINDS
    listed = {kind: dict(_KINDS[kind]()) for kind in kinds}
    if arguments.json:
        console.document(listed)
        return ExitStatus.DONE
    for kind, rows in listed.items():
        # A single kind is a plain list, for scripts.
        indent = ""
        if len(listed) > 1:
            console.data(kind)
            indent = "  "
        width = max(map(len, rows), default=0)
        for name, text in rows.items():
            console.data(f"{indent}{printable(name):{width}}  {printable(text)}".rstrip())
    return ExitStatus.DONE


def _quantizers() -> Rows:
    import vqkit.quantizers as facade

    return _classes(facade, lambda kind: issubclass(kind, facade.Quantizer))


def _encoders() -> Rows:
    import vqkit.nets as facade

    return _classes(facade, lambda kind: kind.__name__.endswith("Encoder"))


def _decoders() -> Rows:
    import vqkit.nets as facade

    return _classes(facade, lambda kind: kind.__name__.endswith("Decoder"))


def _losses() -> Rows:
    from torch import nn

    import vqkit.losses as facade

    return _classes(facade, lambda kind: issubclass(kind, nn.Module | facade.AdversarialLoss))


def _recipes() -> Rows:
    from vqkit.paths import recipe_dir

    root = recipe_dir()
    files = sorted(root.rglob("recipe.yaml"))
    return {file.parent.relative_to(root).as_posix(): _first_comment(file) for file in files}


def _configs() -> Rows:
    from vqkit.paths import config_dir

    root = config_dir()
    files = sorted(root.rglob("*.yaml"))
    return {
        file.relative_to(root).with_suffix("").as_posix(): _first_comment(file) for file in files
    }


def _models() -> Rows:
    from vqkit.cli.model_search import local_models

    return {
        str(model.path): f"{model.spec.name} ({model.spec.fingerprint}), {_rate(model.spec)}"
        for model in local_models()
    }


def _rate(spec: "TokenizerSpec") -> str:
    rates = {"bits_per_second": spec.bits_per_second, "bits_per_pixel": spec.bits_per_pixel}
    return str(rate_words(rates))


_KINDS: dict[str, Callable[[], Rows]] = {
    "quantizers": _quantizers,
    "encoders": _encoders,
    "decoders": _decoders,
    "losses": _losses,
    "recipes": _recipes,
    "configs": _configs,
    "models": _models,
}


def _classes(facade: ModuleType, belongs: Callable[[type], bool]) -> Rows:
    """The concrete classes that a facade exports, with the first line of their docstrings."""
    exported: Iterable[object] = (getattr(facade, name) for name in facade.__all__)
    kinds = [
        kind
        for kind in exported
        if inspect.isclass(kind) and not inspect.isabstract(kind) and belongs(kind)
    ]
    return {kind.__name__: (inspect.getdoc(kind) or "").partition("\n")[0] for kind in kinds}


def _first_comment(file: Path) -> str:
    """The line of comment that a configuration begins with, Hydra's own directives aside."""
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.startswith("#") and not line.startswith("# @package"):
            return line.lstrip("# ").rstrip()
        if not line.startswith("#"):
            break
    return ""
