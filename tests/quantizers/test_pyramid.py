"""Pyramid quantizer: gain and shape, rate, words, against a naive reference."""

import math

import pytest
import torch
from torch import Tensor

from vqkit.coding import pack
from vqkit.errors import ConfigError, ShapeError
from vqkit.ops.pyramid import project_to_pyramid
from vqkit.ops.pyramid_table import pyramid_size
from vqkit.quantizers import (
    NO_TOKEN,
    BetaGain,
    HadamardRotation,
    LogUniformGain,
    MuLawGain,
    PyramidVQ,
    Residual,
    RotationTrick,
    UnitGain,
    VQLoss,
)

VARIANTS = {
    "log": lambda: PyramidVQ(16, 16),
    "mu": lambda: PyramidVQ(12, 5, MuLawGain(32), group_dim=4),
    "unit": lambda: PyramidVQ(8, 8, UnitGain()),
    "unit groups": lambda: PyramidVQ(8, 3, UnitGain(), group_dim=2),
    "wide": lambda: PyramidVQ(64, 28, group_dim=32),
    "beta": lambda: PyramidVQ(32, 8, BetaGain(), group_dim=8, rotation=HadamardRotation(3)),
    "rotated": lambda: PyramidVQ(24, 20, rotation=HadamardRotation()),
}


def naive(quantizer: PyramidVQ, x: list[float]) -> list[float]:
    """One vector, group by group, with the gain level tried out by the error that it gives."""
    gain, size = quantizer.gain, quantizer.group_dim
    norm, whole = 1.0, gain.whole()
    if whole is not None:
        length = math.sqrt(math.fsum(v * v for v in x))
        norm = min(whole.levels(quantizer.dim, quantizer.dim), key=lambda g: abs(g - length))
    codes: list[float] = []
    for start in range(0, quantizer.dim, size):
        group = x[start : start + size]
        y = project_to_pyramid(torch.tensor([group]), quantizer.pulses)[0].tolist()
        unit = [v / math.sqrt(sum(w * w for w in y)) for v in y]

        def error(level: float, group: list[float] = group, unit: list[float] = unit) -> float:
            return sum((v - level * norm * u) ** 2 for v, u in zip(group, unit, strict=True))

        level = min(gain.levels(size, quantizer.dim), key=error)
        codes += [level * norm * u for u in unit]
    return codes


@pytest.mark.parametrize("name", ["log", "mu", "unit", "unit groups", "wide"])
def test_value_and_gradient_equal_the_naive_reference(name):
    quantizer = VARIANTS[name]()
    z = torch.randn(1, 20, quantizer.dim, requires_grad=True)
    output = quantizer(z)
    expected = torch.tensor([naive(quantizer, row) for row in z[0].tolist()])
    torch.testing.assert_close(output.quantized[0], expected)
    weight = torch.randn(quantizer.dim)
    ((output.quantized * weight).sum() + output.loss).backward()
    # Straight through, plus that of 0.25 mean |z - q|^2.
    commitment = 0.5 * (z.detach() - output.quantized.detach()) / z.numel()
    torch.testing.assert_close(z.grad, weight + commitment)
    square = (z - output.quantized).square().mean()
    torch.testing.assert_close(output.loss, 0.25 * square)
    torch.testing.assert_close(output.terms["commitment"], square.detach())


def test_rotated_groups_equal_the_naive_reference_in_the_rotated_space():
    quantizer = VARIANTS["beta"]()
    z = torch.randn(1, 20, 32)
    h = torch.ones(1, 1)
    while len(h) < 32:
        h = torch.cat([torch.cat([h, h], 1), torch.cat([h, -h], 1)])
    rotation = quantizer.signs[:, None] * h / math.sqrt(32)
    rotated = z[0] @ rotation
    codes = torch.tensor([naive(quantizer, row) for row in rotated.tolist()])
    torch.testing.assert_close(quantizer(z).quantized[0], codes @ rotation.T)


@pytest.mark.parametrize("name", VARIANTS)
def test_reported_rate_is_what_packing_takes(name):
    quantizer = VARIANTS[name]()
    sizes = quantizer.codebook_sizes
    indices = quantizer.encode(torch.randn(1, 64, quantizer.dim))[0]
    num_bytes = sum(
        len(pack(indices[:, i].numpy().copy(), (size - 1).bit_length()))
        for i, size in enumerate(sizes)
    )
    packed = quantizer.packed_bits_per_position
    assert 8 * num_bytes == 64 * packed
    # Information: log2 of the gain levels and of N, whatever the number of words.
    shape_bits = math.log2(pyramid_size(quantizer.group_dim, quantizer.pulses))
    whole = quantizer.gain.whole()
    information = quantizer.num_groups * (shape_bits + math.log2(quantizer.gain.num_levels))
    information += 0 if whole is None else math.log2(whole.num_levels)
    assert quantizer.bits_per_position == pytest.approx(information, abs=1e-6)
    # Gains here are powers of two: a shape loses less than a bit to the whole number.
    assert 0 <= packed - information < quantizer.num_groups


