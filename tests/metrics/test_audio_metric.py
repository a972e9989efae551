"""The audio metrics: exact sums however the items are batched, padded or left out."""

import math

import pytest
import torch

from tests.metrics.sounds import RATE_HZ, noisy, voice
from vqkit.errors import ShapeError
from vqkit.metrics import (
    DAC_STFT,
    SISDR,
    SNR,
    VOCOS_MEL,
    MelDistance,
    SpectralDefinition,
    STFTDistance,
    Unmeasured,
    WaveformL1,
    mel_distance,
    si_sdr,
    snr,
    stft_distance,
    waveform_l1,
)

PAIRS = [
    (SISDR, si_sdr),
    (lambda: SISDR(zero_mean=False), lambda r, t: si_sdr(r, t, zero_mean=False)),
    (SNR, snr),
    (WaveformL1, waveform_l1),
    (lambda: MelDistance(RATE_HZ), lambda r, t: mel_distance(r, t, RATE_HZ)),
    (
        lambda: MelDistance(24_000, definition=VOCOS_MEL),
        lambda r, t: mel_distance(r, t, 24_000, definition=VOCOS_MEL),
    ),
    (STFTDistance, stft_distance),
    (
        lambda: STFTDistance(definition=SpectralDefinition((64,))),
        lambda r, t: stft_distance(r, t, definition=SpectralDefinition((64,))),
    ),
]
IDS = ["si_sdr", "si_sdr with mean", "snr", "l1", "mel", "vocos mel", "stft", "log stft"]


@pytest.fixture(scope="module")
def batch():
    target = torch.cat([voice(0.2, pitch) for pitch in (110.0, 160.0, 220.0)]) + 0.02
    reconstruction = torch.cat([noisy(target[i : i + 1], 0.02 * (i + 1), seed=i) for i in range(3)])
    return reconstruction, target


@pytest.mark.parametrize(("metric", "function"), PAIRS, ids=IDS)
class TestMean:
    def test_unequal_batches_give_the_mean_over_items(self, batch, metric, function):
        reconstruction, target = batch
        running = metric()
        for part in (slice(0, 1), slice(1, 3), slice(0, 0)):
            running.update(reconstruction[part], target[part])
        expected = function(reconstruction, target).mean()
        torch.testing.assert_close(running.compute(), expected, rtol=1e-12, atol=0)
        assert (running.count, running.num_skipped) == (3, 0)

    def test_padding_does_not_count(self, batch, metric, function):
        reconstruction, target = batch
        lengths = [3200, 1, 2500]
        running = metric()
        running.update(reconstruction, target, lengths)
        values = torch.cat(
            [
                function(reconstruction[i : i + 1, :, :n], target[i : i + 1, :, :n])
                for i, n in enumerate(lengths)
            ]
        )
        torch.testing.assert_close(running.compute(), values.nanmean(), rtol=1e-12, atol=0)
        assert running.num_skipped == values.isnan().sum()

    def test_forward_and_reset(self, batch, metric, function):
        reconstruction, target = batch
        running = metric()
        running.update(reconstruction[:1], target[:1])
        on_step = running(reconstruction[1:], target[1:])
        torch.testing.assert_close(on_step, function(reconstruction[1:], target[1:]).mean())
        torch.testing.assert_close(running.compute(), function(reconstruction, target).mean())
        running.reset()
        running.update(reconstruction[:1], target[:1])
        torch.testing.assert_close(running.compute(), function(reconstruction, target)[0])

    def test_an_item_that_diverged_changes_nothing(self, batch, metric, function):
        reconstruction, target = batch
        running = metric()
        running.update(reconstruction[:1], target[:1])
        broken = reconstruction.clone()
        broken[2, 0, 5] = math.nan
        for lengths in (None, [100, 100, 100]):
            with pytest.raises(ShapeError):
                running.update(broken, target, lengths)
        torch.testing.assert_close(running.compute(), function(reconstruction, target)[0])

    def test_state_stays_fp64_in_a_half_precision_module(self, batch, metric, function):
        module = torch.nn.ModuleDict({"metric": metric()}).half()
        module["metric"].update(*batch)
        assert module["metric"].compute().dtype == torch.float64

    def test_without_an_item(self, batch, metric, function):
        running = metric()
        running.update(torch.zeros(0, 1, 200), torch.zeros(0, 1, 200))
        assert running.compute().isnan()

    @pytest.mark.parametrize("lengths", [[10, 10], [10, 10, 0], [10, 10, 3201]])
    def test_lengths_that_do_not_fit(self, batch, metric, function, lengths):
        running = metric()
        with pytest.raises(ShapeError, match="expected 3 lengths from 1 to 3200"):
            running.update(*batch, lengths)
        assert running.count == 0


@pytest.mark.parametrize("metric", [SISDR, SNR])
def test_silent_originals_are_left_out_and_counted(batch, metric):
    reconstruction, target = batch
    target = target.clone()
    target[1] = 0
    running = metric()
    running.update(reconstruction, target)
    running.update(reconstruction[:1], torch.zeros_like(target[:1]))
    alone = metric()
    alone.update(reconstruction[::2], target[::2])
    torch.testing.assert_close(running.compute(), alone.compute(), rtol=1e-14, atol=0)
    assert (running.count, running.num_skipped) == (2, 2)
    assert running.count_reasons() == {Unmeasured.SILENT_TARGET: 2}


def test_lengths_do_not_hide_shapes_that_differ(batch):
    reconstruction, target = batch
    with pytest.raises(ShapeError, match="of one shape"):
        WaveformL1().update(reconstruction[..., :3000], target, [100, 100, 100])


def test_directions():
    assert SISDR.higher_is_better
    assert SNR.higher_is_better
    for metric in (MelDistance, STFTDistance, WaveformL1):
        assert not metric.higher_is_better
    assert STFTDistance().definition is DAC_STFT
