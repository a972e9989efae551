"""Files of an object store, over fsspec."""

import inspect
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast, final

import fsspec

from vqkit.errors import ConfigError, MissingExtraError, StorageError, VqkitError
from vqkit.files.storage.storage import SeekableFile, Storage, checked_name

__all__ = ["ObjectStorage"]

# Held while a store without conditional writes looks whether a name is free and takes it.
_TAKING_A_NAME = threading.Lock()


@final
class ObjectStorage(Storage):
    """A prefix of an object store; a file is written by one put, which shows all of it at once.

    `create` is exact where the store's fsspec client has conditional puts (S3, Google Cloud); of
    others it looks first, so that writers in different processes may both win.
    """

    def __init__(self, location: str) -> None:
        if "::" in location or "?" in location:
            raise ConfigError(
                f"Storage {location!r}: expected one plain URL such as s3://bucket/prefix, got a "
                f"chain or a query."
            )
        super().__init__(location.rstrip("/"))
        self.protocol = location.split("://", 1)[0]
        if self.protocol not in fsspec.available_protocols():
            raise ConfigError(
                f"Storage {location!r}: expected a folder or one of "
                f"{', '.join(sorted(fsspec.available_protocols()))}, got {self.protocol!r}."
            )
        try:
            self._root()
        except ImportError as error:
            raise MissingExtraError(
                f"Storage {location!r} needs a package that is not here ({error}). "
                f"For S3: pip install 'vqkit[s3]'."
            ) from error

    def read(self, name: str) -> bytes:
        """The content of a file."""
        with self._explained("read", name) as (store, path):
            return bytes(store.cat_file(path))

    def open(self, name: str) -> SeekableFile:
        """A file to read and seek in."""
        with self._explained("read", name) as (store, path):
            return cast(SeekableFile, store.open(path, "rb"))

    def write(self, name: str, data: bytes) -> None:
        """Write whole or not at all, over what exists."""
        with self._explained("write", name) as (store, path):
            store.pipe_file(path, data)

    def create(self, name: str, data: bytes) -> bool:
        """Write whole unless the name is taken."""
        with self._explained("write", name) as (store, path):
            if not _has_conditional_writes(store):
                with _TAKING_A_NAME:
                    if store.exists(path):
                        return False
                    store.pipe_file(path, data)
                    return True
            try:
                store.pipe_file(path, data, mode="create")
            except OSError:
                # Stores tell in different words that somebody was faster.
                store.invalidate_cache()
                if store.exists(path):
                    return False
                raise
            return True

    def names(self, prefix: str = "") -> list[str]:
        """All names that begin with ``prefix``, sorted."""
        with self._explained("list", None) as (store, root):
            found = store.find(root)
        names = (path[len(root) :].lstrip("/") for path in found)
        return sorted(name for name in names if name and name.startswith(prefix))

    def exists(self, name: str) -> bool:
        """Whether there is a file of this name."""
        with self._explained("look at", name) as (store, path):
            return bool(store.isfile(path))

    def size(self, name: str) -> int:
        """Length in bytes."""
        with self._explained("look at", name) as (store, path):
            return int(store.info(path)["size"])

    def remove(self, name: str) -> None:
        """Delete a file if it is there."""
        with self._explained("remove", name) as (store, path):
            if store.exists(path):
                store.rm_file(path)

    def remove_temporaries(self, older_than_seconds: float) -> int:
        """None: a put leaves nothing behind."""
        return 0

    def _root(self) -> tuple[Any, str]:
        # Asked for anew each time: fsspec keeps one client for each process and thread, and a
        # client that was made before a fork is of no use after it.
        store, root = fsspec.url_to_fs(self.location)
        return store, str(root).rstrip("/")

    @contextmanager
    def _explained(self, verb: str, name: str | None) -> Iterator[tuple[Any, str]]:
        below = "" if name is None else f"/{checked_name(name)}"
        try:
            store, root = self._root()
            # What others wrote since the client last looked counts.
            store.invalidate_cache()
            yield store, f"{root}{below}"
        except VqkitError:
            raise
        # Clients of stores raise what their libraries raise, which share no base.
        except Exception as error:
            reason = str(error) or type(error).__name__
            raise StorageError(
                f"Cannot {verb} {self.location}{below}: {' '.join(reason.split())}. "
                f"Check the address, the keys and the connection."
            ) from error


def _has_conditional_writes(store: Any) -> bool:
    """Whether the client itself, not fsspec's base class, knows how to create a file."""
    if store.protocol == "memory":
        return False
    method = getattr(type(store), "_pipe_file", type(store).pipe_file)
    is_own = not method.__module__.startswith("fsspec.")
    return is_own and "mode" in inspect.signature(method).parameters