def test_layout_of_the_indices():
    quantizer = VARIANTS["beta"]()
    assert quantizer.codebook_sizes == (64,) + (16, pyramid_size(8, 8)) * 4
    wide = VARIANTS["wide"]()
    assert wide.codebook_sizes[0] == wide.codebook_sizes[3] == 64
    assert wide.codebook_sizes[1] == 2**38
    assert (wide.codebook_sizes[2] - 1) * 2**38 < pyramid_size(32, 28)
    assert VARIANTS["unit"]().codebook_sizes == (157_184,)


@pytest.mark.parametrize("budget", [20, 32, 48, 63, 64, 80, 128, 200])
@pytest.mark.parametrize("gain", [None, MuLawGain(), UnitGain()])
def test_for_bits_fills_the_budget(budget, gain):
    quantizer = PyramidVQ.for_bits(32, budget, gain)
    assert quantizer.packed_bits_per_position <= budget
    more = PyramidVQ(32, quantizer.pulses + 1, quantizer.gain)
    assert more.packed_bits_per_position > budget
    coarser = PyramidVQ.for_bits(32, budget - 10, gain)
    x = 1.5 * torch.randn(1, 500, 32)
    if gain is None:
        assert error(quantizer, x) < error(coarser, x)


def error(quantizer: PyramidVQ, x: Tensor) -> float:
    return (quantizer(x).quantized - x).square().mean().item()


@pytest.mark.parametrize(("dim", "budget"), [(16, 48), (32, 64), (8, 40)])
def test_for_bits_splits_nearly_as_well_as_trying_every_split(dim, budget):
    x = torch.randn(1, 2000, dim)
    gain = LogUniformGain(low=0.3, high=2.0)
    chosen = PyramidVQ.for_bits(dim, budget, gain)
    errors = []
    for gain_bits in range(1, 11):
        quantizer = PyramidVQ(dim, 1, LogUniformGain(2**gain_bits, 0.3, 2.0))
        pulses = 1
        while (pyramid_size(dim, pulses + 1) - 1).bit_length() + gain_bits <= budget:
            pulses += 1
        quantizer = PyramidVQ(dim, pulses, LogUniformGain(2**gain_bits, 0.3, 2.0))
        errors.append(error(quantizer, x))
    assert error(chosen, x) < 1.1 * min(errors)


def test_for_bits_of_groups_and_signs():
    beta = PyramidVQ.for_bits(64, 200, BetaGain(), group_dim=16, rotation=HadamardRotation())
    assert isinstance(beta.gain, BetaGain)
    assert 196 < beta.packed_bits_per_position <= 200
    signs = PyramidVQ.for_bits(4, 4, UnitGain(), group_dim=1)
    assert (signs.pulses, signs.codebook_sizes) == (1, (2, 2, 2, 2))
    with pytest.raises(ConfigError, match="Allow more bits"):
        PyramidVQ.for_bits(32, 6)


def test_the_length_is_the_one_of_least_error_not_that_of_the_input():
    """With few pulses ``|x|`` overshoots: the code is nearer with ``x.y / |y|``."""
    quantizer = PyramidVQ(16, 2, LogUniformGain(256, 0.05, 5.0))
    x = torch.randn(1, 500, 16)
    codes = quantizer(x).quantized
    full = codes * (x.norm(dim=-1, keepdim=True) / codes.norm(dim=-1, keepdim=True))
    assert (codes - x).square().sum() < 0.9 * (full - x).square().sum()


def test_unit_gain_gives_directions_and_ignores_lengths():
    quantizer = PyramidVQ(8, 8, UnitGain())
    x = torch.randn(1, 50, 8)
    codes = quantizer(x).quantized
    torch.testing.assert_close(codes.norm(dim=-1), torch.ones(1, 50))
    assert torch.equal(quantizer(x * 64).quantized, codes)


def test_rotation_evens_out_a_spiky_vector():
    """A few large features make groups of very unequal length: the rotation is for them."""
    x = torch.randn(1, 400, 64)
    x[..., ::16] *= 10
    gain = BetaGain(16, LogUniformGain(64, 0.1, 10.0))
    plain = PyramidVQ(64, 12, gain, group_dim=8)
    rotated = PyramidVQ(64, 12, gain, group_dim=8, rotation=HadamardRotation())
    assert error(rotated, x) < 0.7 * error(plain, x)


