"""Changing a codebook that exists: smaller, larger, tidier, in another order.

Functions of tensors. Each gives the new codebook and an :class:`IndexMap`, with which tokens of
the old one become tokens of the new one. :func:`replace_codebook` puts a result into a quantizer.
"""

import heapq
from collections.abc import Sequence

import torch
from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.ops.nearest import nearest_code
from vqkit.quantizers.base import NO_TOKEN, Quantizer
from vqkit.quantizers.index_map import IndexMap
from vqkit.quantizers.kmeans import kmeans
from vqkit.quantizers.vq import VectorQuantizer
from vqkit.shapes import Float, Int

__all__ = [
    "export_codebook",
    "grow",
    "ladder",
    "merge_twins",
    "prune",
    "reindex_to_used",
    "replace_codebook",
    "shrink",
]

Edited = tuple[Tensor, IndexMap]
"""A new codebook and the way to it."""

# Rows whose distances to all others are computed at once.
_ROWS_AT_ONCE = 256
_MAX_EXPORTED = 1 << 24


@torch.no_grad()
def shrink(
    codebook: Float[Tensor, "codes dim"],
    size: int,
    weights: Tensor | None = None,
    *,
    iterations: int = 50,
) -> Edited:
    """Cluster the codes themselves by k-means: a smaller codebook for the same network.

    As in Mao et al., "Extreme image compression using fine-tuned VQGANs" (DCC 2024), which makes
    one model serve several rates.

    Args:
        codebook: Codes.
        size: Number of new codes, below that of the old ones.
        weights: ``[codes]``, how much each code counts, e.g. how often it is used; codes of weight
            0 move no centre. All alike by default.
        iterations: Lloyd steps.

    Returns:
        The new codebook, and the map from each old code to the nearest new one.

    Raises:
        ConfigError: A size out of range, or weights that do not fit.

    >>> shrink(torch.tensor([[0.0], [1.0], [10.0]]), 2)[1].new_of_old.diff()[0]
    tensor(0)
    """
    if not 1 <= size < len(codebook):
        raise ConfigError(
            f"Shrinking a codebook: expected a size from 1 to {len(codebook) - 1}, got {size}."
        )
    counts = _counts(weights, len(codebook))
    rows = codebook.float()
    weighty = counts > 0
    if not bool(weighty.any()):
        raise ConfigError("Shrinking a codebook: expected a weight above 0, got none.")
    smaller, _ = kmeans(rows[weighty], size, iterations, counts[weighty].to(rows.device))
    return smaller, IndexMap(nearest_code(rows, smaller), size)


@torch.no_grad()
def ladder(
    codebook: Float[Tensor, "codes dim"],
    sizes: Sequence[int],
    weights: Tensor | None = None,
    *,
    nested: bool = True,
    iterations: int = 50,
) -> list[Edited]:
    """Shrink a codebook to several sizes: several rates from one model.

    Args:
        codebook: Codes.
        sizes: Sizes in descending order, all below that of the codebook.
        weights: As for :func:`shrink`.
        nested: Make each of the one before, so that a token can be taken down the ladder rung by
            rung with the same result as at once. Otherwise each is made of the full codebook,
            which fits it a little better.
        iterations: Lloyd steps.

    Returns:
        For each size the codebook and the map from the *full* codebook to it.

    Raises:
        ConfigError: Sizes that do not descend, or weights that do not fit.
    """
    if any(low >= high for high, low in zip([len(codebook), *sizes], sizes, strict=False)):
        raise ConfigError(
            f"Ladder of codebooks: expected descending sizes below {len(codebook)}, got "
            f"{list(sizes)}."
        )
    full_counts = _counts(weights, len(codebook))
    rungs: list[Edited] = []
    for size in sizes:
        if nested and rungs:
            previous, way = rungs[-1]
            counts = _carried(full_counts, way)
            smaller, step = shrink(previous, size, counts, iterations=iterations)
            rungs.append((smaller, way.then(step)))
        else:
            rungs.append(shrink(codebook, size, full_counts, iterations=iterations))
    return rungs


@torch.no_grad()
def prune(codebook: Float[Tensor, "codes dim"], counts: Tensor, minimum: float = 1) -> Edited:
    """Drop codes that were used less than ``minimum`` times.

    Args:
        codebook: Codes.
        counts: ``[codes]``, how often each is used.
        minimum: Uses that keep a code.

    Returns:
        The codes that stay, bit for bit and in their order, and the map to them; a code that went
        is mapped to the nearest that stayed.

    Raises:
        ConfigError: Counts that do not fit, or none that is high enough.
    """
    keep = _counts(counts, len(codebook)) >= minimum
    if not bool(keep.any()):
        raise ConfigError(
            f"Pruning a codebook: expected a code that is used at least {minimum} times, got none."
        )
    kept = codebook[keep.to(codebook.device)]
    new_of_old = nearest_code(codebook.float(), kept.float())
    # Of equal codes the nearest is the first: each that stays is itself all the same.
    new_of_old[keep.to(codebook.device)] = torch.arange(len(kept), device=codebook.device)
    return kept, IndexMap(new_of_old, len(kept))


