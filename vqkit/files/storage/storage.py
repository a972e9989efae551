"""What every place for files promises."""

import os
import re
from abc import ABC, abstractmethod
from typing import Any, Protocol, runtime_checkable

from vqkit.errors import ConfigError, StorageError

__all__ = ["SeekableFile", "Storage", "checked_name"]

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(:|//)", re.ASCII)
_MAX_NAME_LENGTH = 1000


@runtime_checkable
class SeekableFile(Protocol):
    """An open file, here or in an object store."""

    def read(self, size: int = -1, /) -> bytes:
        """Up to ``size`` bytes, all that are left if it is negative."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go to a place and return it, counted from the start."""

    def tell(self) -> int:
        """The place."""

    def close(self) -> None:
        """Let go of it."""

    def __enter__(self) -> "SeekableFile": ...

    def __exit__(self, *error: Any) -> None: ...


class Storage(ABC):
    """Files by name below one root.

    Names are relative and use ``/``; none leads out of the root. A file appears whole or not at
    all, and what is read is what the store holds now, not what it held when it was last listed.
    Pickles to its location alone, so it travels to other processes and machines.

    Attributes:
        location: The root as it was given, made absolute if it is a folder.

    Example:
        >>> storage = Storage.at("memory://example")
        >>> storage.create("a/b.txt", b"first"), storage.create("a/b.txt", b"second")
        (True, False)
        >>> storage.read("a/b.txt"), storage.names()
        (b'first', ['a/b.txt'])
    """

    def __init__(self, location: str) -> None:
        self.location = location

    @staticmethod
    def at(location: str | os.PathLike[str]) -> "Storage":
        """The storage at a folder, a ``file://`` URL or a URL that fsspec knows.

        Nothing is read or made yet. An object store takes its endpoint and its keys from where its
        client looks for them, for S3 the variables ``AWS_*`` and ``~/.aws``.

        Args:
            location: ``/data/out``, ``s3://bucket/prefix``, ``gs://bucket/prefix``,
                ``memory://name``, ...

        Raises:
            ConfigError: No such kind of storage.
            MissingExtraError: The package for this kind is not installed.
        """
        from vqkit.files.storage.folder import FolderStorage
        from vqkit.files.storage.objects import ObjectStorage

        text = os.fspath(location)
        if not text:
            raise ConfigError("Storage: expected a folder or a URL, got an empty name.")
        url = _URL.match(text)
        if isinstance(location, os.PathLike) or url is None:
            return FolderStorage(text)
        if url[1] in ("file", "local"):
            return FolderStorage(text.split("://", 1)[1])
        return ObjectStorage(text)

    @abstractmethod
    def read(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            StorageError: There is none, or the store refuses; so for all methods below.
        """

    @abstractmethod
    def open(self, name: str) -> SeekableFile:
        """A file to read and seek in; of an object store, only the ranges asked for travel."""

    @abstractmethod
    def write(self, name: str, data: bytes) -> None:
        """Write a file whole or not at all, over one that exists."""

    @abstractmethod
    def create(self, name: str, data: bytes) -> bool:
        """Write a file whole, unless the name is taken: of several writers the first one wins.

        False if it is taken, also if that happened meanwhile. A writer whose connection broke may
        find its own file there, so look at the content before you call it another's.
        """

    @abstractmethod
    def names(self, prefix: str = "") -> list[str]:
        """All names that begin with ``prefix``, sorted; none if the root does not exist yet."""

    @abstractmethod
    def exists(self, name: str) -> bool:
        """Whether there is a file of this name."""

    @abstractmethod
    def size(self, name: str) -> int:
        """Length of a file in bytes."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Delete a file; none of this name is fine too."""

    @abstractmethod
    def remove_temporaries(self, older_than_seconds: float) -> int:
        """Delete what killed writers left, if it is older than that; returns how many files.

        Stores that write in one step have no such files.
        """

    def describe(self, name: str) -> str:
        """What a file is called in messages."""
        return f"{self.location.rstrip('/')}/{name}"

    def __repr__(self) -> str:
        return f"Storage.at({self.location!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Storage) and self.location == other.location

    def __hash__(self) -> int:
        return hash(self.location)


def checked_name(name: str) -> str:
    """The name, if it leads to a place below the root on every system.

    Raises:
        StorageError: It does not.
    """
    parts = name.split("/")
    if (
        not 0 < len(name) <= _MAX_NAME_LENGTH
        or not name.isprintable()
        or any(character in name for character in '\\:*?"<>|')
        or any(part in ("", ".", "..") for part in parts)
    ):
        raise StorageError(
            f"Wrong file name: expected a printable relative name with '/' between its parts, "
            f"none of them '.' or '..', got {ascii(name)[:80]}."
        )
    return name
