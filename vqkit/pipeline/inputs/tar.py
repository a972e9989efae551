"""Inputs in a tar file, as WebDataset keeps samples: by where their bytes begin in it."""

import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

import fsspec

from vqkit.errors import ConfigError
from vqkit.pipeline.inputs.table import Input, Inputs
from vqkit.pipeline.inputs.versions import size_and_version, version_in_store

__all__ = ["list_tar"]

_LABEL_SUFFIX = ".cls"
_MAX_LABEL_BYTES = 64


def list_tar(location: str, root: str, has_suffix: Callable[[Path], bool]) -> Inputs:
    """List the media of a tar file that is not compressed.

    Args:
        location: Of the tar file.
        root: What its relative path is below.
        has_suffix: Whether a file in it is one, by its ending.

    Raises:
        ConfigError: It is no tar file, or a compressed or damaged one.
    """
    name = location[len(root) :].lstrip("/")
    try:
        with fsspec.open(location, "rb") as stream:
            if "://" in location:
                version = version_in_store(stream.fs.info(stream.path))
            else:
                _, version = size_and_version(location)
            return Inputs.of(root, _members(stream, name, version, has_suffix))
    except tarfile.TarError as error:
        raise ConfigError(
            f"Inputs {location!r}: expected a tar file that is not compressed ({error})."
        ) from error


def _members(
    stream: IO[bytes], name: str, version: str, has_suffix: Callable[[Path], bool]
) -> Iterator[Input]:
    """The media, each when the files of its sample are known: they follow one another."""
    with tarfile.open(fileobj=stream, mode="r:") as archive:
        sample, waiting, label = "", list[Input](), None
        for member in archive:
            path = PurePosixPath(member.name)
            if not member.isreg() or path.name.startswith("."):
                continue
            stem = str(path.with_name(path.name.split(".", 1)[0]))
            if stem != sample:
                yield from _labelled(waiting, label)
                sample, waiting, label = stem, [], None
            if path.suffix == _LABEL_SUFFIX and member.size <= _MAX_LABEL_BYTES:
                content = archive.extractfile(member)
                assert content is not None, "it is a regular file"
                label = _label(content.read())
            elif has_suffix(Path(path)):
                waiting.append(Input(member.name, name, member.offset_data, member.size, version))
        yield from _labelled(waiting, label)


def _labelled(items: list[Input], label: int | str | None) -> Iterator[Input]:
    return (item._replace(label=label) for item in items)


def _label(content: bytes) -> int | str | None:
    text = content.decode("utf-8", "replace").strip()
    return int(text) if text.isascii() and text.isdecimal() else text or None
