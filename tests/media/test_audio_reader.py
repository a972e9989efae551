import io
import logging
import struct
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.media.audio_files import by_ffmpeg, by_soundfile, sound, written
from vqkit.errors import ConfigError, MediaError
from vqkit.media import AudioReader, read_audio

SETTINGS = {
    "wav": {"format": "wav"},
    "wav of 24 bits": {"format": "wav", "bit_depth": 24},
    "flac": {"format": "flac"},
    "ogg": {"format": "ogg"},
    "opus": {"format": "opus"},
    "mp3": {"format": "mp3"},
    "m4a": {"format": "m4a"},
}
FILES = {name: written(sound(2, 50_000), **some) for name, some in SETTINGS.items()}
FILES["webm"] = by_ffmpeg(sound(2, 50_000), container="webm", encoding="libopus")
FILES["adpcm"] = by_soundfile(sound(1, 50_000).T.numpy(), "WAV", "IMA_ADPCM")
WHOLE = {name: read_audio(file).samples for name, file in FILES.items()}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("num_samples", [777, 4096, 33_000, 10**9])
def test_blocks_joined_are_the_whole(name, num_samples):
    with AudioReader(FILES[name]) as reader:
        blocks = list(reader.blocks(num_samples))
        assert reader.read(100).shape == (reader.channels, 0)
        assert reader.position == WHOLE[name].shape[1]
    assert torch.equal(torch.cat(blocks, 1), WHOLE[name])
    assert all(block.shape[1] == num_samples for block in blocks[:-1])


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(sorted(FILES)),
    moves=st.lists(st.tuples(st.integers(0, 50_000), st.integers(0, 9000)), max_size=4),
)
def test_whatever_is_read_is_a_part_of_the_whole(name, moves):
    with AudioReader(FILES[name]) as reader:
        for place, length in moves:
            reader.seek(place)
            assert reader.position == place
            assert torch.equal(reader.read(length), WHOLE[name][:, place : place + length])


def test_seeking_where_nothing_is():
    with AudioReader(FILES["flac"]) as reader:
        for place in (-1, 50_001):
            with pytest.raises(ConfigError, match=rf"expected 0 to 50000, got {place}"):
                reader.seek(place)
        reader.seek(50_000)
        assert reader.read(1).shape == (2, 0)
    with AudioReader(FILES["webm"]) as reader:
        with pytest.raises(ConfigError, match=r"expected 0 or more, got -1"):
            reader.seek(-1)
        reader.seek(10**6)
        assert reader.position == WHOLE["webm"].shape[1]


def test_attributes():
    with AudioReader(written(sound(), 22050, format="flac", metadata={"title": "A"})) as reader:
        assert (reader.sample_rate_hz, reader.channels, reader.num_samples) == (22050, 2, 6000)
        assert reader.metadata == {"title": "A"}
        assert reader.info.encoding == "PCM_16"
    with AudioReader(FILES["webm"]) as reader:
        assert reader.num_samples is None


def test_a_closed_reader_says_so():
    reader = AudioReader(FILES["wav"])
    reader.close()
    reader.close()
    for act in (lambda: reader.read(1), lambda: reader.seek(0), lambda: next(reader.blocks(1))):
        with pytest.raises(ConfigError, match="reader is closed"):
            act()


def test_sizes_that_are_none():
    with AudioReader(FILES["wav"]) as reader:
        with pytest.raises(ConfigError, match=r"expected 0 or more, got -1"):
            reader.read(-1)
        with pytest.raises(ConfigError, match=r"expected 1 or more, got 0"):
            next(reader.blocks(0))


def test_clipped_values_are_logged_once_and_by_their_number(caplog):
    samples = np.full((1000, 2), 2.0, np.float32)
    samples[:, 1] = 0.5
    with caplog.at_level(logging.WARNING), AudioReader(by_soundfile(samples, "WAV", "FLOAT")) as r:
        for block in r.blocks(64):
            assert block.max() == 1
    assert [record.getMessage() for record in caplog.records] == [
        "<bytes>: 1000 values beyond [-1, 1] are clipped"
    ]


def test_files_are_closed_whatever_happens(tmp_path):
    """An open file that is forgotten would be a ResourceWarning, which is an error here."""
    path = tmp_path / "sound"
    for content in (*FILES.values(), FILES["flac"][:9000], b"RIFF\0\0\0\0WAVE", b"OggS", b"none"):
        path.write_bytes(content)
        try:
            with AudioReader(path) as reader:
                reader.read(10**6)
        except MediaError:
            continue
    del content
    assert path.stat().st_size == 4


def test_the_memory_of_a_long_file_is_that_of_a_block(tmp_path):
    path = tmp_path / "long.wav"
    with path.open("wb") as file:
        size = 200_000_000
        file.write(b"RIFF" + struct.pack("<I", size + 36) + b"WAVEfmt ")
        file.write(struct.pack("<IHHIIHH", 16, 1, 1, 16000, 32000, 2, 16))
        file.write(b"data" + struct.pack("<I", size))
        file.truncate(44 + size)
    tracemalloc.start()
    with AudioReader(path) as reader:
        assert reader.num_samples == 100_000_000
        reader.seek(99_000_000)
        assert sum(block.shape[1] for block in reader.blocks(16_000)) == 1_000_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


def test_what_a_header_promises_costs_no_memory():
    flac = bytearray(FILES["flac"])
    flac[21] |= 0x0F  # the upper 4 of the 36 bits that count the samples
    tracemalloc.start()
    with AudioReader(bytes(flac)) as reader:
        assert reader.num_samples > 1 << 35
        with pytest.raises(MediaError, match=r"promises 64424559440 samples"):
            list(reader.blocks(10_000))
    with pytest.raises(MediaError, match="more than 1073741824 values"):
        read_audio(bytes(flac))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8_000_000


def test_flac_of_unknown_length_is_read_to_its_end():
    flac = bytearray(FILES["flac"])
    flac[21] &= 0xF0
    flac[22:26] = bytes(4)
    with AudioReader(io.BytesIO(bytes(flac))) as reader:
        assert reader.num_samples is None
        assert torch.equal(torch.cat(list(reader.blocks(4000)), 1), WHOLE["flac"])
