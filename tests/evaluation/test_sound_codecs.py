"""Codecs of sounds as references: real bytes, no delay, the right length, measured alike."""

import io
from importlib.util import find_spec

import pytest
import torch

from tests.evaluation.sound_stand_in import sounds
from tests.metrics.sounds import RATE_HZ
from vqkit.errors import ConfigError, MediaError, MissingExtraError
from vqkit.evaluation import (
    REFERENCE_CODECS,
    ImageQuality,
    RateCurve,
    SoundQuality,
    codec_reference,
)
from vqkit.evaluation.sound_codecs import AMR
from vqkit.media import Audio, read_audio, write_audio
from vqkit.metrics import si_sdr
from vqkit.ops import resample

QUALITY = SoundQuality(RATE_HZ, ["si_sdr", "mel_distance"])
SOUND_CODECS = ("opus", "mp3", "amr")


@pytest.fixture(scope="module")
def media():
    return sounds(2, seconds=1.0)


def test_bytes_and_quality_are_those_of_the_file(media):
    curve = codec_reference(media, "opus", [24_000, 9000], QUALITY)
    assert [point.setting for point in curve.points] == [9000, 24_000]
    assert (curve.title, curve.num_items) == ("Opus", 2)
    sizes_bytes, ratios = [], []
    for _, sound in media:
        file = io.BytesIO()
        write_audio(sound.samples, file, RATE_HZ, format="opus", bitrate_bps=9000)
        sizes_bytes.append(len(file.getvalue()))
        decoded = read_audio(file.getvalue()).samples
        ratios.append(si_sdr(decoded[None], sound.samples[None]).item())
    lowest = curve.points[0]
    assert lowest.size_bytes == sum(sizes_bytes)
    assert lowest.rate == 8 * sum(sizes_bytes) / 2.0
    assert lowest.metrics["si_sdr"].mean == pytest.approx(sum(ratios) / 2, rel=1e-9)
    assert curve.points[1].metrics["si_sdr"].mean > lowest.metrics["si_sdr"].mean


@pytest.mark.parametrize(
    ("name", "bitrate_bps"),
    [("opus", 24_000), ("mp3", 32_000), ("mp3", 64_000), ("amr", 12_200)],
)
@pytest.mark.parametrize(("rate_hz", "channels"), [(RATE_HZ, 1), (22_050, 2)])
def test_what_is_decoded_lies_where_the_original_does(name, bitrate_bps, rate_hz, channels, media):
    samples = resample(media[0][1].samples, RATE_HZ, rate_hz).expand(channels, -1)
    codec = REFERENCE_CODECS[name]
    size_bytes, decoded, _ = codec.round_trip(
        "x", Audio(samples, rate_hz), codec.default_settings[-1]
    )
    assert decoded.shape == samples.shape
    assert size_bytes > 100
    best = correlation(samples[0], decoded[0], 0)
    # Of AMR the delay is whole only at 8 kHz.
    lags = [lag for lag in range(-30, 31) if abs(lag) > 4]
    assert all(best > correlation(samples[0], decoded[0], lag) for lag in lags)
    assert best > 0.8


def correlation(target: torch.Tensor, decoded: torch.Tensor, lag: int) -> float:
    shifted = decoded.roll(-lag)[100:-100]
    return torch.nn.functional.cosine_similarity(target[100:-100], shifted, dim=0).item()


def test_curve_comes_back_from_json(media):
    from dataclasses import asdict

    curve = codec_reference(media[:1], "opus", [9000], QUALITY)
    assert RateCurve.from_dict(asdict(curve)) == curve


def test_wrong_requests(media):
    with pytest.raises(ConfigError, match=r"one of jpeg, .*, opus, mp3, amr, .*, got 'aac'"):
        codec_reference(media, "aac", quality=QUALITY)
    with pytest.raises(ConfigError, match="settings from 6000 to 256000"):
        codec_reference(media, "opus", [100], QUALITY)
    with pytest.raises(ConfigError, match="quality=SoundQuality"):
        codec_reference(media, "opus")
    with pytest.raises(ConfigError, match="metrics of sounds, got ImageQuality"):
        codec_reference(media, "opus", quality=ImageQuality())
    with pytest.raises(ConfigError, match="at least one sound"):
        codec_reference([], "opus", quality=QUALITY)
    with pytest.raises(MediaError, match="with samples"):
        codec_reference([("x", Audio(torch.zeros(1, 0), 8000))], "opus", quality=QUALITY)


def test_an_encoder_that_is_not_there(media, monkeypatch):
    monkeypatch.setattr(type(AMR), "_ENCODER", "libnothing")
    with pytest.raises(MissingExtraError, match="no encoder libnothing"):
        codec_reference(media[:1], "amr", quality=QUALITY)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("pesq") is None, reason="pesq is not installed")
def test_more_bits_are_better(media):
    quality = SoundQuality(RATE_HZ, ["pesq", "mel_distance"])
    for name in SOUND_CODECS:
        points = codec_reference(media, name, quality=quality).points
        rates = [point.rate for point in points]
        assert rates == sorted(rates), name
        distances = [point.metrics["mel_distance"].mean for point in points]
        assert distances[-1] < distances[0], name
        assert points[-1].metrics["pesq"].mean > points[0].metrics["pesq"].mean, name
