"""State dicts of other libraries: weight norm multiplied out, names changed, parts taken."""

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from vqkit.errors import ConfigError

__all__ = [
    "State",
    "below",
    "fold_weight_norm",
    "load",
    "multipliers_of",
    "renamed",
    "split_weight_norm",
    "unfold_weight_norm",
]

State = Mapping[str, Tensor]

# Length and direction, of torch's older and newer way.
_NORMED = (
    (".weight_g", ".weight_v"),
    (".parametrizations.weight.original0", ".parametrizations.weight.original1"),
)


def fold_weight_norm(state: State) -> dict[str, Tensor]:
    """Multiply weight norm out: ``g v / ||v||``, norms over all axes but the first.

    That axis is the output's, of transposed convolutions the input's: whoever takes their other one
    gets plausible noise.

    Raises:
        ConfigError: A length without direction.
    """
    folded = dict(state)
    for length, direction in _NORMED:
        for name in [name for name in folded if name.endswith(length)]:
            module = name.removesuffix(length)
            if module + direction not in folded:
                raise ConfigError(f"Weights: expected {module + direction!r} beside {name!r}.")
            g, v = folded.pop(name), folded.pop(module + direction)
            folded[f"{module}.weight"] = g * v / _norms(v)
    return folded


def unfold_weight_norm(state: State, modules: Sequence[str]) -> dict[str, Tensor]:
    """The inverse for these modules, in torch's newer way: the weight is its own direction."""
    return _unfolded(state, modules, *_NORMED[1])


def split_weight_norm(state: State, modules: Sequence[str]) -> dict[str, Tensor]:
    """The same in torch's older way."""
    return _unfolded(state, modules, *_NORMED[0])


def _unfolded(
    state: State, modules: Sequence[str], length: str, direction: str
) -> dict[str, Tensor]:
    unfolded = dict(state)
    for module in modules:
        weight = unfolded.pop(f"{module}.weight")
        unfolded |= {module + length: _norms(weight), module + direction: weight}
    return unfolded


def renamed(state: State, rules: Sequence[tuple[str, str]]) -> dict[str, Tensor]:
    """Names after the substitution of every pattern, one rule after the other."""
    names = {name: name for name in state}
    for pattern, replacement in rules:
        names = {name: re.sub(pattern, replacement, new) for name, new in names.items()}
    return {new: state[name] for name, new in names.items()}


def below(state: State, prefix: str) -> dict[str, Tensor]:
    """The entries below a prefix, without it."""
    return {
        name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)
    }


def multipliers_of(widths: Sequence[int], base_width: int) -> list[float]:
    """Widths over the first one, as whole numbers where they are.

    >>> multipliers_of([96, 32, 192], 96)[::2]
    [1, 2]
    """
    ratios = [width / base_width for width in widths]
    return [int(ratio) if ratio.is_integer() else ratio for ratio in ratios]


def load(network: nn.Module, state: State, what: str) -> None:
    """Fill a network, all of it and with nothing left over.

    Raises:
        ConfigError: Entries are missing, left over, or of another shape.
    """
    try:
        network.load_state_dict(dict(state), strict=True)
    except RuntimeError as error:
        lines = " ".join(str(error).split())
        raise ConfigError(f"Weights of {what}: {lines[:600]}") from error


def _norms(weight: Tensor) -> Tensor:
    axes = tuple(range(1, weight.ndim))
    return torch.linalg.vector_norm(weight, dim=axes, keepdim=True)
