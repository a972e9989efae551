"""Loudness: the calibration of BS.1770 and of EBU Tech 3341, torchaudio, and a plain loop."""

import cmath
import math

import numpy as np
import pytest
import torch
import torchaudio

from vqkit.errors import ConfigError, ShapeError
from vqkit.ops import loudness as module
from vqkit.ops.loudness import k_weighting, loudness_lufs, normalise_loudness


def sine(level_db: float, seconds: float, rate: int = 48000, frequency: float = 1000.0):
    time = torch.arange(round(seconds * rate), dtype=torch.float64) / rate
    return 10 ** (level_db / 20) * torch.sin(2 * torch.pi * frequency * time)


def test_coefficients_at_48_khz_are_the_tables():
    shelf, high_pass = k_weighting(48000)
    tables = [
        (
            shelf,
            [1.53512485958697, -2.69169618940638, 1.19839281085285],
            [-1.69065929318241, 0.73248077421585],
        ),
        (high_pass, [1.0, -2.0, 1.0], [-1.99004745483398, 0.99007225036621]),
    ]
    for found, numerator, denominator in tables:
        assert found[0].tolist() == pytest.approx(numerator, abs=1e-11)
        assert found[1].tolist() == pytest.approx([1.0, *denominator], abs=1e-11)


@pytest.mark.parametrize("rate", [16000, 22050, 24000, 44100, 48000, 96000])
def test_a_full_scale_sine_of_997_hz_has_minus_3_01(rate):
    tone = sine(0.0, 3.0, rate, 997.0)
    delay = cmath.exp(-2j * math.pi * 997 / rate)
    gains = [abs(b @ delay ** np.arange(3)) for b in k_weighting(rate).flatten(0, 1).numpy()]
    level = -0.691 + 10 * math.log10(0.5 * (gains[0] * gains[2] / (gains[1] * gains[3])) ** 2)
    assert float(loudness_lufs(tone[None, None], rate)) == pytest.approx(level, abs=0.002)
    # Other rates than 48 kHz bend the shelf a little.
    assert level == pytest.approx(-3.01, abs=0.005 if rate == 48000 else 0.05)
    stereo = torch.stack([tone, tone])[None]
    assert float(loudness_lufs(stereo, rate)) == pytest.approx(level + 3.0103, abs=0.002)


@pytest.mark.parametrize(
    ("parts", "expected"),
    [  # cases 1 to 5 of EBU Tech 3341, stereo, levels in dBFS and seconds
        ([(-23.0, 20)], -23.0),
        ([(-33.0, 20)], -33.0),
        ([(-36.0, 10), (-23.0, 60), (-36.0, 10)], -23.0),
        ([(-72.0, 10), (-36.0, 10), (-23.0, 60), (-36.0, 10), (-72.0, 10)], -23.0),
        ([(-26.0, 20), (-20.0, 20.1), (-26.0, 20)], -23.0),
    ],
)
def test_tones_of_ebu_3341(parts, expected):
    tone = torch.cat([sine(level, seconds) for level, seconds in parts]).float()
    found = loudness_lufs(tone.expand(1, 2, -1), 48000)
    assert float(found) == pytest.approx(expected, abs=0.1)


def test_five_and_six_channels():
    """Case 6 of EBU Tech 3341: the low frequencies do not count, the surround counts more."""
    levels = [-28.0, -28.0, -24.0, None, -30.0, -30.0]
    tones = [sine(level or 0.0, 20) for level in levels]
    six = torch.stack(tones)[None].float()
    assert float(loudness_lufs(six, 48000)) == pytest.approx(-23.0, abs=0.1)
    five = six[:, [0, 1, 2, 4, 5]]
    torch.testing.assert_close(loudness_lufs(five, 48000), loudness_lufs(six, 48000))
    four = six[:, :4]
    with pytest.raises(ShapeError, match="expected 4 channel weights, got none"):
        loudness_lufs(four, 48000)
    named = loudness_lufs(four, 48000, channel_weights=[1, 1, 1, 0])
    torch.testing.assert_close(named, loudness_lufs(six[:, :3], 48000))


def test_is_near_torchaudio():
    """Its filters are other approximations of the same two, so that it is near and not equal."""
    generator = torch.Generator().manual_seed(0)
    envelope = torch.linspace(0.0, 0.1, 5 * 16000)
    x = torch.randn(3, 2, 5 * 16000, generator=generator) * envelope
    theirs = torch.stack([torchaudio.functional.loudness(item, 16000) for item in x])
    torch.testing.assert_close(loudness_lufs(x, 16000).float(), theirs, atol=0.2, rtol=0.0)


