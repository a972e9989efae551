import io
import stat

import numpy as np
import pytest
import soundfile
import torch

from tests.media.audio_files import sound, written
from vqkit.errors import ConfigError, MediaError, ShapeError
from vqkit.media import audio_info, read_audio, write_audio


@pytest.mark.parametrize("form", ["wav", "flac"])
@pytest.mark.parametrize("bit_depth", [16, 24])
def test_every_level_survives_reading_and_writing(form, bit_depth):
    full = 2 ** (bit_depth - 1)
    levels = torch.arange(-full, full, 1 if bit_depth == 16 else 127)
    levels = torch.cat([levels, torch.tensor([-full, full - 1])])
    samples = (levels.double() / full).float()[None]
    file = written(samples, format=form, bit_depth=bit_depth)
    again = read_audio(file).samples
    assert torch.equal(again, samples)
    assert written(again, format=form, bit_depth=bit_depth) == file


def test_values_are_rounded_to_the_nearest_level_and_clamped():
    steps = [0.49, 0.51, 0.5, 1.5, 2.5, -0.5, -1.5, 32767.4, 32767.9, 40000.0, -32768.0, -99999.0]
    samples = torch.tensor([steps], dtype=torch.float64) / 32768
    stored, _rate = soundfile.read(io.BytesIO(written(samples)), dtype="int16")
    assert stored.tolist() == [0, 1, 0, 2, 2, 0, -2, 32767, 32767, 32767, -32768, -32768]


