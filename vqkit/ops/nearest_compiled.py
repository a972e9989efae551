"""Nearest codes on a CPU with a kernel that numba compiles (extra ``fast``).

A vectorising compiler does not find the loop order that this search needs, so the inner loops are
emitted as vector instructions: the scores of 4 tokens and 64 codes stay in registers from the first
feature to the last and are compared there. They never reach memory, which makes the search faster
than the matrix product alone.
"""

import math
from collections.abc import Callable
from typing import Any, no_type_check

import torch
from llvmlite import binding, ir  # type: ignore[import-untyped]
from numba import float32, njit, types
from numba.core import cgutils
from numba.core import config as numba_config
from numba.extending import intrinsic
from torch import Tensor

from vqkit.ops.nearest_scores import UNREACHABLE, CentredCodes, Found
from vqkit.shapes import Float

__all__ = ["CompiledSearch"]

_TOKENS = 4
_LANES = 16
_FEATURES = vars(numba_config)["CPU_FEATURES"] or binding.get_host_cpu_features().flatten()
# The scores of 4 tokens with 64 or 16 codes fill half of the registers of AVX-512 or AVX2.
_VECTORS = 4 if "+avx512f" in _FEATURES.split(",") else 1
_BLOCK = _LANES * _VECTORS
_BLOCKS_AT_ONCE = 8  # 16 KiB of codes with 8 features, half of a first-level cache
_TOKENS_AT_ONCE = 256
_INFINITY = float32(math.inf)
_FINITE = ("nnan", "nsz")  # holds: queries are finite, codes too, their products far below overflow
_FUSED = ("contract",)