def reindex_to_used(counts: Int[Tensor, " codes"]) -> IndexMap:
    """Number the used codes from 0 on, in their order; the others have no new index.

    ``codebook[map.inverse().new_of_old]`` is the codebook that goes with it.

    Raises:
        ConfigError: No code is used.
    """
    used = counts > 0
    if not bool(used.any()):
        raise ConfigError("Reindexing to used codes: expected a count above 0, got none.")
    number = used.long().cumsum(0) - 1
    return IndexMap(torch.where(used, number, NO_TOKEN), int(used.sum()))


@torch.no_grad()
def merge_twins(
    codebook: Float[Tensor, "codes dim"], tolerance: float, counts: Tensor | None = None
) -> Edited:
    """Let codes that lie within ``tolerance`` of a more used one become it.

    No token moves further than ``tolerance`` (Euclidean); with 0 equal codes alone are merged, and
    decoding stays the same bit for bit. Costs ``codes^2 dim`` multiplications.

    Args:
        codebook: Codes.
        tolerance: Greatest distance.
        counts: ``[codes]``, how often each is used; of codes of equal counts the first stays.

    Returns:
        The codes that stay, in their order, and the map to them.

    Raises:
        ConfigError: A negative tolerance, or counts that do not fit.
    """
    if not tolerance >= 0:
        raise ConfigError(f"Merging codes: expected a tolerance >= 0, got {tolerance}.")
    rank_of = _counts(counts, len(codebook)).argsort(descending=True, stable=True).argsort()
    neighbours: dict[int, list[int]] = {}
    rows = codebook.double()
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        distance = torch.cdist(
            rows[start : start + _ROWS_AT_ONCE],
            rows,
            compute_mode="donot_use_mm_for_euclid_dist",
        )
        for i, j in torch.nonzero(distance <= tolerance).tolist():
            if i + start != j:
                neighbours.setdefault(i + start, []).append(j)
    leader = list(range(len(rows)))
    ranks = rank_of.tolist()
    free = set(neighbours)
    for i in sorted(neighbours, key=ranks.__getitem__):
        if i in free:
            for j in neighbours[i]:
                if j in free:
                    leader[j] = i
                    free.discard(j)
            free.discard(i)
    leaders = torch.tensor(leader, device=codebook.device)
    stays = leaders == torch.arange(len(rows), device=codebook.device)
    number = stays.long().cumsum(0) - 1
    return codebook[stays], IndexMap(number[leaders], int(stays.sum()))


@torch.no_grad()
def grow(codebook: Float[Tensor, "codes dim"], size: int, counts: Tensor | None = None) -> Edited:
    """Add codes beside the most used ones, for training to part them.

    Old codes and their indices stay. A new code lies beside its parent, a quarter of the distance
    to the nearest other code away, in a direction drawn along the spread of the codebook: within
    the parent's cell, so that it takes over part of its tokens.

    Args:
        codebook: Codes, at least two.
        size: New number of codes.
        counts: ``[codes]``, how often each is used. Each split halves a code's count, so that a
            very frequent one is split several times.

    Returns:
        The larger codebook, and the map: old indices are valid as they are.

    Raises:
        ConfigError: A size that is not larger, or counts that do not fit.
    """
    num_codes = len(codebook)
    if size <= num_codes or num_codes < 2:
        raise ConfigError(
            f"Growing a codebook: expected two codes or more and a size above {num_codes}, got "
            f"{size}."
        )
    heap = [(-count, code) for code, count in enumerate(_counts(counts, num_codes).tolist())]
    heapq.heapify(heap)
    chosen = []
    for _ in range(size - num_codes):
        count, code = heap[0]
        chosen.append(code)
        heapq.heapreplace(heap, (count / 2, code))
    parents = torch.tensor(chosen, device=codebook.device)
    rows = codebook.float()
    spread = rows.std(0, correction=0)
    direction = torch.randn(len(parents), rows.shape[1], device=rows.device) * spread
    direction = torch.nn.functional.normalize(direction, dim=-1)
    room = _nearest_distance(rows)
    # Codes that coincide leave no room of their own.
    room = torch.where(room > 0, room, 0.01 * spread.norm())
    new = rows[parents] + 0.25 * room[parents, None] * direction
    larger = torch.cat([codebook, new.to(codebook.dtype)])
    return larger, IndexMap(torch.arange(num_codes, device=codebook.device), size)


