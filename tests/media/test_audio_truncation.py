"""Files that were cut: an error or all of the sound, never some of it."""

import io
import struct

import pytest
import torch

from tests.media.audio_files import by_ffmpeg, by_soundfile, sound, written
from vqkit.errors import MediaError
from vqkit.media import audio_info, read_audio
from vqkit.media.audio_formats import identify_audio
from vqkit.media.audio_truncation import missing_part

SHORT = sound(2, 5000)
PCM = SHORT.T.numpy()
FILES = {
    "wav": written(SHORT),
    "wav of 24 bits": written(SHORT, bit_depth=24),
    "wav of floats": written(SHORT, bit_depth="float"),
    "flac": written(SHORT, format="flac"),
    "ogg": written(SHORT, format="ogg"),
    "opus": written(SHORT, format="opus"),
    "mp3": written(SHORT, format="mp3"),
    "m4a": written(SHORT, format="m4a"),
    "rf64": by_soundfile(PCM, "RF64", "PCM_16"),
    "w64": by_soundfile(PCM, "W64", "PCM_16"),
    "aiff": by_soundfile(PCM, "AIFF", "PCM_16"),
    "caf": by_soundfile(PCM, "CAF", "PCM_16"),
    "au": by_soundfile(PCM, "AU", "PCM_16"),
    "mp3 by ffmpeg": by_ffmpeg(SHORT, container="mp3", encoding="libmp3lame"),
    "webm": by_ffmpeg(SHORT, container="webm", encoding="libopus"),
    "mkv": by_ffmpeg(SHORT, container="matroska", encoding="pcm_s16le"),
    "mov": by_ffmpeg(SHORT, container="mov", encoding="pcm_s16le"),
    "avi": by_ffmpeg(SHORT, container="avi", encoding="ac3"),
    "wma": by_ffmpeg(SHORT, container="asf", encoding="wmav2"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_anywhere_is_an_error(name):
    file = FILES[name]
    assert read_audio(file).samples.shape[1] >= 4096
    cuts = {*range(0, len(file), max(1, len(file) // 60)), *range(len(file) - 20, len(file))}
    for cut in sorted(cuts):
        with pytest.raises(MediaError, match=r"^Cannot read the audio of <bytes>: "):
            read_audio(file[:cut])


@pytest.mark.parametrize("name", ["wav", "aiff", "caf", "au", "w64", "mp3", "mov", "webm", "avi"])
def test_the_message_says_how_much_is_there(name, tmp_path):
    file = FILES[name]
    path = tmp_path / "cut"
    path.write_bytes(file[: len(file) * 9 // 10])
    for read in (read_audio, audio_info):
        with pytest.raises(
            MediaError, match=r"cut'.*cut short: its header promises (\d+) bytes"
        ) as e:
            read(path)
        words = str(e.value).split()
        promised, there = (int(words[words.index("bytes,") + step]) for step in (-1, 1))
        assert there == len(file) * 9 // 10
        assert there < promised <= len(file)


def test_the_message_of_flac_counts_samples():
    file = written(sound(1, 200_000), format="flac")
    with pytest.raises(MediaError, match=r"promises 200000 samples, about \d+ are there"):
        read_audio(file[: len(file) // 2])


def test_the_message_of_ogg():
    with pytest.raises(MediaError, match=r"cut short.*last Ogg page"):
        read_audio(FILES["ogg"][:-1])


@pytest.mark.parametrize("encoding", ["ogg", "opus"])
def test_ogg_cut_between_two_pages(encoding):
    file = written(sound(1, 60_000), format=encoding)
    pages = [i for i in range(len(file)) if file.startswith(b"OggS", i)]
    assert len(pages) > 3
    for page in pages:
        with pytest.raises(MediaError):
            read_audio(file[:page])


def test_mp3_whose_header_counts_too_many_frames():
    """The bytes are all there: the count of samples tells."""
    file = bytearray(FILES["mp3 by ffmpeg"])
    place = max(file.find(b"Xing"), file.find(b"Info"))
    (frames,) = struct.unpack_from(">I", file, place + 8)
    struct.pack_into(">I", file, place + 8, frames * 2)
    with pytest.raises(MediaError, match=r"promises \d+ samples, \d+ are there"):
        read_audio(bytes(file))


def test_what_cannot_be_told_is_read_as_a_shorter_file():
    """As the documentation says of MPEG-TS, FLV and AAC, MP3 without a header."""
    original = sound(1, 30_000)
    for container, encoding in (("adts", "aac"), ("flv", "aac"), ("mpegts", "aac")):
        file = by_ffmpeg(original, container=container, encoding=encoding)
        lengths = set()
        for cut in range(len(file) // 2, len(file), 41):
            try:
                lengths.add(read_audio(file[:cut]).samples.shape[1])
            except MediaError:
                continue
        assert lengths
        assert min(lengths) < 30_000
    mp3 = by_ffmpeg(original, container="mp3", encoding="libmp3lame")
    # Without the tag and the header frame.
    place = max(mp3.find(b"Xing"), mp3.find(b"Info"))
    bare = mp3[mp3.find(b"\xff\xfb", place) :]
    assert read_audio(bare[: len(bare) // 2]).samples.shape[1] < 0.6 * 30_000


def wave(size_field: int, num_bytes: int, tail: bytes = b"") -> bytes:
    header = b"RIFF" + struct.pack("<I", 0xFFFFFFFF) + b"WAVEfmt "
    header += struct.pack("<IHHIIHH", 16, 1, 1, 8000, 16000, 2, 16)
    return header + b"data" + struct.pack("<I", size_field) + bytes(num_bytes) + tail


@pytest.mark.parametrize("size_field", [0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000, 0x7FFFFFD0])
def test_a_wave_out_of_a_pipe_says_no_size(size_field):
    assert read_audio(wave(size_field, 2000)).samples.shape == (1, 1000)


@pytest.mark.parametrize("size_field", [2001, 0x7FFFEFFF, 0x80000000, 0xFFFFEFFF])
def test_any_other_size_is_meant(size_field):
    with pytest.raises(MediaError, match=rf"promises {44 + size_field} bytes, 2044 are there"):
        read_audio(wave(size_field, 2000))


@pytest.mark.parametrize("num_bytes", [9, 2000, 44_100])
def test_a_wave_whose_recorder_was_switched_off(num_bytes):
    sound_bytes = bytes(i * 7 % 251 for i in range(num_bytes))
    with pytest.raises(MediaError, match=rf"never finished.*0 bytes of sound, {num_bytes} bytes"):
        read_audio(wave(0, 0, sound_bytes))
    # No sound and a comment is a file like any other.
    assert read_audio(wave(0, 0, b"LIST\x04\0\0\0INFO")).samples.shape == (1, 0)
    assert read_audio(wave(0, 0)).samples.shape == (1, 0)


def test_litter_behind_the_sound_does_no_harm():
    for tail in (b"LIST\xff\xff\xff\xff", b"TAG" + bytes(125), b"\0"):
        assert read_audio(wave(2000, 2000, tail)).samples.shape == (1, 1000)
    assert torch.equal(
        read_audio(FILES["m4a"] + b"\0\0\0\x05junk of no kind").samples,
        read_audio(FILES["m4a"]).samples,
    )
    mp3 = FILES["mp3"]
    id3v1 = b"TAG" + b"A title".ljust(125, b"\0")
    assert torch.equal(read_audio(mp3 + id3v1).samples, read_audio(mp3).samples)


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("wav", b"RIFF\0\0\0\0WAVE"),
        ("aiff", b"FORM\0\0\0\0AIFF"),
        ("mp4", b""),
        ("caf", b"caff\0\1\0\0"),
    ],
)
def test_many_tiny_chunks_keep_nobody(name, head):
    """A walk over them is given up, and quickly."""
    chunk = {"wav": b"junk\0\0\0\0", "aiff": b"junk\0\0\0\0", "mp4": b"\0\0\0\x08free"}
    file = io.BytesIO(head + chunk.get(name, b"junk" + bytes(8)) * 1_000_000)
    assert missing_part(file, name) is None
    assert file.tell() <= 13_000_000


def test_a_whole_file_lacks_nothing():
    for file in FILES.values():
        stream = io.BytesIO(file)
        audio_format = identify_audio(stream)
        assert audio_format is not None
        assert missing_part(stream, audio_format.name) is None