def naive(x: torch.Tensor, rate: int) -> float:
    """One channel, sample by sample."""
    y = x.tolist()
    for b, a in k_weighting(rate).tolist():
        source, result = [0.0, 0.0, *y], [0.0, 0.0]
        for n in range(2, len(source)):
            value = sum(b[k] * source[n - k] for k in range(3))
            result.append(value - sum(a[k] * result[n - k] for k in (1, 2)))
        y = result[2:]
    step = round(rate / 10)
    blocks = [
        sum(v * v for v in y[i : i + 4 * step]) / (4 * step)
        for i in range(0, len(y) - 4 * step + 1, step)
    ]
    level = [-0.691 + 10 * math.log10(power) if power else -math.inf for power in blocks]
    loud = [power for power, value in zip(blocks, level, strict=True) if value > -70]
    gate = -10.691 + 10 * math.log10(sum(loud) / len(loud))
    kept = [power for power, value in zip(blocks, level, strict=True) if value > max(gate, -70)]
    return -0.691 + 10 * math.log10(sum(kept) / len(kept))


def test_equals_a_loop_in_chunks_of_any_length(monkeypatch):
    rate = 8000
    x = torch.randn(6 * rate + 123, dtype=torch.float64) * 0.1
    x[: 2 * rate] *= 0.01
    x[3 * rate : 4 * rate] = 0.0
    expected = naive(x, rate)
    for chunk_seconds in (1, 3, 20):
        monkeypatch.setattr(module, "_CHUNK_SECONDS", chunk_seconds)
        found = float(loudness_lufs(x[None, None], rate))
        assert found == pytest.approx(expected, abs=1e-9), chunk_seconds


def test_silence_is_minus_infinity_and_stays():
    x = torch.zeros(2, 1, 16000)
    x[1, 0] = 1e-5 * torch.randn(16000)
    assert loudness_lufs(x, 16000).tolist() == [-math.inf, -math.inf]
    assert torch.equal(normalise_loudness(x, 16000), x)


def test_shorter_than_a_block_is_one_block_of_its_own_length():
    tone = sine(-20.0, 1.0, 16000, 997.0)
    assert float(loudness_lufs(tone[None, None, :4000], 16000)) == pytest.approx(-23.0, abs=0.3)
    assert loudness_lufs(torch.full((1, 1, 1), 0.5), 16000).isfinite().all()
    for length in (6399, 6400, 6401):
        value = float(loudness_lufs(tone[None, None, :length], 16000))
        assert value == pytest.approx(-23.0, abs=0.3)
    with pytest.raises(ShapeError, match="samples >= 1"):
        loudness_lufs(torch.zeros(1, 1, 0), 16000)


def test_samples_that_are_not_finite_are_not_silence():
    x = torch.stack([sine(-20.0, 1.0), sine(-20.0, 1.0)])[:, None]
    x[1, 0, 100] = math.nan
    found = loudness_lufs(x, 48000)
    assert found.isnan().tolist() == [False, True]


def test_normalised_to_the_target_and_items_by_themselves():
    x = torch.stack([sine(-30.0, 2.0), sine(-3.0, 2.0)])[:, None].float()
    found = normalise_loudness(x, 48000, -16.0)
    assert found.dtype == torch.float32
    torch.testing.assert_close(
        loudness_lufs(found, 48000), torch.tensor([-16.0, -16.0]).double(), atol=1e-4, rtol=0.0
    )
    torch.testing.assert_close(found[1:], normalise_loudness(x[1:], 48000, -16.0))


def test_refuses_a_rate_below_the_shelf():
    with pytest.raises(ConfigError, match="above 3364 Hz, got 3000"):
        loudness_lufs(torch.zeros(1, 1, 3000), 3000)


@pytest.mark.parametrize(("rate", "channels"), [(16000, 1), (44100, 2), (48000, 2)])
def test_equals_ffmpegs_meter(rate, channels):
    av = pytest.importorskip("av")
    generator = torch.Generator().manual_seed(rate)
    x = 0.2 * torch.randn(channels, 6 * rate, generator=generator)
    x[:, : 2 * rate] *= 0.03  # below the relative gate
    layout = {"layout": "stereo" if channels == 2 else "mono"}
    graph = av.filter.Graph()
    source = graph.add_abuffer(sample_rate=rate, format="flt", **layout)
    meter, sink = graph.add("ebur128", "metadata=1"), graph.add("abuffersink")
    source.link_to(meter)
    meter.link_to(sink)
    graph.configure()
    found = None
    for start in range(0, x.shape[1], rate // 10):
        piece = x[:, start : start + rate // 10].T.contiguous().numpy().reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(piece, format="flt", **layout)
        frame.sample_rate, frame.pts = rate, start
        graph.push(frame)
        while True:
            try:
                measured = graph.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                break
            found = measured.metadata.get("lavfi.r128.I", found)
    assert float(loudness_lufs(x[None], rate)) == pytest.approx(float(found), abs=0.01)
