"""Damaged files: what is intact comes back, at its place, and what is lost is said."""

import io
import random
import time
import tracemalloc
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.files.coded_samples import skewed
from tests.files.crafted import HEADER, chunk, crc, head
from tests.files.samples import SAMPLES, photo, speech
from tests.files.test_mutations import outcome
from vqkit.errors import TokenFileError
from vqkit.files import (
    FileHeader,
    Limits,
    RecoveredTokens,
    StreamHeader,
    TokenWriter,
    container,
    dumps,
    recover_tokens,
)
from vqkit.files.container.part import PlacedChunk, place_chunks
from vqkit.files.reader import Reader
from vqkit.tokenizers.tokens import Tokens, TokenStream


def layout_of(data: bytes) -> list[PlacedChunk]:
    return list(place_chunks(container.read_index(Reader(io.BytesIO(data), ""), Limits())))


def footer_start(data: bytes) -> int:
    last = layout_of(data)[-1]
    return last.offset + last.chunk.size_bytes


@cache
def written(name: str) -> bytes:
    tokens, chunk_rows = SAMPLES[name]
    return dumps(tokens, chunk_rows=chunk_rows)


def flip(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 0x10]) + data[position + 1 :]


def check_rows(recovered: RecoveredTokens, whole: Tokens, lost: list[range]) -> None:
    """Rows of "tokens" are those of ``whole`` but for the lost ones, and the report says so."""
    expected = whole.indices.clone()
    for rows in lost:
        expected[:, rows.start : rows.stop] = -1
    assert torch.equal(recovered.tokens.indices, expected)
    assert [(loss.start_row, loss.stop_row) for loss in recovered.losses] == [
        (rows.start, rows.stop) for rows in lost
    ]
    assert recovered.num_lost == recovered.tokens.num_unknown - whole.num_unknown


PHOTO = dumps(photo(), chunk_rows=5)  # 38 rows: 7 chunks of 5 rows, one of 3
CHUNKS = layout_of(PHOTO)


@pytest.mark.parametrize("name", SAMPLES)
def test_of_a_sound_file_everything_is_there(name: str) -> None:
    tokens, chunk_rows = SAMPLES[name]
    recovered = recover_tokens(dumps(tokens, chunk_rows=chunk_rows))
    assert recovered.is_sound
    assert recovered.tokens.same_as(tokens)
    assert (recovered.losses, recovered.notes, recovered.num_lost) == ((), (), 0)


@pytest.mark.parametrize("number", range(8))
def test_a_changed_payload_costs_its_chunk(number: int) -> None:
    damaged = flip(PHOTO, CHUNKS[number].offset + 50)
    recovered = recover_tokens(damaged)
    check_rows(recovered, photo(), [range(5 * number, min(38, 5 * number + 5))])
    assert "checksum" in recovered.losses[0].reason
    assert not recovered.is_sound


@pytest.mark.parametrize("number", range(8))
@pytest.mark.parametrize("byte", range(5))
@pytest.mark.parametrize("has_footer", [True, False])
def test_changed_fields_cost_their_chunk(number: int, byte: int, has_footer: bool) -> None:
    """Without the footer the next chunk is searched for, and its rows counted from the end."""
    damaged = flip(PHOTO, CHUNKS[number].offset + byte)
    if not has_footer:
        damaged = flip(damaged, len(PHOTO) - 20)
    recovered = recover_tokens(damaged)
    check_rows(recovered, photo(), [range(5 * number, min(38, 5 * number + 5))])
    assert bool(recovered.notes) != has_footer


def test_a_first_byte_that_became_zero_is_not_the_end() -> None:
    damaged = bytearray(flip(PHOTO, len(PHOTO) - 20))
    damaged[CHUNKS[3].offset] = 0
    check_rows(recover_tokens(damaged), photo(), [range(15, 20)])


def test_neighbouring_losses_are_one() -> None:
    damaged = flip(flip(PHOTO, CHUNKS[2].offset + 50), CHUNKS[3].offset + 50)
    check_rows(recover_tokens(damaged), photo(), [range(10, 20)])


