"""Sums, gathers and broadcasts over the ranks of a job; the identity in a single process.

Whether a process group exists is asked at each call: a module may be built before the group is.
"""

import torch
import torch.distributed as dist
from torch import Tensor

from vqkit.shapes import Float

__all__ = ["all_sum", "broadcast_first", "gather_rows", "rank", "row_offset", "world_size"]


def world_size() -> int:
    """Number of ranks, 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process's rank, 0 without a process group."""
    return dist.get_rank() if world_size() > 1 else 0


def all_sum(value: Tensor) -> Tensor:
    """Sum over the ranks, in place, returned for convenience."""
    if world_size() > 1:
        dist.all_reduce(value)
    return value


def broadcast_first(value: Tensor) -> Tensor:
    """Give every rank the value of rank 0, in place."""
    if world_size() > 1:
        dist.broadcast(value, src=0)
    return value


def _row_counts(num_rows: int, device: torch.device) -> list[int]:
    counts = torch.zeros(world_size(), dtype=torch.int64, device=device)
    counts[rank()] = num_rows
    return [int(count) for count in all_sum(counts)]


def row_offset(num_rows: int, device: torch.device) -> tuple[int, int]:
    """Where this rank's rows begin in the rows of all ranks, and how many there are in all."""
    if world_size() == 1:
        return 0, num_rows
    counts = _row_counts(num_rows, device)
    return sum(counts[: rank()]), sum(counts)


def gather_rows(rows: Float[Tensor, "rows dim"]) -> Float[Tensor, "all_rows dim"]:
    """Concatenate the rows of all ranks in the order of the ranks; counts may differ or be 0."""
    if world_size() == 1:
        return rows
    counts = _row_counts(len(rows), rows.device)
    # Equal shapes for the collective: the shorter ranks pad, and the padding is cut off again.
    padded = rows.new_zeros(max(counts), rows.shape[1])
    padded[: len(rows)] = rows
    gathered = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(gathered, padded)
    return torch.cat([part[:count] for part, count in zip(gathered, counts, strict=True)])
