"""Coding of ranks: fast to decode, for chunks of many symbols.

Indices are replaced by their rank among the codes, the most frequent first, so that their histogram
falls: what the bins of `pcodec` fit almost exactly, at many times the speed of a range coder. The
order of the codes comes from a `FrequencyTable`, which costs a few bits a code.
"""

import numpy as np
import numpy.typing as npt
from pcodec import (  # type: ignore[import-untyped]
    ChunkConfig,
    DeltaSpec,
    ModeSpec,
    standalone,
)

from vqkit.coding.tables import FrequencyTable
from vqkit.errors import CodingError

__all__ = ["decode_ranks", "encode_ranks"]

Indices = npt.NDArray[np.int64]


def encode_ranks(symbols: Indices, table: FrequencyTable) -> bytes:
    """Code ``symbols [count]``, each counted in the table of their codebook."""
    order = _order(table)
    ranks = np.empty(order.size, _word(order.size))
    ranks[order] = np.arange(order.size)
    # Neither differences nor multiples: ranks are what is left when both are gone.
    config = ChunkConfig(mode_spec=ModeSpec.classic(), delta_spec=DeltaSpec.no_op())
    data: bytes = standalone.simple_compress(ranks[symbols], config)
    return data


def decode_ranks(data: bytes, count: int, table: FrequencyTable) -> Indices:
    """The ``count`` symbols that `encode_ranks` coded.

    Raises:
        CodingError: Bytes that it does not write.
    """
    order = _order(table)
    # Into memory of the right size: what the data say of theirs is not believed.
    ranks = np.zeros(count, _word(order.size))
    try:
        progress = standalone.simple_decompress_into(data, ranks)
    except (RuntimeError, TypeError) as error:
        raise CodingError(f"expected ranks, got bytes that code none ({error})") from None
    if progress.n_processed != count or not progress.finished:
        raise CodingError(f"expected {count} ranks, got others")
    if count and int(ranks.max()) >= order.size:
        raise CodingError(f"expected ranks below {order.size}, got {ranks.max()}")
    return order[ranks]


def _order(table: FrequencyTable) -> Indices:
    """Codes by falling count, of equal ones the lower first."""
    return np.argsort(-table.counts, kind="stable")


def _word(num_codes: int) -> np.dtype[np.unsignedinteger]:
    return np.dtype(np.uint16 if num_codes <= 1 << 16 else np.uint32)
