"""Tokens that stand for all of an item, on no axis of its media."""

import math
from dataclasses import dataclass
from typing import Any

from vqkit.quantizers import Quantizer

__all__ = ["WholeGrid", "row_of_tokens", "whole_grid"]


@dataclass(frozen=True)
class WholeGrid:
    """The one grid that the parts of a tokenizer take.

    Attributes:
        latents: Sides of the media over the stride, as they must be.
        num_positions: Positions of the indices, on one axis.
    """

    latents: tuple[int, ...]
    num_positions: int


def whole_grid(encoder: Any, quantizer: Quantizer) -> WholeGrid | None:
    """The grid of a quantizer that takes grids as wholes, or of an encoder to a row of tokens.

    Such an encoder has attributes ``grid`` and ``num_tokens`` and gives ``[batch, dim, tokens]``.
    None where each position of the media's grid has its own tokens.

    >>> from vqkit.nets import TiTokEncoder
    >>> from vqkit.quantizers import FSQ
    >>> encoder = TiTokEncoder(dim=2, side_pixels=32, num_tokens=6, width=24, num_layers=1)
    >>> whole_grid(encoder, FSQ([5, 5]))
    WholeGrid(latents=(2, 2), num_positions=6)
    """
    if quantizer.grid is not None:
        return WholeGrid(quantizer.grid, math.prod(quantizer.index_positions(quantizer.grid)))
    return row_of_tokens(encoder)


def row_of_tokens(network: Any) -> WholeGrid | None:
    """The grid of a network whose latents are in a row; None of others."""
    grid = getattr(network, "grid", None)
    return None if grid is None else WholeGrid(tuple(grid), network.num_tokens)
