"""How many vectors each code got, and their sum."""

from typing import NamedTuple

import torch
from torch import Tensor

from vqkit.shapes import Float, Int

__all__ = ["CodeStatistics", "code_statistics"]


class CodeStatistics(NamedTuple):
    """Counts and sums per code.

    Attributes:
        counts: Number of vectors of each code ``[codes]``, fp32.
        sums: Sum of the vectors of each code ``[codes, dim]``, fp32.
        memory: What both are views of: one collective adds up those of all ranks.
    """

    counts: Tensor
    sums: Tensor
    memory: Tensor


def code_statistics(
    samples: Float[Tensor, "tokens dim"], assigned: Int[Tensor, " tokens"], num_codes: int
) -> CodeStatistics:
    """Counts and sums of the vectors assigned to each code, without a one-hot matrix.

    The result repeats bit for bit on every device. On a GPU the vectors are therefore sorted by
    code before they are summed: atomic additions come in any order.

    >>> samples = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    >>> counts, sums, _ = code_statistics(samples, torch.tensor([2, 0, 2]), num_codes=3)
    >>> counts.tolist(), sums.tolist()
    ([1.0, 0.0, 2.0], [[3.0, 4.0], [0.0, 0.0], [6.0, 8.0]])
    """
    dim = samples.shape[1]
    memory = torch.zeros(num_codes * (dim + 1), dtype=torch.float32, device=samples.device)
    # Sums in rows of their own, not beside the counts: to add whole contiguous rows is much faster.
    counts, sums = memory[:num_codes], memory[num_codes:].view(num_codes, dim)
    counts.copy_(
        torch.zeros(num_codes, dtype=torch.int64, device=samples.device).scatter_add_(
            0, assigned, torch.ones_like(assigned)
        )
    )
    if samples.device.type == "cpu":
        sums.index_add_(0, assigned, samples.float())
    else:
        sums.index_put_((assigned,), samples.float(), accumulate=True)  # sorts
    return CodeStatistics(counts, sums, memory)