class CompiledSearch:
    """Search for the codes nearest to float32 queries, on one thread per call."""

    def __init__(self, codes: CentredCodes) -> None:
        num_codes, dim = codes.points.shape
        num_blocks = -(-num_codes // _BLOCK)
        half_norms = torch.full((num_blocks * _BLOCK,), UNREACHABLE)
        half_norms[:num_codes] = codes.half_norms
        blocks = torch.zeros(num_blocks, dim, _BLOCK)
        _pack(codes.points.numpy(), blocks.numpy())
        self._codes = tuple(x.numpy() for x in (codes.points, half_norms, blocks))

    def __call__(self, queries: Float[Tensor, "tokens dim"]) -> Found:
        """Find the best code of every query; other threads may call at the same time."""
        num_tokens = len(queries)
        padded = torch.nn.functional.pad(queries, (0, 0, 0, -num_tokens % _TOKENS)).contiguous()
        found = Found(
            torch.empty(len(padded), dtype=torch.int64),
            torch.empty(len(padded)),
            torch.empty(len(padded)),
        )
        lowest, second = torch.empty(2, _TOKENS_AT_ONCE, _LANES)
        where = torch.zeros(_TOKENS_AT_ONCE, _LANES, dtype=torch.int32)
        _search(*self._codes, *(x.numpy() for x in (padded, *found, lowest, second, where)))
        return Found(*(x[:num_tokens] for x in found))


def _compile(function: Callable[..., None]) -> Any:
    """``njit`` that keeps the machine code on disk, where there is a place to write."""
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:  # numba found no folder that it may write to
        return njit(nogil=True)(function)


@_compile
@no_type_check
def _pack(points, blocks):
    for code in range(points.shape[0]):
        for i in range(points.shape[1]):
            blocks[code // _BLOCK, i, code % _BLOCK] = points[code, i]


@intrinsic
@no_type_check
def _scan(typing_context, blocks, half_norms, queries, first, start, stop, lowest, second, where):
    """Run queries ``first`` to ``first + 3`` past the blocks of codes from ``start`` to ``stop``.

    ``lowest`` holds per query and lane the lowest score so far, ``where`` the block it is from,
    ``second`` the lowest of the scores that lost. Within a block, a lane has only its best code
    of ``_VECTORS`` take part.
    """
    arguments = (blocks, half_norms, queries, first, start, stop, lowest, second, where)
    return types.void(*arguments), _emit_scan


@no_type_check
def _emit_scan(context, builder, signature, arguments):
    floats = ir.VectorType(ir.FloatType(), _LANES)
    integers = ir.VectorType(ir.IntType(32), _LANES)
    first, start, stop = arguments[3:6]

    def array(position):
        return context.make_array(signature.args[position])(context, builder, arguments[position])

    def constant(number):
        return ir.Constant(first.type, number)

    def at(pointer, offset, kind):
        return builder.bitcast(builder.gep(pointer, [offset]), kind.as_pointer())

    def load(pointer, offset, kind):
        return builder.load(at(pointer, offset, kind), align=4)

    def splat(value, kind):
        undefined = ir.Constant(kind, ir.Undefined)
        one = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
        return builder.shuffle_vector(one, undefined, ir.Constant(integers, [0] * _LANES))

    def is_less(a, b):
        return builder.fcmp_ordered("<", a, b, flags=_FINITE)

    def choose(condition, a, b, flags=_FINITE):
        return builder.select(condition, a, b, flags=flags)

    blocks, half_norms, queries = array(0), array(1), array(2)
    dim = cgutils.unpack_tuple(builder, queries.shape)[1]
    tokens = [builder.add(first, constant(t)) for t in range(_TOKENS)]
    rows = [builder.gep(queries.data, [builder.mul(token, dim)]) for token in tokens]
    scores = [[cgutils.alloca_once(builder, floats) for _ in range(_VECTORS)] for _ in tokens]

    # The running minima: read once, kept in variables, written back once.
    states = []
    for token in tokens:
        offset = builder.mul(token, constant(_LANES))
        places = [
            at(array(i).data, offset, k) for i, k in ((6, floats), (7, floats), (8, integers))
        ]
        values = [cgutils.alloca_once_value(builder, builder.load(p, align=4)) for p in places]
        states.append((places, values))

    with cgutils.for_range(builder, stop, start) as block_loop:
        block = block_loop.index
        offset = builder.mul(block, constant(_BLOCK))
        codes = builder.gep(blocks.data, [builder.mul(offset, dim)])
        for v in range(_VECTORS):
            half_norm = load(half_norms.data, builder.add(offset, constant(v * _LANES)), floats)
            for t in range(_TOKENS):
                builder.store(half_norm, scores[t][v])

        with cgutils.for_range(builder, dim) as feature_loop:
            offset = builder.mul(feature_loop.index, constant(_BLOCK))
            entries = [
                load(codes, builder.add(offset, constant(v * _LANES)), floats)
                for v in range(_VECTORS)
            ]
            for t in range(_TOKENS):
                query = builder.load(builder.gep(rows[t], [feature_loop.index]))
                query = splat(query, floats)
                for v in range(_VECTORS):
                    product = builder.fmul(query, entries[v], flags=_FUSED)
                    score = builder.fsub(builder.load(scores[t][v]), product, flags=_FUSED)
                    builder.store(score, scores[t][v])

        number = splat(builder.trunc(block, ir.IntType(32)), integers)
        for (_, (lowest, second, where)), candidates in zip(states, scores, strict=True):
            score = builder.load(candidates[0])
            for candidate in candidates[1:]:
                other = builder.load(candidate)
                score = choose(is_less(score, other), score, other)
            before = builder.load(lowest)
            better = is_less(score, before)
            loser = choose(better, before, score)
            behind = builder.load(second)
            builder.store(choose(is_less(loser, behind), loser, behind), second)
            builder.store(choose(better, score, before), lowest)
            builder.store(choose(better, number, builder.load(where), flags=()), where)

    for places, values in states:
        for place, value in zip(places, values, strict=True):
            builder.store(builder.load(value), place, align=4)
    return context.get_dummy_value()


@njit(fastmath={"contract", "reassoc"})
@no_type_check
def _product(a, b):
    total = float32(0)
    for i in range(a.shape[0]):
        total += a[i] * b[i]
    return total


@njit
@no_type_check
def _finish(points, half_norms, query, lowest, second, where):
    """Best code, its score and that of the runner-up, from the minima of the lanes."""
    lane = 0
    for i in range(1, _LANES):
        if lowest[i] < lowest[lane]:
            lane = i
    runner_up = second[lane]
    for i in range(_LANES):
        if i != lane:
            runner_up = min(runner_up, lowest[i])
    # One of the codes of that lane and block had the lowest score: which, and how far ahead?
    score = _INFINITY
    index = 0
    for v in range(_VECTORS):
        code = where[lane] * _BLOCK + v * _LANES + lane
        if code >= points.shape[0]:
            break
        here = half_norms[code] - _product(query, points[code])
        if here < score:
            runner_up = min(runner_up, score)
            score = here
            index = code
        else:
            runner_up = min(runner_up, here)
    return index, score, runner_up


@_compile
@no_type_check
def _search(points, half_norms, blocks, queries, indices, score, runner_up, lowest, second, where):
    num_blocks = blocks.shape[0]
    for start in range(0, queries.shape[0], _TOKENS_AT_ONCE):
        rows = queries[start : start + _TOKENS_AT_ONCE]
        lowest[:] = _INFINITY
        second[:] = _INFINITY
        for block in range(0, num_blocks, _BLOCKS_AT_ONCE):
            stop = min(block + _BLOCKS_AT_ONCE, num_blocks)
            for first in range(0, rows.shape[0], _TOKENS):
                _scan(blocks, half_norms, rows, first, block, stop, lowest, second, where)
        for t in range(rows.shape[0]):
            indices[start + t], score[start + t], runner_up[start + t] = _finish(
                points, half_norms, rows[t], lowest[t], second[t], where[t]
            )
