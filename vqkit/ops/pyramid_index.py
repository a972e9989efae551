"""Vectors of a pyramid as integers 0 ... N - 1 and back, exactly, at any size.

With ``N(l, k)`` vectors of l entries and k pulses, and ``k_j`` pulses left before entry j, the
order of Fischer (zero first, then +1, -1, +2, -2 ...) counts the vectors before y as::

    sum_j [N(L-j, k_j) - N(L-j, k_(j+1))] - sum_(y_j > 0) N(L-j-1, k_(j+1))

because the sums over smaller magnitudes telescope. Going back, ``J = N - index`` shrinks entry by
entry: of ``D(l, k) = N(l+1, k) - N(l, k)``, the largest k with ``D(L-j-1, k) < J`` is what is left.
"""

import torch
from torch import Tensor

from vqkit.errors import ShapeError
from vqkit.ops.pyramid_backend import check_pyramid, runs_compiled
from vqkit.ops.pyramid_table import PyramidTable, pyramid_table
from vqkit.shapes import Int

__all__ = ["index_to_pyramid", "pyramid_to_index"]

_ELEMENTS_AT_ONCE = 2**17


def pyramid_to_index(
    y: Int[Tensor, "*positions dim"], pulses: int, *, backend: str = "auto"
) -> Int[Tensor, "*positions words"]:
    """Index of each vector, in Fischer's order (Fischer 1986, section IV).

    Args:
        y: Integers whose magnitudes sum to ``pulses``.
        pulses: K.
        backend: ``torch`` (any device), ``compiled`` (CPU, extra ``fast``), ``auto``.

    Returns:
        int64 words, the lowest first, of :func:`~vqkit.ops.pyramid_table.pyramid_word_sizes`.

    Raises:
        ShapeError: Not integers, or magnitudes of another sum (looked at on the CPU only).
        ConfigError: Bad ``pulses`` or backend.
        MissingExtraError: ``compiled`` without numba.

    >>> pyramid_to_index(torch.tensor([[0, 2], [1, 1], [-1, 1], [-2, 0]]), 2)[:, 0]
    tensor([0, 2, 4, 7])
    """
    if y.ndim == 0 or y.is_floating_point() or y.dtype == torch.bool:
        raise ShapeError(
            f"Pyramid vectors: expected integers [*positions, dim], got {y.dtype} {list(y.shape)} "
            "(pyramid_to_index)."
        )
    check_pyramid(y.shape[-1], pulses, backend)
    return _to_index(y.detach(), pulses, backend)


def index_to_pyramid(
    index: Int[Tensor, "*positions words"], dim: int, pulses: int, *, backend: str = "auto"
) -> Int[Tensor, "*positions dim"]:
    """Vector of each index, the inverse of :func:`pyramid_to_index`.

    Args:
        index: Words, the lowest first.
        dim: L.
        pulses: K.
        backend: ``torch`` (any device), ``compiled`` (CPU, extra ``fast``), ``auto``.

    Raises:
        ShapeError: Another number of words, or an index outside ``0 ... N - 1``: of several words,
            not every combination is one. On a GPU, such an index fails an assertion of the device.
        ConfigError: Bad ``dim``, ``pulses`` or backend.
        MissingExtraError: ``compiled`` without numba.

    >>> index_to_pyramid(torch.tensor([[0], [2], [4], [7]]), dim=2, pulses=2).tolist()
    [[0, 2], [1, 1], [-1, 1], [-2, 0]]
    """
    check_pyramid(dim, pulses, backend)
    if index.ndim == 0 or index.is_floating_point() or index.dtype == torch.bool:
        raise ShapeError(
            f"Pyramid indices: expected integers [*positions, words], got {index.dtype} "
            f"{list(index.shape)} (index_to_pyramid)."
        )
    return _to_vector(index.detach(), dim, pulses, backend)


