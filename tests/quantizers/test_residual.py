import copy
import itertools
import math

import pytest
import torch
from torch import Tensor

from vqkit.errors import ConfigError, ShapeError
from vqkit.quantizers import (
    EMA,
    FSQ,
    NO_TOKEN,
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
    VQLoss,
)

DIM = 4


def vector_residual(depth: int = 3, **options) -> Residual:
    """Initialised by a few training batches, with which it ends."""
    layer = Residual(VectorQuantizer(DIM, 16), depth, **options)
    for _ in range(depth + 1):
        layer(torch.randn(8, 32, DIM))
    return layer


def scalar_residual(depth: int = 3, **options) -> Residual:
    inner = FSQ([5] * DIM, symmetric=True, bound="clamp")
    return Residual(inner, depth, level_scale=0.25, **options)


@pytest.fixture(params=[vector_residual, scalar_residual], ids=["vector", "scalar"])
def layer(request) -> Residual:
    return request.param()


def levels_of(layer: Residual) -> list[Quantizer]:
    return [layer._level(i) for i in range(layer.depth)]


def naive_codes(layer: Residual, z: Tensor) -> list[Tensor]:
    """The codes of every level, by the public interface of the levels alone."""
    residual, codes = z, []
    for i, level in enumerate(levels_of(layer)):
        scale = layer.level_scale**i
        codes.append(level.decode(level.encode(residual / scale)) * scale)
        residual = residual - codes[-1]
    return codes


def test_each_level_quantizes_what_is_left(layer):
    z = torch.rand(2, 9, DIM) * 2 - 1
    codes = naive_codes(layer, z)
    assert torch.equal(layer.eval()(z).quantized, sum(codes, torch.zeros_like(z)))


def test_a_prefix_decodes_to_the_partial_sum_bit_for_bit(layer):
    z = torch.rand(2, 9, DIM) * 2 - 1
    indices = layer.encode(z)
    total = torch.zeros_like(z)
    for num_levels, codes in enumerate(naive_codes(layer, z), start=1):
        total = total + codes
        prefix = layer.encode(z, num_levels)
        assert torch.equal(prefix, indices[..., :num_levels])
        assert torch.equal(layer.decode(prefix), total)
        # Dropped levels contribute nothing: -1 says the same as a shorter array.
        padded = torch.where(torch.arange(layer.depth) < num_levels, indices, NO_TOKEN)
        assert torch.equal(layer.decode(padded), total)


@pytest.mark.parametrize("build", [vector_residual, scalar_residual])
def test_the_error_falls_with_every_level_on_the_training_set(build):
    layer = build(depth=6)
    z = torch.rand(8, 64, DIM) * 2 - 1
    for _ in range(30):
        layer(z)
    indices = layer.encode(z)
    errors = [(z - layer.decode(indices[..., :n])).square().mean().item() for n in range(1, 7)]
    assert all(later < earlier for earlier, later in itertools.pairwise(errors))
    assert errors[-1] < 0.1 * errors[0]


@pytest.mark.parametrize("depth", [1, 4])
def test_one_estimator_on_the_sum(depth):
    """The gradient is that of the identity, not ``depth`` times it."""
    layer = vector_residual(depth)
    z, weight = torch.randn(2, 9, DIM, requires_grad=True), torch.randn(2, 9, DIM)
    (layer(z).quantized * weight).sum().backward()
    assert torch.equal(z.grad, weight)


def test_the_rotation_trick_turns_the_sum():
    layer = vector_residual(gradient=RotationTrick(max_ratio=1e9))
    z, weight = torch.randn(2, 9, DIM, requires_grad=True), torch.randn(2, 9, DIM)
    output = layer(z)
    (output.quantized * weight).sum().backward()
    ratio = output.quantized.detach().norm(dim=-1) / z.detach().norm(dim=-1)
    torch.testing.assert_close(z.grad.norm(dim=-1), ratio * weight.norm(dim=-1))


