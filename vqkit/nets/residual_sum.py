"""The sum at the end of a residual block."""

from torch import Tensor

__all__ = ["residual_sum"]


def residual_sum(x: Tensor, branch: Tensor) -> Tensor:
    """``x + branch``, in the memory of the branch, which is the caller's own.

    Not where a gradient passes, nor where types differ and the sum has the wider one.
    """
    if branch.requires_grad or branch.dtype != x.dtype:
        return x + branch
    return branch.add_(x)
