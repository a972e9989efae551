"""What semantic distillation acts on: the first level alone, with a gradient of its own."""

import pytest
import torch

from vqkit.quantizers import (
    EMA,
    FSQ,
    Affine,
    Factorized,
    Quantizer,
    RandomInit,
    Residual,
    Rotated,
    RotationTrick,
    Split,
    VectorQuantizer,
)

DIM = 6


def vq(dim: int = DIM) -> VectorQuantizer:
    return VectorQuantizer(dim, 8, update=EMA(), init=RandomInit())


SEVERAL = {
    "residual": lambda: Residual(vq(), 3),
    "rotated residual": lambda: Residual(vq(), 3, gradient=RotationTrick()),
    "projected residual": lambda: Factorized(Residual(vq(3), 3), DIM),
    "split": lambda: Split(
        Factorized(vq(3), DIM), Factorized(Residual(vq(3), 3, level_dropout=1.0), DIM)
    ),
    "split of residuals": lambda: Split(
        Factorized(Residual(vq(3), 1), DIM), Factorized(Residual(vq(3), 2), DIM)
    ),
    "standardised residual": lambda: Affine(Residual(vq(), 3)),
    "rotated codebooks": lambda: Rotated(Residual(vq(), 3)),
    "residual of projected": lambda: Residual(Factorized(vq(3), DIM), 2),
}


@pytest.mark.parametrize("name", SEVERAL)
@pytest.mark.parametrize("mode", [True, False])
def test_it_is_what_the_first_codebook_decodes_to(name, mode):
    layer: Quantizer = SEVERAL[name]().train(mode)
    before = layer.decode(layer.encode(torch.randn(1, 1, DIM)))
    output = layer(z := torch.randn(2, 5, DIM))
    # Training moves the codes after it has searched them.
    if not mode:
        assert torch.equal(output.first, layer.decode(output.indices[..., :1]))
        assert torch.equal(output.first, layer(z).first)
    assert output.first.shape == output.quantized.shape == z.shape
    assert before.shape == (1, 1, DIM)
    assert not torch.equal(output.first, output.quantized)


@pytest.mark.parametrize("name", SEVERAL)
def test_masked_positions_are_zero(name):
    mask = torch.tensor([[True, False, True]])
    output = SEVERAL[name]().train()(torch.randn(1, 3, DIM), mask)
    assert not output.first[0, 1].any()
    assert output.first[0, 0].any()


def test_the_gradient_of_a_residual_passes_straight_through():
    layer, z = SEVERAL["residual"]().train(), torch.randn(2, 5, DIM, requires_grad=True)
    weight = torch.randn_like(z)
    (layer(z).first * weight).sum().backward()
    assert torch.equal(z.grad, weight)


def test_the_gradient_of_a_split_takes_the_semantic_projections_and_no_others():
    layer, z = SEVERAL["split"]().train(), torch.randn(2, 5, DIM, requires_grad=True)
    layer(z).first.square().sum().backward()
    assert z.grad.any()
    for part, touched in ((layer.semantic, True), (layer.acoustic, False)):
        for linear in (part.project_in, part.project_out):
            assert (linear.weight.grad is not None and bool(linear.weight.grad.any())) == touched
    semantic, other = SEVERAL["split"]().semantic, z.detach().clone().requires_grad_()
    semantic.load_state_dict(layer.semantic.state_dict())
    assert semantic.train()(other).quantized.shape == z.shape


@pytest.mark.parametrize("make", [vq, lambda: Factorized(FSQ([5, 5]), DIM)])
def test_of_one_level_it_is_all(make):
    output = make()(torch.randn(2, 5, DIM))
    assert output.first is output.quantized
