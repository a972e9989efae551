"""The image metrics: exact sums however the images are batched."""

import math

import pytest
import torch

from tests.metrics.test_image import picture_pair
from vqkit.errors import ShapeError
from vqkit.metrics import MSSSIM, PSNR, SSIM, PooledPSNR, ms_ssim, psnr, round_to_eight_bits, ssim

SIDE = 161


@pytest.fixture(scope="module")
def batch():
    torch.manual_seed(1)
    pairs = [picture_pair(SIDE, SIDE + 2, channels=1, noise=0.1 * (i + 1)) for i in range(3)]
    target, reconstruction = (torch.cat(pictures) for pictures in zip(*pairs, strict=True))
    return round_to_eight_bits(reconstruction), round_to_eight_bits(target)


@pytest.mark.parametrize(
    ("metric", "function"),
    [(PSNR, psnr), (SSIM, ssim), (MSSSIM, ms_ssim)],
    ids=["psnr", "ssim", "ms_ssim"],
)
class TestMean:
    def test_unequal_batches_give_the_mean_over_images(self, batch, metric, function):
        reconstruction, target = batch
        running = metric()
        for part in (slice(0, 1), slice(1, 3)):
            running.update(reconstruction[part], target[part])
        expected = function(reconstruction, target).mean()
        torch.testing.assert_close(running.compute(), expected, rtol=1e-12, atol=0)

    def test_measures_the_eight_bit_picture(self, batch, metric, function):
        reconstruction, target = batch
        blurred = reconstruction + 0.003 * torch.rand_like(reconstruction)
        rounded, plain = metric(), metric(eight_bit=False)
        rounded.update(blurred, target)
        plain.update(blurred, target)
        assert rounded.compute() == function(reconstruction, target).mean()
        assert plain.compute() == function(blurred, target).mean()
        assert rounded.compute() != plain.compute()

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

    def test_an_image_that_diverged_changes_nothing(self, batch, metric, function):
        reconstruction, target = batch
        running = metric()
        running.update(reconstruction[:1], target[:1])
        with pytest.raises(ShapeError):
            running.update(reconstruction * math.nan, target)
        torch.testing.assert_close(running.compute(), function(reconstruction, target)[0])

    def test_state_stays_fp64_in_a_half_precision_module(self, batch, metric, function):
        module = torch.nn.ModuleDict({"metric": metric()}).half()
        module["metric"].update(batch[0], batch[1])
        assert module["metric"].compute().dtype == torch.float64


class TestSmallImages:
    @pytest.mark.parametrize(("metric", "side"), [(SSIM, 11), (MSSSIM, 161)])
    def test_are_skipped_and_counted(self, metric, side):
        running = metric()
        running.update(torch.zeros(3, 1, 1, 1), torch.zeros(3, 1, 1, 1))
        running.update(torch.zeros(2, 1, side - 1, side), torch.zeros(2, 1, side - 1, side))
        assert running.compute().isnan()
        running.update(torch.zeros(1, 1, side, side), torch.zeros(1, 1, side, side))
        assert running.compute() == 1
        assert (running.count, running.num_skipped) == (1, 5)

    def test_psnr_takes_a_single_pixel(self):
        running = PSNR()
        running.update(torch.zeros(1, 3, 1, 1), torch.zeros(1, 3, 1, 1))
        assert (running.compute(), running.num_skipped) == (100, 0)


class TestPooled:
    def test_pools_the_error_over_all_values(self):
        running = PooledPSNR(eight_bit=False)
        running.update(torch.full((2, 3, 4, 4), 0.5), torch.zeros(2, 3, 4, 4))
        running.update(torch.full((1, 1, 2, 2), 0.25), torch.zeros(1, 1, 2, 2))
        error = (96 * 0.5**2 + 4 * 0.25**2) / 100
        assert running.compute().item() == pytest.approx(10 * math.log10(4 / error), abs=1e-12)

    def test_without_error_gives_the_cap(self):
        running = PooledPSNR()
        running.update(torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4))
        assert running.compute() == 100


@pytest.mark.parametrize("metric", [PSNR, PooledPSNR, SSIM, MSSSIM])
def test_an_empty_batch_counts_nothing(metric):
    running = metric()
    running.update(torch.zeros(0, 3, 200, 200), torch.zeros(0, 3, 200, 200))
    assert running.compute().isnan()
