"""Losses of clips against loops over their frames; which losses take clips as they are."""

import pytest
import torch
from torch import nn

from vqkit.errors import ConfigError, ShapeError
from vqkit.losses import (
    L1,
    L2,
    LPIPS,
    FeatureMatching,
    FlowLoss,
    FrameDifferences,
    FrameLoss,
    GradientBalancer,
    Hinge,
    LeastSquares,
    NonSaturating,
    WeightedFrames,
    adaptive_weight,
)
from vqkit.nets import ClipPatchDiscriminator, FrameDiscriminator, PatchDiscriminator


def clips(frames: int = 4, side: int = 6, batch: int = 2):
    generator = torch.Generator().manual_seed(1)
    made = torch.rand(2, batch, 3, frames, side, side, generator=generator) * 2 - 1
    return made[0].requires_grad_(), made[1]


class Counted(nn.Module):
    """Mean squared difference of pictures; keeps what it was given."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, reconstruction, target):
        assert reconstruction.ndim == 4
        self.seen.append((reconstruction.detach(), target))
        return (reconstruction - target).square().mean()


def gradient(loss, reconstruction):
    return torch.autograd.grad(loss, reconstruction)[0]


def test_lpips_of_clips_is_the_mean_over_their_frames():
    ours, theirs = clips(3, 16)
    lpips = LPIPS(backbone="random", heads="random")
    loss = FrameLoss(lpips)(ours, theirs)
    frames = [lpips(ours[:, :, t], theirs[:, :, t]) for t in range(3)]
    naive = torch.stack(frames).mean()
    assert torch.allclose(loss, naive, rtol=1e-5)
    assert torch.allclose(gradient(loss, ours), gradient(naive, ours), rtol=1e-3, atol=1e-9)


def test_frames_that_are_drawn():
    """So many of each clip, without repetition, with their partners; all of them by the mean."""
    ours, theirs = clips(5, 2)
    loss = FrameLoss(Counted(), num_frames=2)
    values = []
    for _ in range(300):
        values.append(float(loss(ours, theirs).detach()))
        got, expected = loss.loss.seen[-1]
        assert got.shape == (4, 3, 2, 2)
        for item in range(2):
            whole = list(zip(ours[item].unbind(1), theirs[item].unbind(1), strict=True))
            drawn = [
                next(t for t, (a, b) in enumerate(whole) if torch.equal(a, x) and torch.equal(b, y))
                for x, y in zip(got[2 * item : 2 * item + 2], expected[2 * item :], strict=False)
            ]
            assert len(set(drawn)) == 2
    whole = (ours - theirs).square().mean()
    assert torch.tensor(values).std() > 0
    assert torch.tensor(values).mean() == pytest.approx(float(whole.detach()), rel=0.02)
    assert len({tuple(x.flatten().tolist()) for x, _ in loss.loss.seen}) > 20


def test_the_seed_decides_which_frames_are_drawn():
    ours, theirs = clips(9, 2)
    loss = FrameLoss(L1(), num_frames=1)
    torch.manual_seed(5)
    first = [loss(ours, theirs) for _ in range(4)]
    torch.manual_seed(5)
    assert [loss(ours, theirs) for _ in range(4)] == first
    assert len(set(first)) > 1


def test_evaluation_and_short_clips_take_all_frames():
    ours, theirs = clips(4)
    loss = FrameLoss(L2(), num_frames=2)
    assert torch.allclose(loss.eval()(ours, theirs), L2()(ours, theirs))
    loss = FrameLoss(L2(), num_frames=4).train()
    assert torch.allclose(loss(ours, theirs), L2()(ours, theirs))


@pytest.mark.parametrize("first", [None, 3.0])
def test_weighted_frames_are_a_weighted_mean(first):
    ours, theirs = clips(5)
    loss = WeightedFrames(L2(), weights=[1.0, 0.25], first=first)
    weights = [1.0, 0.25, 1.0, 0.25, 1.0] if first is None else [3.0, 1.0, 0.25, 1.0, 0.25]
    total = sum(w * L2()(ours[:, :, t], theirs[:, :, t]) for t, w in enumerate(weights))
    value = loss(ours, theirs)
    assert torch.allclose(value, total / sum(weights))
    assert torch.allclose(
        gradient(value, ours), gradient(total / sum(weights), ours), rtol=1e-4, atol=1e-9
    )
    even = WeightedFrames(L1(), weights=[7.0])
    assert torch.allclose(even(ours, theirs), L1()(ours, theirs))


def test_differences_are_those_of_a_loop():
    ours, theirs = clips(4)
    steps = [
        ((ours[:, :, t + 1] - ours[:, :, t]) - (theirs[:, :, t + 1] - theirs[:, :, t])).abs()
        for t in range(3)
    ]
    naive = torch.stack(steps).mean()
    value = FrameDifferences()(ours, theirs)
    assert torch.allclose(value, naive)
    assert torch.allclose(gradient(value, ours), gradient(naive, ours), atol=1e-8)
    squared = torch.stack(steps).square().mean()
    assert torch.allclose(FrameDifferences(L2())(ours, theirs), squared)
    # A constant error does not flicker.
    assert FrameDifferences()(theirs + 0.25, theirs) < 1e-6


class Motion(nn.Module):
    """Of a picture that a module of one weight makes: red and green of what changed."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(2.0))
        self.dropout = nn.Dropout(0.5)

    def forward(self, frames, later):
        return self.dropout(self.weight * (later - frames)[:, :2] ** 2)


