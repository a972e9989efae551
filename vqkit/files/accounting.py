"""What tokens cost and what they would cost: nominal bits and empirical entropy, by level."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from vqkit.quantizers import NO_TOKEN
from vqkit.tokenizers.tokens import Tokens

__all__ = ["LevelRate", "level_rates"]


@dataclass(frozen=True)
class LevelRate:
    """One codebook of a stream.

    ``nominal_bits`` is ``log2`` of the codebook's size over all its tokens. ``entropy_bits`` is the
    empirical entropy of order 0 over those that are known: what a coder needs that knows their
    frequencies, and nothing of their neighbours. Of few tokens it is far below what their source
    needs.
    """

    stream: str
    codebook: int
    codebook_size: int
    num_tokens: int
    num_unknown: int
    nominal_bits: float
    entropy_bits: float


def level_rates(tokens: Tokens) -> tuple[LevelRate, ...]:
    """Rates of every codebook of every stream, over all items.

    Example:
        >>> from vqkit.tokenizers import Tokens, TokenStream
        >>> stream = TokenStream(torch.tensor([[[3], [0], [3], [-1]]]), (4,), ("time",))
        >>> tokens = Tokens({"tokens": stream}, ({},), "audio", "example", "0" * 32)
        >>> level_rates(tokens)[0].nominal_bits, round(level_rates(tokens)[0].entropy_bits, 3)
        (8.0, 2.755)
    """
    rates = []
    for name, stream in sorted(tokens.streams.items()):
        items = [stream.item(i).indices for i in range(stream.batch_size)]
        for codebook, size in enumerate(stream.codebook_sizes):
            indices = torch.cat([item[..., codebook].flatten() for item in items])
            known = indices[indices != NO_TOKEN]
            rates.append(
                LevelRate(
                    stream=name,
                    codebook=codebook,
                    codebook_size=size,
                    num_tokens=indices.numel(),
                    num_unknown=indices.numel() - known.numel(),
                    nominal_bits=indices.numel() * math.log2(size),
                    entropy_bits=_entropy_bits(known),
                )
            )
    return tuple(rates)


def _entropy_bits(indices: Tensor) -> float:
    counts = torch.unique(indices, return_counts=True)[1].double()
    return float((counts * (math.log2(max(1, indices.numel())) - counts.log2())).sum())
