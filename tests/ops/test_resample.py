"""The resampler against a direct sum, against other resamplers, and cut to pieces."""

import itertools
import math

import numpy as np
import pytest
import scipy.signal
import torch
import torchaudio
from hypothesis import given, settings
from hypothesis import strategies as st

from vqkit.errors import ConfigError, ShapeError
from vqkit.ops import (
    StreamingResampler,
    part_inputs,
    resample,
    resample_part,
    resampled_length,
)
from vqkit.ops.resample_bank import FilterBank

PAIRS = [
    (44100, 16000),
    (16000, 44100),
    (11025, 16000),
    (192000, 24000),
    (8000, 48000),
    (24000, 16000),
    (3, 2),
    (1, 7),
]
# Common rates whose common divisor is small.
ODD_PAIRS = [(16001, 16000), (44101, 8000)]


def direct_sum(x: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
    """Sum over all samples: sinc in a Kaiser window, by the formulas of the docstring."""
    scale = max(1.0, from_hz / to_hz)
    half_width = math.ceil((100 - 7.95) / (2.285 * 0.1 * math.pi) / 2 + 0.5)
    result = []
    for n in range(-(-len(x) * to_hz // from_hz)):
        first = math.floor(n * from_hz / to_hz - half_width * scale) - 1
        last = math.ceil(n * from_hz / to_hz + half_width * scale) + 1
        places = np.arange(first, last + 1)
        t = (n * from_hz - places * to_hz) / to_hz / scale
        inside = np.abs(t) < half_width
        window = np.i0(0.1102 * 91.3 * np.sqrt(np.where(inside, 1 - (t / half_width) ** 2, 0)))
        weights = np.sinc(0.95 * t) * window * inside
        weights /= weights.sum()
        heard = (places >= 0) & (places < len(x))
        result.append(weights[heard] @ x[places[heard]])
    return np.array(result)


@pytest.mark.parametrize(("from_hz", "to_hz"), PAIRS + ODD_PAIRS)
@pytest.mark.parametrize("num_samples", [1, 2, 100, 1501])
def test_the_naive_sum_gives_the_same(from_hz, to_hz, num_samples):
    x = torch.randn(num_samples, dtype=torch.float64)
    y = resample(x, from_hz, to_hz)
    expected = direct_sum(x.numpy(), from_hz, to_hz)
    assert y.shape == expected.shape
    assert np.abs(y.numpy() - expected).max() < 1e-12
    rounded = resample(x.float(), from_hz, to_hz)
    assert rounded.dtype == torch.float32
    assert (
        np.abs(rounded.numpy() - direct_sum(x.float().double().numpy(), from_hz, to_hz)).max()
        < 1e-6
    )


@pytest.mark.parametrize(("from_hz", "to_hz"), PAIRS)
def test_the_length_is_that_of_the_formula(from_hz, to_hz):
    for num_samples in (0, 1, 2, 3, 441, 1000):
        expected = math.ceil(num_samples * to_hz / from_hz)
        assert resampled_length(num_samples, from_hz, to_hz) == expected
        assert resample(torch.zeros(2, 3, num_samples), from_hz, to_hz).shape == (2, 3, expected)


def test_equal_rates_change_nothing():
    x = torch.randn(2, 100)
    assert resample(x, 16000, 16000) is x
    stream = StreamingResampler(16000, 16000, 2)
    assert torch.equal(torch.cat([stream.push(x), stream.finish()], 1), x)
    assert stream.latency_seconds == 0


# Pieces and batches


@settings(max_examples=60, deadline=None)
@given(
    pair=st.sampled_from(PAIRS + ODD_PAIRS),
    channels=st.integers(1, 3),
    cuts=st.lists(st.integers(0, 9000), max_size=8),
    num_samples=st.integers(0, 9000),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    seed=st.integers(0, 100),
)
def test_any_split_gives_the_very_bits_of_the_whole(pair, channels, cuts, num_samples, dtype, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(channels, num_samples, dtype=dtype, generator=generator)
    stream = StreamingResampler(*pair, channels)
    places = [0, *sorted(min(cut, num_samples) for cut in cuts), num_samples]
    pieces = [stream.push(x[:, a:b]) for a, b in itertools.pairwise(places)]
    pieces.append(stream.finish())
    assert torch.equal(torch.cat(pieces, 1), resample(x, *pair))


@settings(max_examples=60, deadline=None)
@given(
    pair=st.sampled_from([*PAIRS, *ODD_PAIRS, (16000, 16000)]),
    num_samples=st.integers(1, 9000),
    where=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    more=st.integers(0, 50),
)
def test_a_part_has_the_very_bits_of_the_whole(pair, num_samples, where, more):
    x = torch.randn(2, num_samples, generator=torch.Generator().manual_seed(num_samples))
    whole = resample(x, *pair)
    start, end = (int(place * whole.shape[1]) for place in sorted(where))
    first, behind = part_inputs(start, end - start, *pair)
    first = max(0, first - more)
    part = resample_part(x[:, first : behind + more], first, start, end - start, *pair)
    assert torch.equal(part, whole[:, start:end])


def test_a_part_takes_no_more_than_its_surroundings():
    first, end = part_inputs(16000 * 3600, 16000, 44100, 16000)
    assert 44100 * 3600 - 1000 < first < 44100 * 3600
    assert 44100 * 3601 < end < 44100 * 3601 + 1000
    assert part_inputs(5, 0, 44100, 16000) == (5, 5)
    for start, num_samples in ((-1, 5), (5, -1)):
        with pytest.raises(ConfigError, match="expected start and num_samples of 0 or more"):
            part_inputs(start, num_samples, 44100, 16000)


def test_a_sample_at_a_time():
    x = torch.randn(1, 700)
    stream = StreamingResampler(16000, 24000, 1)
    pieces = [stream.push(sample) for sample in x.split(1, dim=1)] + [stream.finish()]
    assert torch.equal(torch.cat(pieces, 1), resample(x, 16000, 24000))


@pytest.mark.parametrize(("from_hz", "to_hz"), PAIRS)
def test_neighbours_in_a_batch_change_no_bit(from_hz, to_hz):
    x = torch.randn(4, 2, 3000)
    together = resample(x, from_hz, to_hz)
    for i in range(4):
        assert torch.equal(together[i], resample(x[i], from_hz, to_hz))
        assert torch.equal(together[i, 1], resample(x[i, 1], from_hz, to_hz))


@pytest.mark.parametrize(("from_hz", "to_hz"), PAIRS + ODD_PAIRS)
def test_what_comes_later_changes_no_bit_of_what_came_before(from_hz, to_hz):
    """So the first part of a long signal can be resampled by itself, but for its last moments."""
    x = torch.randn(1, 6000)
    reach = FilterBank(from_hz, to_hz, torch.device("cpu")).reach
    short, whole = resample(x[:, :5000], from_hz, to_hz), resample(x, from_hz, to_hz)
    safe = max(0, (5000 - reach) * to_hz // from_hz)
    assert torch.equal(short[:, :safe], whole[:, :safe])


@pytest.mark.parametrize(("from_hz", "to_hz"), [(44100, 16000), (8000, 48000), (192000, 24000)])
def test_a_stream_keeps_its_promise_of_latency_and_little_memory(from_hz, to_hz):
    stream = StreamingResampler(from_hz, to_hz, 1)
    assert 0.002 < stream.latency_seconds < 0.02
    num_in = num_out = most_kept = 0
    for _ in range(200):
        num_in += 320
        num_out += stream.push(torch.randn(1, 320)).shape[1]
        assert num_out / to_hz >= num_in / from_hz - stream.latency_seconds
        most_kept = max(most_kept, stream._kept.numel())
    assert most_kept < 3 * stream.latency_seconds * from_hz + 320


def test_a_stream_is_used_again_after_reset_and_not_before():
    x = torch.randn(1, 500)
    stream = StreamingResampler(3, 2, 1)
    first = torch.cat([stream.push(x), stream.finish()], 1)
    for act in (lambda: stream.push(x), stream.finish):
        with pytest.raises(ConfigError, match=r"finished.*reset"):
            act()
    stream.reset()
    assert torch.equal(torch.cat([stream.push(x), stream.finish()], 1), first)
    stream.reset()
    assert stream.finish().shape == (1, 0)


# Quality


def tone(frequency_hz: float, rate_hz: int, seconds: float = 0.5) -> torch.Tensor:
    time = torch.arange(round(rate_hz * seconds), dtype=torch.float64) / rate_hz
    return 0.8 * torch.sin(2 * math.pi * frequency_hz * time)


def middle(y: torch.Tensor, rate_hz: int) -> torch.Tensor:
    """Without the ends, where the tone begins and stops."""
    cut = round(0.1 * rate_hz)
    return y[cut:-cut].double()


def test_the_response_is_that_of_the_docstring():
    """Of an impulse, seen on a grid 256 times finer."""
    impulse = torch.zeros(401, dtype=torch.float64)
    impulse[200] = 1
    response = torch.fft.rfft(resample(impulse, 1, 256), n=512 * 2000).abs() / 256
    frequency = torch.arange(len(response)) / 2000  # relative to half the lower rate
    response_db = 20 * response.log10()
    assert response_db[frequency <= 0.9].abs().max() < 0.0002
    assert abs(response_db[1900] + 6.02) < 0.01
    assert response_db[frequency >= 1].max() < -100


@pytest.mark.parametrize(("from_hz", "to_hz"), PAIRS[:6])
@pytest.mark.parametrize("part", [0.01, 0.3, 0.7, 0.9])
def test_a_tone_in_the_pass_band_keeps_amplitude_and_place(from_hz, to_hz, part):
    frequency_hz = part * min(from_hz, to_hz) / 2
    y = resample(tone(frequency_hz, from_hz).float(), from_hz, to_hz)
    expected = middle(tone(frequency_hz, to_hz), to_hz)
    error = middle(y, to_hz) - expected
    snr_db = 10 * math.log10(expected.square().mean() / error.square().mean())
    assert snr_db > 80
    gain = (middle(y, to_hz) @ expected) / (expected @ expected)
    assert abs(gain - 1) < 1e-4


@pytest.mark.parametrize(("from_hz", "to_hz"), [p for p in PAIRS[:6] if p[0] > p[1]])
@pytest.mark.parametrize("part", [1.0, 1.02, 1.3, 1.45])
def test_a_tone_above_the_new_nyquist_is_gone(from_hz, to_hz, part):
    x = tone(part * to_hz / 2, from_hz)
    y = middle(resample(x, from_hz, to_hz), to_hz)
    assert 20 * math.log10(y.abs().max() / 0.8) < -90


@pytest.mark.parametrize(("from_hz", "to_hz"), [p for p in PAIRS[:6] if p[0] < p[1]])
def test_no_images_appear_above_the_old_nyquist(from_hz, to_hz):
    x = tone(0.45 * from_hz, from_hz)
    y = middle(resample(x, from_hz, to_hz), to_hz)
    spectrum = torch.fft.rfft(y * torch.kaiser_window(len(y), False, 20.0, dtype=y.dtype)).abs()
    frequencies = torch.fft.rfftfreq(len(y), 1 / to_hz)
    above = spectrum[frequencies > from_hz / 2].max() / spectrum.max()
    assert 20 * math.log10(above) < -90


@pytest.mark.parametrize(("from_hz", "to_hz"), PAIRS[:6])
def test_a_constant_stays_what_it_is(from_hz, to_hz):
    y = resample(torch.full((from_hz // 2,), 0.7, dtype=torch.float64), from_hz, to_hz)
    assert (middle(y, to_hz) - 0.7).abs().max() < 1e-14


@pytest.mark.parametrize(("from_hz", "to_hz"), PAIRS[:6])
def test_an_impulse_stays_at_its_place(from_hz, to_hz):
    period_in, period_out = from_hz // math.gcd(from_hz, to_hz), to_hz // math.gcd(from_hz, to_hz)
    periods = 1 + 600 // min(period_in, period_out)
    x = torch.zeros(2 * periods * period_in + 1, dtype=torch.float64)
    x[periods * period_in] = 1
    y = resample(x, from_hz, to_hz)
    peak = periods * period_out
    assert y.argmax() == peak
    reach = min(peak, len(y) - 1 - peak)
    around = y[peak - reach : peak + reach + 1]
    # The same to both sides: the phase is linear and there is no delay.
    assert (around - around.flip(0)).abs().max() < 1e-6


@pytest.mark.parametrize(("from_hz", "to_hz"), [(44100, 16000), (16000, 24000), (48000, 44100)])
def test_other_resamplers_of_like_quality_agree(from_hz, to_hz):
    generator = torch.Generator().manual_seed(3)
    time = torch.arange(from_hz, dtype=torch.float64) / from_hz
    top = 0.85 * min(from_hz, to_hz) / 2
    frequencies = torch.rand(20, 1, generator=generator, dtype=torch.float64) * top
    x = torch.sin(2 * math.pi * frequencies * time + frequencies).mean(0)
    y = resample(x, from_hz, to_hz)
    reference = torchaudio.functional.resample(
        x, from_hz, to_hz, lowpass_filter_width=128, rolloff=0.95,
        resampling_method="sinc_interp_kaiser", beta=12.0,
    )  # fmt: skip
    divisor = math.gcd(from_hz, to_hz)
    up, down = to_hz // divisor, from_hz // divisor
    window = scipy.signal.firwin(
        128 * max(up, down) + 1, 0.95 / max(up, down), window=("kaiser", 10.0)
    )
    polyphase = scipy.signal.resample_poly(x.numpy(), up, down, window=window)
    power = middle(y, to_hz).square().mean()
    for other in (reference, torch.from_numpy(polyphase)):
        assert len(other) == len(y)
        error = middle(y, to_hz) - middle(other, to_hz)
        assert 10 * math.log10(power / error.square().mean()) > 80


def test_there_and_back_again():
    """What both rates can hold comes back."""
    x = sum(tone(f, 16000) for f in (100.0, 1234.5, 3000.0, 6900.0)) / 4
    back = resample(resample(x, 16000, 44100), 44100, 16000)
    assert len(back) >= len(x)
    error = middle(back[: len(x)], 16000) - middle(x, 16000)
    assert 10 * math.log10(middle(x, 16000).square().mean() / error.square().mean()) > 80


# Gradient and errors


@pytest.mark.parametrize(("from_hz", "to_hz"), [(3, 2), (16000, 44100), (44100, 16000)])
def test_the_gradient_is_that_of_the_transposed_sum(from_hz, to_hz):
    x = torch.randn(2, 400, dtype=torch.float64, requires_grad=True)
    y = resample(x, from_hz, to_hz)
    direction = torch.randn_like(y)
    (y * direction).sum().backward()
    other = torch.randn_like(x)
    assert torch.allclose(
        (x.grad * other).sum(), (resample(other, from_hz, to_hz) * direction).sum(), rtol=1e-10
    )
    single = torch.randn(1, 300, requires_grad=True)
    resample(single, from_hz, to_hz).square().sum().backward()
    assert single.grad.dtype == torch.float32
    assert bool(single.grad.abs().max() > 0.1)


def test_gradients_flow_after_a_use_in_inference_mode():
    """Filters are kept: those of a validation are those of the training that follows."""
    rates = (7013, 5003)
    with torch.inference_mode():
        before = resample(torch.ones(1, 500), *rates)
    x = torch.ones(1, 500, requires_grad=True)
    resample(x, *rates).sum().backward()
    assert x.grad.isfinite().all()
    assert torch.equal(before, resample(x, *rates))


def test_it_takes_no_notice_of_autocast():
    x = torch.randn(1, 1000)
    with torch.autocast("cpu", torch.bfloat16):
        under_autocast = resample(x, 3, 2)
    assert torch.equal(under_autocast, resample(x, 3, 2))


@pytest.mark.parametrize("rate", [0, -16000, 16000.0, "16000", True, None])
def test_rates_that_are_none(rate, unchecked_shapes):
    for rates in ((rate, 8000), (8000, rate)):
        with pytest.raises(ConfigError, match=r"(from|to)_hz: expected a positive whole number"):
            resample(torch.zeros(1, 10), *rates)
        with pytest.raises(ConfigError, match="expected a positive whole number"):
            StreamingResampler(*rates, 1)


def test_a_ratio_beyond_reason():
    with pytest.raises(ConfigError, match=r"192000 to 700 Hz.*at most 256"):
        resample(torch.zeros(10), 192000, 700)
    assert resample(torch.zeros(1000), 256, 1).shape == (4,)
    assert resample(torch.zeros(3), 1, 256).shape == (768,)


def test_what_is_no_signal(unchecked_shapes):
    for x in (torch.zeros(()), torch.zeros(4, dtype=torch.int16), torch.zeros(4).half()):
        with pytest.raises(ShapeError, match=r"expected float32 or float64 \[\.\.\., samples\]"):
            resample(x, 3, 2)
    with pytest.raises(ConfigError, match="channels of a resampler"):
        StreamingResampler(3, 2, 0)
    stream = StreamingResampler(3, 2, 2)
    with pytest.raises(ShapeError, match=r"\[2, samples\].*\(1, 4\)"):
        stream.push(torch.zeros(1, 4))
    stream.push(torch.zeros(2, 4))
    with pytest.raises(ShapeError, match=r"float32 on cpu as before, got torch\.float64"):
        stream.push(torch.zeros(2, 4).double())


def test_filters_of_odd_pairs_stay_small():
    bank = FilterBank(44101, 192000, torch.device("cpu"))
    for place in range(0, bank.rows_per_period, 1 + bank.rows_per_period // 40):
        bank._filter(place)
    kept = sum(weights.numel() * weights.element_size() for weights in bank._filters.values())
    assert 0 < kept <= 1 << 26
    assert bank._max_filters * 8 * bank.taps * bank.row_outputs <= 1 << 26
