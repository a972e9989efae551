import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from vqkit.ops import rotation_trick, straight_through

DTYPES = (torch.float32, torch.float64)


def rotated(z: Tensor, quantized: Tensor) -> Tensor:
    """The trick as the paper writes it (eq. 4): the matrix is built and autograd does the rest."""
    with torch.no_grad():
        ratio = quantized.norm(dim=-1, keepdim=True) / z.norm(dim=-1, keepdim=True)
        u, v = z / z.norm(dim=-1, keepdim=True), quantized / quantized.norm(dim=-1, keepdim=True)
        r = (u + v) / (u + v).norm(dim=-1, keepdim=True)
        identity = torch.eye(z.shape[-1], dtype=z.dtype)
        rotation = identity - 2 * r[..., :, None] * r[..., None, :]
        rotation = rotation + 2 * v[..., :, None] * u[..., None, :]
    return ratio * (rotation @ z[..., None])[..., 0]


def gradient_of(estimator, z: Tensor, quantized: Tensor, upstream: Tensor, **options) -> Tensor:
    z = z.clone().requires_grad_()
    (estimator(z, quantized, **options) * upstream).sum().backward()
    assert z.grad is not None
    return z.grad


@pytest.mark.parametrize("estimator", [straight_through, rotation_trick])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, *DTYPES])
def test_value_is_the_code_bit_for_bit(estimator, dtype):
    z, quantized = torch.randn(2, 50, 7, 3, dtype=torch.float64).to(dtype)
    z.requires_grad_()
    # z + (quantized - z).detach() misses, in bfloat16 grossly.
    assert not torch.equal((z + (quantized - z)).detach(), quantized)
    assert torch.equal(estimator(z, quantized), quantized)


@pytest.mark.parametrize("estimator", [straight_through, rotation_trick])
def test_output_is_a_tensor_of_its_own(estimator):
    quantized = torch.randn(5, 3)
    output = estimator(torch.randn(5, 3), quantized)
    assert output.data_ptr() != quantized.data_ptr()


@pytest.mark.parametrize("estimator", [straight_through, rotation_trick])
def test_what_lies_behind_the_codes_gets_the_plain_gradient(estimator):
    quantized = torch.randn(5, 3, requires_grad=True)
    upstream = torch.randn(5, 3)
    (estimator(torch.randn(5, 3), quantized) * upstream).sum().backward()
    assert torch.equal(quantized.grad, upstream)


def test_straight_through_gradient_is_the_identity():
    z, quantized, upstream = torch.randn(3, 20, 4)
    assert torch.equal(gradient_of(straight_through, z, quantized, upstream), upstream)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", [1, 2, 8, 64])
def test_rotation_equals_the_explicit_matrix_in_value_and_gradient(dtype, dim):
    z, quantized, upstream = torch.randn(3, 6, 5, dim, dtype=torch.float64).to(dtype)
    # In one dimension opposite signs are antiparallel, which has a test of its own.
    if dim == 1:
        quantized = quantized.abs() * z.sign()
    tolerance = {torch.float32: 2e-4, torch.float64: 1e-11}[dtype]
    close = {"rtol": tolerance, "atol": tolerance}
    torch.testing.assert_close(rotated(z, quantized), quantized, **close)
    torch.testing.assert_close(
        gradient_of(rotation_trick, z, quantized, upstream, max_ratio=1e9),
        gradient_of(rotated, z, quantized, upstream),
        **close,
    )


def test_rotation_keeps_lengths_and_angles():
    z, quantized, upstream = torch.randn(3, 500, 8, dtype=torch.float64)
    gradient = gradient_of(rotation_trick, z, quantized, upstream, max_ratio=1e9)
    torch.testing.assert_close(
        gradient.norm(dim=-1) / upstream.norm(dim=-1), quantized.norm(dim=-1) / z.norm(dim=-1)
    )
    torch.testing.assert_close(
        cosine_similarity(gradient, z, dim=-1), cosine_similarity(upstream, quantized, dim=-1)
    )


def test_ratio_is_clamped_and_the_direction_is_not():
    z, quantized, upstream = torch.randn(3, 100, 8, dtype=torch.float64)
    z = z * torch.logspace(-6, 1, 100, dtype=torch.float64)[:, None]
    free = gradient_of(rotation_trick, z, quantized, upstream, max_ratio=math.inf)
    clamped = gradient_of(rotation_trick, z, quantized, upstream, max_ratio=2.0)
    ratio = quantized.norm(dim=-1) / z.norm(dim=-1)
    assert ratio.max() > 1e5
    assert ratio.min() < 2.0
    torch.testing.assert_close(clamped.norm(dim=-1) / upstream.norm(dim=-1), ratio.clamp(max=2.0))
    torch.testing.assert_close(cosine_similarity(clamped, free, dim=-1), torch.ones(100).double())


def test_parallel_vectors_scale_alone():
    z, upstream = torch.randn(2, 20, 4, dtype=torch.float64)
    torch.testing.assert_close(gradient_of(rotation_trick, z, 3 * z, upstream), 3 * upstream)


def test_antiparallel_vectors_give_a_finite_gradient_of_the_right_length():
    # Integers: u + v is exactly zero.
    z, upstream = torch.tensor([[3.0, 4.0], [0.0, -2.0]]), torch.tensor([[1.0, 2.0], [5.0, 7.0]])
    quantized = -2 * z
    gradient = gradient_of(rotation_trick, z, quantized, upstream)
    torch.testing.assert_close(gradient.norm(dim=-1), 2 * upstream.norm(dim=-1))
    # Along z the sign turns, so that the angle is kept here too; across it nothing does.
    torch.testing.assert_close(
        cosine_similarity(gradient, z, dim=-1), cosine_similarity(upstream, quantized, dim=-1)
    )


def test_zero_input_takes_the_gradient_unrotated_and_clamped():
    upstream = torch.randn(6, 3)
    quantized = torch.randn(6, 3)
    gradient = gradient_of(rotation_trick, torch.zeros(6, 3), quantized, upstream, max_ratio=10.0)
    torch.testing.assert_close(gradient, 10.0 * upstream)


def test_zero_code_stops_the_gradient():
    z, upstream = torch.randn(2, 6, 3)
    assert not gradient_of(rotation_trick, z, torch.zeros(6, 3), upstream).any()


@pytest.mark.parametrize("scale", [1e-40, 1e-30, 1e-12, 1e12])
def test_gradient_stays_finite_at_any_scale(scale):
    z, quantized, upstream = torch.randn(3, 50, 8)
    for a, b in ((z * scale, quantized), (z, quantized * scale), (z * scale, quantized * scale)):
        assert gradient_of(rotation_trick, a, b, upstream).isfinite().all()


def test_no_gradient_is_kept_for_a_second_derivative():
    z, quantized = torch.randn(2, 4, 3)
    z.requires_grad_()
    (gradient,) = torch.autograd.grad(
        rotation_trick(z, quantized).square().sum(), z, create_graph=True
    )
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_no_positions():
    z = torch.zeros(0, 3, requires_grad=True)
    for estimator in (straight_through, rotation_trick):
        estimator(z, torch.zeros(0, 3)).sum().backward()
        assert z.grad.shape == (0, 3)
