"""The weights of a prior as the whole numbers that they stand for."""

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from vqkit.errors import ConfigError
from vqkit.priors.fixed_point import (
    BIAS_BITS,
    BIAS_LIMIT,
    EIGHT_BITS,
    OFFSET_BITS,
    OFFSET_LIMIT,
    RESIDUAL_BITS,
    RESIDUAL_LIMIT,
    WEIGHT_BITS,
    weight_bits,
)
from vqkit.priors.network import PriorNetwork

__all__ = ["digest", "freeze", "load_integers", "to_integers"]

_DIGEST_BYTES = 4
_BITS_SUFFIX = "_bits"  # beside a matrix, the units of its rows


def freeze(network: PriorNetwork) -> PriorNetwork:
    """Round the weights for good; the network can then not be trained on."""
    for module in list(network.modules()):
        if parametrize.is_parametrized(module):
            for name in list(module.parametrizations):  # type: ignore[arg-type]
                parametrize.remove_parametrizations(module, name)
    return network.requires_grad_(False).eval()


def to_integers(network: PriorNetwork) -> dict[str, Tensor]:
    """Names and whole numbers of a frozen network's weights, in the smallest types."""
    integers = {}
    for name, value in network.state_dict().items():
        if _is_matrix(network, name):
            row_bits = weight_bits(value)
            integers[name] = _whole(value * torch.exp2(row_bits)[:, None]).to(torch.int8)
            integers[name + _BITS_SUFFIX] = row_bits.to(torch.int8)
        else:
            bits, _, dtype = _format(name)
            integers[name] = _whole(value * (1 << bits)).to(dtype)
    return integers


def load_integers(network: PriorNetwork, integers: Mapping[str, Tensor]) -> PriorNetwork:
    """Give an untrained network the weights that `to_integers` gave, and freeze it.

    Raises:
        ConfigError: Names, shapes, types or values that no trained network has: with others its
            sums would not be exact.
    """
    freeze(network)
    expected = to_integers(network)
    if expected.keys() != integers.keys():
        odd = sorted(expected.keys() ^ integers.keys())
        raise ConfigError(
            f"Prior: expected the weights of its network, got other names ({odd[0]})."
        )
    for name, example in expected.items():
        value = integers[name]
        if value.dtype != example.dtype or value.shape != example.shape:
            raise ConfigError(
                f"Prior: expected {name} as {example.dtype} {list(example.shape)}, got "
                f"{value.dtype} {list(value.shape)}."
            )
        lowest, highest = _range(network, name)
        if value.numel() and not lowest <= int(value.min()) <= int(value.max()) <= highest:
            raise ConfigError(f"Prior: expected {name} within {lowest} to {highest}.")
    state = {}
    for name in network.state_dict():
        value = integers[name].to(torch.float32)
        if _is_matrix(network, name):
            bits = integers[name + _BITS_SUFFIX].to(torch.float32)
            state[name] = value / torch.exp2(bits)[:, None]
        else:
            state[name] = value / (1 << _format(name)[0])
    network.load_state_dict(state)
    return network


def digest(network: PriorNetwork) -> bytes:
    """Four bytes over sizes and weights of a frozen network."""
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    digest.update(repr((network.level_sizes, network.rank, network.dim, network.depth)).encode())
    for name, value in sorted(to_integers(network).items()):
        digest.update(name.encode() + b"\0")
        digest.update(value.to(torch.int32).numpy().astype("<i4").tobytes())
    return digest.digest()


def _is_matrix(network: PriorNetwork, name: str) -> bool:
    module_name, _, part = name.rpartition(".")
    return part == "weight" and isinstance(network.get_submodule(module_name), nn.Linear)


def _format(name: str) -> tuple[int, int, torch.dtype]:
    """Bits, limit and type of everything but matrices."""
    part = name.rpartition(".")[2]
    if part == "bias":
        return BIAS_BITS, BIAS_LIMIT, torch.int16
    if part == "offset_bias":
        return OFFSET_BITS, OFFSET_LIMIT, torch.int32
    return RESIDUAL_BITS, RESIDUAL_LIMIT, torch.int16  # embeddings


def _range(network: PriorNetwork, name: str) -> tuple[int, int]:
    if name.endswith(_BITS_SUFFIX):
        return WEIGHT_BITS
    limit = EIGHT_BITS if _is_matrix(network, name) else _format(name)[1]
    return -limit, limit


def _whole(value: Tensor) -> Tensor:
    nearest = torch.round(value)
    assert torch.equal(nearest, value), "a frozen network has whole numbers of units"
    return nearest
