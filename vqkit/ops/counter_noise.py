"""Random numbers that are a function of token and column: any tile of them can be made again.

A token has a key of 64 bits, made from a seed and the token's number; a number of the table tokens
x columns is a hash of the key and the column. So the noise of a forward pass is neither stored nor
dependent on the tiles in which it is made, and a token's noise does not depend on the other tokens.
"""

import torch
from torch import Tensor

from vqkit.shapes import Bool, Float, Int

__all__ = ["gumbel_noise", "normal_noise", "token_keys", "uniform_noise"]

# 64 bits, for keys: a step per token, then the two rounds of SplitMix64.
_STEP = -7046029254386353131
_KEY_ROUNDS = ((30, -4658895280553007687), (27, -7723592293110705685))
# 32 bits, for the table: two multiplications with shifts whose bias is the lowest known for two.
_FIRST, _SECOND = 0x7FEB352D, 0x846CA68B - 2**32
_COLUMN_STEP = 0x9E3779B9 - 2**32
_LARGEST_BELOW_ONE = 1.0 - 2.0**-24


def token_keys(
    seed: Int[Tensor, ""], num_tokens: int, valid: Bool[Tensor, " tokens"] | None = None
) -> Int[Tensor, " tokens"]:
    """Key of each token, for :func:`gumbel_noise` and the other two.

    Args:
        seed: One int64 number.
        num_tokens: How many keys.
        valid: Tokens are numbered without those that are not, so that padding changes no noise.

    >>> keys = token_keys(torch.tensor(1), 3)
    >>> valid = torch.tensor([True, False, True, True])
    >>> torch.equal(token_keys(torch.tensor(1), 4, valid)[valid], keys)
    True
    """
    keys: Tensor = _token_keys(seed, num_tokens, valid)
    return keys


# An operator of its own: here int64 wraps around, which a compiler need not promise.
@torch.library.custom_op("vqkit::token_keys", mutates_args=())
def _token_keys(seed: Tensor, num_tokens: int, valid: Tensor | None) -> Tensor:
    if valid is None:
        number = torch.arange(num_tokens, device=seed.device)
    else:
        number = valid.long().cumsum(0) - 1
    key = seed + (number + 1) * _STEP
    for shift, factor in _KEY_ROUNDS:
        key = (key ^ _shifted(key, shift)) * factor
    return key ^ _shifted(key, 31)


@_token_keys.register_fake
def _(seed: Tensor, num_tokens: int, valid: Tensor | None) -> Tensor:
    return seed.new_empty(num_tokens)


def _shifted(key: Tensor, shift: int) -> Tensor:
    """Logical shift to the right: torch has the arithmetic one."""
    bits = 8 * key.element_size()
    return (key >> shift) & (2 ** (bits - shift) - 1)


def gumbel_noise(
    keys: Int[Tensor, " tokens"], columns: Int[Tensor, " columns"]
) -> Float[Tensor, "tokens columns"]:
    """Independent standard Gumbel noise, fp32, at most 22: of 2^31 values per number."""
    noise = _uniform(keys, columns)
    # -log(-log(1 - u)): it is the small u, of which floats have many, that make the largest noise.
    return noise.neg_().log1p_().neg_().log_().neg_()


def normal_noise(keys: Int[Tensor, " tokens"], num_columns: int) -> Float[Tensor, "tokens columns"]:
    """Independent standard normal noise, fp32."""
    noise: Tensor = _normal_noise(keys, num_columns)
    return noise


@torch.library.custom_op("vqkit::normal_noise", mutates_args=())
def _normal_noise(keys: Tensor, num_columns: int) -> Tensor:
    return torch.special.ndtri(_uniform(keys, torch.arange(num_columns, device=keys.device)))


@_normal_noise.register_fake
def _(keys: Tensor, num_columns: int) -> Tensor:
    return keys.new_empty(keys.shape[0], num_columns, dtype=torch.float32)


def uniform_noise(
    keys: Int[Tensor, " tokens"], num_columns: int
) -> Float[Tensor, "tokens columns"]:
    """Independent noise, uniform in (0, 1), fp32."""
    noise: Tensor = _uniform_noise(keys, num_columns)
    return noise


@torch.library.custom_op("vqkit::uniform_noise", mutates_args=())
def _uniform_noise(keys: Tensor, num_columns: int) -> Tensor:
    return _uniform(keys, torch.arange(num_columns, device=keys.device))


@_uniform_noise.register_fake
def _(keys: Tensor, num_columns: int) -> Tensor:
    return keys.new_empty(keys.shape[0], num_columns, dtype=torch.float32)


def _uniform(keys: Tensor, columns: Tensor) -> Tensor:
    """Uniform in (0, 1), from 31 bits of a hash; in place throughout, because the table is hot."""
    low, high = keys.contiguous().view(torch.int32).view(-1, 2).unbind(1)
    bits = low[:, None] + (columns.int() * _COLUMN_STEP)[None]
    scratch = torch.empty_like(bits)
    _fold(bits, scratch, 16)
    bits.mul_(_FIRST)
    _fold(bits, scratch, 15)
    bits.add_(high[:, None]).mul_(_SECOND)
    _fold(bits, scratch, 16)
    bits.bitwise_and_(0x7FFFFFFF)
    return bits.float().add_(0.5).mul_(2.0**-31).clamp_(max=_LARGEST_BELOW_ONE)


def _fold(bits: Tensor, scratch: Tensor, shift: int) -> None:
    """``bits ^= bits >> shift``, shifting zeros in."""
    torch.bitwise_right_shift(bits, shift, out=scratch)
    bits.bitwise_xor_(scratch.bitwise_and_(2 ** (32 - shift) - 1))
