"""Models that are here: in ``$VQKIT_MODELS`` and among the runs below the working folder."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from vqkit.errors import VqkitError

if TYPE_CHECKING:
    from vqkit.tokenizers import TokenizerSpec

__all__ = [
    "MODELS_VARIABLE",
    "LocalModel",
    "find_fingerprint",
    "find_named",
    "local_models",
    "model_folder",
]

MODELS_VARIABLE = "VQKIT_MODELS"
"""Environment variable: folders, separated like those of ``PATH``, in which models lie."""

_CONFIG_FILE = "config.json"
_MODEL_FOLDER = "model"
# What training writes: runs/<recipe>/<time>/model, the recipe in one or two parts.
_RUNS = ("runs/*/*/model", "runs/*/*/*/model")
# modality/name/version/model: deeper lie other people's files.
_MAX_DEPTH = 4
_PLAIN_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*", re.ASCII)


@dataclass(frozen=True)
class LocalModel:
    """A model folder and what it says of itself."""

    path: Path
    spec: "TokenizerSpec"


def model_folder(path: Path) -> Path | None:
    """The model folder that a folder is, or that training left in it; None for neither."""
    for candidate in (path, path / _MODEL_FOLDER):
        if (candidate / _CONFIG_FILE).is_file():
            return candidate
    return None


def local_models() -> Iterator[LocalModel]:
    """All models in ``$VQKIT_MODELS`` and below ``./runs``; other folders are passed over."""
    seen: set[str] = set()
    for path in _candidates():
        real = os.path.realpath(path)
        if real in seen:
            continue
        seen.add(real)
        model = _read(path)
        if model is not None:
            yield model


def find_named(name: str) -> Path | None:
    """The folder of that name, here or in ``$VQKIT_MODELS``; None if there is no such folder."""
    if name:
        for root in (Path(), *_roots()):
            found = model_folder(root / name)
            if found is not None:
                return found
    return None


def find_fingerprint(tokenizer: str, fingerprint: str) -> Path | None:
    """The model that made a token file: by its id if a folder is called so, else wherever it is.

    The id comes from a file, perhaps a stranger's: it names a folder below, never one above or
    elsewhere.
    """
    if _PLAIN_ID.fullmatch(tokenizer):
        named = find_named(str(PurePosixPath(tokenizer)))
        model = _read(named) if named is not None else None
        if model is not None and model.spec.fingerprint == fingerprint:
            return model.path
    for model in local_models():
        if model.spec.fingerprint == fingerprint:
            return model.path
    return None


def _roots() -> list[Path]:
    return [Path(entry) for entry in os.environ.get(MODELS_VARIABLE, "").split(os.pathsep) if entry]


def _candidates() -> Iterator[Path]:
    for root in _roots():
        yield from _below(root)
    for pattern in _RUNS:
        yield from sorted(Path().glob(pattern))


def _below(root: Path) -> Iterator[Path]:
    """Folders with a configuration, in the order of their names."""
    for folder, subfolders, files in os.walk(root):
        if _CONFIG_FILE in files:
            yield Path(folder)
        depth = len(Path(folder).relative_to(root).parts)
        is_model = _CONFIG_FILE in files
        subfolders[:] = sorted(
            name for name in subfolders if not (name[0] == "." or is_model or depth >= _MAX_DEPTH)
        )


def _read(path: Path) -> LocalModel | None:
    from vqkit.tokenizers.folder import read_spec

    try:
        return LocalModel(path, read_spec(path))
    # Others keep files of that name too, and a broken model is no reason not to find a good one.
    except (VqkitError, OSError):
        return None
