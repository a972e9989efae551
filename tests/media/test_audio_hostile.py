"""Damaged files: sound of the right kind or a MediaError, and nothing else."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.media.audio_files import by_ffmpeg, by_soundfile, sound, written
from vqkit.errors import MediaError
from vqkit.media import audio_info, is_audio, read_audio

SHORT = sound(2, 3000)
FILES = [
    written(SHORT),
    written(SHORT, format="flac", bit_depth=24),
    written(SHORT, format="ogg"),
    written(SHORT, format="opus"),
    written(SHORT, format="mp3"),
    written(SHORT, format="m4a"),
    by_soundfile(SHORT.T.numpy(), "AIFF", "PCM_24"),
    by_soundfile(SHORT.T.numpy(), "CAF", "ALAC_16"),
    by_soundfile(SHORT.T.numpy(), "WAV", "MS_ADPCM"),
    by_soundfile(SHORT.T.numpy(), "W64", "FLOAT"),
    by_ffmpeg(SHORT, container="webm", encoding="libopus"),
    by_ffmpeg(SHORT, SHORT, container="mp4", encoding="aac", with_video=True),
    by_ffmpeg(SHORT, container="adts", encoding="aac"),
    by_ffmpeg(SHORT, container="mpegts", encoding="aac"),
    by_ffmpeg(SHORT, container="flv", encoding="aac"),
    by_ffmpeg(SHORT, container="avi", encoding="ac3"),
    by_ffmpeg(SHORT, container="asf", encoding="wmav2"),
]


def is_read_or_refused(file: bytes) -> bool:
    message = ""
    try:
        audio = read_audio(file, max_values=1 << 22)
    except MediaError as error:
        message = str(error)
    if message:
        assert message.startswith("Cannot read the audio of <bytes>: ")
        assert message.endswith(".")
        return False
    assert audio.samples.dtype == torch.float32
    assert audio.samples.shape[0] == audio_info(file).channels
    assert bool(audio.samples.isfinite().all())
    assert not audio.samples.numel() or audio.samples.abs().max() <= 1
    assert audio.sample_rate_hz > 0
    return True


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), number=st.integers(0, len(FILES) - 1))
def test_flipped_bits(data, number):
    file = bytearray(FILES[number])
    for _ in range(data.draw(st.integers(1, 4))):
        end = data.draw(st.sampled_from([64, 600, len(file)]))
        file[data.draw(st.integers(0, min(end, len(file)) - 1))] ^= 1 << data.draw(
            st.integers(0, 7)
        )
    is_read_or_refused(bytes(file))


@settings(max_examples=100, deadline=None)
@given(data=st.data(), number=st.integers(0, len(FILES) - 1), filler=st.binary(max_size=40))
def test_pieces_left_out_and_put_in(data, number, filler):
    file = FILES[number]
    start = data.draw(st.integers(0, len(file)))
    end = data.draw(st.integers(start, min(len(file), start + 500)))
    is_read_or_refused(file[:start] + filler + file[end:])


@settings(max_examples=150, deadline=None)
@given(
    start=st.sampled_from([b"", *sorted({file[:12] for file in FILES}), b"ID3\x04\0\0\0\0\0\x05"]),
    rest=st.binary(max_size=3000),
)
def test_noise_behind_a_good_beginning(start, rest):
    is_read_or_refused(start + rest)
    assert is_audio(start + rest) in (True, False)


def test_tags_without_end_keep_nobody():
    assert not is_read_or_refused(b"ID3\x04\0\0\0\0\0\0" * 500_000)


def test_the_files_themselves_are_read():
    assert all(is_read_or_refused(file) for file in FILES)


@pytest.mark.parametrize(
    "text",
    [
        b"#EXTM3U\nfile:///etc/passwd\n",
        b"v=0\no=- 0 0 IN IP4 127.0.0.1\n",
        b"<?xml version='1.0'?><MPD></MPD>",
        b"ffconcat version 1.0\nfile x.wav\n",
    ],
)
def test_playlists_are_no_audio(text, tmp_path):
    """FFmpeg would open what they name."""
    path = tmp_path / "list.m4a"
    path.write_bytes(text)
    assert not is_audio(path)
    with pytest.raises(MediaError, match="got something else"):
        read_audio(path)
