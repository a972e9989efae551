"""Nearest codes on a GPU with a Triton kernel.

A program scores a tile of tokens against one tile of codes after the other, keeps the two lowest
scores of every token in registers and writes them once: the scores never reach memory. The products
are float32 to the last bit (no TensorFloat-32), as ``CentredCodes.score_error`` assumes.
"""

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any, no_type_check

import torch
import triton
import triton.language as tl
from torch import Tensor

from vqkit.ops.nearest_scores import UNREACHABLE, CentredCodes, Found
from vqkit.shapes import Float

__all__ = ["TritonSearch"]

# 168 of 255 registers per thread on compute capability 9.0; larger tiles spill to memory.
_TOKENS_PER_TILE = 64
_CODES_PER_TILE = 64
_FEATURES_AT_ONCE = 16  # the least that Triton multiplies
_WARPS = 4
_PROGRAMS_PER_PROCESSOR = 4  # enough to keep each multiprocessor busy
_INTERPRETED_PROCESSORS = 1


class TritonSearch:
    """Search for the codes nearest to float32 queries, on the GPU of the codes."""

    def __init__(self, codes: CentredCodes) -> None:
        self._points = codes.points.contiguous()
        self._half_norms = codes.half_norms
        self._num_processors = _num_processors(codes.points.device)

    def __call__(self, queries: Float[Tensor, "tokens dim"]) -> Found:
        """Find the best code of every query."""
        num_tokens, dim = queries.shape
        num_codes = len(self._points)
        num_rows = triton.cdiv(num_tokens, _TOKENS_PER_TILE)
        # Few tokens do not fill a GPU: then several programs share the codes of a token.
        wanted = triton.cdiv(_PROGRAMS_PER_PROCESSOR * self._num_processors, num_rows)
        num_parts = min(wanted, triton.cdiv(num_codes, _CODES_PER_TILE))
        codes_per_part = triton.cdiv(num_codes, num_parts * _CODES_PER_TILE) * _CODES_PER_TILE
        num_parts = triton.cdiv(num_codes, codes_per_part)
        found = Found(
            queries.new_empty(num_parts, num_tokens, dtype=torch.int64),
            queries.new_empty(num_parts, num_tokens),
            queries.new_empty(num_parts, num_tokens),
        )
        kernel: Any = _scan
        with _launching_on(queries.device):
            kernel[(num_rows, num_parts)](
                queries.contiguous(),
                self._points,
                self._half_norms,
                *found,
                num_tokens,
                num_codes,
                codes_per_part,
                dim,
                _TOKENS_PER_TILE,
                _CODES_PER_TILE,
                _FEATURES_AT_ONCE,
                UNREACHABLE,
                num_warps=_WARPS,
            )
        return _merged(found)


def _merged(parts: Found) -> Found:
    """The best over parts ``[parts, tokens]`` of the codes; an earlier part wins a tie."""
    if len(parts.score) == 1:
        return Found(*(part[0] for part in parts))
    score, part = parts.score.min(0, keepdim=True)
    others = parts.score.scatter(0, part, math.inf)
    return Found(
        parts.indices.gather(0, part)[0],
        score[0],
        torch.minimum(others.amin(0), parts.runner_up.amin(0)),
    )


def _launching_on(device: torch.device) -> AbstractContextManager[None]:
    """Triton launches on the current device, whatever the tensors are on."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def _num_processors(device: torch.device) -> int:
    if device.type != "cuda":
        return _INTERPRETED_PROCESSORS
    return torch.cuda.get_device_properties(device).multi_processor_count


@triton.jit
@no_type_check
def _scan(
    queries,
    points,
    half_norms,
    indices,
    score,
    runner_up,
    num_tokens,
    num_codes,
    codes_per_part,
    dim: tl.constexpr,
    tokens_per_tile: tl.constexpr,
    codes_per_tile: tl.constexpr,
    features_at_once: tl.constexpr,
    unreachable: tl.constexpr,
):
    """Best code, its score and the runner-up of a tile of tokens, among a part of the codes."""
    token = tl.program_id(0).to(tl.int64) * tokens_per_tile + tl.arange(0, tokens_per_tile)
    part = tl.program_id(1)
    column = tl.arange(0, codes_per_tile)
    lowest = tl.full([tokens_per_tile], float("inf"), tl.float32)
    second = tl.full([tokens_per_tile], float("inf"), tl.float32)
    where = tl.zeros([tokens_per_tile], tl.int32)
    start = part * codes_per_part
    for first in range(start, tl.minimum(start + codes_per_part, num_codes), codes_per_tile):
        code = first + column
        products = tl.zeros([tokens_per_tile, codes_per_tile], tl.float32)
        for begin in range(0, dim, features_at_once):
            feature = begin + tl.arange(0, features_at_once)
            query = tl.load(
                queries + token[:, None] * dim + feature[None, :],
                mask=(token[:, None] < num_tokens) & (feature[None, :] < dim),
                other=0.0,
            )
            point = tl.load(
                points + code[None, :].to(tl.int64) * dim + feature[:, None],
                mask=(code[None, :] < num_codes) & (feature[:, None] < dim),
                other=0.0,
            )
            products = tl.dot(query, point, products, input_precision="ieee")
        half_norm = tl.load(half_norms + code, mask=code < num_codes, other=unreachable)
        scores = half_norm[None, :] - products
        here, winner = tl.min(scores, axis=1, return_indices=True)
        others = tl.where(column[None, :] == winner[:, None], float("inf"), scores)
        better = here < lowest
        second = tl.minimum(
            tl.minimum(second, tl.min(others, axis=1)), tl.where(better, lowest, here)
        )
        where = tl.where(better, first + winner, where)
        lowest = tl.where(better, here, lowest)
    place = part.to(tl.int64) * num_tokens + token
    usable = token < num_tokens
    tl.store(indices + place, where.to(tl.int64), mask=usable)
    tl.store(score + place, lowest, mask=usable)
    tl.store(runner_up + place, second, mask=usable)
