"""Mistakes of published quantizers, each as a regression test that names it.

Which trap is tested where: ``docs/traps.md``.
"""

import copy

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from vqkit.errors import ConfigError, ShapeError
from vqkit.quantizers import (
    EMA,
    FSQ,
    NO_TOKEN,
    Cosine,
    Factorized,
    FromData,
    GradientUpdate,
    KMeans,
    Quantizer,
    RandomInit,
    ReplaceUnused,
    Residual,
    RotationTrick,
    VectorQuantizer,
)

DIM = 6


def test_trap_1_the_first_update_after_kmeans_keeps_norm_and_usage():
    """With M = e instead of e * count the norm fell from 8.67 to 0.15 and one code was in use."""
    means = 3 * torch.randn(32, DIM)
    layer = VectorQuantizer(DIM, 32, update=EMA(decay=0.99), init=KMeans())

    def batch() -> Tensor:
        return means[torch.randint(32, (4, 128))] + 0.1 * torch.randn(4, 128, DIM)

    layer(batch())
    norms = layer._searched.norm(dim=-1)  # before the first update
    usage = len(layer.encode(batch()).unique())
    layer(batch())
    assert abs(layer.codebook.norm(dim=-1).mean() / norms.mean() - 1) < 0.1
    assert abs(len(layer.encode(batch()).unique()) / usage - 1) < 0.1
    assert usage > 28


def test_trap_2_a_revived_code_survives_the_next_moving_averages():
    layer = VectorQuantizer(DIM, 8, update=EMA(decay=0.9), revive=ReplaceUnused())
    z = torch.randn(4, 64, DIM)
    layer(z)
    layer.share[5], layer.codebook[5], layer.cluster_size[5] = 0.0, -100.0, 1e-6
    layer(z)
    revived = layer.codebook[5].clone()
    assert (z == revived).all(-1).any()
    for _ in range(3):
        layer(z)
    # Its count is that of the others, so it moves as they do, towards the mean of its samples.
    assert 0 < (layer.codebook[5] - revived).norm() < 0.5 * revived.norm()


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("grid", [(5,), (3, 4), (2, 3, 2)])
@pytest.mark.parametrize(
    "build",
    [
        lambda: VectorQuantizer(DIM, 8),
        lambda: Factorized(VectorQuantizer(3, 8, metric=Cosine()), DIM),
        lambda: Factorized(FSQ([4, 4]), DIM),
        lambda: Residual(VectorQuantizer(DIM, 8), 2),
        lambda: Factorized(Residual(FSQ([4, 4], symmetric=True), 2, level_scale=0.3), DIM),
        lambda: Residual(Factorized(VectorQuantizer(3, 8), DIM), 2),
    ],
    ids=["vq", "projected cosine", "projected fsq", "residual", "projected residual", "dac"],
)
def test_trap_15_layout_times_projection_times_mask(build, grid, masked):
    layer = build()
    for _ in range(3):
        z = torch.randn(4, *grid, DIM, requires_grad=True)
        mask = torch.rand(4, *grid) < 0.7 if masked else None
        output = layer(z, mask)
        (output.quantized.square().sum() + output.loss).backward()
        assert z.grad.isfinite().all()
    layer.eval()
    output = layer(z, mask)
    assert output.quantized.shape == z.shape
    assert torch.equal(layer.decode(output.indices), output.quantized)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize(
    "build",
    [
        lambda: VectorQuantizer(DIM, 16),
        lambda: VectorQuantizer(DIM, 16, gradient=RotationTrick()),
        lambda: VectorQuantizer(DIM, 16, metric=Cosine(), update=GradientUpdate()),
        lambda: Residual(VectorQuantizer(DIM, 16), 3),
        lambda: Factorized(FSQ([5, 5]), DIM),
    ],
    ids=["straight-through", "rotation", "cosine", "residual", "fsq"],
)
def test_trap_18_the_training_output_is_what_decode_gives(build, dtype):
    """The usual ``z + (q - z)`` misses the code in 36 % of the elements."""
    layer = build()
    for _ in range(4):
        layer(torch.randn(2, 40, DIM))
    before = copy.deepcopy(layer)
    z = torch.randn(2, 40, DIM).to(dtype).requires_grad_()
    output = layer(z)
    assert output.quantized.requires_grad
    assert torch.equal(output.quantized, before.decode(output.indices).to(dtype))


def step(layer: Quantizer, z: Tensor, checkpointed: bool, use_reentrant: bool = False) -> Tensor:
    """Gradient of one training pass, with or without recomputation in backward."""
    torch.manual_seed(3)
    z = z.clone().requires_grad_()

    def loss(x: Tensor) -> Tensor:
        output = layer(x)
        return output.quantized.square().mean() + output.loss

    total = checkpoint(loss, z, use_reentrant=use_reentrant) if checkpointed else loss(z)
    total.backward()
    return z.grad


