"""Where the bytes of a file go, and what its tokens need."""

import math

import numpy as np
import pytest
import torch

from tests.files.coded_samples import CODED_SAMPLES
from tests.files.samples import SAMPLES, damaged
from vqkit.files import dumps, level_rates, read_info
from vqkit.tokenizers.tokens import Tokens, TokenStream


@pytest.mark.parametrize("name", [*SAMPLES, *CODED_SAMPLES])
def test_every_byte_is_accounted_for(name: str) -> None:
    if name in SAMPLES:
        tokens, chunk_rows = SAMPLES[name]
        data = dumps(tokens, chunk_rows=chunk_rows)
    else:
        data = CODED_SAMPLES[name].data
    info = read_info(data)
    assert info.size_bytes == len(data)
    assert info.size_bytes == (
        info.header_bytes
        + info.payload_bytes
        + info.table_bytes
        + info.chunk_bytes
        + info.footer_bytes
    )
    assert (info.table_bytes > 0) == (name == "own_table")


def test_rates_of_levels() -> None:
    first, second, gain = level_rates(Tokens.stack([damaged(), damaged()]))[::-1][:3][::-1]
    rates = {(rate.stream, rate.codebook): rate for rate in (first, second, gain)}
    lost = rates["gain", 0]
    assert (lost.num_tokens, lost.num_unknown, lost.entropy_bits) == (18, 18, 0.0)
    assert lost.nominal_bits == pytest.approx(18 * math.log2(1000))
    level = rates["tokens", 1]
    indices = damaged().indices[..., 1].flatten()
    known = indices[indices >= 0].repeat(2).numpy()
    counts = np.unique(known, return_counts=True)[1]
    expected = -(counts * np.log2(counts / known.size)).sum()
    assert level.entropy_bits == pytest.approx(expected)
    assert (level.codebook_size, level.num_tokens) == (16, 2 * 24 * 30)
    assert level.num_unknown == 2 * int((indices < 0).sum())


def test_entropy_of_a_uniform_and_of_a_constant_source() -> None:
    indices = torch.stack([torch.arange(64), torch.full((64,), 3)], dim=-1)[None]
    stream = TokenStream(indices, (64, 8), ("time",))
    tokens = Tokens({"tokens": stream}, ({},), "audio", "", "0" * 32)
    assert [rate.entropy_bits for rate in level_rates(tokens)] == [64 * 6, 0]
    empty = TokenStream(torch.zeros(1, 0, 1, dtype=torch.int64), (8,), ("time",))
    (rate,) = level_rates(Tokens({"tokens": empty}, ({},), "audio", "", "0" * 32))
    assert (rate.num_tokens, rate.entropy_bits) == (0, 0.0)
