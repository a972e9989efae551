"""The pure image functions against naive and foreign references."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d
from skimage.metrics import structural_similarity
from torch import Tensor

from vqkit.errors import ShapeError
from vqkit.metrics import image, ms_ssim, psnr, round_to_eight_bits, ssim
from vqkit.metrics.image import mean_squared_error, psnr_from_error


def picture_pair(height: int, width: int, channels: int = 3, noise: float = 0.2):
    """A smooth picture with an edge and a noisy copy, both ``[1, channels, height, width]``."""
    y = torch.linspace(0, 5, height)[:, None]
    x = torch.linspace(0, 7, width)[None, :]
    phase = torch.arange(channels)[:, None, None]
    picture = (torch.sin(3 * x + phase) * torch.cos(2 * y) * 0.6)[None]
    picture[..., height // 3 :, width // 2 :] += 0.3
    return picture, (picture + noise * torch.randn_like(picture)).clamp(-1, 1)


class TestPSNR:
    def test_equals_the_formula(self):
        target, reconstruction = picture_pair(13, 17)
        error = np.mean((target.double().numpy() - reconstruction.double().numpy()) ** 2)
        assert psnr(reconstruction, target).item() == pytest.approx(
            10 * math.log10(4 / error), abs=1e-9
        )

    def test_one_value_per_image(self):
        target, reconstruction = picture_pair(8, 8)
        batch = psnr(torch.cat((reconstruction, target)), torch.cat((target, target)))
        assert batch[0] == psnr(reconstruction, target)[0]
        assert batch[1] == 100.0

    def test_cap_also_holds_for_nearly_identical_images(self):
        target = torch.zeros(1, 1, 2, 2)
        assert psnr(target + 1e-6, target).item() == 100.0
        assert psnr(target + 1e-6, target, cap_db=130).item() == pytest.approx(126.02, abs=0.01)

    def test_single_pixel(self):
        assert psnr(torch.full((1, 3, 1, 1), -1.0), torch.ones(1, 3, 1, 1)).item() == 0

    def test_data_range(self):
        error = torch.tensor([1.0, 0.01])
        assert psnr_from_error(error, data_range=1.0).tolist() == pytest.approx([0.0, 20.0])

    def test_bfloat16_images_are_compared_in_fp64(self):
        target = torch.linspace(-1, 1, 1000).reshape(1, 1, 20, 50).bfloat16()
        other = (target.double() + 0.25).bfloat16()
        expected = (target.double() - other.double()).square().mean()
        assert mean_squared_error(other, target).item() == pytest.approx(expected.item(), rel=1e-12)


class TestRounding:
    def test_matches_an_eight_bit_file(self):
        media = torch.rand(1000) * 3 - 1.5
        stored = ((media.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
        assert torch.equal(round_to_eight_bits(media), stored / 127.5 - 1)

    def test_is_idempotent_on_every_level(self):
        levels = torch.arange(256) / 127.5 - 1
        assert torch.equal(round_to_eight_bits(levels), levels)

    def test_infinity_is_not_clipped_away(self):
        with pytest.raises(ShapeError, match="NaN or infinity"):
            round_to_eight_bits(torch.tensor([math.inf]))


def reference_similarity(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Wang's SSIM and contrast term of one fp64 plane, by scipy's correlation and a crop."""
    window = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window /= window.sum()

    def blur(plane: np.ndarray) -> np.ndarray:
        return correlate1d(correlate1d(plane, window, 0), window, 1)[5:-5, 5:-5]

    c1, c2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2
    mean_x, mean_y = blur(x), blur(y)
    contrast = (2 * (blur(x * y) - mean_x * mean_y) + c2) / (
        blur(x * x) - mean_x**2 + blur(y * y) - mean_y**2 + c2
    )
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return float((luminance * contrast).mean()), float(contrast.mean())


def reference_ms_ssim(x: np.ndarray, y: np.ndarray) -> float:
    """Wang's 2003 code: imfilter with 2 x 2 means and symmetric border, every second sample."""
    result = 1.0
    for scale, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
        similarity, contrast = reference_similarity(x, y)
        result *= max(similarity if scale == 4 else contrast, 0) ** weight
        x, y = (np.pad(plane, ((0, 1), (0, 1)), mode="symmetric") for plane in (x, y))
        x, y = (((p[:-1, :-1] + p[1:, :-1] + p[:-1, 1:] + p[1:, 1:]) / 4)[::2, ::2] for p in (x, y))
    return result


def planes(media: Tensor) -> list[np.ndarray]:
    return list(media[0].double().numpy())