@pytest.mark.parametrize(
    "build",
    [
        lambda: VectorQuantizer(DIM, 8, revive=ReplaceUnused()),
        lambda: VectorQuantizer(DIM, 8, init=KMeans(batches=3)),
        lambda: VectorQuantizer(DIM, 8, update=GradientUpdate()),
        lambda: Residual(VectorQuantizer(DIM, 8), 3, level_dropout=0.5),
        lambda: Factorized(Residual(VectorQuantizer(3, 8), 2), DIM),
    ],
    ids=["vq", "several batches", "gradient", "residual", "projected residual"],
)
def test_trap_19_recomputation_while_the_codebook_is_being_initialised(build):
    """A recomputed pass neither collects, initialises, counts nor moves anything a second time."""
    plain, recomputed = build(), build()
    recomputed.load_state_dict(plain.state_dict())
    for i in range(6):
        z = torch.randn(3, 20, DIM)
        if i == 4:
            z[0, 0, 0] = float("nan")
        expected, gradient = step(plain, z, False), step(recomputed, z, True)
        torch.testing.assert_close(gradient, expected, equal_nan=True)
        for name, value in plain.state_dict().items():
            assert torch.equal(value, recomputed.state_dict()[name]), (i, name)


def test_trap_19_checkpointing_that_hides_the_first_pass_is_refused():
    """Reentrant checkpointing runs it without gradient: the codebook would never move."""
    layer = VectorQuantizer(DIM, 8)
    with pytest.raises(ConfigError, match="use_reentrant=False"):
        step(layer, torch.randn(3, 20, DIM), True, use_reentrant=True)


def test_trap_22_saved_bytes_per_token_and_code():
    layer = VectorQuantizer(4, 2048, init=RandomInit(scale=1.0), revive=ReplaceUnused())
    saved = 0

    def note(tensor: Tensor) -> Tensor:
        nonlocal saved
        saved += tensor.numel() * tensor.element_size()
        return tensor

    z = torch.randn(1, 2048, 4, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        layer(z)
    assert 0 < saved < 0.5 * 2048 * 2048


@pytest.mark.parametrize("update", [EMA(), GradientUpdate()])
def test_trap_24_outputs_follow_the_codebook_after_first_use(update):
    layer = VectorQuantizer(DIM, 8, update=update, init=FromData()).train()
    z = torch.randn(2, 30, DIM)
    layer(z)
    layer.encode(z)
    with torch.no_grad():
        layer.codebook.copy_(layer.codebook.flip(0) + 1)
    expected = torch.cdist(z, layer.codebook[None]).argmin(-1)
    assert torch.equal(layer.encode(z)[..., 0], expected)
    assert torch.equal(layer(z).indices[..., 0], expected)
    half = copy.deepcopy(layer).eval().half()
    assert torch.equal(half.decode(half.encode(z)), half(z).quantized)
    assert half.codebook.dtype == torch.float16


@pytest.mark.parametrize(
    "layer",
    [VectorQuantizer(2, 4), FSQ([2, 2]), Residual(FSQ([2, 2]), 2)],
    ids=["vq", "fsq", "rvq"],
)
def test_trap_29_minus_one_is_nothing_and_anything_below_is_an_error(layer):
    nothing = torch.full((1, 2, layer.num_codebooks), NO_TOKEN)
    assert layer.decode(nothing).tolist() == [[[0.0, 0.0], [0.0, 0.0]]]
    for bad in (-2, 4):
        with pytest.raises(ShapeError, match="expected 0 to"):
            layer.decode(torch.full((1, 2, layer.num_codebooks), bad))


def test_trap_30_two_codes():
    """Indices by hand: which code is 0, which is 1, and which digit is the fast one."""
    two = FSQ([2], symmetric=True)
    assert two.encode(torch.tensor([[[-3.0], [3.0]]])).flatten().tolist() == [0, 1]
    assert two.decode(torch.tensor([[[0], [1]]])).flatten().tolist() == [-1.0, 1.0]
    asymmetric = FSQ([2])
    assert asymmetric.encode(torch.tensor([[[-9.0], [3.0]]])).flatten().tolist() == [0, 1]
    assert asymmetric.decode(torch.tensor([[[0], [1]]])).flatten().tolist() == [-1.0, 0.0]
    four = FSQ([2, 2], symmetric=True)
    corners = torch.tensor([[[-3.0, -3.0], [3.0, -3.0], [-3.0, 3.0], [3.0, 3.0]]])
    assert four.encode(corners).flatten().tolist() == [0, 1, 2, 3]
    learned = VectorQuantizer(1, 2, init=RandomInit())
    learned.codebook.copy_(torch.tensor([[5.0], [-5.0]]))
    assert learned.encode(torch.tensor([[[4.0], [-4.0], [0.0]]])).flatten().tolist() == [0, 1, 0]


def test_trap_31_all_levels_of_a_pass_search_the_codebooks_from_before_it():
    """A codebook that moves while the pass runs makes training and evaluation see other codes."""
    layer = Residual(VectorQuantizer(DIM, 8, update=EMA(decay=0.0)), 3)
    for _ in range(4):
        layer(torch.randn(4, 32, DIM))
    before = copy.deepcopy(layer).eval()
    z = torch.randn(4, 32, DIM)
    output = layer(z)
    assert torch.equal(output.indices, before.encode(z))
    assert torch.equal(output.quantized, before(z).quantized)
    assert not torch.equal(layer.eval()(z).quantized, output.quantized)