@pytest.mark.parametrize("level", [0, 1, 2])
def test_the_commitment_of_every_level_reaches_the_input(level):
    """Trap 4: with the straight-through output in the residual it is exactly zero from 1 on."""
    layer = vector_residual(3)
    for i, quantizer in enumerate(levels_of(layer)):
        quantizer.loss = VQLoss(commitment=float(i == level))
    z = torch.randn(2, 9, DIM, requires_grad=True)
    codes = naive_codes(layer, z.detach())
    residual = z.detach() - sum(codes[:level], torch.zeros_like(z))
    layer(z).loss.backward()
    expected = 2 * (residual - codes[level]) / residual.numel() / 3
    assert expected.abs().max() > 1e-4
    torch.testing.assert_close(z.grad, expected, rtol=1e-4, atol=1e-7)


def test_the_loss_is_the_mean_over_the_levels():
    layer = vector_residual(3)
    z = torch.randn(2, 9, DIM)
    output = layer.eval()(z)
    residual, losses = z, []
    for i, codes in enumerate(naive_codes(layer, z)):
        losses.append((residual - codes).square().mean())
        torch.testing.assert_close(output.terms[f"commitment_{i}"], losses[-1])
        residual = residual - codes
    torch.testing.assert_close(output.loss, 0.25 * torch.stack(losses).mean())


# Level dropout


def test_dropped_levels_count_neither_in_output_nor_in_loss_nor_in_the_codebook():
    layer = vector_residual(4, level_dropout=1.0)
    for seed in range(30):
        copied = copy.deepcopy(layer)
        z = torch.randn(1, 12, DIM)
        torch.manual_seed(seed)
        output = copied(z)
        num_levels = int((output.indices[0, 0] != NO_TOKEN).sum())
        assert (output.indices[..., num_levels:] == NO_TOKEN).all()
        assert (output.indices[..., :num_levels] >= 0).all()
        codes = naive_codes(layer, z)[:num_levels]
        torch.testing.assert_close(output.quantized, sum(codes, torch.zeros_like(z)))
        residual, losses = z, []
        for code in codes:
            losses.append((residual - code).square().mean())
            residual = residual - code
        # Averaged over the levels that were used.
        torch.testing.assert_close(output.loss, 0.25 * torch.stack(losses).mean())
        moved = [
            not torch.equal(a.codebook, b.codebook)
            for a, b in zip(levels_of(copied), levels_of(layer), strict=True)
        ]
        assert moved == [i < num_levels for i in range(4)]


def test_a_level_learns_from_the_items_that_use_it_alone():
    layer = vector_residual(2, level_dropout=1.0)
    for seed in range(20):
        copied = copy.deepcopy(layer)
        z = torch.randn(6, 5, DIM)
        torch.manual_seed(seed)
        output = copied(z)
        uses = output.indices[:, 0, 1] != NO_TOKEN
        if 0 < int(uses.sum()) < 6:
            break
    expected = copy.deepcopy(levels_of(layer)[1])
    residual = z - naive_codes(layer, z)[0]
    reference = expected(residual[uses])
    assert torch.equal(output.indices[uses][..., 1:], reference.indices)
    torch.testing.assert_close(output.terms["commitment_1"], reference.terms["commitment"])
    torch.testing.assert_close(levels_of(copied)[1].codebook, expected.codebook)


def drawn_levels(layer: Residual, batch: int) -> Tensor:
    indices = layer(torch.rand(batch, 2, DIM)).indices
    assert torch.equal(indices[:, 0] == NO_TOKEN, indices[:, 1] == NO_TOKEN)  # per item
    return (indices[:, 0] != NO_TOKEN).sum(-1)


def test_the_number_of_levels_is_uniform_over_items():
    """Trap 28: neither the first items of the batch alone, nor never the last level."""
    layer = scalar_residual(4, level_dropout=1.0)
    drawn = torch.stack([drawn_levels(layer, 8) for _ in range(200)])
    assert sorted(drawn.unique().tolist()) == [1, 2, 3, 4]
    expected, deviation = 50, math.sqrt(200 * 0.25 * 0.75)
    for item in range(8):
        counts = drawn[:, item].bincount(minlength=5)[1:]
        assert (counts - expected).abs().max() < 4.5 * deviation


