"""Metrics of clips against naive references and against what they must not notice."""

import math

import pytest
import torch
import torch.nn.functional as F

from vqkit.errors import ConfigError, ShapeError
from vqkit.metrics import (
    ClipPSNR,
    Flicker,
    FrameDistance,
    FrameMSSSIM,
    FramePSNR,
    FrameSSIM,
    FrechetVideoDistance,
    LucasKanade,
    Motion,
    WarpingError,
    clip_psnr,
    flicker,
    frame_errors,
    frame_ms_ssim,
    frame_psnr,
    frame_ssim,
    frechet_distance,
    ms_ssim,
    psnr,
    ssim,
    warping_error,
)
from vqkit.metrics.image import ssim_and_ms_ssim
from vqkit.metrics.optical_flow import warped


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def drifting(num_frames=3, height=40, width=48, step=(1.5, -0.75), seed=1):
    """A smooth texture that moves by so many pixels right and down with each frame."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(float(height)), torch.arange(float(width)), indexing="ij")
    frames = []
    waves = torch.rand(6, 3, generator=generator)
    for t in range(num_frames):
        a, b = x - t * step[0], y - t * step[1]
        waved = [torch.sin(a * u * 0.5 + b * (v - 0.5) + 6 * p) for u, v, p in waves.tolist()]
        frames.append(sum(waved) / len(waved))
    return torch.stack(frames).expand(3, -1, -1, -1).contiguous()


class TestFrames:
    def test_each_frame_is_measured_as_an_image(self):
        a, b = noise(2, 3, 3, 13, 17), noise(2, 3, 3, 13, 17, seed=1)
        for of_frames, of_images in ((frame_psnr, psnr), (frame_ssim, ssim)):
            for i in range(2):
                for t in range(3):
                    single = of_images(a[i : i + 1, :, t], b[i : i + 1, :, t])
                    assert of_frames(a, b)[i, t] == single[0]

    def test_both_similarities_at_once_are_those_alone(self):
        target = noise(1, 3, 2, 161, 165)
        decoded = (target + noise(1, 3, 2, 161, 165, seed=1) / 5).clamp(-1, 1)
        first, second = ssim_and_ms_ssim(decoded[:, :, 0], target[:, :, 0])
        assert first == ssim(decoded[:, :, 0], target[:, :, 0])
        assert second == ms_ssim(decoded[:, :, 0], target[:, :, 0])
        assert frame_ms_ssim(decoded, target)[0, 0] == second

    def test_a_clip_is_not_the_mean_of_its_frames(self):
        """Trap: the two averages that papers report under one name."""
        target = torch.zeros(1, 3, 2, 4, 4)
        decoded = target.clone()
        decoded[:, :, 0], decoded[:, :, 1] = 0.02, 0.2
        ratios = [10 * math.log10(4 / error) for error in (0.02**2, 0.2**2)]
        assert frame_psnr(decoded, target)[0].tolist() == pytest.approx(ratios, rel=1e-6)
        together = 10 * math.log10(4 / ((0.02**2 + 0.2**2) / 2))
        assert clip_psnr(decoded, target).item() == pytest.approx(together, rel=1e-6)
        assert together < sum(ratios) / 2 - 5

    def test_a_clip_is_measured_block_by_block(self):
        a, b = noise(1, 3, 7, 12, 14), noise(1, 3, 7, 12, 14, seed=1)
        for function in (frame_errors, frame_ssim):
            blocks = [function(a[:, :, i : i + 3], b[:, :, i : i + 3]) for i in (0, 3, 6)]
            assert torch.equal(torch.cat(blocks, dim=1), function(a, b))

    @pytest.mark.parametrize("function", [frame_psnr, frame_ssim, flicker, warping_error])
    def test_what_cannot_be_compared_is_refused(self, function, unchecked_shapes):
        clip = noise(1, 3, 3, 16, 16)
        with pytest.raises(ShapeError, match="of one shape"):
            function(clip[:, :, :2], clip)
        with pytest.raises(ShapeError, match="NaN"):
            function(clip * math.nan, clip)
        with pytest.raises(ShapeError, match="of one shape"):
            function(clip[0], clip[0])


class TestFlicker:
    def test_against_the_definition(self):
        a, b = noise(2, 3, 4, 5, 6), noise(2, 3, 4, 5, 6, seed=1)
        change = (a[:, :, 1:] - a[:, :, :-1]) - (b[:, :, 1:] - b[:, :, :-1])
        expected = change.double().abs().mean(dim=(1, 3, 4))
        torch.testing.assert_close(flicker(a, b), expected, rtol=0, atol=1e-7)

    def test_only_what_changes_counts(self):
        target = drifting()[None]
        still_error = target + noise(1, 3, 1, 40, 48)
        drawn_anew = target + noise(1, 3, 3, 40, 48)
        assert flicker(still_error, target).max() < 1e-6
        assert flicker(drawn_anew, target).min() > 0.5

    def test_a_single_frame_has_none(self):
        assert flicker(noise(1, 3, 1, 4, 4), noise(1, 3, 1, 4, 4)).shape == (1, 0)


class TestMotion:
    def test_the_flow_is_found(self):
        flow = LucasKanade()(drifting(step=(3.0, -1.5), height=64, width=80))
        assert flow.shape == (2, 2, 64, 80)
        inside = flow[:, :, 12:-12, 12:-12]
        expected = torch.tensor([3.0, -1.5]).view(1, 2, 1, 1)
        assert (inside - expected).abs().mean() < 0.1

    def test_what_stands_still_does_not_move(self):
        clip = noise(3, 1, 32, 40).expand(-1, 2, -1, -1)
        # Places in a picture are floats from -1 to 1: a millionth of a pixel is their rounding.
        assert LucasKanade()(clip).abs().max() < 1e-5

    def test_warping_against_a_loop(self):
        frame, flow = noise(1, 2, 5, 6), noise(1, 2, 5, 6, seed=1) * 2
        moved = warped(frame, flow)
        for y in range(5):
            for x in range(6):
                u = min(max(x + flow[0, 0, y, x].item(), 0), 5)
                v = min(max(y + flow[0, 1, y, x].item(), 0), 4)
                left, top = min(int(u), 4), min(int(v), 3)
                du, dv = u - left, v - top
                corner = frame[0, :, top : top + 2, left : left + 2]
                weights = torch.tensor(
                    [[(1 - dv) * (1 - du), (1 - dv) * du], [dv * (1 - du), dv * du]]
                )
                expected = (corner * weights).sum(dim=(1, 2))
                torch.testing.assert_close(moved[0, :, y, x], expected, atol=1e-5, rtol=0)

    def test_what_leaves_or_does_not_come_back_is_not_visible(self):
        clip = noise(3, 2, 20, 24)

        def to_the_right(frames):
            return torch.tensor([4.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 20, 24).contiguous()

        # Forwards and backwards point the same way: nothing agrees.
        assert not Motion.of(clip, to_the_right).is_visible.any()

        def there_and_back(frames):
            sign = 1.0 if torch.equal(frames, clip) else -1.0
            return sign * to_the_right(frames)

        visible = Motion.of(clip, there_and_back).is_visible[0]
        assert visible[:, :20].all()
        assert not visible[:, 20:].any()

    def test_moving_texture_is_no_error_and_a_frozen_one_is(self):
        """Motion of the original alone costs nothing; an error that stays where it is does."""
        target = drifting(num_frames=3)[None]
        own = warping_error(target, target)
        assert own.shape == (1, 2)
        assert own.max() < 2e-4
        frozen = target[:, :, :1].expand(-1, -1, 3, -1, -1)
        assert warping_error(frozen, target).min() > 20 * own.max()

    def test_a_clip_in_pairs_is_the_clip(self):
        target = drifting(num_frames=4)
        whole = Motion.of(target).errors(target)
        pairs = [Motion.of(target[:, t : t + 2]).errors(target[:, t : t + 2]) for t in range(3)]
        torch.testing.assert_close(torch.cat(pairs), whole)
        torch.testing.assert_close(warping_error(target[None], target[None])[0], whole)

    def test_an_estimator_of_another_shape_is_refused(self, unchecked_shapes):
        clip = noise(1, 3, 2, 16, 16)
        with pytest.raises(ShapeError, match=r"expected \[1, 2, 16, 16\]"):
            warping_error(clip, clip, lambda frames: torch.zeros(2, 2, 16, 16))
        with pytest.raises(ShapeError, match="as the motion"):
            Motion.of(clip[0]).errors(noise(3, 3, 16, 16))
        with pytest.raises(ConfigError, match="odd window"):
            LucasKanade(window=4)


class TestFrechet:
    def test_against_the_formula(self):
        linalg = pytest.importorskip("scipy.linalg")
        generator = torch.Generator().manual_seed(0)
        first, second = (torch.randn(40, 6, generator=generator).double() for _ in range(2))
        second = second * torch.arange(1.0, 7.0) + 1
        moments = [(x.mean(0), x.T.cov()) for x in (first, second)]
        root = linalg.sqrtm((moments[0][1] @ moments[1][1]).numpy())
        expected = ((moments[0][0] - moments[1][0]) ** 2).sum() + torch.trace(
            moments[0][1] + moments[1][1] - 2 * torch.from_numpy(root.real)
        )
        assert frechet_distance(*moments[0], *moments[1]).item() == pytest.approx(expected.item())

    def test_of_fewer_samples_than_features(self):
        rows = noise(3, 8)
        mean, covariance = rows.mean(0), rows.T.cov()
        assert frechet_distance(mean, covariance, mean, covariance) < 1e-6
        assert frechet_distance(mean, covariance, mean + 1, covariance) == pytest.approx(
            8, abs=1e-5
        )

    def test_sums_are_those_of_all_windows(self):
        """Trap: the last frames that fill no window, and clips below one, must not count."""

        def features(clips):
            return torch.stack([clips.mean((1, 2, 3, 4)), clips.std((1, 2, 3, 4))], dim=1)

        metric = FrechetVideoDistance(features, 2, num_frames=3, eight_bit=False)
        a, b = noise(2, 3, 8, 6, 6), noise(2, 3, 8, 6, 6, seed=1) * 0.7
        metric.update(a, b)
        metric.update(a[:, :, :2], b[:, :, :2])
        assert (metric.num_windows, int(metric.num_skipped)) == (4, 2)
        windows = [
            torch.cat([features(x[i : i + 1, :, s : s + 3]) for i in (0, 1) for s in (0, 3)])
            for x in (a, b)
        ]
        moments = [(x.double().mean(0), x.double().T.cov()) for x in windows]
        expected = frechet_distance(*moments[0], *moments[1]).item()
        assert metric.compute().item() == pytest.approx(expected, abs=1e-9)

    def test_it_wants_features_of_the_width_told(self):
        metric = FrechetVideoDistance(lambda clips: clips.mean((2, 3, 4)), 5, num_frames=2)
        with pytest.raises(ShapeError, match=r"expected \[1, 5\]"):
            metric.update(noise(1, 3, 2, 4, 4), noise(1, 3, 2, 4, 4))
        with pytest.raises(ConfigError, match="num_frames >= 1"):
            FrechetVideoDistance(lambda clips: clips, 1, num_frames=0)
        empty = FrechetVideoDistance(lambda clips: clips.mean((2, 3, 4)), 3, num_frames=9)
        empty.update(noise(1, 3, 2, 4, 4), noise(1, 3, 2, 4, 4))
        assert empty.compute().isnan()


def distance(decoded, target):
    return (decoded - target).abs().mean()


METRICS = [
    FramePSNR, ClipPSNR, FrameSSIM, Flicker, WarpingError, lambda: FrameDistance(distance),
]  # fmt: skip


class TestTorchmetrics:
    @pytest.mark.parametrize("metric", METRICS)
    def test_padding_does_not_count(self, metric):
        """Trap: frames that fill a batch, repeated or black, in the average."""
        target, decoded = drifting(5, 16, 20)[None], noise(1, 3, 5, 16, 20) / 4
        padded = torch.cat([target, torch.ones(1, 3, 4, 16, 20)], dim=2)
        wrong = torch.cat([decoded, -torch.ones(1, 3, 4, 16, 20)], dim=2)
        alone, batch = metric(), metric()
        alone.update(decoded, target)
        batch.update(wrong, padded, lengths=[5])
        assert alone.compute() == batch.compute()
        assert batch.count == 1

    @pytest.mark.parametrize("metric", [FramePSNR, FrameSSIM])
    def test_a_clip_counts_once_whatever_its_length(self, metric):
        """Trap: means over all frames of all clips, where long clips rule."""
        together, values = metric(), []
        for number, frames in enumerate((1, 6)):
            target = drifting(frames, 16, 20)[None]
            decoded = target + noise(1, 3, frames, 16, 20, seed=number) / (2 + 20 * number)
            single = metric()
            for measured in (together, single):
                measured.update(decoded.clamp(-1, 1), target)
            values.append(single.compute().item())
        assert together.compute().item() == pytest.approx(sum(values) / 2)
        assert abs(values[0] - values[1]) > 0.01

    def test_eight_bits_are_what_a_file_holds(self):
        """Trap: values outside the range, and differences that no 8-bit file has."""
        target = torch.zeros(1, 3, 2, 12, 12) + 1
        beyond, below = FramePSNR(), FramePSNR(eight_bit=False)
        beyond.update(target * 3, target)
        assert beyond.compute() == 100
        below.update(target - 0.001, target)
        assert below.compute() < 80
        rounded = FramePSNR()
        rounded.update(target - 0.001, target)
        assert rounded.compute() == 100

    def test_what_is_not_defined_is_left_out_and_counted(self, unchecked_shapes):
        small, single = noise(2, 3, 3, 8, 8), noise(2, 3, 1, 16, 16)
        for metric, clips in ((FrameSSIM(), small), (FrameMSSSIM(), small), (Flicker(), single)):
            metric.update(clips, clips)
            assert metric.num_skipped == 2
            assert metric.compute().isnan()

        def picky(decoded, target):
            raise ShapeError("too small")

        refused = FrameDistance(picky)
        refused.update(small, small)
        assert refused.num_skipped == 2
        with pytest.raises(ShapeError, match="Lengths of clips"):
            FramePSNR().update(small, small, lengths=[4, 1])
        with pytest.raises(ShapeError, match="Lengths of clips"):
            FramePSNR().update(small, small, lengths=[1])

    def test_a_cut_has_no_warping_error(self):
        """Nothing is visible in both frames: the other pairs are the number."""
        first, second = drifting(2, 32, 32), drifting(2, 32, 32, seed=5)

        def flow(clip):
            is_cut = F.l1_loss(clip[:, 0], clip[:, 1]) > 0.2
            return torch.full((1, 2, 32, 32), 99.0 if is_cut else 0.0)

        metric = WarpingError(flow)
        clip = torch.cat([first, second], dim=1)[None]
        metric.update(clip, clip)
        error = warping_error(clip, clip, flow)[0]
        assert error.isnan().tolist() == [False, True, False]
        assert metric.compute() == pytest.approx(error[[0, 2]].mean().item(), rel=0.05)