@pytest.mark.parametrize("scale", [1, 2])
def test_motion_is_compared_both_ways(scale):
    ours, theirs = clips(4)
    estimator = Motion()
    loss = FlowLoss(estimator, scale).train()
    value = loss(ours, theirs)
    small = [nn.functional.avg_pool3d(x, (1, scale, scale)) for x in (ours, theirs)]
    differences = []
    for t in range(3):
        for a, b in ((t, t + 1), (t + 1, t)):
            mine, other = (2.0 * (x[:, :2, b] - x[:, :2, a]) ** 2 for x in small)
            differences.append((mine - other).abs())
    naive = scale * torch.stack(differences).mean()
    assert torch.allclose(value, naive)
    assert torch.allclose(gradient(value, ours), gradient(naive, ours), rtol=1e-4, atol=1e-8)
    # The estimator is a yardstick: neither trained, nor saved, nor in training mode.
    assert not estimator.training
    assert not list(loss.parameters())
    assert not loss.state_dict()
    assert not estimator.weight.requires_grad


def test_losses_of_motion_are_fp32_in_autocast():
    ours, theirs = clips(3)
    seen = []

    def estimator(frames, later):
        seen.append(frames.dtype)
        return (later - frames)[:, :2]

    with torch.autocast("cpu", torch.bfloat16):
        value = FlowLoss(estimator)(ours.bfloat16(), theirs.bfloat16())
    assert value.dtype == torch.float32
    assert set(seen) == {torch.float32}
    assert FrameDifferences()(ours.bfloat16(), theirs.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("loss", [FrameDifferences(), FlowLoss(Motion())], ids=["changes", "flow"])
def test_a_single_frame_does_not_move(loss):
    ours, theirs = clips(1)
    value = loss(ours, theirs)
    assert value == 0
    assert not gradient(value, ours).any()


def test_losses_of_any_shape_take_clips():
    """L1 and L2, the adversary's, the matching of features and the balancer: nothing to wrap."""
    ours, theirs = clips(5, 64, batch=1)
    for loss, power in ((L1(), 1), (L2(), 2)):
        assert torch.allclose(loss(ours, theirs), (ours - theirs).abs().pow(power).mean())
    weight = torch.ones(1, requires_grad=True)
    for judge in (
        ClipPatchDiscriminator(base_width=32, num_layers=1, num_time_layers=1),
        FrameDiscriminator(PatchDiscriminator(base_width=32, num_layers=1, norm="group")),
    ):
        fake, real = judge(ours * weight), judge(theirs)
        for pair in (Hinge(), LeastSquares(), NonSaturating(per_image=True)):
            assert pair.discriminator(real.logits, fake.logits).isfinite()
            assert pair.generator(fake.logits).isfinite()
        if isinstance(judge, ClipPatchDiscriminator):
            assert FeatureMatching()(fake.features, real.features) > 0
        term = Hinge().generator(fake.logits)
        assert adaptive_weight(L1()(ours * weight, theirs), term, weight) > 0
    balancer = GradientBalancer(["pixel", "changes"])
    reconstruction = ours * weight
    terms = {
        "pixel": L1()(reconstruction, theirs),
        "changes": FrameDifferences()(reconstruction, theirs),
    }
    balanced = balancer(terms, {"pixel": 1.0, "changes": 1.0}, reconstruction)
    assert gradient(balanced, ours).isfinite().all()


def test_the_mean_logit_is_that_of_each_frame():
    """VidTok's generator judges frames, not clips: a frame does not stand for another."""
    logits = torch.randn(2 * 3, 1, 4, 4)
    expected = torch.stack(
        [nn.functional.softplus(-logits[frame].mean()) for frame in range(6)]
    ).mean()
    assert torch.allclose(NonSaturating(per_image=True).generator([logits]), expected)


def test_what_is_no_pair_of_clips_is_refused(unchecked_shapes):
    ours, theirs = clips(3)
    for loss in (
        FrameLoss(L1()),
        WeightedFrames(L1(), [1.0]),
        FrameDifferences(),
        FlowLoss(Motion()),
    ):
        name = type(loss).__name__
        with pytest.raises(ShapeError, match=rf"{name}: expected two equal shapes \[batch, chan"):
            loss(ours[:, :, 0], theirs[:, :, 0])
        with pytest.raises(ShapeError, match=name):
            loss(ours, theirs[:1])
        with pytest.raises(ShapeError, match=name):
            loss(ours[:, :, :0], theirs[:, :, :0])
    with pytest.raises(ShapeError, match="Of clips FrameLoss takes the frames"):
        LPIPS(backbone="random", heads="random")(torch.zeros(1, 3, 17, 32, 32), ours)


def test_an_estimator_that_gives_no_motion_is_refused():
    ours, theirs = clips(3)
    with pytest.raises(ShapeError, match=r"motion \[4, 2, height, width\] .* got \[4, 3, 3, 3\]"):
        FlowLoss(lambda frames, later: later)(ours, theirs)
    with pytest.raises(ShapeError, match="at least scale = 8"):
        FlowLoss(Motion(), scale=8)(ours, theirs)


def test_wrong_settings_are_refused():
    with pytest.raises(ConfigError, match="num_frames: expected >= 1 or None, got 0"):
        FrameLoss(L1(), 0)
    for weights, first in (([], None), ([1.0, 0.0], None), ([1.0], -1.0), ([float("nan")], None)):
        with pytest.raises(ConfigError, match="positive weights"):
            WeightedFrames(L1(), weights, first)
    with pytest.raises(ConfigError, match="scale: expected >= 1, got 0"):
        FlowLoss(Motion(), 0)
