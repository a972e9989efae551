"""A data set of tokens by index, for PyTorch."""

import bisect
import itertools
import os
from typing import final

from torch.utils.data import Dataset

from vqkit.files.dataset.groups import RowGroups
from vqkit.files.dataset.items import Item, item_of
from vqkit.files.dataset.manifest import Manifest
from vqkit.files.dataset.rows import Rows
from vqkit.files.limits import Limits
from vqkit.files.storage import Storage
from vqkit.tokenizers.tokens import Tokens

__all__ = ["TokenDataset", "storage_of"]


@final
class TokenDataset(Dataset[Item]):
    """The samples of a data set that have tokens, by their index.

    A sample costs reading the row group that holds it, unless it is one of those kept: read at
    random, every sample costs that, and `TokenIterableDataset` is what you want.

    Args:
        location: Folder or URL of the data set.
        num_cached: Row groups that are kept decoded, of 256 samples mostly.
        limits: What a shard may ask for.

    Raises:
        StorageError: There is no finished data set.
        TokenFileError: Its manifest is damaged; so when samples are read and a shard is.

    Example:
        >>> dataset = TokenDataset("memory://none")
        Traceback (most recent call last):
        ...
        vqkit.errors.StorageError: Cannot read memory://none: expected a token data set with ...
    """

    def __init__(
        self,
        location: Storage | str | os.PathLike[str],
        num_cached: int = 4,
        limits: Limits | None = None,
    ) -> None:
        storage = storage_of(location)
        self.manifest = Manifest.read(storage)
        self.num_cached = num_cached
        self.limits = limits
        self._groups = RowGroups(storage, self.manifest, num_cached, limits)
        self._places = [
            (shard, group)
            for shard, entry in enumerate(self.manifest.shards)
            for group in range(len(entry.row_groups))
        ]
        sizes = (size for entry in self.manifest.shards for size in entry.row_groups)
        self._ends = [*itertools.accumulate(sizes)]

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> Item:
        """``key``, ``indices`` int64 ``[*grid, codebooks]``, ``label``, ``media``.

        Raises:
            IndexError: There is no such sample; negative indices count from the end.
        """
        return item_of(*self._row(index))

    def tokens(self, index: int) -> Tokens:
        """The tokens of a sample, which the tokenizer decodes.

        Raises:
            IndexError: There is no such sample.
        """
        rows, row = self._row(index)
        tokens = rows.sample(row).tokens
        assert tokens is not None
        return tokens

    def key(self, index: int) -> str:
        """The key of a sample.

        Raises:
            IndexError: There is no such sample.
        """
        rows, row = self._row(index)
        return rows.keys[row]

    def _row(self, index: int) -> tuple[Rows, int]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"No sample {index}: expected {-len(self)} to {len(self) - 1}.")
        index %= len(self)
        place = bisect.bisect_right(self._ends, index)
        first = self._ends[place - 1] if place else 0
        return self._groups.rows(*self._places[place]), index - first


def storage_of(location: Storage | str | os.PathLike[str]) -> Storage:
    """The storage at a location, or the storage that was given."""
    return location if isinstance(location, Storage) else Storage.at(location)