@torch.no_grad()
def replace_codebook(
    quantizer: VectorQuantizer, codebook: Float[Tensor, "codes dim"], index_map: IndexMap
) -> VectorQuantizer:
    """A quantizer like this one with another codebook, ready to go on training.

    Counts go with the codes; those of codes that were merged are added up.

    Args:
        quantizer: Stays as it is.
        codebook: New codes.
        index_map: The way from the old codes to the new ones.

    Raises:
        ConfigError: A map of other codebooks.
    """
    if index_map.old_size != quantizer.codebook_size or index_map.new_size != len(codebook):
        raise ConfigError(
            f"Replacing a codebook: expected a map from {quantizer.codebook_size} to "
            f"{len(codebook)} codes, got one from {index_map.old_size} to {index_map.new_size}."
        )
    new = VectorQuantizer(
        quantizer.dim,
        len(codebook),
        metric=quantizer.metric,
        update=quantizer.update,
        init=quantizer.init,
        revive=quantizer.revive,
        gradient=quantizer.gradient,
        loss=quantizer.loss,
        selection=quantizer.selection,
        regularizers=quantizer.regularizers,
    ).to(quantizer.codebook.device, quantizer.codebook.dtype)
    new.codebook.copy_(codebook if quantizer.trains_codebook else quantizer.metric.place(codebook))
    sizes = _carried(quantizer.cluster_size, index_map)
    # A code without a past begins with the count of an average one.
    new.cluster_size.copy_(torch.where(sizes > 0, sizes, sizes.mean()))
    new.num_collected.fill_(quantizer.init.batches)
    new.num_revived.copy_(quantizer.num_revived)
    new.num_steps.copy_(quantizer.num_steps)
    new.skipped_batches.copy_(quantizer.skipped_batches)
    return new.train(quantizer.training)


@torch.no_grad()
def export_codebook(
    quantizer: Quantizer, *, codebook: int = 0, codes_at_once: int = 65536
) -> Float[Tensor, "codes dim"]:
    """The table of decoded codes: what a token stands for, projections included.

    Args:
        quantizer: Any that quantizes positions one by one, implicit codebooks (FSQ) included.
        codebook: Which entry of the indices' last axis; the others are left out, so that the rows
            of a level of ``Residual`` are what this level adds.
        codes_at_once: Codes that are decoded together.

    Returns:
        fp32 ``[codebook_sizes[codebook], dim]``.

    Raises:
        ConfigError: No such codebook, one of more than 2^24 codes, or a quantizer of a fixed grid.
    """
    name = type(quantizer).__name__
    if not 0 <= codebook < quantizer.num_codebooks:
        raise ConfigError(
            f"Exporting a codebook of {name}: expected 0 to {quantizer.num_codebooks - 1}, got "
            f"{codebook}."
        )
    if quantizer.grid is not None:
        raise ConfigError(
            f"Exporting the codebook of {name}: expected a quantizer of single positions, got one "
            f"of the grid {list(quantizer.grid)}, whose codes mean nothing alone."
        )
    size = quantizer.codebook_sizes[codebook]
    if size > _MAX_EXPORTED:
        raise ConfigError(
            f"Exporting the codebook of {name}: expected at most {_MAX_EXPORTED:,} codes, got "
            f"{size:,}. Decode the indices that you need."
        )
    tensors = (*quantizer.parameters(), *quantizer.buffers())
    device = tensors[0].device if tensors else torch.device("cpu")
    parts = []
    for start in range(0, size, codes_at_once):
        column = torch.arange(start, min(start + codes_at_once, size), device=device)
        indices = torch.full((1, len(column), quantizer.num_codebooks), NO_TOKEN, device=device)
        indices[0, :, codebook] = column
        parts.append(quantizer.decode(indices)[0])
    return torch.cat(parts)


def _counts(counts: Tensor | None, num_codes: int) -> Tensor:
    """Counts on the CPU in fp32; ones by default."""
    if counts is None:
        return torch.ones(num_codes)
    counts = counts.detach().cpu().float()
    if counts.shape != (num_codes,) or not bool(((counts >= 0) & counts.isfinite()).all()):
        raise ConfigError(
            f"Counts of codes: expected {num_codes} finite numbers >= 0, got {list(counts.shape)}, "
            "or one that is negative or not finite. Count the tokens of this codebook."
        )
    return counts


def _carried(counts: Tensor, index_map: IndexMap) -> Tensor:
    """Counts of the new codes: sums over the old codes that became them."""
    new_of_old = index_map.new_of_old.to(counts.device)
    kept = new_of_old != NO_TOKEN
    sums = counts.new_zeros(index_map.new_size)
    return sums.index_add_(0, new_of_old[kept], counts[kept])


def _nearest_distance(rows: Tensor) -> Tensor:
    """Distance of each row to the nearest other row."""
    result = torch.empty(len(rows), device=rows.device)
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        part = rows[start : start + _ROWS_AT_ONCE]
        distance = torch.cdist(part, rows, compute_mode="donot_use_mm_for_euclid_dist")
        number = torch.arange(len(part), device=rows.device)
        distance[number, start + number] = torch.inf
        result[start : start + len(part)] = distance.amin(1)
    return result
