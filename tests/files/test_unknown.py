"""Tokens that are not known: -1 in memory, one more value at the top in the file."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.files.fake_prior import RampPrior
from tests.files.samples import holed, photo, stream
from tests.files.specification import says_the_same
from vqkit.files import CodingResources, dumps, loads, read_info
from vqkit.files.format_error import FormatError
from vqkit.files.modes import (
    CODERS,
    ChunkLayout,
    coding_mode,
    decode_chunk,
    encode_chunk,
    max_payload_bytes,
)
from vqkit.tokenizers.tokens import Tokens, TokenStream

NOTHING = CodingResources()


@settings(max_examples=30, deadline=None)
@given(
    shape=st.lists(st.integers(1, 6), max_size=3).map(tuple),
    sizes=st.lists(st.sampled_from([1, 2, 3, 512, 1 << 18, 1 << 24, 1 << 62]), min_size=1).filter(
        lambda sizes: len(sizes) <= 3
    ),
    share=st.sampled_from([0.1, 0.9, 1.0]),
    seed=st.integers(0, 9),
    chunk_rows=st.sampled_from([None, 1, 2]),
)
def test_round_trip(
    shape: tuple[int, ...], sizes: list[int], share: float, seed: int, chunk_rows: int | None
) -> None:
    whole = stream(shape, tuple(sizes), ("time", "height", "width")[: len(shape)], seed)
    tokens = Tokens({"tokens": holed(whole, share, seed)}, ({},), "image", "", "0" * 32)
    for coder in CODERS:
        data = dumps(tokens, chunk_rows=chunk_rows, coder=coder)
        assert loads(data).same_as(tokens)
    assert says_the_same(dumps(tokens, chunk_rows=chunk_rows), tokens)


def test_unknown_tokens_are_counted_and_told_apart() -> None:
    known = photo()
    tokens = _with(known, holed(known.streams["tokens"], 0.2))
    data = dumps(tokens)
    info = read_info(data)
    assert tokens.num_unknown == int((tokens.indices == -1).sum()) > 300
    assert loads(data).num_unknown == tokens.num_unknown
    assert not loads(data).same_as(known)
    assert info.streams[0].has_unknown
    assert info.streams[0].coding.endswith("with unknown tokens")
    assert info.token_hash != read_info(dumps(known)).token_hash
    assert not read_info(dumps(known)).streams[0].has_unknown


def test_fixed_width_grows_by_the_one_value() -> None:
    known = photo()
    tokens = _with(known, holed(known.streams["tokens"], 0.2))
    payload = read_info(dumps(tokens, coder="fixed")).payload_bytes
    assert payload == math.ceil(38 * 57 * 10 / 8)
    assert read_info(dumps(tokens)).payload_bytes <= payload


def test_a_chunk_without_unknown_tokens_pays_nothing() -> None:
    known = photo()
    indices = known.indices.clone()
    indices[:, :5] = -1
    stream_info = read_info(
        dumps(_with(known, _like(known, indices)), chunk_rows=10, coder="fixed")
    )
    assert stream_info.streams[0].payload_bytes == (
        math.ceil(570 * 10 / 8) + 2 * math.ceil(570 * 9 / 8) + math.ceil(456 * 9 / 8)
    )


def test_no_chunk_is_larger_than_at_fixed_width() -> None:
    random = np.random.default_rng(0)
    for size in (1, 2, 17, 512, 1 << 20):
        indices = random.integers(-1, size, (200, 2))
        indices[0] = -1
        layout = ChunkLayout("tokens", (200,), (size, size))
        number, payload = encode_chunk(indices, layout, "auto", NOTHING)
        assert number & 0x80
        assert len(payload) <= max_payload_bytes(number, layout)
        np.testing.assert_array_equal(decode_chunk(number, payload, layout, NOTHING), indices)
        np.testing.assert_array_equal(
            decode_chunk(number, payload, layout, NOTHING, 1), indices[:, :1]
        )


def test_a_prior_codes_known_tokens_alone() -> None:
    known = photo()
    tokens = _with(known, holed(known.streams["tokens"], 0.2))
    assert dumps(tokens, resources=CodingResources(prior=RampPrior())) == dumps(tokens)
    with pytest.raises(FormatError, match=r"expected a coding mode of .*got 133"):
        coding_mode(0x85)


def test_padding_of_a_batch_is_not_unknown() -> None:
    known = photo()
    small = _with(known, _like(known, torch.full((1, 2, 3, 1), -1)))
    batch = Tokens.stack([known, small])
    assert batch.num_unknown == small.num_unknown == 6


def _like(tokens: Tokens, indices: torch.Tensor) -> TokenStream:
    return replace(tokens.streams["tokens"], indices=indices)


def _with(tokens: Tokens, main: TokenStream) -> Tokens:
    return replace(tokens, streams={"tokens": main})
