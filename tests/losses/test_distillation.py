"""Distances of features, against their definitions."""

import math

import pytest
import torch

from vqkit.errors import ShapeError
from vqkit.losses import CosineDistance, LogSigmoidCosine

PREDICTION, TARGET = torch.randn(2, 5, 3), torch.randn(2, 5, 3)


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a * b).sum() / (a.norm() * b.norm()))


def test_cosine_distance_is_of_frames():
    expected = (
        1 - sum(cosine(PREDICTION[i, t], TARGET[i, t]) for i in range(2) for t in range(5)) / 10
    )
    assert float(CosineDistance()(PREDICTION, TARGET)) == pytest.approx(expected, abs=1e-6)


def test_log_sigmoid_is_of_features_over_time():
    expected = (
        sum(
            math.log1p(math.exp(-cosine(PREDICTION[i, :, d], TARGET[i, :, d])))
            for i in range(2)
            for d in range(3)
        )
        / 6
    )
    assert float(LogSigmoidCosine()(PREDICTION, TARGET)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("loss", [CosineDistance(), LogSigmoidCosine()])
def test_scale_does_not_matter_and_the_target_gets_no_gradient(loss):
    prediction, target = PREDICTION.clone().requires_grad_(), TARGET.clone().requires_grad_()
    value = loss(3 * prediction, target)
    torch.testing.assert_close(value, loss(prediction, 2 * target))
    value.backward()
    assert prediction.grad.any()
    assert target.grad is None
    assert loss(prediction.bfloat16(), target.bfloat16()).dtype == torch.float32


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize("loss", [CosineDistance(), LogSigmoidCosine()])
def test_shapes_that_differ_are_refused(loss):
    with pytest.raises(ShapeError, match="equal shapes"):
        loss(PREDICTION, TARGET[:, :4])
    with pytest.raises(ShapeError, match="at least one frame"):
        loss(PREDICTION[:, :0], TARGET[:, :0])