@pytest.mark.parametrize("cut", [1, 4, 20, 60, 400, 1000])
def test_a_truncated_file_keeps_its_beginning(cut: int) -> None:
    damaged = PHOTO[:-cut]
    num_whole = sum(c.offset + c.chunk.size_bytes <= len(damaged) for c in CHUNKS)
    recovered = recover_tokens(damaged)
    lost = [] if num_whole == 8 else [range(5 * num_whole, 38)]
    check_rows(recovered, photo(), lost)
    assert "footer" in recovered.notes[0]


@pytest.mark.parametrize("at", [0, 1, 3, 100])
@pytest.mark.parametrize("number", [0, 3, 7])
@pytest.mark.parametrize("has_footer", [True, False])
def test_bytes_missing_or_too_many(at: int, number: int, has_footer: bool) -> None:
    position = CHUNKS[number].offset + at
    for damaged in (
        PHOTO[:position] + PHOTO[position + 7 :],
        PHOTO[:position] + b"\x01\x00\x05\x07garbage" + PHOTO[position:],
    ):
        data = damaged if has_footer else flip(damaged, len(damaged) - 10)
        lost = [] if at == 0 and len(data) > len(PHOTO) else [range(5 * number, 5 * number + 5)]
        lost = [range(rows.start, min(38, rows.stop)) for rows in lost]
        recovered = recover_tokens(data)
        check_rows(recovered, photo(), lost)
        assert recovered.notes


def test_without_footer_rows_between_two_gaps_have_no_place() -> None:
    damaged = flip(flip(PHOTO, CHUNKS[2].offset), CHUNKS[5].offset)
    check_rows(recover_tokens(damaged), photo(), [range(10, 15), range(25, 30)])
    recovered = recover_tokens(flip(damaged, len(damaged) - 10))
    check_rows(recovered, photo(), [range(10, 30)])
    assert any("2 chunks of stream 'tokens' lie between" in note for note in recovered.notes)


def test_streams_are_placed_each_for_itself() -> None:
    tokens = speech()
    data = dumps(tokens, chunk_rows=20)
    victim = next(c for c in layout_of(data) if c.chunk.stream == 3 and c.start_row == 20)
    for damaged in (flip(data, victim.offset), flip(flip(data, victim.offset), len(data) - 10)):
        recovered = recover_tokens(damaged)
        check_rows(recovered, tokens, [range(20, 40)])
        for name in ("gain", "speaker", "pauses"):
            assert recovered.tokens.streams[name].same_as(tokens.streams[name])


def test_rubbish_after_the_end_is_passed_over() -> None:
    recovered = recover_tokens(PHOTO + b"more of something else")
    assert recovered.tokens.same_as(photo())
    assert recovered.notes


def test_a_damaged_table_costs_the_chunks_that_need_it() -> None:
    tokens = skewed(0, (200, 30))
    data = dumps(tokens, chunk_rows=4)
    first = layout_of(data)[0]
    assert first.chunk.mode == 6
    with pytest.raises(TokenFileError, match="expected the tables with digest"):
        recover_tokens(flip(data, first.offset + 30))


def test_nothing_is_made_of_nothing() -> None:
    damaged = PHOTO
    for placed in CHUNKS:
        damaged = flip(damaged, placed.offset + 50)
    for data in (damaged, PHOTO[: CHUNKS[0].offset], PHOTO[: CHUNKS[0].offset + 20]):
        with pytest.raises(TokenFileError, match="at least one intact chunk, got none"):
            recover_tokens(data)
    with pytest.raises(TokenFileError, match="CRC-32"):
        recover_tokens(flip(PHOTO, 30))


def test_a_header_alone_does_not_decide_on_the_memory() -> None:
    grid = torch.arange(2_000_000).remainder(3)[None, :, None]
    stream = TokenStream(grid, (3,), ("time",))
    tokens = Tokens({"tokens": stream}, ({"samples": 1},), "audio", "", "0" * 32)
    data = dumps(tokens, chunk_rows=10_000, coder="fixed")
    ends = [placed.offset for placed in layout_of(data)][1:]
    assert recover_tokens(data[: ends[10]]).num_lost == 2_000_000 - 110_000
    with pytest.raises(TokenFileError, match="a 64th of 2000000 tokens or more, got 10000"):
        recover_tokens(data[: ends[0]])


