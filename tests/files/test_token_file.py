import io
import math
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.files.samples import FINGERPRINT, SAMPLES, photo, speech, stream
from tests.files.specification import says_the_same
from vqkit.errors import ConfigError, TokenFileError
from vqkit.files import (
    Limits,
    TokenFileInfo,
    dumps,
    loads,
    read_info,
    read_tokens,
    verify,
    write_tokens,
)
from vqkit.tokenizers.tokens import Tokens, TokenStream

SIZES = [1, 2, 3, 512, 1000, 65_536, 1 << 24, 1 << 40]


@st.composite
def descriptions(draw: st.DrawFn) -> dict[str, Any]:
    """What to build tokens of; vqkit itself must not run inside a strategy."""

    def draw_stream() -> tuple[Any, ...]:
        shape = tuple(draw(st.lists(st.integers(0, 5), max_size=4)))
        sizes = tuple(draw(st.lists(st.sampled_from(SIZES), min_size=1, max_size=3)))
        axes = ("time", "depth", "height", "width")[: len(shape)]
        return shape, sizes, axes, draw(st.integers(0, 100))

    names = st.sampled_from(["tokens", "mask", "gain", "side.level-2"])
    sizes = st.dictionaries(st.sampled_from(["height", "b"]), st.integers(0, 1 << 53))
    return {
        "streams": {name: draw_stream() for name in draw(st.sets(names, min_size=1))},
        "media": (draw(sizes),),
        "modality": draw(st.sampled_from(["image", "audio", "x"])),
        "tokenizer": draw(st.text(max_size=20).filter(str.isprintable)),
        "fingerprint": draw(st.text("0123456789abcdef", min_size=32, max_size=32)),
    }


@settings(max_examples=100, deadline=None)
@given(descriptions(), st.one_of(st.none(), st.integers(1, 4)))
def test_round_trip(description: dict[str, Any], chunk_rows: int | None) -> None:
    streams = {name: stream(*parts) for name, parts in description["streams"].items()}
    tokens = Tokens(**{**description, "streams": streams})
    data = dumps(tokens, chunk_rows=chunk_rows)
    read = loads(data)
    assert read.same_as(tokens)
    assert dumps(read, chunk_rows=chunk_rows) == data
    assert says_the_same(data, tokens)
    by_index, by_walk = read_info(data), read_info(io.BytesIO(data))
    assert by_index == by_walk == verify(data)
    assert by_index.num_tokens == tokens.num_tokens
    assert by_index.nominal_bits == pytest.approx(tokens.bits)


def test_long_rows_of_symbols_are_read_by_the_specification() -> None:
    random = np.random.default_rng(0)
    values = torch.from_numpy((random.random(100_000) ** 4 * 50).astype(np.int64))
    stream = TokenStream(values[None, :, None], (50,), ("time",))
    tokens = Tokens({"tokens": stream}, ({"samples": 100_000},), "audio", "example", FINGERPRINT)
    data = dumps(tokens)
    assert read_info(data).streams[0].modes == (2,)
    assert says_the_same(data, tokens)


@pytest.mark.parametrize("name", SAMPLES)
def test_order_of_streams_and_media_does_not_matter(name: str) -> None:
    tokens, _ = SAMPLES[name]
    turned = Tokens(
        dict(reversed(tokens.streams.items())),
        (dict(reversed(tokens.media[0].items())),),
        tokens.modality,
        tokens.tokenizer,
        tokens.fingerprint,
    )
    assert dumps(turned) == dumps(tokens)


def test_a_photo_costs_at_most_230_bytes_beside_its_tokens(tmp_path: Path) -> None:
    tokens = photo()
    info = write_tokens(tokens, tmp_path / "photo.vqt")
    packed = math.ceil(38 * 57 * 9 / 8)
    assert info.size_bytes == (tmp_path / "photo.vqt").stat().st_size
    assert info.payload_bytes == packed
    assert info.size_bytes - packed == info.overhead_bytes == 224
    assert info.overhead_bytes <= 230


