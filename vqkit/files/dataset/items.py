"""Samples as a training loop takes them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vqkit.files.dataset.header import MAIN_STREAM
from vqkit.files.dataset.rows import Rows

__all__ = ["Item", "collate_items", "indices_key", "item_of"]

Item = dict[str, Any]
"""``key``; ``indices`` int64 ``[*grid, codebooks]``, of other streams ``indices_NAME``; ``label``;
``media``, its sizes by name."""


def indices_key(stream: str) -> str:
    """What a stream's indices are called in an item.

    >>> indices_key("tokens"), indices_key("gain")
    ('indices', 'indices_gain')
    """
    return "indices" if stream == MAIN_STREAM else f"indices_{stream}"


def item_of(rows: Rows, row: int) -> Item:
    """A row that has tokens."""
    grids = {indices_key(name): rows.grid(row, name) for name in rows.header.streams}
    return {"key": rows.keys[row], **grids, "label": rows.label(row), "media": rows.media(row)}


def collate_items(items: Sequence[Item]) -> Item:
    """A batch: lists, but indices stacked, padded with 0 where their grids differ.

    Beside ``indices`` stands ``lengths``, int64 ``[batch, axes]``: the extent of each item.

    >>> grids = {"a": torch.ones(2, 1), "b": torch.ones(3, 1)}
    >>> batch = collate_items([{"key": key, "indices": grid} for key, grid in grids.items()])
    >>> batch["key"], batch["indices"].shape, batch["lengths"].tolist()
    (['a', 'b'], torch.Size([2, 3, 1]), [[2], [3]])
    """
    batch: Item = {}
    for name in items[0]:
        values = [item[name] for item in items]
        if isinstance(values[0], Tensor):
            batch[name] = _stacked(values)
            extents = torch.tensor([value.shape[:-1] for value in values])
            batch[name.replace("indices", "lengths", 1)] = extents
        else:
            batch[name] = values
    return batch


def _stacked(grids: Sequence[Tensor]) -> Tensor:
    shape = [max(sizes) for sizes in zip(*(grid.shape for grid in grids), strict=True)]
    stacked = grids[0].new_zeros(len(grids), *shape)
    for row, grid in zip(stacked, grids, strict=True):
        row[tuple(slice(size) for size in grid.shape)] = grid
    return stacked