class TestSSIM:
    @pytest.mark.parametrize("size", [(11, 11), (12, 47), (63, 64), (40, 11)])
    @pytest.mark.parametrize("channels", [1, 3])
    def test_equals_scikit_image(self, size, channels):
        target, reconstruction = picture_pair(*size, channels)
        expected = structural_similarity(
            target[0].double().numpy(),
            reconstruction[0].double().numpy(),
            channel_axis=0,
            data_range=2.0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        assert ssim(reconstruction, target).item() == pytest.approx(expected, abs=1e-10)

    def test_identical_images_give_one(self):
        target, _ = picture_pair(20, 20)
        assert ssim(target, target).item() == pytest.approx(1, abs=1e-14)

    def test_inverted_picture_is_negative(self):
        y, x = torch.arange(32)[:, None], torch.arange(32)[None, :]
        board = (((y + x) % 2) - 0.5)[None, None]  # its local means are near 0
        assert ssim(-board, board).item() < -0.9

    def test_flat_pictures_compare_by_luminance_alone(self):
        black, white = torch.full((1, 1, 11, 11), -1.0), torch.ones(1, 1, 11, 11)
        c1 = 0.02**2
        assert ssim(black, white).item() == pytest.approx((-2 + c1) / (2 + c1), abs=1e-9)

    def test_strips_do_not_show(self, monkeypatch):
        target, reconstruction = picture_pair(60, 33)
        whole = ssim(reconstruction, target)
        for values in (1, 33 * 3 * 7, 33 * 3 * 50):
            monkeypatch.setattr(image, "_STRIP_VALUES", values)
            torch.testing.assert_close(ssim(reconstruction, target), whole, rtol=1e-12, atol=0)

    def test_batch_gives_the_values_of_its_items(self):
        first, second = picture_pair(19, 23), picture_pair(19, 23, noise=0.5)
        batch = ssim(torch.cat((first[1], second[1])), torch.cat((first[0], second[0])))
        single = torch.cat((ssim(first[1], first[0]), ssim(second[1], second[0])))
        torch.testing.assert_close(batch, single, rtol=1e-12, atol=0)

    @pytest.mark.parametrize("size", [(1, 1), (10, 50), (50, 10)])
    def test_picture_below_one_window_is_refused(self, size):
        target = torch.zeros(1, 3, *size)
        with pytest.raises(ShapeError, match="at least 11 pixels"):
            ssim(target, target)


class TestMSSSIM:
    @pytest.mark.parametrize("size", [(161, 161), (162, 175), (176, 203)])
    def test_equals_the_papers_code(self, size):
        target, reconstruction = picture_pair(*size, channels=2, noise=0.4)
        pairs = zip(planes(target), planes(reconstruction), strict=True)
        expected = np.mean([reference_ms_ssim(*pair) for pair in pairs])
        assert ms_ssim(reconstruction, target).item() == pytest.approx(expected, abs=1e-10)

    def test_is_near_torchmetrics(self):
        # Not equal: torchmetrics reflects the border at the last scale.
        from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

        target, reconstruction = picture_pair(192, 208, channels=1, noise=0.4)
        other = multiscale_structural_similarity_index_measure(
            reconstruction, target, data_range=2.0
        )
        assert ms_ssim(reconstruction, target).item() == pytest.approx(other.item(), abs=3e-3)
        assert 0.5 < other.item() < 0.97

    def test_negative_contrast_counts_as_zero(self):
        noise = torch.rand(1, 1, 161, 161) - 0.5
        assert ms_ssim(-noise, noise).item() == 0

    @pytest.mark.parametrize("size", [(160, 200), (200, 160)])
    def test_picture_too_small_for_five_scales_is_refused(self, size):
        target = torch.zeros(1, 1, *size)
        with pytest.raises(ShapeError, match="at least 161 pixels"):
            ms_ssim(target, target)


@pytest.mark.parametrize("measure", [psnr, ssim, ms_ssim])
class TestBadInput:
    def test_different_shapes(self, measure):
        with pytest.raises(ShapeError, match=r"\(1, 3, 9, 9\).*\(1, 3, 9, 8\)"):
            measure(torch.zeros(1, 3, 9, 9), torch.zeros(1, 3, 9, 8))

    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_values_that_are_not_finite(self, measure, value):
        target = torch.zeros(1, 1, 161, 161)
        reconstruction = target.clone()
        reconstruction[0, 0, 5, 5] = value
        with pytest.raises(ShapeError, match=r"NaN or infinity \(in the reconstruction\)"):
            measure(reconstruction, target)

    def test_empty_picture(self, measure):
        with pytest.raises(ShapeError, match="pixels"):
            measure(torch.zeros(1, 3, 0, 9), torch.zeros(1, 3, 0, 9))

    @pytest.mark.usefixtures("unchecked_shapes")
    def test_clips_are_no_images(self, measure):
        clips = torch.zeros(2, 3, 5, 16, 16)
        with pytest.raises(ShapeError, match="FramePSNR"):
            measure(clips, clips)
