"""Spectral losses beside what the codecs compute, written out with torchaudio."""

import math

import pytest
import torch
import torch.nn.functional as F
import torchaudio

from vqkit.errors import ConfigError, ShapeError
from vqkit.losses import (
    LinearL1,
    LogL1,
    LogL2,
    MelFilters,
    MultiScaleMel,
    MultiScaleSTFT,
    SpectralConvergence,
)

RATE = 24000
LOSSES = {
    "encodec": lambda: MultiScaleMel.encodec(RATE),
    "audiocraft": lambda: MultiScaleMel.audiocraft(RATE),
    "dac": lambda: MultiScaleMel.dac(RATE),
    "vocos": lambda: MultiScaleMel.vocos(RATE),
    "stft": MultiScaleSTFT,
    "convergence": lambda: MultiScaleSTFT(
        (512, 128), [SpectralConvergence(), LogL1(floor=1e-7, base=math.e)]
    ),
}

pytestmark = pytest.mark.filterwarnings("ignore:At least one mel filterbank:UserWarning")


@pytest.fixture(params=LOSSES, ids=str)
def loss(request):
    return LOSSES[request.param]()


def pair(num_samples: int = 4096, channels: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(num_samples)
    target = 0.3 * torch.randn(2, channels, num_samples, generator=generator)
    return (0.7 * target + 0.05 * torch.randn(target.shape, generator=generator)), target


def with_gradient(loss, reconstruction, target):
    ours = reconstruction.clone().requires_grad_()
    value = loss(ours, target)
    return value.detach(), torch.autograd.grad(value, ours)[0]


def assert_equal(loss, reference, reconstruction, target):
    value, gradient = with_gradient(loss, reconstruction, target)
    expected, expected_gradient = with_gradient(reference, reconstruction, target)
    torch.testing.assert_close(value, expected, rtol=1e-4, atol=0.0)
    error = (gradient - expected_gradient).norm() / expected_gradient.norm()
    assert error < 1e-3


def audiocraft_loss(scales, f_min, alpha, divisor):
    """``MultiScaleMelSpectrogramLoss``: reflected by hand, then frames without centring."""
    transforms = {
        size: torchaudio.transforms.MelSpectrogram(
            RATE, size, hop_length=size // 4, n_mels=64, f_min=f_min, normalized=True, center=False
        )
        for size in scales
    }

    def mel(x, size):
        side = (size - size // 4) // 2
        return transforms[size](F.pad(x, (side, side), "reflect"))

    def compute(x, y):
        total = torch.zeros(())
        for size in scales:
            a, b = mel(x, size), mel(y, size)
            log_a, log_b = (1e-5 + a).log10(), (1e-5 + b).log10()
            total = total + F.l1_loss(a, b) + alpha * F.mse_loss(log_a, log_b)
        return total / divisor

    return compute


def test_encodecs_paper_and_audiocraft():
    reference = audiocraft_loss([2**i for i in range(6, 11)], 64.0, 1.0, 5 * 2)
    assert_equal(MultiScaleMel.audiocraft(RATE), reference, *pair())
    reference = audiocraft_loss([2**i for i in range(5, 12)], 0.0, 1.0, 7)
    assert_equal(MultiScaleMel.encodec(RATE), reference, *pair())


def test_dac():
    """``MelSpectrogramLoss`` of its configuration: librosa's filters, log10 of magnitudes."""

    def reference(x, y):
        total = torch.zeros(())
        for mels, size in zip(
            (5, 10, 20, 40, 80, 160, 320), (2**i for i in range(5, 12)), strict=True
        ):
            filters = torchaudio.functional.melscale_fbanks(
                size // 2 + 1, 0.0, RATE / 2, mels, RATE, norm="slaney", mel_scale="slaney"
            )
            window = torch.hann_window(size)
            logs = [
                (
                    torch.stft(s[:, 0], size, size // 4, window=window, return_complex=True)
                    .abs()
                    .mT
                    @ filters
                )
                .clamp(1e-5)
                .pow(1.0)
                .log10()
                for s in (x, y)
            ]
            total = total + F.l1_loss(*logs)
        return total

    assert_equal(MultiScaleMel.dac(RATE), reference, *pair())


def test_vocos_and_wavtokenizer():
    transform = torchaudio.transforms.MelSpectrogram(
        RATE, n_fft=1024, hop_length=256, n_mels=100, center=True, power=1
    )

    def reference(x, y):
        return F.l1_loss(transform(x).clip(1e-7).log(), transform(y).clip(1e-7).log())

    assert_equal(MultiScaleMel.vocos(RATE), reference, *pair())


def magnitude(x, size):
    spectra = torch.stft(
        x[:, 0], size, size // 4, window=torch.hann_window(size), return_complex=True
    )
    return spectra.abs()


def test_stft_of_dac():
    def reference(x, y):
        total = torch.zeros(())
        for size in (2048, 512):
            a, b = magnitude(x, size), magnitude(y, size)
            logs = [m.clamp(1e-5).pow(2.0).log10() for m in (a, b)]
            total = total + F.l1_loss(*logs) + F.l1_loss(a, b)
        return total

    assert_equal(MultiScaleSTFT(), reference, *pair())


def test_stft_of_yamamoto():
    def reference(x, y):
        total = torch.zeros(())
        for size in (512, 128):
            a, b = magnitude(x, size), magnitude(y, size)
            convergence = torch.stack(
                [(p - q).norm(p="fro") / q.norm(p="fro") for p, q in zip(a, b, strict=True)]
            ).mean()
            total = total + convergence + F.l1_loss(a.clamp(1e-7).log(), b.clamp(1e-7).log())
        return total

    assert_equal(LOSSES["convergence"](), reference, *pair())


def test_equal_sounds_have_no_loss_and_more_noise_has_more(loss):
    _, target = pair()
    noise = torch.randn_like(target)
    assert float(loss(target, target)) == 0.0
    values = [float(loss(target + level * noise, target)) for level in (1e-3, 1e-2, 1e-1)]
    assert 0.0 < values[0] < values[1] < values[2]


@pytest.mark.parametrize("silent", ["target", "reconstruction", "both"])
def test_gradients_are_finite_and_bounded_at_silence(loss, silent):
    _, target = pair()
    reconstruction = target.clone()
    if silent != "target":
        reconstruction = torch.zeros_like(target)
    if silent != "reconstruction":
        target = torch.zeros_like(target)
    value, gradient = with_gradient(loss, reconstruction, target)
    assert value.isfinite()
    assert gradient.isfinite().all()
    assert gradient.norm() < 1e3
    assert (float(value) == 0.0) == (silent == "both")


@pytest.mark.parametrize("num_samples", [1, 7, 64, 500, 2047, 2049])
def test_shorter_than_a_window(loss, num_samples):
    value, gradient = with_gradient(loss, *pair(num_samples))
    assert value.isfinite()
    assert gradient.isfinite().all()


def test_channels_and_items_are_averaged(loss):
    reconstruction, target = pair(2048, channels=2)
    each = [
        loss(r[None, None], t[None, None])
        for r, t in zip(reconstruction.flatten(0, 1), target.flatten(0, 1), strict=True)
    ]
    torch.testing.assert_close(loss(reconstruction, target), torch.stack(each).mean())


def test_autocast_and_half_precision_change_nothing(loss):
    reconstruction, target = (x.bfloat16() for x in pair())
    expected = loss(reconstruction.float(), target.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(reconstruction, target)
    assert value.dtype == torch.float32
    assert torch.equal(value, expected)


def test_the_target_gets_no_gradient():
    reconstruction, target = (x.requires_grad_() for x in pair())
    MultiScaleMel.dac(RATE)(reconstruction, target).backward()
    assert target.grad is None
    assert reconstruction.grad.any()


def test_filters_are_no_part_of_the_state_and_follow_the_module():
    loss = MultiScaleMel.dac(RATE)
    assert not loss.state_dict()
    assert len(list(loss.buffers())) == 7


@pytest.mark.usefixtures("unchecked_shapes")
def test_refuses():
    loss = MultiScaleMel.vocos(RATE)
    with pytest.raises(ShapeError, match=r"\[1, 1, 9\] and \[1, 2, 9\]"):
        loss(torch.zeros(1, 1, 9), torch.zeros(1, 2, 9))
    with pytest.raises(ShapeError, match=r"expected \[batch, channels, samples\], got \[1, 9\]"):
        loss(torch.zeros(1, 9), torch.zeros(1, 9))
    with pytest.raises(ShapeError, match="expected elements"):
        loss(torch.zeros(1, 1, 0), torch.zeros(1, 1, 0))
    with pytest.raises(ConfigError, match="num_mels per window size"):
        MultiScaleMel(RATE, [64], [8, 8])
    with pytest.raises(ConfigError, match="window sizes that 4 divides"):
        MultiScaleSTFT([30])
    with pytest.raises(ConfigError, match="expected window sizes, distances"):
        MultiScaleSTFT([32], [])
    with pytest.raises(ConfigError, match="f_min < f_max"):
        MultiScaleMel(RATE, [64], [8], MelFilters(f_max=13000.0))


def test_distances_are_weighted_values_and_refuse_settings():
    a, b = torch.rand(2, 3, 4), torch.rand(2, 3, 4)
    for kind in (LinearL1, LogL1, LogL2, SpectralConvergence):
        torch.testing.assert_close(kind(weight=3.0)(a, b), 3.0 * kind()(a, b))
        assert kind() == kind()
        with pytest.raises(ConfigError, match=f"{kind.__name__}: expected weight >= 0"):
            kind(weight=-1.0)
    for kind in (LogL1, LogL2, SpectralConvergence):
        with pytest.raises(ConfigError, match=f"{kind.__name__}: expected floor > 0"):
            kind(floor=0.0)
