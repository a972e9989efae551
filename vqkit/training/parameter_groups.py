"""Which parameters weight decay may shrink, and optimizers that know it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from vqkit.quantizers import Quantizer

__all__ = ["OptimizerFactory", "make_optimizer", "parameter_groups"]

# Called with parameters or with groups of them, as every torch optimizer is.
OptimizerFactory = Callable[[Any], torch.optim.Optimizer]


def parameter_groups(module: nn.Module) -> list[dict[str, Any]]:
    """Trainable parameters as groups for an optimizer: decayed ones, then exempt ones.

    Weight decay is for weights. Exempt are parameters of fewer than two axes (biases, gains of
    norms) and the codes of quantizers (``Quantizer.code_parameters``): decay would pull codes to
    zero, away from the data. QLAE (arXiv 2305.18378) rests on this division.

    Returns:
        One or two groups; that of the exempt has ``weight_decay`` 0, the other one none of its own,
        so that the optimizer's applies. A group without parameters is left out.

    >>> from vqkit.quantizers import ScalarLatent
    >>> groups = parameter_groups(nn.Sequential(nn.Linear(4, 3), ScalarLatent(3)))
    >>> [[list(p.shape) for p in group["params"]] for group in groups]
    [[[3, 4]], [[3], [3, 10]]]
    """
    codes = {
        id(getattr(part, name))
        for part in module.modules()
        if isinstance(part, Quantizer)
        for name in part.code_parameters
        if isinstance(getattr(part, name, None), nn.Parameter)
    }
    trainable = [p for p in module.parameters() if p.requires_grad]
    exempt = [p for p in trainable if p.ndim < 2 or id(p) in codes]
    decayed = [p for p in trainable if p.ndim >= 2 and id(p) not in codes]
    groups: list[dict[str, Any]] = [{"params": decayed}, {"params": exempt, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def make_optimizer(factory: OptimizerFactory, module: nn.Module) -> torch.optim.Optimizer:
    """Make the optimizer of a module's trainable parameters, in groups if it decays weights.

    An optimizer without weight decay gets one plain group, in the module's order: nothing is to be
    divided, and not all optimizers take groups.

    >>> from functools import partial
    >>> layer = nn.Linear(4, 3)
    >>> optimizer = make_optimizer(partial(torch.optim.AdamW, weight_decay=0.1), layer)
    >>> [group["weight_decay"] for group in optimizer.param_groups]
    [0.1, 0.0]
    >>> len(make_optimizer(torch.optim.Adam, layer).param_groups)
    1
    """
    optimizer = factory([p for p in module.parameters() if p.requires_grad])
    if not optimizer.defaults.get("weight_decay"):
        return optimizer
    # Before its first step an optimizer holds nothing: making another one costs nothing.
    return factory(parameter_groups(module))
