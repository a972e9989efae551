"""Mode 4: ranks by frequency, for many tokens that are read fast."""

import random
import time
import tracemalloc

import numpy as np
import pytest
import torch

from tests.files.specification import read_vqt
from vqkit.coding import FrequencyTable, decode_ranks, encode_ranks
from vqkit.errors import CodingError
from vqkit.files import CodingResources, dumps, loads, read_info
from vqkit.files.format_error import FormatError
from vqkit.files.modes import ARCHIVE, ChunkLayout, decode_chunk, encode_chunk
from vqkit.tokenizers.tokens import Tokens, TokenStream

NOTHING = CodingResources()


def zipf(size: int, count: int, seed: int = 0) -> np.ndarray:
    generator = np.random.Generator(np.random.PCG64(seed))
    weights = 1 / np.arange(1, size + 1)
    ids = generator.permutation(size)
    return ids[generator.choice(size, count, p=weights / weights.sum())].astype(np.int64)


def levels(count: int, sizes: tuple[int, ...]) -> np.ndarray:
    return np.stack([zipf(size, count, seed) for seed, size in enumerate(sizes)], axis=1)


@pytest.mark.parametrize(
    "sizes", [(512,), (1000, 1, 3), (1 << 18, 2), (1 << 16,), ((1 << 16) + 1,)]
)
def test_round_trip(sizes: tuple[int, ...]) -> None:
    indices = levels(20_000, sizes)
    layout = ChunkLayout("tokens", (100, 200), sizes)
    payload = ARCHIVE.encode(indices, layout, NOTHING)
    assert payload is not None
    for number in range(1, len(sizes) + 1):
        decoded = ARCHIVE.decode(payload, layout, NOTHING, number)
        np.testing.assert_array_equal(decoded, indices[:, :number])


@pytest.mark.parametrize("has_holes", [False, True])
def test_files_of_the_archive_coder(has_holes: bool) -> None:
    indices = torch.from_numpy(levels(30_000, (512, 60)).reshape(1, 300, 100, 2))
    if has_holes:
        indices[:, 3:9, ::3] = -1
    stream = TokenStream(indices, (512, 60), ("height", "width"))
    tokens = Tokens({"tokens": stream}, ({},), "image", "", "0" * 32)
    data = dumps(tokens, coder="archive")
    info = read_info(data).streams[0]
    assert (info.modes, info.has_unknown) == ((4,), has_holes)
    assert loads(data).same_as(tokens)
    assert read_vqt(data)[1]["tokens"] == indices.flatten().tolist()
    assert info.payload_bytes < 1.02 * read_info(dumps(tokens)).payload_bytes
    assert len(data) < 0.85 * len(dumps(tokens, coder="fixed"))


def test_few_tokens_are_coded_otherwise() -> None:
    few = ChunkLayout("tokens", (1000,), (512,))
    assert encode_chunk(zipf(512, 1000)[:, None], few, "archive", NOTHING)[0] == 2
    assert ARCHIVE.encode(zipf(512, 1000)[:, None], few, NOTHING) is None
    uniform = np.random.default_rng(0).integers(0, 512, (20_000, 1))
    many = ChunkLayout("tokens", (20_000,), (512,))
    assert encode_chunk(uniform, many, "archive", NOTHING)[0] == 0


def test_codebooks_beyond_tables_are_coded_otherwise() -> None:
    size = (1 << 18) + 1
    layout = ChunkLayout("tokens", (20_000,), (size,))
    assert ARCHIVE.encode(np.zeros((20_000, 1), np.int64), layout, NOTHING) is None
    with pytest.raises(FormatError, match="codebooks of up to 262144 codes"):
        ARCHIVE.decode(b"", layout, NOTHING, 1)


def test_damaged_payloads_are_refused() -> None:
    layout = ChunkLayout("tokens", (20_000,), (512,))
    payload = ARCHIVE.encode(levels(20_000, (512,)), layout, NOTHING)
    assert payload is not None
    for damaged, message in [
        (b"", "fewer"),
        (payload[:200], "fewer"),
        (payload[:-1], "fewer"),
        (payload + b"\0", "1 more bytes"),
        (payload[:-4000] + bytes(4000), "expected"),
    ]:
        with pytest.raises(FormatError, match=message):
            ARCHIVE.decode(damaged, layout, NOTHING, 1)
    other = ChunkLayout("tokens", (20_001,), (512,))
    with pytest.raises(FormatError, match="expected 20001 ranks, got others"):
        ARCHIVE.decode(payload, other, NOTHING, 1)
    fewer = ChunkLayout("tokens", (19_999,), (512,))
    with pytest.raises(FormatError, match="expected 19999 ranks, got others"):
        ARCHIVE.decode(payload, fewer, NOTHING, 1)


def test_ranks_beyond_the_codes_are_refused() -> None:
    small = FrequencyTable.of(4, np.arange(4), np.ones(4, np.int64))
    large = FrequencyTable.of(9, np.arange(9), np.ones(9, np.int64))
    data = encode_ranks(np.arange(9).repeat(10), large)
    with pytest.raises(CodingError, match="ranks below 4, got 8"):
        decode_ranks(data, 90, small)
    wide = FrequencyTable.of(1 << 17, np.arange(9), np.ones(9, np.int64))
    with pytest.raises(CodingError, match="code none"):
        decode_ranks(data, 90, wide)


def test_mutated_payloads_are_refused_or_in_range() -> None:
    """Whatever pcodec meets, it neither takes memory nor ends the process."""
    rng, layout = random.Random(0), ChunkLayout("tokens", (20_000,), (300, 7))
    payload = ARCHIVE.encode(levels(20_000, (300, 7)), layout, NOTHING)
    assert payload is not None
    fates = {"refused": 0, "read": 0}
    tracemalloc.start()
    start = time.process_time()
    for _ in range(500):
        data = bytearray(payload)
        for _ in range(rng.randint(1, 3)):
            place = rng.choice([rng.randrange(len(data)), rng.randrange(min(300, len(data)))])
            data[place : place + rng.randint(0, 4)] = rng.randbytes(rng.randint(0, 4))
        try:
            decoded = decode_chunk(4, bytes(data), layout, NOTHING)
        except FormatError:
            fates["refused"] += 1
        else:
            fates["read"] += 1
            assert (decoded >= 0).all()
            assert (decoded < (300, 7)).all()
    assert min(fates.values()) > 5
    assert time.process_time() - start < 20
    assert tracemalloc.get_traced_memory()[1] < 16 << 20
    tracemalloc.stop()
