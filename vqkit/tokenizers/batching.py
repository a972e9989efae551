"""Many items through a network at once, each with the result that it has alone."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqkit.ops.threads import on_all_threads
from vqkit.quantizers import Quantizer

if TYPE_CHECKING:
    from vqkit.tokenizers.tokenizer import Tokenizer

__all__ = ["by_length", "by_shape", "decode", "encode", "for_each"]

_Task = TypeVar("_Task")

_MAX_PADDING = 0.2
_TASKS_PER_THREAD = 3
# More leave a CPU's caches, and are memory that the system must give anew for each layer; a GPU has
# work for all of its cores.
_SAMPLES_AT_ONCE = {"cpu": 2**16, "cuda": 2**21}


def encode(tokenizer: "Tokenizer", items: Sequence[Tensor]) -> list[Tensor]:
    """Indices ``[1, *grid, codebooks]`` of prepared items ``[channels, *size]``, perhaps empty."""
    rows = [tokenizer.coding.rows(item[None]) for item in items]
    grids = _of_each(
        [row for some in rows for row in some],
        lambda full: _encoded_together(tokenizer.encoder, tokenizer.quantizer, full),
        lambda empty: tokenizer.encode_whole(empty[None]),
    )
    return [tokenizer.coding.joined(torch.cat([next(grids) for _ in some])) for some in rows]


def decode(tokenizer: "Tokenizer", grids: Sequence[Tensor]) -> list[Tensor]:
    """Prepared media ``[channels, *size]`` of indices ``[1, *grid, codebooks]``, perhaps empty."""
    rows = [tokenizer.coding.parted(grid) for grid in grids]
    outputs = _of_each(
        [row[None] for some in rows for row in some],
        lambda full: _decoded_together(
            tokenizer.quantizer, tokenizer.require_media_decoder(), full
        ),
        lambda empty: tokenizer.decode_whole(empty)[0],
    )
    return [torch.cat([next(outputs) for _ in some]) for some in rows]


def _of_each(
    rows: Sequence[Tensor],
    together: Callable[[Sequence[Tensor]], list[Tensor]],
    alone: Callable[[Tensor], Tensor],
) -> Iterator[Tensor]:
    """Results of all rows; those without a sample do not go through a network."""
    full = [row for row in rows if row.numel()]
    results = iter(together(full) if full else [])
    return (next(results) if row.numel() else alone(row) for row in rows)


def _encoded_together(
    encoder: nn.Module, quantizer: Quantizer, items: Sequence[Tensor]
) -> list[Tensor]:
    grids = list(items)
    if not _takes_lengths(encoder):
        for numbers in by_shape(items):
            latents = encoder(torch.stack([items[i] for i in numbers])).movedim(1, -1)
            for i, grid in zip(numbers, quantizer.encode(latents).split(1), strict=True):
                grids[i] = grid
        return grids
    (stride,) = encoder.stride  # type: ignore[misc]
    latents = list(items)
    sizes = [item.shape[-1] for item in items]

    def encode(numbers: list[int]) -> None:
        batch, lengths = _padded([items[i] for i in numbers])
        for i, latent in zip(numbers, encoder(batch, lengths), strict=True):
            # A copy, or the batch would be kept for it.
            latents[i] = latent[:, : -(-sizes[i] // stride)].mT.contiguous()

    for_each(encode, by_length(sizes, _samples_at_once(items[0])), items[0].device)
    # All at once, one after the other: codebooks are large, and items have few latents.
    encoded = quantizer.encode(torch.cat(latents)[None])
    return list(encoded.split([len(rows) for rows in latents], dim=1))


def _decoded_together(
    quantizer: Quantizer, decoder: nn.Module, grids: Sequence[Tensor]
) -> list[Tensor]:
    outputs = list(grids)
    if not _takes_lengths(decoder):
        for numbers in by_shape(grids):
            quantized = quantizer.decode(torch.cat([grids[i] for i in numbers]))
            decoded = decoder(quantized.movedim(-1, 1).contiguous()).float()
            for i, output in zip(numbers, decoded, strict=True):
                outputs[i] = output
        return outputs
    (stride,) = decoder.stride  # type: ignore[misc]
    frames = [grid.shape[1] for grid in grids]
    latents = quantizer.decode(torch.cat(list(grids), dim=1))[0].split(frames)

    def decode(numbers: list[int]) -> None:
        batch, lengths = _padded([latents[i].mT for i in numbers])
        for i, output in zip(numbers, decoder(batch, lengths).float(), strict=True):
            outputs[i] = output[:, : frames[i] * stride]

    batches = by_length(frames, max(1, _samples_at_once(grids[0]) // stride))
    for_each(decode, batches, grids[0].device)
    return outputs


def for_each(
    function: Callable[[_Task], None],
    tasks: Sequence[_Task],
    device: torch.device,
    beside: bool = True,
) -> None:
    """Call a function that needs no gradient for each task: on a CPU one per thread at a time.

    The layers of codecs are small, and threads that share one wait for each other most of the time.

    Args:
        function: May be called by several threads.
        tasks: What it is called with.
        device: Where it computes.
        beside: Whether calls may go beside one another: kernels chosen by the number of threads may
            round otherwise.
    """
    num_threads = torch.get_num_threads()
    # Of fewer the last ones would run on some of the threads alone.
    if not beside or device.type != "cpu" or len(tasks) < _TASKS_PER_THREAD * num_threads:
        for task in tasks:
            function(task)
        return

    @torch.no_grad()  # which is a thread's own
    def run(number: int) -> None:
        function(tasks[number])

    on_all_threads(run, len(tasks))


def _takes_lengths(network: nn.Module) -> bool:
    """Whether it takes a second argument, the lengths of the items of a batch."""
    return bool(getattr(network, "takes_lengths", False))


def by_shape(items: Sequence[Tensor]) -> list[list[int]]:
    """Numbers of the items of each shape.

    >>> by_shape([torch.zeros(3, 8), torch.zeros(3, 9), torch.zeros(3, 8)])
    [[0, 2], [1]]
    """
    numbers: dict[torch.Size, list[int]] = {}
    for number, item in enumerate(items):
        numbers.setdefault(item.shape, []).append(number)
    return list(numbers.values())


def by_length(lengths: Sequence[int], most: int) -> list[list[int]]:
    """Numbers of items in batches of similar length, the longest first.

    Args:
        lengths: Of the items.
        most: Of a batch, padding included; an item that is longer is alone. At most a fifth of a
            batch is padding.

    >>> by_length([10, 3, 9, 4, 50], most=20)
    [[4], [0, 2], [3, 1]]
    """
    batches: list[list[int]] = []
    longest = total = 0
    for number in sorted(range(len(lengths)), key=lambda number: -lengths[number]):
        total += lengths[number]
        size = longest * (len(batches[-1]) + 1) if batches else 0
        if size and size <= most and total >= (1 - _MAX_PADDING) * size:
            batches[-1].append(number)
        else:
            batches.append([number])
            longest = total = lengths[number]
    return batches


def _samples_at_once(like: Tensor) -> int:
    return _SAMPLES_AT_ONCE["cpu" if like.device.type == "cpu" else "cuda"]


def _padded(items: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Items ``[channels, samples]`` in one batch, with zeros after the shorter ones; lengths."""
    lengths = torch.tensor([item.shape[-1] for item in items])
    longest = int(lengths.max())
    return torch.stack([F.pad(item, (0, longest - item.shape[-1])) for item in items]), lengths
