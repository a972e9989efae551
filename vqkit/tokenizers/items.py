"""Prepared items through the networks: one by one, or as many at a time as the machine likes."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vqkit.tokenizers import batching
from vqkit.tokenizers.cutting import Cutting
from vqkit.tokenizers.long_pictures import decoded_picture, encode_picture
from vqkit.tokenizers.long_sounds import decoded_waveform, encode_waveform
from vqkit.tokenizers.long_videos import decoded_clip, encode_clip
from vqkit.tokenizers.tokens import Tokens

if TYPE_CHECKING:
    from vqkit.tokenizers.tokenizer import Tokenizer

__all__ = ["decode_items", "decoded_pieces", "encode_items", "encode_rows"]

# Pieces of sounds are joined along their samples, those of pictures along rows, of clips along
# frames: their first axis.
_PIECES = {"audio": -1, "image": -2, "video": -3}


def encode_items(
    tokenizer: "Tokenizer", items: Sequence[Tensor], cutting: Cutting, batched: bool
) -> list[dict[str, Tensor]]:
    """Indices ``[1, *grid, codebooks]`` of prepared items by the name of their stream.

    Args:
        tokenizer: In evaluation.
        items: ``[channels, *size]``.
        cutting: How long and large ones are cut.
        batched: Whether items may go together, or beside one another.
    """
    coded: list[dict[str, Tensor]] = [{}] * len(items)

    def encode(i: int) -> None:
        coded[i] = tokenizer.coding.encode(
            [items[i][None]], lambda rows: encode_rows(tokenizer, rows, cutting)
        )

    sizes = [tuple(item.shape[1:]) for item in items]
    together, alone = _divided(tokenizer, sizes, cutting, batched)
    grids = batching.encode(tokenizer, [items[i] for i in together])
    for i, grid in zip(together, grids, strict=True):
        coded[i] = {"tokens": grid}
    batching.for_each(encode, alone, tokenizer.device, beside=batched)
    return coded


def decode_items(
    tokenizer: "Tokenizer", items: Sequence[Tokens], cutting: Cutting, batched: bool
) -> list[Tensor]:
    """What the networks make of items, each ``[channels, *size]``; arguments as for encoding."""
    outputs = [torch.empty(0)] * len(items)
    grids = [item.indices.to(tokenizer.device) for item in items]
    joined = _PIECES[tokenizer.frontend.modality]

    def decode(i: int) -> None:
        outputs[i] = torch.cat(list(decoded_pieces(tokenizer, items[i], cutting)), dim=joined)

    sizes = [_decoded_size(tokenizer, grid) for grid in grids]
    together, alone = _divided(tokenizer, sizes, cutting, batched)
    decoded = batching.decode(tokenizer, [grids[i] for i in together])
    for i, output in zip(together, decoded, strict=True):
        outputs[i] = output
    batching.for_each(decode, alone, tokenizer.device, beside=batched)
    return outputs


def encode_rows(tokenizer: "Tokenizer", rows: Iterable[Tensor], cutting: Cutting) -> Tensor:
    """Indices ``[rows, *grid, codebooks]`` of what comes in pieces ``[rows, channels, *size]``."""
    if tokenizer.frontend.modality == "image":
        return encode_picture(tokenizer, rows, cutting.tiling)
    if tokenizer.frontend.modality == "video":
        return encode_clip(tokenizer, rows, cutting.num_latents, cutting.tiling)
    return encode_waveform(tokenizer, rows, cutting.num_latents)


def decoded_pieces(tokenizer: "Tokenizer", item: Tokens, cutting: Cutting) -> Iterator[Tensor]:
    """What the networks make of an item, in pieces ``[channels, *size]``."""
    streams = {name: stream.indices.to(tokenizer.device) for name, stream in item.streams.items()}
    num_samples = tokenizer.spec.extents(item.media[0]).get("time", 0)

    def decode(indices: Tensor) -> Iterator[Tensor]:
        if tokenizer.frontend.modality == "image":
            return decoded_picture(tokenizer, indices, cutting.tiling)
        if tokenizer.frontend.modality == "video":
            return decoded_clip(tokenizer, indices, cutting.num_latents, cutting.tiling)
        return decoded_waveform(tokenizer, indices, cutting.num_latents)

    return tokenizer.coding.decode(streams, num_samples, tokenizer.stride[0], decode)


def _divided(
    tokenizer: "Tokenizer", sizes: Sequence[tuple[int, ...]], cutting: Cutting, batched: bool
) -> tuple[list[int], list[int]]:
    """Numbers of the items that go through the networks with others, and of those that do not."""
    together: list[int] = []
    if batched and tokenizer.chunking is None:
        together = [i for i, size in enumerate(sizes) if _is_taken_whole(tokenizer, size, cutting)]
    return together, sorted(set(range(len(sizes))) - set(together))


def _is_taken_whole(tokenizer: "Tokenizer", size: tuple[int, ...], cutting: Cutting) -> bool:
    if tokenizer.frontend.modality == "image":
        return len(size) != 2 or cutting.tiling.takes_whole(*size)
    # A clip is much work by itself.
    most = cutting.num_latents * tokenizer.stride[0]
    return tokenizer.frontend.modality == "audio" and size[0] <= most


def _decoded_size(tokenizer: "Tokenizer", grid: Tensor) -> tuple[int, ...]:
    """Samples or pixels that indices ``[1, *grid, codebooks]`` stand for, if they have axes."""
    positions = grid.shape[1:-1]
    if tokenizer.quantizer.grid is not None:
        return tuple(positions)
    return tuple(n * step for n, step in zip(positions, tokenizer.stride, strict=False))
