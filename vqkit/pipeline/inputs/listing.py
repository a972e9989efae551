"""From what a user names to the inputs of a job: a folder, a list, a Parquet or a tar file."""

import csv
import io
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from vqkit.errors import ConfigError, MissingExtraError
from vqkit.pipeline.inputs.parquet import list_parquet
from vqkit.pipeline.inputs.table import Input, Inputs, located
from vqkit.pipeline.inputs.tar import list_tar
from vqkit.pipeline.inputs.versions import size_and_version, version_in_store
from vqkit.pipeline.media_kinds import MediaKind, kind_of

__all__ = ["list_inputs", "root_of"]

LIST_SUFFIXES = (".txt", ".jsonl", ".csv")
PARQUET_SUFFIXES = (".parquet", ".pq")
TAR_SUFFIX = ".tar"


def list_inputs(location: str | os.PathLike[str], modality: str = "image") -> Inputs:
    """List media.

    - A folder or a prefix of an object store: the media in it and in all folders below, by their
      endings, as :func:`vqkit.media.find_images`, :func:`vqkit.media.find_audio` and
      :func:`vqkit.media.find_videos` find them. Keys are paths below it.
    - A list: ``.txt`` with a path in each line; ``.csv`` with a heading; ``.jsonl`` with an object
      in each line. Fields: ``path``, and if there are any ``key``, ``label``, ``size_bytes``,
      ``version``. Paths are below the list's folder, absolute, or URLs. Files of this machine are
      looked at for their size and time; files in stores are not, so give ``size_bytes`` where
      sizes differ much.
    - A Parquet file with a column of paths (``path``, ``file``, ``file_name``, ``uri``, ``url``)
      and the fields above, or with a column of files (``bytes``, ``image``, ``audio`` or
      ``video``, ``media``, or a structure with a field ``bytes``).
    - A tar file as WebDataset has them: its media by their endings, with the label of a ``.cls``
      beside them. Keys are the paths in it.

    Args:
        location: A path or an fsspec URL.
        modality: What media are looked for, "image", "audio" or "video".

    Raises:
        ConfigError: There is nothing of this name or kind, no media in it, or a key twice.
        MediaError: A folder may not be read.
    """
    kind = kind_of(modality)
    text = _absolute(os.fspath(location))
    root = root_of(text)
    suffix = PurePosixPath(text).suffix.lower()
    is_url = "://" in text
    if not is_url and not Path(text).exists():
        raise ConfigError(f"Inputs {text!r}: there is no such file or folder.")
    with _explained(text):
        if root == text:
            found = _in_store(text, kind) if is_url else _in_folder(Path(text), kind)
            inputs = Inputs.of(root, found)
        elif suffix in LIST_SUFFIXES:
            inputs = Inputs.of(root, _listed(text, suffix))
        elif suffix in PARQUET_SUFFIXES:
            inputs = list_parquet(text, root, kind.columns)
        elif suffix == TAR_SUFFIX:
            inputs = list_tar(text, root, kind.has_suffix)
        else:
            raise ConfigError(
                f"Inputs {text!r}: expected a folder, a list ({', '.join(LIST_SUFFIXES)}), a "
                f"Parquet file ({PARQUET_SUFFIXES[0]}) or a tar file, got something else."
            )
    if not len(inputs):
        raise ConfigError(f"Inputs {text!r}: expected {kind.name}, found none.")
    return inputs


def root_of(location: str) -> str:
    """What relative paths of inputs are below, told without listing any.

    The folder or the prefix itself, or that which holds the list, the Parquet or the tar file.
    """
    text = _absolute(location)
    suffixes = (*LIST_SUFFIXES, *PARQUET_SUFFIXES, TAR_SUFFIX)
    is_file = PurePosixPath(text).suffix.lower() in suffixes
    if "://" not in text:
        is_file = not Path(text).is_dir()
    return (text.rpartition("/")[0] or "/") if is_file else text


def _absolute(location: str) -> str:
    if "://" in location:
        return location.rstrip("/")
    return str(Path(location).expanduser().absolute())