def test_an_image_is_one_chunk_by_default() -> None:
    large = Tokens(
        {"tokens": stream((512, 512), (512,), ("height", "width"))},
        ({},),
        "image",
        "",
        FINGERPRINT,
    )
    assert read_info(dumps(large)).num_chunks == 1


def test_chunks_do_not_change_the_tokens_nor_their_hash() -> None:
    tokens = speech()
    infos = {rows: read_info(dumps(tokens, chunk_rows=rows)) for rows in (None, 75, 7, 1)}
    assert {rows: info.num_chunks for rows, info in infos.items()} == {
        None: 3,
        75: 3,
        7: math.ceil(75 / 7) + math.ceil(10 / 7) + 1,
        1: 75 + 10 + 1,
    }
    assert len({info.token_hash for info in infos.values()}) == 1
    for rows in infos:
        assert loads(dumps(tokens, chunk_rows=rows)).same_as(tokens)


def test_a_large_stream_is_cut_by_default() -> None:
    indices = torch.arange((1 << 20) + 5).remainder(7).reshape(1, -1, 1)
    tokens = Tokens({"tokens": TokenStream(indices, (7,), ("time",))}, ({},), "audio", "", "0" * 32)
    data = dumps(tokens)
    assert read_info(data).num_chunks == 2
    assert loads(data).same_as(tokens)


def test_info() -> None:
    data = dumps(speech(), chunk_rows=20)
    info = read_info(data)
    assert isinstance(info, TokenFileInfo)
    assert info.format_version == 1
    assert (info.modality, info.tokenizer) == ("audio", "audio/beispiel-ä")
    assert info.fingerprint == "f" * 32
    assert info.media == {"samples": 24_000, "sample_rate_hz": 24_000, "channels": 1}
    assert info.size_bytes == len(data)
    assert info.header_bytes + info.payload_bytes < info.size_bytes
    assert [s.name for s in info.streams] == ["gain", "pauses", "speaker", "tokens"]
    gain, pauses, speaker, main = info.streams
    assert (gain.axes, gain.shape, gain.codebook_sizes) == (("time",), (10,), (64,))
    assert (gain.num_tokens, gain.nominal_bits, gain.payload_bytes) == (10, 60.0, 8)
    assert (gain.num_chunks, gain.modes) == (1, (0,))
    assert (pauses.num_tokens, pauses.num_chunks, pauses.modes) == (0, 0, ())
    assert (speaker.shape, speaker.num_tokens, speaker.nominal_bits) == ((), 2, 40.0)
    assert main.num_tokens == 75 * 4 * 4
    assert main.nominal_bits == pytest.approx(
        300 * (10 + 10 + math.log2(1000) + math.log2(3)), rel=1e-12
    )
    # 20 rows of 4 bands: 80 positions at 10, 10, 10 and 2 bits; then 15 rows.
    assert main.payload_bytes == 3 * (100 + 100 + 100 + 20) + (75 + 75 + 75 + 15)
    assert main.num_chunks == 4


def test_info_of_a_file_reads_header_and_footer_alone(tmp_path: Path) -> None:
    data = bytearray(dumps(photo()))
    data[1000] ^= 1
    path = tmp_path / "damaged.vqt"
    path.write_bytes(data)
    assert read_info(path) == read_info(dumps(photo()))
    for read in (verify, read_tokens, lambda damaged: read_info(io.BytesIO(data))):
        with pytest.raises(TokenFileError, match="CRC-32"):
            read(path)


def test_only_the_valid_extent_is_written() -> None:
    small = photo()
    indices = torch.zeros(1, 50, 60, 1, dtype=torch.int64)
    indices[:, :38, :57] = small.indices
    indices[:, 40:] = 3
    padded = Tokens(
        {"tokens": TokenStream(indices, (512,), small.axes, torch.tensor([[38, 57]]))},
        small.media,
        small.modality,
        small.tokenizer,
        small.fingerprint,
    )
    assert dumps(padded) == dumps(small)