@pytest.mark.parametrize("probability", [0.0, 0.3])
def test_the_probability_of_dropout(probability):
    layer = scalar_residual(4, level_dropout=probability)
    drawn = drawn_levels(layer, 4000)
    fewer = (drawn < 4).float().mean().item()
    assert fewer == pytest.approx(0.75 * probability, abs=0.03)


def test_evaluation_and_no_grad_drop_nothing():
    """Trap 31: the training pass without updates is the evaluation pass."""
    layer = vector_residual(4, level_dropout=1.0)
    z = torch.randn(20, 3, DIM)
    with torch.no_grad():
        training = layer(z)
    evaluation = layer.eval()(z)
    assert (training.indices >= 0).all()
    assert torch.equal(training.indices, evaluation.indices)
    assert torch.equal(training.quantized, evaluation.quantized)
    assert torch.equal(training.loss, evaluation.loss)


def test_a_bad_item_stops_every_level_even_where_it_was_dropped():
    """Trap 20, with dropout: the levels that the item skips must not learn from the others."""
    layer = vector_residual(4, level_dropout=1.0)
    for seed in range(20):
        copied = copy.deepcopy(layer)
        z = torch.randn(4, 6, DIM)
        z[0, 0, 0] = math.nan
        torch.manual_seed(seed)
        copied(z)
        for before, after in zip(levels_of(layer), levels_of(copied), strict=True):
            assert torch.equal(before.codebook, after.codebook)
            assert int(after.skipped_batches) == 1


# Initialisation


@pytest.mark.parametrize("init", [KMeans(), FromData(), KMeans(batches=2)])
def test_levels_initialise_one_per_step(init):
    layer = Residual(VectorQuantizer(DIM, 8, init=init), 3)
    batches = init.batches
    for step in range(3 * batches):
        z = torch.randn(4, 32, DIM)
        output = layer(z)
        ran = step // batches + 1
        assert (output.indices[..., :ran] >= 0).all()
        assert (output.indices[..., ran:] == NO_TOKEN).all()
        assert [int(level.num_collected) for level in levels_of(layer)] == [
            min(max(step + 1 - i * batches, 0), batches) for i in range(3)
        ]
    assert layer.initialized
    assert (layer(torch.randn(4, 32, DIM)).indices >= 0).all()


def test_a_level_is_initialised_from_typical_residuals():
    """On the batch that made the level before, with as many samples as codes, residuals are 0."""
    layer = Residual(VectorQuantizer(DIM, 64, update=EMA(0.99)), 2)
    for _ in range(2):
        layer(torch.randn(1, 64, DIM))
    z = torch.randn(1, 4096, DIM)
    residual = z - layer.decode(layer.encode(z, 1))
    norms = levels_of(layer)[1].codebook.norm(dim=-1)
    assert norms.mean() > 0.5 * residual.norm(dim=-1).mean()


def test_levels_have_weights_of_their_own():
    inner = VectorQuantizer(DIM, 8, init=RandomInit(), update=GradientUpdate())
    first, second = levels_of(Residual(inner, 2))
    assert not torch.equal(first.codebook, second.codebook)
    assert first is not inner
    projected = Residual(Factorized(FSQ([4, 4]), DIM), 2)
    weights = [level.project_in.weight for level in levels_of(projected)]
    assert not torch.equal(*weights)


def test_the_projections_of_every_level_get_a_gradient():
    """One estimator on the sum says nothing to a projection inside a level: it has its own."""
    layer = Residual(Factorized(FSQ([5, 5], symmetric=True), DIM), 3)
    z = torch.randn(2, 9, DIM, requires_grad=True)
    weight = torch.randn(2, 9, DIM)
    (layer(z).quantized * weight).sum().backward()
    for name, parameter in layer.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name
    assert torch.equal(z.grad, weight)


