"""Prepared items through the networks: one by one, or as many at a time as the machine likes."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vqkit.tokenizers import batching
from vqkit.tokenizers.long_sounds import decoded_waveform, encode_waveform
from vqkit.tokenizers.tokens import Tokens

if TYPE_CHECKING:
    from vqkit.tokenizers.tokenizer import Tokenizer

__all__ = ["decode_items", "decoded_pieces", "encode_items"]


def encode_items(
    tokenizer: "Tokenizer", items: Sequence[Tensor], num_frames: int, batched: bool
) -> list[dict[str, Tensor]]:
    """Indices ``[1, *grid, codebooks]`` of prepared items by the name of their stream.

    Args:
        tokenizer: In evaluation.
        items: ``[channels, *size]``.
        num_frames: Of a chunk of a longer sound.
        batched: Whether items may go together, or beside one another.
    """
    coded: list[dict[str, Tensor]] = [{}] * len(items)

    def encode(i: int) -> None:
        coded[i] = tokenizer.coding.encode(
            [items[i][None]], lambda rows: _encode_rows(tokenizer, rows, num_frames)
        )

    lengths = [item.shape[-1] for item in items]
    together, alone = _divided(tokenizer, lengths, num_frames * tokenizer.stride[0], batched)
    grids = batching.encode(tokenizer, [items[i] for i in together])
    for i, grid in zip(together, grids, strict=True):
        coded[i] = {"tokens": grid}
    batching.for_each(encode, alone, tokenizer.device, beside=batched)
    return coded


def decode_items(
    tokenizer: "Tokenizer", items: Sequence[Tokens], num_frames: int, batched: bool
) -> list[Tensor]:
    """What the networks make of items, each ``[channels, *size]``; arguments as for encoding."""
    outputs = [torch.empty(0)] * len(items)
    grids = [item.indices.to(tokenizer.device) for item in items]

    def decode(i: int) -> None:
        outputs[i] = torch.cat(list(decoded_pieces(tokenizer, items[i], num_frames)), dim=-1)

    lengths = [grid.shape[1] for grid in grids]
    together, alone = _divided(tokenizer, lengths, num_frames, batched)
    decoded = batching.decode(tokenizer, [grids[i] for i in together])
    for i, output in zip(together, decoded, strict=True):
        outputs[i] = output
    batching.for_each(decode, alone, tokenizer.device, beside=batched)
    return outputs


def decoded_pieces(tokenizer: "Tokenizer", item: Tokens, num_frames: int) -> Iterator[Tensor]:
    """What the networks make of an item, ``[channels, *size]``; of a sound in pieces."""
    streams = {name: stream.indices.to(tokenizer.device) for name, stream in item.streams.items()}
    num_samples = tokenizer.spec.extents(item.media[0]).get("time", 0)

    def decode(indices: Tensor) -> Iterator[Tensor]:
        if not tokenizer.is_sound:
            return iter([tokenizer.decode_whole(indices)])
        return decoded_waveform(tokenizer, indices, num_frames)

    return tokenizer.coding.decode(streams, num_samples, tokenizer.stride[0], decode)


def _encode_rows(tokenizer: "Tokenizer", rows: Iterable[Tensor], num_frames: int) -> Tensor:
    if not tokenizer.is_sound:
        return tokenizer.encode_whole(*rows)
    return encode_waveform(tokenizer, rows, num_frames)


def _divided(
    tokenizer: "Tokenizer", lengths: Sequence[int], most: int, batched: bool
) -> tuple[list[int], list[int]]:
    """Numbers of the items that go through the networks with others, and of those that do not."""
    together: list[int] = []
    if batched and tokenizer.chunking is None:
        together = [
            i for i, length in enumerate(lengths) if not tokenizer.is_sound or length <= most
        ]
    return together, sorted(set(range(len(lengths))) - set(together))