def test_24_bits_are_24_bits():
    samples = sound()
    file = written(samples, bit_depth=24)
    assert audio_info(file).encoding == "PCM_24"
    assert (read_audio(file).samples - samples).abs().max() <= 2**-24
    stored, _rate = soundfile.read(io.BytesIO(file), dtype="int32")
    assert (stored % 256 == 0).all()
    assert np.array_equal(stored.T // 256, (samples.double() * 2**23).round().int().numpy())


def test_floats_are_kept_and_clamped():
    samples = sound()
    assert torch.equal(read_audio(written(samples, bit_depth="float")).samples, samples)
    assert read_audio(written(samples * 9, bit_depth="float")).samples.abs().max() == 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_float(dtype):
    samples = torch.full((1, 100), 0.25, dtype=dtype).requires_grad_()
    assert (read_audio(written(samples)).samples == 0.25).all()


@pytest.mark.parametrize("form", ["wav", "flac", "ogg", "opus", "mp3", "m4a"])
@pytest.mark.parametrize("channels", [1, 2])
def test_all_formats(form, channels, tmp_path):
    samples = torch.nn.functional.avg_pool1d(sound(channels, 24_000), 9, 1, 4)
    path = tmp_path / f"sound.{form}"
    write_audio(samples, path, 24_000)
    audio = read_audio(path)
    assert audio.sample_rate_hz == 24_000
    num_samples = audio.samples.shape[1]
    assert num_samples == 24_000 or (form == "m4a" and 24_000 <= num_samples < 24_000 + 1024)
    error = (audio.samples[:, :24_000] - samples)[:, 2000:-2000]
    assert error.square().mean() < 0.02 * samples.square().mean()


@pytest.mark.parametrize("ending", ["wav", "WAVE", "flac", "oga", "opus", "mp3", "m4a"])
def test_the_ending_says_the_format(ending, tmp_path):
    path = tmp_path / f"sound.{ending}"
    write_audio(sound(), path, 48_000)
    expected = {"WAVE": "wav", "oga": "ogg", "opus": "ogg", "m4a": "mp4"}.get(ending, ending)
    assert audio_info(path).format == expected
    assert (audio_info(path).encoding == "OPUS") == (ending == "opus")


def test_the_format_can_be_named_and_defaults_to_wav(tmp_path):
    write_audio(sound(), tmp_path / "no_ending", 16000)
    write_audio(sound(), tmp_path / "sound.dat", 16000, format="flac")
    assert (tmp_path / "no_ending").read_bytes().startswith(b"RIFF")
    assert (tmp_path / "sound.dat").read_bytes().startswith(b"fLaC")
    assert written(sound(), format=".OGG").startswith(b"OggS")
    with pytest.raises(ConfigError, match=r"expected one of wav, flac.*got 'dat'"):
        write_audio(sound(), tmp_path / "other.dat", 16000)
    with pytest.raises(ConfigError, match="got 'aac'"):
        written(sound(), format="aac")


@pytest.mark.parametrize(
    ("form", "sample_rate_hz", "rates"),
    [
        ("opus", 16000, (6000, 24_000, 64_000)),
        ("opus", 48000, (9000, 32_000, 128_000)),
        ("mp3", 44100, (32_000, 48_000, 128_000, 320_000)),
        ("mp3", 16000, (8_000, 16_000, 64_000)),
        ("m4a", 44100, (48_000, 128_000)),
    ],
)
def test_the_bit_rate_is_kept(form, sample_rate_hz, rates):
    seconds = 8
    samples = sound(1, sample_rate_hz * seconds)
    for bitrate_bps in rates:
        file = written(samples, sample_rate_hz, format=form, bitrate_bps=bitrate_bps)
        # Containers and encoders that vary their rate take their share.
        assert abs(len(file) * 8 / seconds - bitrate_bps) < 0.12 * bitrate_bps + 2500


def test_settings_that_do_not_fit():
    cases = [
        ({"format": "mp3", "bit_depth": 16}, r"bit_depth: mp3 is lossy"),
        ({"format": "flac", "bitrate_bps": 1000}, r"bitrate_bps: flac is lossless"),
        ({"format": "ogg", "bitrate_bps": 64_000}, r"bitrate_bps: ogg has none to set"),
        ({"format": "flac", "bit_depth": "float"}, r"bit_depth of flac.*16, 24, got 'float'"),
        ({"format": "opus", "bitrate_bps": 5999}, r"expected 6000 to 512000, got 5999"),
        ({"format": "mp3", "bitrate_bps": 200_000}, r"expected 8000 to 160000, got 200000"),
        ({"format": "m4a", "bitrate_bps": 1}, r"bitrate_bps of m4a.*got 1"),
    ]
    for settings, message in cases:
        with pytest.raises(ConfigError, match=message):
            written(sound(), **settings)


def test_unknown_bit_depths(unchecked_shapes):
    for bit_depth in (8, 32, "double"):
        with pytest.raises(
            ConfigError, match=rf"expected one of 16, 24, 'float', got {bit_depth!r}"
        ):
            written(sound(), bit_depth=bit_depth)


def test_rates_that_a_format_lacks():
    for sample_rate_hz in (44100, 22050, 96000):
        with pytest.raises(
            ConfigError, match=r"8000, 12000, 16000, 24000, 48000, got \d+.*Resample"
        ):
            written(sound(), sample_rate_hz, format="opus")
    with pytest.raises(ConfigError, match=r"sample_rate_hz of mp3.*got 96000"):
        written(sound(), 96000, format="mp3")
    with pytest.raises(ConfigError, match=r"expected 1 or more, got 0"):
        written(sound(), 0)


@pytest.mark.parametrize(("form", "channels"), [("flac", 9), ("mp3", 3), ("m4a", 7)])
def test_channels_that_a_format_lacks(form, channels, tmp_path):
    with pytest.raises(
        MediaError, match=rf"Cannot encode {channels} channels at 16000 Hz as {form}"
    ):
        write_audio(sound(channels), tmp_path / f"sound.{form}", 16000)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("form", ["flac", "opus", "mp3", "m4a"])
def test_no_samples_in_a_format_that_needs_some(form):
    with pytest.raises(MediaError, match=rf"Cannot encode 0 samples as {form}"):
        written(torch.zeros(1, 0), format=form)


@pytest.mark.parametrize("shape", [(4,), (0, 4), (1, 2, 3)])
def test_shapes_that_are_no_audio(shape, unchecked_shapes):
    with pytest.raises(ShapeError, match=r"expected \[1 or more channels, samples\]"):
        written(torch.zeros(shape))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite(value):
    samples = sound()
    samples[1, 200] = value
    with pytest.raises(ShapeError, match="finite"):
        written(samples)


def test_integers_are_no_audio(unchecked_shapes):
    with pytest.raises(ShapeError, match=r"got torch\.int16"):
        written(torch.zeros(1, 4, dtype=torch.int16))


def test_a_file_is_replaced_only_when_told(tmp_path):
    path = tmp_path / "sound.wav"
    first, second = (read_audio(written(sound(channels))).samples for channels in (1, 2))
    write_audio(first, path, 16000)
    with pytest.raises(MediaError, match=r"sound\.wav.*exists"):
        write_audio(second, path, 16000)
    assert torch.equal(read_audio(path).samples, first)
    write_audio(second, path, 16000, overwrite=True)
    assert torch.equal(read_audio(path).samples, second)
    assert [entry.name for entry in tmp_path.iterdir()] == ["sound.wav"]


def test_nothing_is_left_behind_by_a_failure(tmp_path, monkeypatch):
    with pytest.raises(MediaError, match=r"absent.*No such file"):
        write_audio(sound(), tmp_path / "absent" / "sound.wav", 16000)

    def full(*_arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(MediaError, match=r"sound\.flac.*No space left"):
        write_audio(sound(), tmp_path / "sound.flac", 16000)
    assert not list(tmp_path.iterdir())


def test_a_new_file_has_the_permissions_of_any_other(tmp_path):
    write_audio(sound(), tmp_path / "sound.wav", 16000)
    (tmp_path / "other").write_bytes(b"")
    modes = {stat.S_IMODE(entry.stat().st_mode) for entry in tmp_path.iterdir()}
    assert len(modes) == 1


def test_a_wave_of_more_than_4_gib_is_refused_before_it_is_made(monkeypatch):
    monkeypatch.setattr("vqkit.media.audio_writing._WAV_LIMIT_BYTES", 10_000)
    with pytest.raises(MediaError, match=r"24000 bytes as wav: at most 4 GiB"):
        written(sound())
    assert written(sound(), format="flac").startswith(b"fLaC")


def test_many_blocks(monkeypatch):
    """Long sounds are encoded piece by piece."""
    expected = written(sound(), format="flac", bit_depth=24)
    monkeypatch.setattr("vqkit.media.audio_writing._BLOCK_SAMPLES", 1000)
    assert written(sound(), format="flac", bit_depth=24) == expected
