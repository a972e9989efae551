"""Mel filters against torchaudio and against librosa's rule, written out."""

import math

import pytest
import torch
from torchaudio.functional import melscale_fbanks

from vqkit.errors import ConfigError
from vqkit.ops.mel import hertz_to_mel, mel_filterbank, mel_to_hertz

SETTINGS = [
    (513, 24000, 100, 0.0, None),
    (1025, 44100, 320, 0.0, None),
    (257, 16000, 40, 64.0, 7000.0),
    (17, 44100, 5, 0.0, None),
]


@pytest.mark.parametrize("norm", [None, "slaney"])
@pytest.mark.parametrize("scale", ["htk", "slaney"])
@pytest.mark.parametrize("setting", SETTINGS, ids=str)
@pytest.mark.filterwarnings("ignore:At least one mel filterbank:UserWarning")
def test_equals_torchaudio(setting, scale, norm):
    num_freqs, rate, num_mels, f_min, f_max = setting
    ours = mel_filterbank(num_freqs, rate, num_mels, f_min, f_max, scale=scale, norm=norm)
    theirs = melscale_fbanks(
        num_freqs, f_min, f_max or rate / 2, num_mels, rate, norm=norm, mel_scale=scale
    )
    assert ours.dtype == torch.float64
    # torchaudio computes in fp32: its corners are off by up to 2 mHz, of triangles 20 Hz wide.
    torch.testing.assert_close(ours.float(), theirs.T, atol=1e-4 * float(ours.max()), rtol=0.0)


def librosa_mel(frequency: float) -> float:
    if frequency < 1000.0:
        return 3 * frequency / 200
    return 15.0 + 27.0 * math.log(frequency / 1000.0) / math.log(6.4)


def librosa_hertz(mel: float) -> float:
    return 200 * mel / 3 if mel < 15.0 else 1000.0 * 6.4 ** ((mel - 15.0) / 27.0)


def test_equals_a_loop_over_librosas_formula():
    rate, n_fft, num_mels = 22050, 256, 20
    bank = mel_filterbank(n_fft // 2 + 1, rate, num_mels, scale="slaney", norm="slaney")
    top = librosa_mel(rate / 2)
    corners = [librosa_hertz(i * top / (num_mels + 1)) for i in range(num_mels + 2)]
    for m in range(num_mels):
        low, peak, high = corners[m : m + 3]
        for k in range(n_fft // 2 + 1):
            f = k * rate / n_fft
            height = max(0.0, min((f - low) / (peak - low), (high - f) / (high - peak)))
            assert float(bank[m, k]) == pytest.approx(height * 2 / (high - low), abs=1e-14)


@pytest.mark.parametrize("scale", ["htk", "slaney"])
def test_scales_are_inverse_and_rise(scale):
    frequencies = torch.linspace(0, 24000, 997, dtype=torch.float64)
    mels = hertz_to_mel(frequencies, scale)
    torch.testing.assert_close(mel_to_hertz(mels, scale), frequencies)
    assert (mels.diff() > 0).all()


def test_narrow_filters_are_empty_and_wide_ones_sum_to_one():
    assert (mel_filterbank(17, 44100, 64).sum(1) == 0).any()
    bank = mel_filterbank(2049, 16000, 10)
    first, *_, last = bank.argmax(1).tolist()
    between = bank[:, first + 1 : last].sum(0)
    torch.testing.assert_close(between, torch.ones(last - first - 1, dtype=torch.float64))


@pytest.mark.parametrize(
    "arguments",
    [
        (1, 8000, 4),
        (9, 8000, 0),
        (9, 8000, 4, -1.0),
        (9, 8000, 4, 50.0, 40.0),
        (9, 8000, 4, 0, 4001),
    ],
)
def test_refuses(arguments):
    with pytest.raises(ConfigError, match="Mel filters: expected num_freqs >= 2"):
        mel_filterbank(*arguments)


@pytest.mark.usefixtures("unchecked_shapes")
def test_refuses_unknown_scales():
    with pytest.raises(ConfigError, match="norm None or 'slaney'"):
        mel_filterbank(9, 8000, 4, scale="bark")
