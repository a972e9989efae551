"""Row groups of a whole data set, the last ones used kept decoded."""

import os
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

from vqkit.errors import ConfigError, ModelMismatchError, TokenFileError
from vqkit.files.dataset.manifest import Manifest
from vqkit.files.dataset.reader import ShardReader
from vqkit.files.dataset.rows import Rows
from vqkit.files.limits import Limits
from vqkit.files.storage import Storage

__all__ = ["RowGroups"]

_MAX_OPEN_SHARDS = 8

Value = TypeVar("Value")


class RowGroups:
    """Reads row groups of any shard; goes to other processes without what it holds.

    Args:
        storage: Where the data set lies.
        manifest: Of the data set.
        num_cached: Row groups that are kept decoded.
        limits: What a shard may ask for.

    Raises:
        ConfigError: It is to keep none.
    """

    def __init__(
        self, storage: Storage, manifest: Manifest, num_cached: int, limits: Limits | None = None
    ) -> None:
        if num_cached < 1:
            raise ConfigError(f"Cached row groups: expected at least 1, got {num_cached}.")
        self.storage = storage
        self.manifest = manifest
        self.num_cached = num_cached
        self.limits = limits
        self._forget()

    def rows(self, shard: int, group: int) -> Rows:
        """The rows of a row group.

        Raises:
            StorageError: The shard cannot be read.
            TokenFileError: It is damaged, or not the one of the manifest.
            ModelMismatchError: Another tokenizer made it.
        """
        # Files that were opened before a fork share their place with the parent's.
        if self._process != os.getpid():
            self._forget()
        return _kept(
            self._rows,
            (shard, group),
            self.num_cached,
            lambda: self._reader(shard).rows(group),
        )

    def close(self) -> None:
        """Let go of all files."""
        for reader in self._readers.values():
            reader.close()
        self._forget()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_readers": None, "_rows": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def _forget(self) -> None:
        self._process = os.getpid()
        self._readers: OrderedDict[int, ShardReader] = OrderedDict()
        self._rows: OrderedDict[tuple[int, int], Rows] = OrderedDict()

    def _reader(self, shard: int) -> ShardReader:
        return _kept(
            self._readers, shard, _MAX_OPEN_SHARDS, lambda: self._open(shard), ShardReader.close
        )

    def _open(self, shard: int) -> ShardReader:
        entry = self.manifest.shards[shard]
        name = self.storage.describe(entry.name)
        reader = ShardReader(self.storage.open(entry.name), name, self.limits)
        header, expected = reader.header, self.manifest.header
        if header.dataset.fingerprint != expected.fingerprint:
            reader.close()
            raise ModelMismatchError(
                f"Cannot read {name}: expected tokens of {expected.tokenizer!r} "
                f"({expected.fingerprint}), got those of {header.dataset.tokenizer!r} "
                f"({header.dataset.fingerprint}). Fetch the data set again."
            )
        groups = tuple(group.num_samples for group in header.groups)
        if (header.dataset.layout(), header.name, groups) != (
            expected.layout(),
            entry.name,
            entry.row_groups,
        ):
            reader.close()
            raise TokenFileError(
                f"Cannot read {name}: expected the shard of the manifest, got another. "
                f"Check the data set with vqkit dataset verify."
            )
        return reader


def _kept(
    cache: "OrderedDict[Any, Value]",
    key: Any,
    size: int,
    make: Callable[[], Value],
    drop: Callable[[Value], None] = lambda _: None,
) -> Value:
    """From the cache, or made; what was not used for longest makes room."""
    if key not in cache:
        while len(cache) >= size:
            drop(cache.popitem(last=False)[1])
        cache[key] = make()
    cache.move_to_end(key)
    return cache[key]