# Operators of their own, so that torch.compile takes them as they are, the checks included.
@torch.library.custom_op("vqkit::pyramid_to_index", mutates_args=())
def _to_index(y: Tensor, pulses: int, backend: str) -> Tensor:
    dim = y.shape[-1]
    table = pyramid_table(dim, pulses, y.device)
    rows = y.reshape(-1, dim).long()
    _require((rows.abs().sum(-1) == pulses), f"magnitudes that sum to {pulses}", "others")
    if runs_compiled(backend, rows):
        from vqkit.ops.pyramid_compiled import to_index

        words = to_index(rows.contiguous(), table, pulses)
    else:
        size = max(1, _ELEMENTS_AT_ONCE // dim)
        words = torch.cat([_index_rows(part, table, pulses) for part in rows.split(size)])
    return words.reshape(*y.shape[:-1], table.num_words)


@_to_index.register_fake
def _(y: Tensor, pulses: int, backend: str) -> Tensor:
    num_words = pyramid_table(y.shape[-1], pulses, torch.device("cpu")).num_words
    return y.new_empty((*y.shape[:-1], num_words), dtype=torch.int64)


@torch.library.custom_op("vqkit::index_to_pyramid", mutates_args=())
def _to_vector(index: Tensor, dim: int, pulses: int, backend: str) -> Tensor:
    table = pyramid_table(dim, pulses, index.device)
    if index.shape[-1] != table.num_words:
        raise ShapeError(
            f"Pyramid indices: expected {table.num_words} words for dim {dim} and {pulses} pulses, "
            f"got {list(index.shape)} (index_to_pyramid)."
        )
    rows = index.reshape(-1, table.num_words).long()
    size = table.counts[dim, pulses]
    digits = (rows >= 0) & (rows <= (1 << table.bits) - 1)
    inside = digits.all(-1) & _less(rows, size)
    _require(inside, "words of one number below N", "a combination that is no index")
    # Where a device cannot raise, an index out of range must not read out of bounds either.
    rows = torch.where(inside[:, None], rows, 0)
    if runs_compiled(backend, index.new_empty(1).expand(len(rows) * dim)):
        from vqkit.ops.pyramid_compiled import to_vector

        y = to_vector(rows.contiguous(), table, dim, pulses)
    else:
        step = max(1, _ELEMENTS_AT_ONCE // (pulses * table.num_words))
        y = torch.cat([_vector_rows(part, table, dim, pulses) for part in rows.split(step)])
    return y.reshape(*index.shape[:-1], dim)


@_to_vector.register_fake
def _(index: Tensor, dim: int, pulses: int, backend: str) -> Tensor:
    return index.new_empty((*index.shape[:-1], dim), dtype=torch.int64)


def _require(correct: Tensor, expected: str, got: str) -> None:
    if correct.is_cuda:
        # Reading the answer back would stall the device at every call.
        torch._assert_async(correct.all(), f"pyramid: expected {expected}")
    elif not bool(correct.all()):
        row = int((~correct).nonzero()[0, 0])
        raise ShapeError(f"Pyramid: expected {expected}, got {got} (row {row}).")


def _index_rows(y: Tensor, table: PyramidTable, pulses: int) -> Tensor:
    dim = y.shape[-1]
    size = y.abs()
    after = pulses - size.cumsum(-1)
    before = after + size
    length = torch.arange(dim, 0, -1, device=y.device)
    terms = table.counts[length, before] - table.counts[length, after]
    if table.num_words == 1:
        # Whatever overflows on the way, the sum itself fits: arithmetic modulo 2^64 is exact.
        smaller = torch.where((y > 0)[..., None], table.counts[length - 1, after], 0)
        return (terms - smaller).sum(-2)
    half = table.bits // 2
    halves = _halves(table.counts, half)
    terms = halves[length, before] - halves[length, after]
    terms -= torch.where((y > 0)[..., None], halves[length - 1, after], 0)
    return _join(terms.sum(-2), half)


def _halves(words: Tensor, half: int) -> Tensor:
    """Each word as two digits of ``half`` bits, whose sums over a vector fit in 64 bits."""
    return torch.stack([words & ((1 << half) - 1), words >> half], -1).flatten(-2)


def _join(digits: Tensor, half: int) -> Tensor:
    """Words of sums of digits, which may be negative or too large: carry, lowest first."""
    carry = torch.zeros_like(digits[..., 0])
    words = []
    for low, high in zip(digits[..., 0::2].unbind(-1), digits[..., 1::2].unbind(-1), strict=True):
        low = low + carry
        high = high + (low >> half)
        carry = high >> half
        words.append((low & ((1 << half) - 1)) | (high & ((1 << half) - 1)) << half)
    return torch.stack(words, -1)


def _vector_rows(index: Tensor, table: PyramidTable, dim: int, pulses: int) -> Tensor:
    left = torch.full((len(index),), pulses, device=index.device)
    remaining = _subtract(table.counts[dim, pulses], index, table.bits)  # J = N - index >= 1
    entries = []
    for length in range(dim - 1, -1, -1):
        starts, counts = table.starts[length], table.counts[length + 1]
        if table.num_words == 1:
            column = starts[:, 0].contiguous()
            after = torch.searchsorted(column, remaining[:, 0].contiguous()) - 1
        else:
            after = _less(starts[1:], remaining[:, None]).sum(-1)
        positive = (after < left) & _less(counts[after], remaining)
        size = left - after
        entries.append(torch.where(positive, size, -size))
        passed = torch.where(positive[:, None], counts[after], starts[after])
        remaining = _subtract(remaining, passed, table.bits)
        left = after
    return torch.stack(entries, -1)


def _less(a: Tensor, b: Tensor) -> Tensor:
    """Whether ``a < b``, the highest word deciding."""
    less = a[..., 0] < b[..., 0]
    for x, y in zip(a.unbind(-1)[1:], b.unbind(-1)[1:], strict=True):
        less = (x < y) | ((x == y) & less)
    return less


def _subtract(a: Tensor, b: Tensor, bits: int) -> Tensor:
    """``a - b`` word by word, with borrows; not negative."""
    difference = a - b
    if difference.shape[-1] == 1:
        return difference
    borrow = torch.zeros_like(difference[..., 0])
    words = []
    for word in difference.unbind(-1):
        word = word + borrow
        borrow = word >> bits
        words.append(word & ((1 << bits) - 1))
    return torch.stack(words, -1)
