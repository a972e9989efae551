"""Files of weights that hold more than weights, read without building what else is in them."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.tokenizers.converters.state import State, below

__all__ = ["averaged", "loaded_checkpoint", "network_state", "unwrapped"]

_WRAPPERS = r"(?:(?:module|model|first_stage_model)\.)*"
_AVERAGE = "model_ema."


class _StandIn:
    """Stands where a file has an object of a class that no weights are made of; keeps nothing."""

    def __new__(cls, *args: Any, **kwargs: Any) -> "_StandIn":
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take what the object was made of, and forget it."""

    def __setstate__(self, state: Any) -> None:
        """Take the object's state, and forget it."""


def loaded_checkpoint(path: Path) -> Any:
    """What torch's reader of weights alone makes of a file.

    Training scripts store objects beside the weights: settings of argparse (LlamaGen), callbacks of
    Lightning 1 (taming-transformers, latent-diffusion), OmegaConf. Each becomes a stand-in of a
    class of our own, whatever it would have been: nothing of it is imported or run. Names below
    ``os``, ``sys`` and the like make torch refuse the file.

    Raises:
        pickle.UnpicklingError: A file that is refused, or damaged.
    """
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except ValueError:  # in torch's format before 1.6, of which only plain weights can be read
        names = []
    stand_ins = [(type("StandIn", (_StandIn,), {}), name) for name in names]
    with torch.serialization.safe_globals(stand_ins):  # type: ignore[arg-type]
        return torch.load(path, map_location="cpu", weights_only=True)


def network_state(loaded: Any, *, last: bool = False) -> Any:
    """The weights in a checkpoint: ``state_dict``, or of LlamaGen ``ema`` before ``model``.

    Args:
        loaded: What the file holds.
        last: Take the last weights, although their moving average is there.
    """
    if not isinstance(loaded, Mapping):
        return loaded
    for key in ("state_dict", *(("model", "ema") if last else ("ema", "model"))):
        if isinstance(loaded.get(key), Mapping):
            return loaded[key]
    return loaded


def unwrapped(state: State, names: Iterable[str]) -> dict[str, Tensor]:
    """What lies below the modules that training scripts wrap a network in.

    ``module.``, ``model.`` and ``first_stage_model.`` in any order, where one of ``names`` follows;
    ``_orig_mod.`` of compiled modules anywhere.

    Raises:
        ConfigError: Such a network at several places.

    >>> sorted(unwrapped({"first_stage_model.quant_conv.bias": torch.ones(1),
    ...                   "model.diffusion_model.out": torch.ones(1)}, ["quant_conv.bias"]))
    ['quant_conv.bias']
    """
    plain = {name.replace("_orig_mod.", ""): value for name, value in state.items()}
    known = "|".join(map(re.escape, names))
    matches = (re.fullmatch(rf"({_WRAPPERS})(?:{known})", name) for name in plain)
    prefixes = sorted({match[1] for match in matches if match is not None})
    if len(prefixes) > 1:
        raise ConfigError(
            f"Weights: expected one tokenizer, got those below {prefixes}. Keep the entries of one."
        )
    return below(plain, prefixes[0]) if prefixes else plain


def averaged(state: State, *, last: bool = False) -> dict[str, Tensor]:
    """The weights, in place of those of which the state holds a moving average these.

    The average of ``decoder.up.0.bias`` is ``model_ema.decoderup0bias``: dots are lost, and which
    entry is meant is looked up from the entries that there are.

    Args:
        state: Of a model that a moving average was taken of, or not.
        last: Leave the averages out.

    Raises:
        ConfigError: Two entries whose averages have one name, or averages of no entry.
    """
    weights = {name: value for name, value in state.items() if not name.startswith(_AVERAGE)}
    averages = below(state, _AVERAGE)
    for counter in ("decay", "num_updates"):
        averages.pop(counter, None)
    if last or not averages:
        return weights
    full: dict[str, list[str]] = {}
    for name in weights:
        full.setdefault(name.replace(".", ""), []).append(name)
    for name, value in averages.items():
        meant = full.get(name, [])
        if not meant and name.startswith("loss"):
            continue  # of a discriminator that was left out of the file
        if len(meant) != 1:
            raise ConfigError(
                f"Weights: expected one entry whose moving average is {_AVERAGE + name!r}, got "
                f"{meant or 'none'}. Take the last weights instead."
            )
        weights[meant[0]] = value
    return weights
