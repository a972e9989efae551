"""How networks are run where tokens are made."""

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

__all__ = ["evaluating", "modules_of"]


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode; on a GPU full fp32 and repeatable kernels: tokens are forever."""
    was_training = [part for part in modules_of(module) if part.training]
    if was_training:
        module.eval()
    try:
        with torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=False
        ):
            yield
    finally:
        for part in was_training:
            part.training = True


def modules_of(root: nn.Module) -> Iterator[nn.Module]:
    """A module and all in it: ``modules()`` without its names, which take milliseconds."""
    stack = [root]
    while stack:
        module = stack.pop()
        yield module
        stack += [child for child in module._modules.values() if child is not None]
