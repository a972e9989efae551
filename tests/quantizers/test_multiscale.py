import copy

import pytest
import torch
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from vqkit.errors import ConfigError, ShapeError
from vqkit.quantizers import (
    EMA,
    Factorized,
    GradientUpdate,
    MultiScaleResidual,
    RandomInit,
    VectorQuantizer,
)

DIM = 4
SCALES = [[1, 1], [2, 2], [3, 4], [4, 6]]
NUM_TOKENS = 1 + 4 + 12 + 24
GRIDS = {"1": [[1], [3], [7]], "2": SCALES, "3": [[1, 1, 1], [2, 1, 2], [3, 2, 4]]}


def codebook(update=None):
    return VectorQuantizer(DIM, 16, update=update or EMA(0.5), init=RandomInit(1.0))


def down(x, scale):
    """Area average of ``[batch, *grid, dim]``, as a library does it."""
    pool = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}
    return pool[len(scale)](x.movedim(-1, 1), tuple(scale)).movedim(1, -1)


def up(x, grid):
    mode = {1: "linear", 2: "bicubic", 3: "trilinear"}[len(grid)]
    return F.interpolate(x.movedim(-1, 1), tuple(grid), mode=mode).movedim(1, -1)


def phi(layer, x, k):
    if not layer.num_convolutions:
        return x
    convolution = layer.convolutions[k * layer.num_convolutions // len(layer.scales)]
    return 0.5 * x + 0.5 * convolution(x.movedim(-1, 1)).movedim(1, -1)


def naive(layer, z):
    """Algorithm 1 of the paper, and its loss, scale by scale on a frozen codebook."""
    inner = layer.inner
    total, indices, commitment, refinement = torch.zeros_like(z), [], 0.0, 0.0
    for k, scale in enumerate(layer.scales):
        residual = down(z - total.detach(), scale)
        index = torch.cdist(
            residual.detach().double().reshape(-1, DIM), inner.codebook.detach().double()
        ).argmin(-1)
        codes = inner.codebook[index].reshape(residual.shape)
        commitment = commitment + 0.25 * (residual - codes.detach()).square().sum()
        if inner.trains_codebook:
            commitment = commitment + (residual.detach() - codes).square().sum()
        total = total + phi(layer, up(codes.detach(), layer.grid), k)
        refinement = refinement + (total - z.detach()).square().mean() / len(layer.scales)
        indices.append(index.reshape(len(z), -1))
    num_tokens = sum(layer.sizes)
    loss = commitment / (len(z) * num_tokens * DIM)
    if layer.num_convolutions:
        loss = loss + refinement
    return total, torch.cat(indices, 1), loss


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("num_convolutions", [0, 2])
@pytest.mark.parametrize("axes", GRIDS)
@pytest.mark.parametrize("update", [EMA(0.5), GradientUpdate()], ids=["ema", "gradient"])
def test_follows_the_paper(axes, num_convolutions, update, training):
    """In value, indices, loss and every gradient, in training and evaluation."""
    layer = MultiScaleResidual(
        codebook(update), GRIDS[axes], num_convolutions=num_convolutions
    ).train(training)
    other = copy.deepcopy(layer)
    z = torch.randn(3, *layer.grid, DIM, requires_grad=True)
    theirs, weight = z.detach().clone().requires_grad_(), torch.randn(3, *layer.grid, DIM)
    output = layer(z)
    ((output.quantized * weight).sum() + output.loss).backward()
    total, indices, loss = naive(other, theirs)
    # Straight-through: the gradient reaches the input and the convolutions.
    ((theirs - theirs.detach() + total) * weight).sum().add(loss).backward()
    assert torch.equal(output.indices[..., 0], indices)
    torch.testing.assert_close(output.quantized, total, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(output.loss, loss)
    torch.testing.assert_close(z.grad, theirs.grad, rtol=1e-4, atol=1e-5)
    for (name, mine), parameter in zip(layer.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, parameter.grad, rtol=1e-4, atol=1e-5, msg=name)


def test_decode_is_algorithm_2():
    layer = MultiScaleResidual(codebook(), SCALES)
    indices = torch.randint(0, 16, (2, NUM_TOKENS, 1))
    expected = torch.zeros(2, *layer.grid, DIM)
    for part in layer.split_scales(indices):
        expected = expected + up(layer.inner.codebook[part[..., 0]], layer.grid)
    torch.testing.assert_close(layer.decode(indices), expected, rtol=1e-5, atol=1e-5)


def test_trap_31_the_codebook_moves_once_after_all_scales():
    layer = MultiScaleResidual(codebook(), SCALES)
    frozen = copy.deepcopy(layer).eval()
    z = torch.randn(3, *layer.grid, DIM)
    output, expected = layer(z), frozen(z)
    assert torch.equal(output.indices, expected.indices)
    assert torch.equal(output.quantized, expected.quantized)
    # One EMA step with the residuals of all scales.
    inner = copy.deepcopy(frozen.inner).train()
    total, rows = torch.zeros_like(z), []
    for k, part in enumerate(frozen.split_scales(expected.indices)):
        rows.append(down(z - total, frozen.scales[k]).reshape(3, -1, DIM))
        total = total + up(frozen.inner.decode(part), frozen.grid)
    inner(torch.cat(rows, 1))
    torch.testing.assert_close(layer.inner.codebook, inner.codebook, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(layer.inner.cluster_size, inner.cluster_size)


def test_the_batches_that_initialise_use_the_finest_scale_alone():
    layer = MultiScaleResidual(VectorQuantizer(DIM, 16), SCALES)
    z = torch.randn(8, *layer.grid, DIM)
    first = layer(z)
    assert (first.indices[:, :-24] == -1).all()
    assert (first.indices[:, -24:] >= 0).all()
    assert layer.initialized
    assert (layer(z).indices >= 0).all()


def test_checkpointing_of_the_first_batch_repeats_it():
    plain = MultiScaleResidual(VectorQuantizer(DIM, 16), SCALES, num_convolutions=2)
    other = copy.deepcopy(plain)
    gradients = []
    for layer, wrap in ((plain, False), (other, True)):
        torch.manual_seed(3)
        for _ in range(3):
            z = torch.randn(8, *layer.grid, DIM, requires_grad=True)

            def run(x, layer=layer):
                output = layer(x)
                return output.quantized.square().sum() + output.loss

            (checkpoint(run, z, use_reentrant=False) if wrap else run(z)).backward()
            gradients.append(z.grad)
    for step in range(3):
        torch.testing.assert_close(gradients[step], gradients[step + 3])
    for mine, theirs in zip(plain.buffers(), other.buffers(), strict=True):
        assert torch.equal(mine, theirs)


def test_more_scales_come_closer():
    torch.manual_seed(0)
    layer = MultiScaleResidual(VectorQuantizer(DIM, 64, update=EMA(0.9)), SCALES)
    for _ in range(30):
        layer(torch.randn(8, *layer.grid, DIM))
    z = torch.randn(8, *layer.grid, DIM)
    indices = layer.eval().encode(z)
    errors = [float((layer.decode_scales(indices, n) - z).square().mean()) for n in range(1, 5)]
    assert errors == sorted(errors, reverse=True)
    assert torch.equal(layer.decode_scales(indices, 4), layer.decode(indices))
    assert torch.equal(layer.decode_scales(indices[:, :5], 2), layer.decode_scales(indices, 2))


def test_scales_come_apart_row_by_row():
    layer = MultiScaleResidual(codebook(), SCALES)
    indices = torch.arange(NUM_TOKENS)[None, :, None] % 16
    maps = layer.split_scales(indices)
    assert [tuple(part.shape) for part in maps] == [(1, *scale, 1) for scale in layer.scales]
    assert maps[2][0, 1, 0] == indices[0, 1 + 4 + 4]


def test_the_quantizer_of_the_tokens_may_be_projected():
    layer = MultiScaleResidual(Factorized(codebook(), 8), SCALES)
    z = torch.randn(2, *layer.grid, 8, requires_grad=True)
    layer(z).quantized.square().sum().backward()
    assert layer.inner.project_out.weight.grad.any()
    assert torch.equal(layer.eval()(z).quantized, layer.decode(layer.encode(z)))


@pytest.mark.parametrize(
    "scales", [[], [[]], [[1, 1], [2]], [[4], [2]], [[0], [2]], [[2], [2]], [[1] * 4, [2] * 4]]
)
def test_wrong_scales_are_refused(scales):
    with pytest.raises(ConfigError, match="scales: expected different grids"):
        MultiScaleResidual(codebook(), scales)


def test_wrong_arguments_are_refused():
    with pytest.raises(ConfigError, match="0 to 4 convolutions"):
        MultiScaleResidual(codebook(), SCALES, num_convolutions=5)
    layer = MultiScaleResidual(codebook(), SCALES)
    with pytest.raises(ShapeError, match="num_scales: expected 1 to 4, got 5"):
        layer.decode_scales(torch.zeros(1, NUM_TOKENS, 1).long(), 5)
    with pytest.raises(ShapeError, match="5 to 41"):
        layer.decode_scales(torch.zeros(1, 4, 1).long(), 2)
    with pytest.raises(ConfigError, match="single positions"):
        MultiScaleResidual(layer, SCALES)
