import pytest
import torch

from vqkit.errors import ConfigError, ShapeError
from vqkit.losses import FeatureMatching


def features(seed: int) -> list[list[torch.Tensor]]:
    """Two discriminators with two and three layers, of very different sizes."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [[(2, 3, 5), (2, 4)], [(2, 1, 7), (2, 2), (2, 2, 2)]]
    return [
        [10.0**i * torch.randn(shape, generator=generator) for i, shape in enumerate(of_one)]
        for of_one in shapes
    ]


@pytest.mark.parametrize("relative", [False, True])
def test_equals_a_loop(relative):
    fake, real = features(0), features(1)
    terms = []
    for ours, theirs in zip(fake, real, strict=True):
        for f, r in zip(ours, theirs, strict=True):
            pairs = list(zip(f.flatten().tolist(), r.flatten().tolist(), strict=True))
            difference = sum(abs(a - b) for a, b in pairs) / len(pairs)
            size = sum(abs(b) for _, b in pairs) / len(pairs)
            terms.append(difference / size if relative else difference)
    found = FeatureMatching(relative=relative)(fake, real)
    assert float(found) == pytest.approx(sum(terms) / 5, rel=1e-5)


def test_relative_does_not_depend_on_the_size_of_the_features():
    fake, real = features(0), features(1)
    loud = [[[1e3 * f for f in of_one] for of_one in several] for several in (fake, real)]
    torch.testing.assert_close(
        FeatureMatching(relative=True)(*loud), FeatureMatching(relative=True)(fake, real)
    )
    torch.testing.assert_close(FeatureMatching()(*loud), 1e3 * FeatureMatching()(fake, real))


@pytest.mark.parametrize("relative", [False, True])
def test_only_the_fake_features_learn(relative):
    fake = [[f.requires_grad_() for f in of_one] for of_one in features(0)]
    real = [[f.requires_grad_() for f in of_one] for of_one in features(1)]
    FeatureMatching(relative=relative)(fake, real).backward()
    assert all(f.grad.any() for of_one in fake for f in of_one)
    assert all(f.grad is None for of_one in real for f in of_one)


def test_dead_features_are_finite():
    fake = torch.ones(1, 2, requires_grad=True)
    value = FeatureMatching(relative=True)([[fake]], [[torch.zeros(1, 2)]])
    assert value.isfinite()
    assert torch.autograd.grad(value, fake)[0].isfinite().all()


def test_fp32_inside():
    fake = [[torch.full((70_000,), 2.0, dtype=torch.bfloat16)]]
    real = [[torch.full((70_000,), 1.0, dtype=torch.bfloat16)]]
    value = FeatureMatching()(fake, real)
    assert (value.dtype, float(value)) == (torch.float32, 1.0)


def test_refuses():
    with pytest.raises(ShapeError, match="without features cannot be matched"):
        FeatureMatching()([], [])
    with pytest.raises(ShapeError, match=r"\[\[1, 2\]\] and \[\[1, 3\]\]"):
        FeatureMatching()([[torch.zeros(1, 2)]], [[torch.zeros(1, 3)]])
    with pytest.raises(ConfigError, match="weight >= 0"):
        FeatureMatching(weight=-1.0)