@contextmanager
def _explained(location: str) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise MissingExtraError(
            f"Inputs {location!r} need a package that is not here ({error}). For S3: "
            "pip install 'vqkit[s3]'."
        ) from error
    except (OSError, UnicodeError, csv.Error) as error:
        raise ConfigError(f"Inputs {location!r} cannot be listed: {error}.") from error


def _in_folder(folder: Path, kind: MediaKind) -> Iterator[Input]:
    start = len(str(folder).rstrip("/")) + 1
    for path in kind.walk(folder):
        name = str(path)[start:].replace(os.sep, "/")
        # What is no UTF-8 cannot be told to anybody; its file is not found, and that is told.
        name = os.fsencode(name).decode("utf-8", "backslashreplace")
        yield Input(name, name, -1, *size_and_version(str(path)))


def _in_store(location: str, kind: MediaKind) -> Iterator[Input]:
    """The media of an object store, asked for one level after another."""
    import fsspec

    store, root = fsspec.url_to_fs(location, use_listings_cache=False)
    root = root.rstrip("/")
    for _, folders, files in store.walk(root, detail=True):
        for name in [name for name in folders if name.startswith(".")]:
            del folders[name]
        for name, facts in files.items():
            if kind.has_suffix(Path(name)) and not name.startswith("."):
                path = facts["name"][len(root) :].lstrip("/")
                yield Input(path, path, -1, facts.get("size") or 0, version_in_store(facts))


def _listed(location: str, suffix: str) -> Iterator[Input]:
    root = root_of(location)
    with _opened(location) as file:
        for number, fields in _rows(file, suffix):
            where = f"Inputs {location!r}, line {number}"
            path = fields.get("path")
            if not isinstance(path, str) or not path:
                raise ConfigError(f"{where}: expected a path, got {path!r}.")
            key, label = fields.get("key"), fields.get("label")
            if label == "":
                label = None
            if isinstance(label, bool) or not isinstance(label, (int, str, type(None))):
                raise ConfigError(f"{where}: expected a label of text or a whole number.")
            size, version = _stated(fields, where)
            full = located(root, path)
            if size < 0 and "://" not in full:
                size, version = size_and_version(full)
            yield Input(str(key) if key not in (None, "") else path, path, -1, size, version, label)


def _rows(file: IO[str], suffix: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The fields of each item, with the number of its line."""
    if suffix == ".csv":
        reader = csv.DictReader(file)
        if "path" not in (reader.fieldnames or ()):
            raise ConfigError(
                f"Inputs: expected a heading with a column 'path', got {reader.fieldnames}."
            )
        for row in reader:
            yield reader.line_num, {**row, "label": _number_or_text(row.get("label"))}
        return
    for number, line in enumerate(file, 1):
        line = line.rstrip("\r\n")
        if not line.strip():
            continue
        if suffix == ".txt":
            yield number, {"path": line}
            continue
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"Inputs, line {number}: expected JSON ({error}).") from error
        if not isinstance(fields, dict):
            raise ConfigError(f"Inputs, line {number}: expected a JSON object, got {line[:40]!r}.")
        yield number, fields


def _number_or_text(label: str | None) -> int | str | None:
    """A number if writing it gives the same text again: 7, but not 007."""
    if label and label.lstrip("-").isdecimal() and label.isascii() and str(int(label)) == label:
        return int(label)
    return label


def _stated(fields: Mapping[str, Any], where: str) -> tuple[int, str]:
    size = fields.get("size_bytes")
    try:
        size_bytes = -1 if size in (None, "") else int(cast(Any, size))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where}: expected size_bytes to be a number, got {size!r}.") from error
    return size_bytes, str(fields.get("version") or "")


@contextmanager
def _opened(location: str) -> Iterator[IO[str]]:
    if "://" not in location:
        with Path(location).open(encoding="utf-8-sig", newline="") as file:
            yield file
        return
    import fsspec

    with fsspec.open(location, "rb") as stream:
        yield io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