def test_signs_are_a_function_of_the_seed_and_are_saved():
    a, b, c = (PyramidVQ(64, 8, rotation=HadamardRotation(s)) for s in (1, 1, 2))
    assert torch.equal(a.signs, b.signs)
    assert not torch.equal(a.signs, c.signs)
    x = torch.randn(1, 9, 64)
    c.load_state_dict(a.state_dict())
    assert torch.equal(c.encode(x), a.encode(x))
    assert PyramidVQ(8, 8).state_dict() == {}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("name", VARIANTS)
def test_a_cast_of_the_module_changes_neither_indices_nor_codes(name, dtype):
    plain, cast = VARIANTS[name](), VARIANTS[name]().to(dtype)
    x = torch.randn(2, 10, plain.dim)
    assert torch.equal(cast.encode(x), plain.encode(x))
    assert torch.equal(cast(x).quantized, plain(x).quantized)


@pytest.mark.parametrize("name", VARIANTS)
def test_bad_vectors_stay_in_range_and_harm_no_other(name):
    quantizer = VARIANTS[name]()
    x = torch.randn(1, 6, quantizer.dim)
    expected = quantizer.encode(x)
    x[0, 0, 0], x[0, 1, 1], x[0, 2, -1], x[0, 3] = math.nan, math.inf, -math.inf, 0.0
    output = quantizer(x)
    assert (output.indices >= 0).all()
    assert (output.indices < torch.tensor(quantizer.codebook_sizes)).all()
    assert torch.equal(output.indices[:, 4:], expected[:, 4:])
    assert output.quantized.isfinite().all()


def test_trap_8_wide_indices_survive_every_dtype_of_the_input():
    quantizer = PyramidVQ(32, 28)
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        x = torch.randn(1, 200, 32).to(dtype)
        assert torch.equal(quantizer.decode(quantizer.encode(x)).to(dtype), quantizer(x).quantized)
    assert quantizer.encode(x).dtype == torch.int64


@pytest.mark.usefixtures("unchecked_shapes")
def test_words_that_are_no_index_are_refused():
    quantizer = PyramidVQ(128, 16)
    bad = torch.tensor([[0, *(n - 1 for n in quantizer.codebook_sizes[1:])]])[None]
    with pytest.raises(ShapeError, match="no index"):
        quantizer.decode(bad)
    with pytest.raises(ShapeError, match="expected 0 to"):
        quantizer.decode(bad + 1)


def test_trap_29_an_absent_group_contributes_zero_and_its_neighbour_stays():
    quantizer = PyramidVQ(64, 28, group_dim=32)
    indices = quantizer.encode(torch.randn(1, 4, 64))
    decoded = quantizer.decode(indices)
    indices[..., :3] = NO_TOKEN
    partly = quantizer.decode(indices)
    assert not partly[..., :32].any()
    assert torch.equal(partly[..., 32:], decoded[..., 32:])
    beta = VARIANTS["beta"]()
    indices = beta.encode(torch.randn(1, 4, 32))
    indices[..., 0] = NO_TOKEN
    assert not beta.decode(indices).any()


def test_trap_11_nothing_of_the_size_of_the_codebook_is_built():
    quantizer = PyramidVQ(1024, 40, group_dim=256)
    assert quantizer.bits_per_position > 800
    x = torch.randn(1, 3, 1024)
    assert torch.equal(quantizer.decode(quantizer.encode(x)), quantizer(x).quantized)


def test_estimator_and_loss_can_be_chosen():
    quantizer = PyramidVQ(8, 8, gradient=RotationTrick(), loss=VQLoss(commitment=1.0))
    z = torch.randn(1, 5, 8, requires_grad=True)
    output = quantizer(z)
    (output.quantized * torch.randn(8)).sum().backward()
    # The rotation trick scales the length of the gradient by |q| / |z|: not straight through.
    assert z.grad.std(dim=1).max() > 0
    torch.testing.assert_close(output.loss, (z - output.quantized).square().mean())


def test_works_as_levels_of_a_residual():
    gain = LogUniformGain(64, 0.01, 5.0)
    residual = Residual(PyramidVQ(16, 8, gain), depth=3)
    x = torch.randn(1, 100, 16)
    indices = residual.encode(x)
    errors = [
        (residual.decode(indices[..., : 2 * n]) - x).square().mean().item() for n in (1, 2, 3)
    ]
    assert errors[0] > 3 * errors[1] > 9 * errors[2]


@pytest.mark.usefixtures("unchecked_shapes")
def test_bad_arguments_are_refused():
    with pytest.raises(ConfigError, match="divides"):
        PyramidVQ(10, 4, group_dim=3)
    with pytest.raises(ConfigError, match="pulses"):
        PyramidVQ(10, 0)
    with pytest.raises(ConfigError, match="even dim"):
        PyramidVQ(9, 4, rotation=HadamardRotation())
    with pytest.raises(ConfigError, match="One group"):
        PyramidVQ(8, 4, BetaGain())
