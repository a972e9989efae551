"""What the base class owns, beyond the contract that every configuration is checked for."""

import math

import pytest
import torch

from vqkit.errors import ShapeError
from vqkit.quantizers import FSQ, NO_TOKEN, Factorized, VectorQuantizer
from vqkit.quantizers.base import squares_are_finite


@pytest.mark.parametrize("dtype", [torch.int8, torch.int16, torch.int32, torch.int64])
def test_indices_of_any_integer_dtype_decode(dtype):
    quantizer = FSQ([5, 5])
    indices = torch.arange(25).reshape(1, 25, 1)
    assert torch.equal(quantizer.decode(indices.to(dtype)), quantizer.decode(indices))


@pytest.mark.usefixtures("unchecked_shapes")
def test_messages_say_what_was_expected_what_came_and_what_to_do():
    quantizer = Factorized(FSQ([4, 4]), 8)
    for call, message in (
        (
            lambda: quantizer(torch.zeros(1, 8, 4, 4)),
            r"Factorized input: expected \[batch, \*positions, dim\] with dim 8, got "
            r"\[1, 8, 4, 4\]. Move the channels to the last axis.",
        ),
        (
            lambda: quantizer(torch.zeros(1, 8, dtype=torch.int32)),
            "floating dtype, got torch.int32",
        ),
        (
            lambda: quantizer(torch.zeros(1, 3, 8), torch.ones(1, 4, dtype=torch.bool)),
            r"boolean \[1, 3\], got torch.bool \[1, 4\]. True marks valid positions.",
        ),
        (lambda: quantizer(torch.zeros(1, 3, 8), torch.ones(1, 3)), "got torch.float32"),
        (lambda: quantizer.decode(torch.zeros(1, 3, 1)), "integer dtype, got torch.float32"),
        (lambda: quantizer.decode(torch.zeros(1, 3, 1, dtype=torch.bool)), "got torch.bool"),
        (lambda: quantizer.decode(torch.zeros(1, 2, 3, dtype=torch.int64)), "1 codebooks, got"),
        (
            lambda: quantizer.decode(torch.tensor([[[3], [16]]])),
            r"0 to \[15\] per codebook \(or -1 for none\), got 3 to 16",
        ),
        (lambda: quantizer.decode(torch.tensor([[[-2]]])), "got -2 to -2"),
    ):
        with pytest.raises(ShapeError, match=message):
            call()


def test_the_range_of_indices_is_checked_per_codebook():
    class Pair(FSQ.__base__):
        """Two codebooks of different sizes; an index that fits one need not fit the other."""

        def __init__(self):
            super().__init__()
            self.dim, self.codebook_sizes = 1, (2, 4)

        def _assign(self, z, valid):
            raise AssertionError("decoding assigns nothing")

        def _lookup(self, indices):
            return indices.sum(-1, keepdim=True).float()

    assert Pair().decode(torch.tensor([[1, 3]])).item() == 4.0
    assert Pair().bits_per_position == 3.0
    with pytest.raises(ShapeError, match=r"0 to \[1, 3\]"):
        Pair().decode(torch.tensor([[3, 1]]))


def test_a_batch_of_vectors_is_a_layout_too():
    quantizer = FSQ([5, 5])
    output = quantizer(torch.randn(7, 2))
    assert output.indices.shape == (7, 1)
    assert torch.equal(quantizer.decode(output.indices), output.quantized)


def test_a_mask_masks():
    quantizer = VectorQuantizer(3, 4)
    mask = torch.tensor([[True, False, True]])
    z = torch.randn(1, 3, 3, requires_grad=True)
    output = quantizer(z, mask)
    (output.quantized.sum() + output.loss).backward()
    assert output.indices[0, 1].item() == NO_TOKEN
    assert not output.quantized[0, 1].any()
    assert not z.grad[0, 1].any()
    assert z.grad[0, 0].all()


def test_a_strided_input_is_read_as_it_is():
    quantizer = FSQ([5, 5, 5])
    z = torch.randn(2, 3, 6, 4).movedim(1, -1)
    assert not z.is_contiguous()
    assert torch.equal(quantizer.encode(z), quantizer.encode(z.contiguous()))


def test_squares_that_overflow_count_as_not_finite():
    z = torch.zeros(6, 2, 3)
    for item, value in enumerate((math.nan, math.inf, -math.inf, 3e38, 1e18)):
        z[item, 1, 2] = value
    assert squares_are_finite(z).tolist() == [False, False, False, False, True, True]