def test_a_wrong_hash_is_told() -> None:
    footer = footer_start(PHOTO)
    damaged = bytearray(PHOTO)
    damaged[len(PHOTO) - 12] ^= 1
    damaged[-8:-4] = crc(bytes(damaged[footer:-8]))
    recovered = recover_tokens(damaged)
    assert recovered.tokens.same_as(photo())
    assert recovered.notes == ("the tokens are not those that the token hash is of",)


def streamed(num_rows: int) -> tuple[Tokens, bytes]:
    header = FileHeader(
        "audio",
        {"samples": None},
        "",
        "0" * 32,
        (StreamHeader("tokens", ("time",), (0,), (1024,), is_open=True),),
    )
    target = io.BytesIO()
    indices = torch.randint(1024, (num_rows, 1))
    with TokenWriter(target, header, chunk_rows=10) as writer:
        writer.append(indices)
        writer.close({"samples": 320 * num_rows})
    stream = TokenStream(indices[None], (1024,), ("time",))
    tokens = Tokens({"tokens": stream}, ({"samples": 320 * num_rows},), "audio", "", "0" * 32)
    return tokens, target.getvalue()


def test_a_stream_that_was_cut_off_ends_where_it_was() -> None:
    tokens, data = streamed(55)
    chunks = layout_of(data)
    recovered = recover_tokens(data[: chunks[3].offset + 5])
    assert torch.equal(recovered.tokens.indices, tokens.indices[:, :30])
    assert recovered.tokens.media == ({},)
    (loss,) = recovered.losses
    assert (loss.start_row, loss.stop_row) == (30, None)
    assert recover_tokens(data).tokens.same_as(tokens)


def test_rows_after_a_gap_in_an_open_stream_have_no_place_without_the_footer() -> None:
    tokens, data = streamed(55)
    damaged = flip(data, layout_of(data)[2].offset)
    check_rows(recover_tokens(damaged), tokens, [range(20, 30)])
    recovered = recover_tokens(flip(damaged, len(data) - 9))
    assert torch.equal(recovered.tokens.indices, tokens.indices[:, :20])
    assert recovered.losses[0].num_tokens == 25


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(["photo", "speech", "cartoon", "damaged", "clip"]), st.integers(0, 1 << 32))
def test_whatever_happens_no_wrong_token_is_given(name: str, seed: int) -> None:
    rng, (tokens, _) = random.Random(seed), SAMPLES[name]
    data = bytearray(written(name))
    start = layout_of(bytes(data))[0].offset
    for _ in range(rng.randint(1, 4)):
        position, size = rng.randrange(start, len(data)), rng.choice([1, 1, 5, 60])
        data[position : position + rng.choice([0, size, size])] = rng.randbytes(
            rng.choice([0, size, size])
        )
    if rng.random() < 0.3:
        del data[rng.randrange(start, len(data)) :]
    recovered, message = outcome(recover_tokens, bytes(data))
    if recovered is None:
        assert "at least one intact chunk" in message
        return
    for stream, item in recovered.tokens.streams.items():
        original = tokens.streams[stream].indices
        assert item.indices.shape == original.shape
        assert ((item.indices == original) | (item.indices == -1)).all()
    assert recovered.num_lost >= recovered.tokens.num_unknown - tokens.num_unknown


def test_the_search_is_bounded() -> None:
    """Every two bytes look like a chunk of a hundred thousand symbols."""
    text = HEADER.replace(b"[2,3],[4]", b"[16777216,1],[256]")
    fake = b"\x01\x00\xa0\x8d\x06\xa0\x8d\x06"
    data = head(text) + chunk(1 << 18, bytes(1 << 18)) + fake * 100_000
    tracemalloc.start()
    start = time.process_time()
    recovered = recover_tokens(data, limits=Limits(num_tokens=1 << 24))
    assert "the search for more chunks was given up" in recovered.notes
    assert time.process_time() - start < 5
    # Of which 2^24 lost tokens take 128 MiB.
    assert tracemalloc.get_traced_memory()[1] < 192 << 20
    tracemalloc.stop()