def test_one_item_per_file() -> None:
    batch = Tokens.stack([photo(), photo()])
    with pytest.raises(TokenFileError, match=r"one item for one file, got 2. Write tokens.item"):
        dumps(batch)
    assert loads(dumps(batch.item(1))).same_as(photo())


@pytest.mark.parametrize("chunk_rows", [0, -1])
def test_chunk_rows_are_positive(chunk_rows: int) -> None:
    with pytest.raises(ConfigError, match=f"at least 1, got {chunk_rows}"):
        dumps(photo(), chunk_rows=chunk_rows)


def test_what_a_reader_would_refuse_is_not_written() -> None:
    def tokens(shape: tuple[int, ...], size: int, axes: tuple[str, ...]) -> Tokens:
        indices = torch.zeros((), dtype=torch.int64).expand(1, *shape, 1)
        return Tokens({"tokens": TokenStream(indices, (size,), axes)}, ({},), "x", "", "0" * 32)

    for item, message in [
        (tokens((3,), (1 << 62) + 1, ("time",)), f"at most {1 << 62} codes"),
        (tokens((1,) * 5, 2, tuple("abcde")), "at most 4 axes.*got 5"),
        (tokens(((1 << 20) + 1,), 1, ("time",)), f"at most {1 << 20} tokens of codebooks with"),
    ]:
        with pytest.raises(TokenFileError, match=f"Cannot write tokens: expected {message}"):
            dumps(item)
    with pytest.raises(TokenFileError, match=f"at most {1 << 24} symbols in a chunk"):
        dumps(tokens((1, (1 << 24) + 1), 2, ("height", "width")))
    with pytest.raises(TokenFileError, match=r"at most 65536 chunks, got 65537.*chunk_rows"):
        dumps(tokens((65_537,), 2, ("time",)), chunk_rows=1)
    many = TokenStream(torch.zeros(1, 1, 15_000, dtype=torch.int64), (99_999,) * 15_000, ("time",))
    with pytest.raises(TokenFileError, match="at most 65535 bytes of header, got 9"):
        dumps(Tokens({"tokens": many}, ({},), "x", "", "0" * 32))


def test_reads_paths_bytes_and_streams(tmp_path: Path) -> None:
    tokens, data = photo(), dumps(photo())
    path = tmp_path / "photo.vqt"
    path.write_bytes(data)
    for source in (path, str(path), data, bytearray(data), memoryview(data), io.BytesIO(data)):
        assert read_tokens(source).same_as(tokens)
    with path.open("rb") as file, path.open("rb", buffering=0) as raw:
        assert read_tokens(file).same_as(tokens)
        assert read_tokens(raw).same_as(tokens)


def test_reads_from_a_pipe_that_gives_little_at_a_time() -> None:
    data = dumps(speech(), chunk_rows=5)

    def feed(write_end: int) -> None:
        with os.fdopen(write_end, "wb", buffering=0) as sink:
            for start in range(0, len(data), 13):
                sink.write(data[start : start + 13])

    for read, expect in (
        (read_tokens, lambda read: read.same_as(speech())),
        (read_info, lambda read: read == read_info(data)),
    ):
        read_end, write_end = os.pipe()
        feeder = threading.Thread(target=feed, args=(write_end,))
        feeder.start()
        with os.fdopen(read_end, "rb", buffering=0) as source:
            assert expect(read(source))
        feeder.join()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_reads_info_of_a_named_pipe(tmp_path: Path) -> None:
    path, data = tmp_path / "pipe", dumps(photo())
    os.mkfifo(path)
    feeder = threading.Thread(target=path.write_bytes, args=(data,))
    feeder.start()
    assert read_info(path) == read_info(data)
    feeder.join()


