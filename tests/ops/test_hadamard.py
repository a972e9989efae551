"""The fast transform against the matrix."""

import pytest
import torch

from vqkit.ops.hadamard import hadamard


def matrix(size: int) -> torch.Tensor:
    """Sylvester's construction."""
    h = torch.ones(1, 1)
    while len(h) < size:
        h = torch.cat([torch.cat([h, h], 1), torch.cat([h, -h], 1)])
    return h / size**0.5


@pytest.mark.parametrize("dim", [1, 2, 8, 64])
def test_powers_of_two(dim):
    x = torch.randn(3, 5, dim)
    torch.testing.assert_close(hadamard(x), x @ matrix(dim))


@pytest.mark.parametrize(("dim", "block"), [(24, 8), (12, 4), (7, 1), (96, 32)])
def test_other_sizes_are_blocks(dim, block):
    x = torch.randn(4, dim)
    expected = (x.reshape(4, -1, block) @ matrix(block)).reshape(4, dim)
    torch.testing.assert_close(hadamard(x), expected)


@pytest.mark.parametrize("dim", [2, 24, 128])
def test_is_its_own_inverse_keeps_lengths_and_is_differentiable(dim):
    x = torch.randn(10, dim, dtype=torch.float64, requires_grad=True)
    y = hadamard(x)
    torch.testing.assert_close(hadamard(y), x)
    torch.testing.assert_close(y.norm(dim=1), x.norm(dim=1))
    weight = torch.randn(10, dim, dtype=torch.float64)
    (y * weight).sum().backward()
    torch.testing.assert_close(x.grad, hadamard(weight))  # symmetric
