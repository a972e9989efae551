"""Discriminators of sound: layouts by hand, naive reshapes and transforms, what they may see."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from vqkit.errors import ConfigError, ShapeError
from vqkit.nets import (
    DiscriminatorEnsemble,
    DiscriminatorOutput,
    MultiBandSTFTDiscriminator,
    MultiPeriodDiscriminator,
    MultiResolutionDiscriminator,
    MultiScaleDiscriminator,
    MultiScaleSTFTDiscriminator,
    PeakNormalisation,
)
from vqkit.tokenizers import build, describe

SMALL = {
    "scales_of_stft": lambda **o: MultiScaleSTFTDiscriminator(window_sizes=[128, 32], width=4, **o),
    "bands": lambda **o: MultiBandSTFTDiscriminator(window_sizes=[128, 64], width=4, **o),
    "resolutions": lambda **o: MultiResolutionDiscriminator(window_sizes=[128, 64], width=4, **o),
    "periods": lambda **o: MultiPeriodDiscriminator(width=2, **o),
    "scales": lambda **o: MultiScaleDiscriminator(width=16, **o),
}


@pytest.fixture(params=SMALL)
def make(request):
    return SMALL[request.param]


def chain(judge_layers, x, slope, strides, paddings, dilations=None):
    """The layers as functions with the effective weights; weight norm written out."""
    features = []
    for i, conv in enumerate(judge_layers):
        g, v = conv.parametrizations.weight.original0, conv.parametrizations.weight.original1
        weight = g * v / v.flatten(1).norm(dim=1).reshape(-1, *[1] * (v.ndim - 1))
        function = F.conv1d if v.ndim == 3 else F.conv2d
        groups = x.shape[1] // v.shape[1]
        x = function(
            x,
            weight,
            conv.bias,
            stride=strides[i],
            padding=paddings[i],
            dilation=dilations[i] if dilations else 1,
            groups=groups,
        )
        if i < len(judge_layers) - 1:
            x = F.leaky_relu(x, slope)
            features.append(x)
    return x, features


def layers_of(judge):
    return [*judge.layers.convs, judge.head]


def assert_output(output, index, logits, features):
    torch.testing.assert_close(output.logits[index], logits)
    assert len(output.features[index]) == len(features)
    for ours, theirs in zip(output.features[index], features, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_scales_of_stft_equal_encodecs_layout():
    """Normalised spectra, real before imaginary parts, 3 x 9, dilated by 1, 2, 4 in time."""
    discriminator = MultiScaleSTFTDiscriminator(2, window_sizes=[64], width=4).double()
    x = torch.randn(3, 2, 400, dtype=torch.float64)
    window = torch.hann_window(64, dtype=torch.float64)
    spectra = torch.stft(
        x.flatten(0, 1), 64, 16, window=window, center=False, return_complex=True
    ) / math.sqrt(float(window.square().sum()))
    spectra = spectra.unflatten(0, (3, 2))
    channels = [spectra[:, 0].real, spectra[:, 1].real, spectra[:, 0].imag, spectra[:, 1].imag]
    image = torch.stack([c.transpose(1, 2) for c in channels], dim=1)
    assert image.shape == (3, 4, 22, 33)
    logits, features = chain(
        layers_of(discriminator.judges[0]),
        image,
        0.2,
        [1, (1, 2), (1, 2), (1, 2), 1, 1],
        [(1, 4), (1, 4), (2, 4), (4, 4), 1, 1],
        [1, (1, 1), (2, 1), (4, 1), 1, 1],
    )
    assert logits.shape == (3, 1, 22, 5)
    assert_output(discriminator(x), 0, logits, features)


def test_defaults_of_encodec():
    discriminator = MultiScaleSTFTDiscriminator()
    assert discriminator.window_sizes == (2048, 1024, 512, 256, 128)
    sizes = [tuple(c.weight.shape) for c in layers_of(discriminator.judges[0])]
    inner = [(32, 32, 3, 9)] * 3
    assert sizes == [(32, 2, 3, 9), *inner, (32, 32, 3, 3), (1, 32, 3, 3)]
    output = discriminator(torch.zeros(1, 1, 24000))
    # Whole frames of a second, and the bins halved three times.
    expected = [
        (1 + (24000 - n) // (n // 4), math.ceil((n // 2 + 1) / 8))
        for n in discriminator.window_sizes
    ]
    assert [tuple(logits.shape[2:]) for logits in output.logits] == expected


def test_kernels_of_encodecs_paper():
    discriminator = MultiScaleSTFTDiscriminator(window_sizes=[128], width=2, kernel_size=(3, 8))
    assert discriminator.judges[0].layers.convs[1].weight.shape == (2, 2, 3, 8)
    # Of 65 bins the even kernel leaves 64, which are halved three times.
    assert discriminator(torch.zeros(1, 1, 128)).logits[0].shape == (1, 1, 1, 8)


@pytest.mark.parametrize("num_samples", [1, 10, 999, 1000, 1001])
@pytest.mark.parametrize("period", [2, 3, 7])
def test_periods_are_rows_of_a_naive_reshape(num_samples, period):
    discriminator = MultiPeriodDiscriminator([period], width=2).double()
    x = torch.randn(2, 1, num_samples, dtype=torch.float64)
    num_rows = -(-num_samples // period)
    grid = torch.zeros(2, 1, num_rows, period, dtype=torch.float64)
    for row in range(num_rows):
        for column in range(period):
            i = row * period + column
            # Beyond the end the reflection; a sound too short for it goes on with zeros.
            i = i if i < num_samples else 2 * (num_samples - 1) - i
            if i >= 0:
                grid[:, :, row, column] = x[:, :, i]
    steps, pads = [(3, 1)] * 4 + [1, 1], [(2, 0)] * 5 + [(1, 0)]
    logits, features = chain(layers_of(discriminator.judges[0]), grid, 0.1, steps, pads)
    assert_output(discriminator(x), 0, logits, features)


def test_periods_see_one_column_each():
    discriminator = MultiPeriodDiscriminator([5], width=2)
    x = torch.randn(1, 1, 500, requires_grad=True)
    logits = discriminator(x).logits[0]
    (gradient,) = torch.autograd.grad(logits[0, 0, :, 3].sum(), x)
    seen = gradient.flatten().nonzero().flatten()
    assert len(seen) == 100
    assert set((seen % 5).tolist()) == {3}


def test_defaults_of_hifi_gan():
    periods = MultiPeriodDiscriminator()
    widths = [tuple(c.weight.shape) for c in layers_of(periods.judges[0])]
    assert widths == [
        *((32, 1, 5, 1), (128, 32, 5, 1), (512, 128, 5, 1)),
        *((1024, 512, 5, 1), (1024, 1024, 5, 1), (1, 1024, 3, 1)),
    ]
    scales = MultiScaleDiscriminator()
    layout = [
        (c.in_channels, c.out_channels, c.kernel_size[0], c.stride[0], c.groups)
        for c in layers_of(scales.judges[2])
    ]
    assert layout == [
        (1, 128, 15, 1, 1),
        (128, 128, 41, 2, 4),
        (128, 256, 41, 2, 16),
        (256, 512, 41, 4, 16),
        (512, 1024, 41, 4, 16),
        (1024, 1024, 41, 1, 16),
        (1024, 1024, 5, 1, 1),
        (1024, 1, 3, 1, 1),
    ]


def test_scales_are_averages_of_averages():
    discriminator = MultiScaleDiscriminator(num_scales=3, width=16).double()
    x = torch.randn(2, 1, 700, dtype=torch.float64)
    output = discriminator(x)
    for index in range(3):
        logits, features = chain(
            layers_of(discriminator.judges[index]),
            x,
            0.1,
            [1, 2, 2, 4, 4, 1, 1, 1],
            [7, 20, 20, 20, 20, 20, 2, 1],
        )
        assert_output(output, index, logits, features)
        padded = F.pad(x, (2, 2))
        x = torch.stack(
            [padded[..., i : i + 4].mean(-1) for i in range(0, x.shape[-1] + 1, 2)], dim=-1
        )


def receptive_field(x, logit):
    (gradient,) = torch.autograd.grad(logit, x)
    seen = gradient.flatten().nonzero().flatten()
    return int(seen[0]), int(seen[-1])


def test_receptive_fields():
    """From layer to layer ``1 + sum (kernel - 1) * strides before``."""
    x = torch.randn(1, 1, 9000, dtype=torch.float64, requires_grad=True)
    scales = MultiScaleDiscriminator(num_scales=1, width=16).double()
    logits = scales(x).logits[0]
    field = 1 + 14 + 40 * (1 + 2 + 4 + 16 + 64) + 64 * (4 + 2)
    first, last = receptive_field(x, logits[0, 0, 70])
    assert (last - first + 1, (first + last) / 2) == (field, 64 * 70)

    spectra = MultiScaleSTFTDiscriminator(window_sizes=[128], width=4).double()
    logits = spectra(x).logits[0]
    frames = 1 + 2 + 2 * (1 + 2 + 4) + 2 + 2
    first, last = receptive_field(x, logits[0, 0, 100].sum())
    # The periodic Hann window is zero at its first sample.
    assert (first, last) == ((100 - frames // 2) * 32 + 1, (100 + frames // 2) * 32 + 127)

    periods = MultiPeriodDiscriminator([3], width=2).double()
    logits = periods(x).logits[0]
    rows = 1 + 4 * (1 + 3 + 9 + 27 + 81) + 81 * 2
    first, last = receptive_field(x, logits[0, 0, 15, 1])
    assert (last - first) // 3 + 1 == rows


@pytest.mark.parametrize("num_samples", [512, 520])
def test_bands_are_cut_from_torchs_stft(num_samples):
    discriminator = MultiBandSTFTDiscriminator(window_sizes=[64], width=4).double()
    x = torch.randn(2, 1, num_samples, dtype=torch.float64)
    # audiotools with match_stride: padded by hand, centred by torch, two frames off at each end.
    right = -num_samples % 16
    padded = F.pad(x, (24, 24 + right), "reflect")[:, 0]
    window = torch.hann_window(64, dtype=torch.float64)
    spectra = torch.stft(padded, 64, 16, window=window, return_complex=True)[..., 2:-2]
    image = torch.view_as_real(spectra).permute(0, 3, 2, 1)
    assert image.shape == (2, 2, -(-num_samples // 16), 33)
    judge, ends, features = discriminator.judges[0], [], []
    for layers, (start, stop) in zip(
        judge.bands, [(0, 3), (3, 8), (8, 16), (16, 24), (24, 33)], strict=True
    ):
        strides = [1, (1, 2), (1, 2), (1, 2), 1, 1]
        pads = [(1, 4)] * 4 + [1, 1]
        _, found = chain([*layers.convs, judge.head], image[..., start:stop], 0.1, strides, pads)
        features += found
        ends.append(found[-1])
    logits, _ = chain([judge.head], torch.cat(ends, -1), 0.1, [1], [1])
    assert_output(discriminator(x), 0, logits, features)


@torch.no_grad()
def test_bands_see_their_frequencies_alone():
    discriminator = MultiBandSTFTDiscriminator(window_sizes=[256], width=4)
    time = torch.arange(4096) / 4096
    tone = torch.sin(2 * torch.pi * 300 * time)[None, None]  # 0.15 of half the rate
    silent, loud = discriminator(torch.zeros(1, 1, 4096)), discriminator(tone)
    changes = [
        float((a - b)[:, :, 8:-8].abs().max())
        for a, b in zip(silent.features[0][::5], loud.features[0][::5], strict=True)
    ]
    assert changes[1] > 1.0
    assert max(changes[0], *changes[2:]) < 1e-2 * changes[1]


def test_resolutions_equal_vocos_layout():
    discriminator = MultiResolutionDiscriminator(window_sizes=[64], width=4).double()
    x = torch.randn(2, 1, 400, dtype=torch.float64)
    spectra = torch.stft(
        x[:, 0], 64, 16, window=torch.ones(64, dtype=torch.float64), return_complex=True
    )
    logits, features = chain(
        layers_of(discriminator.judges[0]),
        spectra.abs()[:, None],
        0.1,
        [(2, 2), (2, 1), (2, 2), (2, 1), (2, 2), 1],
        [(3, 2), (2, 1), (2, 1), 1, 1, 1],
    )
    assert_output(discriminator(x), 0, logits, features)


@pytest.mark.parametrize("num_samples", [1, 2, 3, 50, 127])
def test_short_and_silent_sounds(make, num_samples):
    x = torch.zeros(2, 1, num_samples, requires_grad=True)
    output = make()(x)
    total = sum(logits.square().sum() for logits in output.logits)
    total = total + sum(f.square().sum() for features in output.features for f in features)
    assert torch.autograd.grad(total, x)[0].isfinite().all()


def test_each_item_is_judged_alone(make):
    discriminator = make(in_channels=2)
    x = torch.randn(3, 2, 600)
    together, alone = discriminator(x), discriminator(x[1:2])
    for a, b in zip(together.logits, alone.logits, strict=True):
        torch.testing.assert_close(a[1:2], b, atol=1e-5, rtol=1e-4)
    assert not list(discriminator.buffers())


@pytest.mark.usefixtures("unchecked_shapes")
def test_refuses_other_inputs(make):
    for shape in ((2, 2, 600), (2, 600), (2, 1, 0), (0, 1, 600)):
        with pytest.raises(ShapeError, match=r"expected \[batch, 1, samples\] with at least one"):
            make()(torch.zeros(shape))


def test_rebuilt_from_its_description(make):
    whole = DiscriminatorEnsemble({"part": make()}, PeakNormalisation(0.5))
    for discriminator in (make(), whole):
        again = build(describe(discriminator))
        assert describe(again) == describe(discriminator)
        assert str(again) == str(discriminator)
        again.load_state_dict(discriminator.state_dict(), strict=True)


def test_ensemble_joins_in_order_behind_the_normalisation():
    parts = {"periods": SMALL["periods"](), "bands": SMALL["bands"]()}
    x = 0.01 * torch.randn(2, 1, 600) + 0.3
    output = DiscriminatorEnsemble(parts, PeakNormalisation())(x)
    centred = x - x.mean(-1, keepdim=True)
    scaled = 0.8 * centred / centred.abs().amax(-1, keepdim=True)
    expected = DiscriminatorOutput.joined(part(scaled) for part in parts.values())
    assert len(output.logits) == len(output.features) == 7
    for a, b in zip(output.logits, expected.logits, strict=True):
        torch.testing.assert_close(a, b)
    with pytest.raises(ConfigError, match="at least one part"):
        DiscriminatorEnsemble({})


def test_peak_normalisation_of_what_has_no_peak():
    x = torch.full((1, 2, 50), 0.3, requires_grad=True)
    y = PeakNormalisation()(x)
    assert float(y.detach().abs().max()) < 1e-2
    (gradient,) = torch.autograd.grad(y[..., 3].sum(), x)
    assert gradient.isfinite().all()
    assert PeakNormalisation(0.5)(torch.tensor([[[-3.0, 1.0]]])).tolist() == [[[-0.5, 0.5]]]
    with pytest.raises(ConfigError, match="peak > 0"):
        PeakNormalisation(0.0)


def test_refuses_settings():
    for kind in (
        MultiScaleSTFTDiscriminator,
        MultiBandSTFTDiscriminator,
        MultiResolutionDiscriminator,
    ):
        for sizes in ([], [30], [4]):
            with pytest.raises(ConfigError, match=f"{kind.__name__}: expected window sizes"):
                kind(window_sizes=sizes)
    with pytest.raises(ConfigError, match="a dilation"):
        MultiScaleSTFTDiscriminator(dilations=[])
    with pytest.raises(ConfigError, match="edges from 0 to 1"):
        MultiBandSTFTDiscriminator(edges=[0.0, 1.5])
    with pytest.raises(ConfigError, match="a bin in each band"):
        MultiBandSTFTDiscriminator(window_sizes=[8], edges=[0.0, 0.1, 1.0])
    with pytest.raises(ConfigError, match="periods, in_channels and width >= 1"):
        MultiPeriodDiscriminator([])
    with pytest.raises(ConfigError, match="a width that 16 divides"):
        MultiScaleDiscriminator(width=8)


def test_all_weights_are_normalised(make):
    convs = [m for m in make().modules() if isinstance(m, nn.Conv1d | nn.Conv2d)]
    assert convs
    assert all(hasattr(conv, "parametrizations") for conv in convs)
