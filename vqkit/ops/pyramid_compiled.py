"""Projection, index and vector of a pyramid on a CPU, compiled by numba (extra ``fast``).

The same arithmetic as the torch code, number for number and without fused or reordered operations,
so that both give the same integers. Rows are spread over torch's threads.
"""

from collections.abc import Callable
from typing import Any, no_type_check

import torch
from numba import njit
from torch import Tensor

from vqkit.ops.pyramid import LEAST_GAIN, MAX_EXCHANGES, PEAK
from vqkit.ops.pyramid_table import PyramidTable
from vqkit.ops.threads import on_all_threads

__all__ = ["project", "to_index", "to_vector"]

_ROWS_PER_TASK = 1024


def project(x: Tensor, pulses: int, exchange: bool) -> Tensor:
    """Integers ``[rows, dim]`` of float64 ``x [rows, dim]``."""
    y = torch.empty(x.shape, dtype=torch.int64)
    rounds = MAX_EXCHANGES if exchange else 0
    _for_all_rows(_project, x, y, pulses, rounds)
    return y


def to_index(y: Tensor, table: PyramidTable, pulses: int) -> Tensor:
    """Words ``[rows, words]`` of ``y [rows, dim]``."""
    words = torch.empty(len(y), table.num_words, dtype=torch.int64)
    _for_all_rows(_to_index, y, words, table.counts.numpy(), pulses, table.bits)
    return words


def to_vector(words: Tensor, table: PyramidTable, dim: int, pulses: int) -> Tensor:
    """Integers ``[rows, dim]`` of ``words [rows, words]``."""
    y = torch.empty(len(words), dim, dtype=torch.int64)
    tables = table.counts.numpy(), table.starts.numpy()
    _for_all_rows(_to_vector, words, y, *tables, pulses, table.bits)
    return y


def _for_all_rows(
    kernel: Callable[..., None], source: Tensor, target: Tensor, *arguments: Any
) -> None:
    def run(task: int) -> None:
        rows = slice(task * _ROWS_PER_TASK, (task + 1) * _ROWS_PER_TASK)
        kernel(source[rows].numpy(), target[rows].numpy(), *arguments)

    on_all_threads(run, -(-len(source) // _ROWS_PER_TASK))


def _compile(function: Callable[..., None]) -> Any:
    """``njit`` that keeps the machine code on disk, where there is a place to write."""
    try:
        return njit(nogil=True, cache=True, error_model="numpy")(function)
    except RuntimeError:  # numba found no folder that it may write to
        return njit(nogil=True, error_model="numpy")(function)


@_compile
@no_type_check
def _project(x, out, pulses, rounds):
    dim = x.shape[1]
    a = [0.0] * dim
    y = [0.0] * dim
    for row in range(x.shape[0]):
        peak = 0.0
        for j in range(dim):
            value = abs(x[row, j])
            # A NaN compares as nothing: it must end up in the peak and stay there.
            if not value <= peak:
                peak = value
            if value != value:
                break
        usable = peak > 0.0 and peak < float("inf")
        scale = PEAK / peak if usable else 0.0
        total = 0.0
        for j in range(dim):
            a[j] = float(int(abs(x[row, j]) * scale + 0.5)) if usable else 0.0
            y[j] = 0.0
        if not usable:
            a[0] = PEAK
        for j in range(dim):
            total += a[j]
        inner = 0.0
        square = 0.0
        missing = pulses
        if 2 * pulses > dim:
            for j in range(dim):
                whole = int(a[j]) * pulses // int(total)
                y[j] = float(whole)
                inner += a[j] * y[j]
                square += y[j] * y[j]
                missing -= whole
        for _ in range(missing):
            best = -1.0
            best_j = 0
            for j in range(dim):
                reached = inner + a[j]
                score = reached * reached / (square + 2.0 * y[j] + 1.0)
                if score > best:
                    best = score
                    best_j = j
            inner += a[best_j]
            square += 2.0 * y[best_j] + 1.0
            y[best_j] += 1.0
        for _ in range(rounds):
            best = -1.0
            best_i = 0
            best_j = 0
            for i in range(dim):
                if y[i] > 0.0:
                    without_inner = inner - a[i]
                    without_square = square - 2.0 * y[i] + 1.0
                    for j in range(dim):
                        if j != i:
                            reached = without_inner + a[j]
                            score = reached * reached / (without_square + 2.0 * y[j] + 1.0)
                            if score > best:
                                best = score
                                best_i = i
                                best_j = j
            if not best > inner * inner / square * LEAST_GAIN:
                break
            inner += a[best_j] - a[best_i]
            square += 2.0 * (y[best_j] - y[best_i]) + 2.0
            y[best_i] -= 1.0
            y[best_j] += 1.0
        for j in range(dim):
            out[row, j] = -int(y[j]) if x[row, j] < 0.0 else int(y[j])


@_compile
@no_type_check
def _to_index(y, words, counts, pulses, bits):
    num_words = words.shape[1]
    dim = y.shape[1]
    half = bits // 2
    mask = (1 << half) - 1
    digits = [0] * (2 * num_words)
    for row in range(y.shape[0]):
        left = pulses
        if num_words == 1:
            # Sums may overflow on the way; modulo 2^64 the result is exact.
            index = 0
            for j in range(dim):
                value = y[row, j]
                if value != 0:
                    after = left - abs(value)
                    index += counts[dim - j, left, 0] - counts[dim - j, after, 0]
                    if value > 0:
                        index -= counts[dim - j - 1, after, 0]
                    left = after
            words[row, 0] = index
            continue
        for i in range(2 * num_words):
            digits[i] = 0
        for j in range(dim):
            value = y[row, j]
            if value != 0:
                after = left - abs(value)
                for i in range(num_words):
                    more = counts[dim - j, left, i]
                    less = counts[dim - j, after, i]
                    low = (more & mask) - (less & mask)
                    high = (more >> half) - (less >> half)
                    if value > 0:
                        other = counts[dim - j - 1, after, i]
                        low -= other & mask
                        high -= other >> half
                    digits[2 * i] += low
                    digits[2 * i + 1] += high
                left = after
        carry = 0
        for i in range(num_words):
            low = digits[2 * i] + carry
            high = digits[2 * i + 1] + (low >> half)
            carry = high >> half
            words[row, i] = (low & mask) | ((high & mask) << half)


@_compile
@no_type_check
def _to_vector(words, y, counts, starts, pulses, bits):
    num_words = words.shape[1]
    dim = y.shape[1]
    mask = (1 << bits) - 1
    remaining = [0] * num_words
    for row in range(y.shape[0]):
        left = pulses
        borrow = 0
        for i in range(num_words):
            word = counts[dim, pulses, i] - words[row, i] + borrow
            borrow = word >> bits
            remaining[i] = word & mask
        for j in range(dim):
            length = dim - j - 1
            # The largest k with starts[length, k] < remaining; entry 0 is always below.
            low = 0
            high = left
            while low < high:
                middle = (low + high + 1) // 2
                if _is_less(starts[length, middle], remaining):
                    low = middle
                else:
                    high = middle - 1
            positive = low < left and _is_less(counts[length + 1, low], remaining)
            y[row, j] = left - low if positive else low - left
            borrow = 0
            for i in range(num_words):
                passed = counts[length + 1, low, i] if positive else starts[length, low, i]
                word = remaining[i] - passed + borrow
                borrow = word >> bits
                remaining[i] = word & mask
            left = low


@njit(nogil=True)
@no_type_check
def _is_less(a, b):
    for i in range(len(b) - 1, -1, -1):
        if a[i] != b[i]:
            return a[i] < b[i]
    return False
