"""How networks are run where tokens are made."""

import contextlib
from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.utils import parametrize

__all__ = ["evaluating"]


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode; on a GPU full fp32 and repeatable kernels: tokens are forever.

    Weights that are normalised are so once, not for every item.
    """
    was_training = [part for part in module.modules() if part.training]
    if was_training:
        module.eval()
    try:
        with (
            parametrize.cached(),
            torch.backends.cudnn.flags(
                enabled=True, benchmark=False, deterministic=True, allow_tf32=False
            ),
        ):
            yield
    finally:
        for part in was_training:
            part.training = True