def test_writes_to_streams() -> None:
    tokens = photo()

    class Slow:
        """A raw stream that takes a part of what it is given."""

        def __init__(self) -> None:
            self.taken = b""

        def write(self, data: Any) -> int:
            self.taken += bytes(data[:100])
            return min(len(data), 100)

    slow, buffer = Slow(), io.BytesIO()
    assert write_tokens(tokens, slow) == write_tokens(tokens, buffer) == read_info(dumps(tokens))
    assert slow.taken == buffer.getvalue() == dumps(tokens)


@pytest.mark.parametrize("check", [True, False])
def test_writes_a_path_and_refuses_to_overwrite(tmp_path: Path, check: bool) -> None:
    path = tmp_path / "photo.vqt"
    info = write_tokens(photo(), path, check=check)
    assert info == verify(path)
    assert [p.name for p in tmp_path.iterdir()] == ["photo.vqt"]
    with pytest.raises(TokenFileError, match=r"photo.vqt: the file exists.*-f on the command"):
        write_tokens(speech(), path)
    assert read_tokens(path).same_as(photo())
    write_tokens(speech(), str(path), overwrite=True, check=check)
    assert read_tokens(path).same_as(speech())
    assert [p.name for p in tmp_path.iterdir()] == ["photo.vqt"]


@pytest.mark.parametrize("to_path", [True, False])
def test_a_write_that_reads_back_otherwise_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to_path: bool
) -> None:
    other, sink = dumps(speech()), io.BytesIO()
    monkeypatch.setattr("vqkit.files.token_file.container.encode", lambda *_: other)
    target = tmp_path / "photo.vqt" if to_path else sink
    with pytest.raises(TokenFileError, match="expected to read back the tokens written"):
        write_tokens(photo(), target)
    assert list(tmp_path.iterdir()) == []
    assert sink.getvalue() == b""


def test_text_streams_are_refused_with_advice(tmp_path: Path) -> None:
    path = tmp_path / "photo.vqt"
    write_tokens(photo(), path)
    for encoding in ("utf-8", "latin-1"):
        with (
            path.open(encoding=encoding) as file,
            pytest.raises(TokenFileError, match=r"expected bytes, got str.*binary"),
        ):
            read_tokens(file)
    with (
        (tmp_path / "text").open("w") as file,
        pytest.raises(TokenFileError, match="writable binary stream"),
    ):
        write_tokens(photo(), file)
    with (
        path.open("rb") as file,
        pytest.raises(TokenFileError, match=r"Cannot write to .*photo.vqt.*writable binary"),
    ):
        write_tokens(photo(), file)


def test_missing_files_are_named(tmp_path: Path) -> None:
    for read in (read_tokens, read_info, verify):
        with pytest.raises(TokenFileError, match=r"absent.vqt: No such file"):
            read(tmp_path / "absent.vqt")
        with pytest.raises(TokenFileError, match="Cannot read"):
            read(tmp_path)
    with pytest.raises(TokenFileError, match=r"photo.vqt: No such file.*folder exists"):
        write_tokens(photo(), tmp_path / "absent" / "photo.vqt")


def test_limits_are_the_callers() -> None:
    data = dumps(speech(), chunk_rows=20)
    strict = {
        "header_bytes": 100,
        "grid_rank": 1,
        "num_tokens": 1000,
        "codebook_size": 1 << 39,
        "chunk_symbols": 319,
        "num_chunks": 5,
        "num_free_tokens": 0,
    }
    exact = {
        "header_bytes": 500,
        "grid_rank": 2,
        "num_tokens": 75 * 4 * 4 + 10 + 2 + 1,
        "codebook_size": 1 << 40,
        "chunk_symbols": 320,
        "num_chunks": 6,
        "num_free_tokens": 1,
    }
    assert loads(data, limits=Limits(**exact)).same_as(speech())
    for name, value in strict.items():
        limits = Limits(**{**exact, name: value})
        for read in (read_tokens, read_info, verify):
            with pytest.raises(TokenFileError, match=rf"at most {value} .*Limits\({name}=...\)"):
                read(data, limits=limits)
