"""What becomes of token indices when a codebook changes."""

from dataclasses import dataclass

import torch
from torch import Tensor

from vqkit.errors import ConfigError, ShapeError
from vqkit.quantizers.base import NO_TOKEN
from vqkit.shapes import Int

__all__ = ["IndexMap"]


@dataclass(frozen=True, eq=False)
class IndexMap:
    """From the indices of an old codebook to those of a new one, exactly.

    Attributes:
        new_of_old: int64 ``[old_size]``, the new index of each old one; -1 where there is none.
        new_size: Codes of the new codebook.

    Raises:
        ConfigError: Not such a table.

    >>> used = IndexMap(torch.tensor([-1, 0, -1, 1]), new_size=2)
    >>> used(torch.tensor([3, 1, -1])), used.inverse()(torch.tensor([0, 1]))
    (tensor([ 1,  0, -1]), tensor([1, 3]))
    """

    new_of_old: Int[Tensor, " old"]
    new_size: int

    def __post_init__(self) -> None:
        """Refuse numbers that are no indices."""
        table = self.new_of_old
        if table.ndim != 1 or table.dtype != torch.int64 or len(table) == 0 or self.new_size < 1:
            raise ConfigError(
                "IndexMap: expected int64 [old_size] and new_size >= 1, got "
                f"{table.dtype} {list(table.shape)} and {self.new_size}."
            )
        if int(table.min()) < NO_TOKEN or int(table.max()) >= self.new_size:
            raise ConfigError(
                f"IndexMap: expected -1 to {self.new_size - 1}, got {int(table.min())} to "
                f"{int(table.max())}."
            )

    @property
    def old_size(self) -> int:
        """Codes of the old codebook."""
        return len(self.new_of_old)

    @property
    def num_lost(self) -> int:
        """Old codes that have no new index."""
        return int((self.new_of_old == NO_TOKEN).sum())

    @property
    def is_injective(self) -> bool:
        """Whether no two old codes share a new one: then :meth:`inverse` exists."""
        kept = self.new_of_old[self.new_of_old != NO_TOKEN]
        return len(kept.unique()) == len(kept)

    def __call__(self, indices: Int[Tensor, "*any"]) -> Int[Tensor, "*any"]:
        """New indices of old ones; -1, no token, stays.

        Raises:
            ShapeError: An index out of range, or one whose code has gone.
        """
        if indices.numel() == 0:
            return indices.long()
        if int(indices.min()) < NO_TOKEN or int(indices.max()) >= self.old_size:
            raise ShapeError(
                f"Mapping indices: expected -1 to {self.old_size - 1}, got {int(indices.min())} to "
                f"{int(indices.max())}. They are of another codebook."
            )
        absent = indices == NO_TOKEN
        mapped = self.new_of_old.to(indices.device)[indices.long().clamp_min(0)]
        gone = (mapped == NO_TOKEN) & ~absent
        if bool(gone.any()):
            raise ShapeError(
                f"Mapping indices: expected codes that the new codebook has, got "
                f"{int(gone.sum())} tokens of codes that were dropped, {int(indices[gone][0])} "
                "among them. Count the tokens to be mapped before dropping codes."
            )
        return torch.where(absent, NO_TOKEN, mapped)

    def inverse(self) -> "IndexMap":
        """From new indices to old ones; -1 for codes that are new.

        Raises:
            ConfigError: Two old codes share a new one.
        """
        if not self.is_injective:
            raise ConfigError(
                "Inverting an index map: expected every new code to stem from one old code, got "
                f"{self.old_size - self.num_lost} old codes on "
                f"{len(self.new_of_old.unique())} new ones. Codes that were merged cannot be told "
                "apart again."
            )
        table = torch.full((self.new_size,), NO_TOKEN, device=self.new_of_old.device)
        old = torch.nonzero(self.new_of_old != NO_TOKEN).flatten()
        table[self.new_of_old[old]] = old
        return IndexMap(table, self.old_size)

    def then(self, following: "IndexMap") -> "IndexMap":
        """This map and the one of the next change in one.

        Raises:
            ConfigError: The sizes do not fit.
        """
        if following.old_size != self.new_size:
            raise ConfigError(
                f"Joining index maps: expected one of {self.new_size} codes to follow, got one of "
                f"{following.old_size}."
            )
        table = following.new_of_old.to(self.new_of_old.device)[self.new_of_old.clamp_min(0)]
        return IndexMap(torch.where(self.new_of_old < 0, NO_TOKEN, table), following.new_size)