# Residual FSQ


def test_scaled_levels_of_fsq_all_use_their_codes():
    """Trap 12: without a scale per level, distinct codes per level fell 377, 81, 2, 1."""
    layer = scalar_residual(4)
    indices = layer.encode(torch.rand(1, 8000, DIM) * 2 - 1)
    for i in range(4):
        assert len(indices[..., i].unique()) > 0.5 * 5**DIM
    unscaled = Residual(FSQ([5] * DIM), 4).encode(torch.rand(1, 8000, DIM) * 2 - 1)
    assert len(unscaled[..., 3].unique()) < 0.05 * 5**DIM  # the trap is real


def test_scaled_levels_of_fsq_refine_by_their_scale():
    z = torch.rand(1, 500, DIM) * 2 - 1
    layer = scalar_residual(5)
    indices = layer.encode(z)
    for num_levels in range(1, 6):
        error = (z - layer.decode(indices[..., :num_levels])).abs().max().item()
        # 5 levels on [-1, 1] leave at most 1/4; each further level a quarter of that.
        assert error <= 0.25**num_levels * (1 + 1e-4)


# Composition and refusals


def test_levels_may_be_residual_themselves():
    layer = Residual(Residual(FSQ([3] * DIM, symmetric=True, bound="clamp"), 2, level_scale=0.5), 2)
    assert layer.codebook_sizes == (3**DIM,) * 4
    z = torch.rand(2, 5, DIM)
    indices = layer.encode(z)
    assert indices.shape == (2, 5, 4)
    assert torch.equal(layer.decode(indices), layer.eval()(z).quantized)
    assert layer.encode(z, 1).shape == (2, 5, 2)


def test_revival_works_in_every_level():
    layer = Residual(VectorQuantizer(DIM, 8, revive=ReplaceUnused()), 2)
    for _ in range(3):
        layer(torch.randn(4, 32, DIM))
    for level in levels_of(layer):
        level.share[2] = 0.0
        level.codebook[2] = -100.0
    layer(torch.randn(4, 32, DIM))
    assert [int(level.num_revived) for level in levels_of(layer)] == [1, 1]


def test_trap_12_one_scale_per_feature_keeps_the_levels_of_each_in_use():
    levels = [3, 9]
    inner = FSQ(levels, symmetric=True, bound="clamp")
    layer = Residual(inner, 3, level_scale=[1 / 2, 1 / 8])
    z = torch.rand(1, 20_000, 2) * 2 - 1
    for digits in layer.encode(z).unbind(-1):
        share = torch.bincount(digits.flatten(), minlength=27) / digits.numel()
        assert share.min() > 0.2 / 27
    error = (layer.eval()(z).quantized - z).abs().amax((0, 1))
    assert (error <= torch.tensor([2.0**-3, 8.0**-3]) + 1e-6).all()


def test_bad_settings_are_refused():
    inner = FSQ([4])
    for options in (
        {"depth": 0},
        {"depth": 2, "level_dropout": 1.1},
        {"depth": 2, "level_dropout": -0.1},
        {"depth": 2, "level_scale": 0.0},
        {"depth": 2, "level_scale": float("nan")},
        {"depth": 2, "level_scale": [0.5, 0.5]},
    ):
        with pytest.raises(ConfigError, match="Residual"):
            Residual(inner, **options)


@pytest.mark.parametrize("num_levels", [0, 4, -1])
def test_a_wrong_number_of_levels_is_refused(layer, num_levels):
    z = torch.rand(1, 2, DIM)
    with pytest.raises(ShapeError, match=f"1 to 3, got {num_levels}"):
        layer.encode(z, num_levels)
    if num_levels != -1:
        with pytest.raises(ShapeError, match="3 codebooks"):
            layer.decode(torch.zeros(1, 2, num_levels, dtype=torch.int64))
