"""FSQ against the formulas of the papers, written out one number at a time."""

import math

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from vqkit.errors import ConfigError
from vqkit.quantizers import FSQ, NO_TOKEN

LEVELS = [[2], [3], [4], [5], [7], [8], [8, 6, 5], [8, 5, 5, 5], [7, 5, 5, 5, 5], [16, 2, 3]]
VARIANTS = [(s, b) for s in (False, True) for b in ("tanh", "clamp")]


def naive_grid(value: float, num_levels: int, symmetric: bool, bound: str) -> tuple[float, float]:
    """The bounded value in units of one level, and its derivative."""
    step = (num_levels - 1) / 2 if symmetric else num_levels // 2
    if bound == "clamp":
        inside = -1 <= value <= 1
        return min(max(value, -1.0), 1.0) * step, float(inside) * step
    if symmetric:
        half, shift, offset = (num_levels - 1) / 2, 0.0, 0.0
    else:
        half = (num_levels - 1) * (1 + 1e-3) / 2
        offset = 0.5 if num_levels % 2 == 0 else 0.0
        shift = math.atanh(offset / half)
    squashed = math.tanh(value + shift)
    return half * squashed - offset, half * (1 - squashed**2)


def naive_code(value: float, num_levels: int, symmetric: bool, bound: str) -> tuple[int, float]:
    """Digit and code: the nearest level, halves up."""
    grid, _ = naive_grid(value, num_levels, symmetric, bound)
    if symmetric:
        # arXiv 2411.19842, eq. 4, on the bounded value t in [-1, 1].
        t = grid / ((num_levels - 1) / 2)
        code = 2 / (num_levels - 1) * math.floor((num_levels - 1) * (t + 1) / 2 + 0.5) - 1
        return round((code + 1) * (num_levels - 1) / 2), code
    # arXiv 2309.15505, section 3.1; a hard bound may touch the level above the last.
    half_width = num_levels // 2
    rounded = min(math.floor(grid + 0.5), num_levels - 1 - half_width)
    return rounded + half_width, rounded / half_width


@pytest.mark.parametrize(("symmetric", "bound"), VARIANTS)
@pytest.mark.parametrize("levels", LEVELS, ids=str)
def test_value_index_and_gradient_equal_the_formulas(levels, symmetric, bound):
    quantizer = FSQ(levels, symmetric=symmetric, bound=bound)
    z = (1.5 * torch.randn(60, 1, len(levels))).requires_grad_()
    output = quantizer(z)
    output.quantized.sum().backward()
    for item in range(len(z)):
        index, weight = 0, 1
        for i, num_levels in enumerate(levels):
            value = z[item, 0, i].item()
            digit, code = naive_code(value, num_levels, symmetric, bound)
            assert output.quantized[item, 0, i].item() == pytest.approx(code, abs=1e-6)
            step = (num_levels - 1) / 2 if symmetric else num_levels // 2
            slope = naive_grid(value, num_levels, symmetric, bound)[1] / step
            assert z.grad[item, 0, i].item() == pytest.approx(slope, rel=1e-3, abs=1e-5)
            index += digit * weight
            weight *= num_levels
        assert output.indices[item, 0, 0].item() == index
    assert output.loss.item() == 0.0
    assert output.terms == {}


@pytest.mark.parametrize("num_levels", [2, 3, 4, 5, 8, 9])
def test_levels_of_both_variants(num_levels):
    indices = torch.arange(num_levels)[:, None, None]
    half_width = num_levels // 2
    paper = [(digit - half_width) / half_width for digit in range(num_levels)]
    even = torch.linspace(-1, 1, num_levels)
    torch.testing.assert_close(FSQ([num_levels]).decode(indices).flatten(), torch.tensor(paper))
    torch.testing.assert_close(FSQ([num_levels], symmetric=True).decode(indices).flatten(), even)


@pytest.mark.parametrize("num_levels", [2, 3, 4, 5, 6, 8])
def test_zero_maps_to_zero_and_symmetric_ties_go_up(num_levels):
    zero = torch.zeros(1, 1, 1)
    # The official notebook's tan leaves f(0) = -0.04 for L = 2.
    quantizer = FSQ([num_levels])
    assert quantizer._grid(quantizer._squash(zero)).abs().item() < 1e-6
    assert FSQ([num_levels])(zero).quantized.item() == 0.0
    expected = 0.0 if num_levels % 2 else 1 / (num_levels - 1)
    symmetric = FSQ([num_levels], symmetric=True)(zero).quantized.item()
    assert symmetric == pytest.approx(expected, abs=1e-6)


# A standard normal sample without sampling error: its own quantiles.
NORMAL = torch.special.ndtri((torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000).float()


def normal_occupancy(num_levels: int, symmetric: bool) -> Tensor:
    indices = FSQ([num_levels], symmetric=symmetric).encode(NORMAL[None, :, None]).flatten()
    return indices.bincount(minlength=num_levels) / len(indices)


@pytest.mark.parametrize(
    ("symmetric", "measured"),
    [(False, [0.126, 0.241, 0.311, 0.323]), (True, [0.211, 0.290, 0.289, 0.210])],
)
def test_occupancy_of_four_levels_by_normal_input(symmetric, measured):
    """From the inverse of the bound at the three thresholds; 0.002 from a sampled measurement."""
    half = 1.5 if symmetric else 1.5 * (1 + 1e-3)
    offset, shift = (0.0, 0.0) if symmetric else (0.5, math.atanh(0.5 / half))
    thresholds = [-1.0, 0.0, 1.0] if symmetric else [-1.5, -0.5, 0.5]
    edges = [math.atanh((t + offset) / half) - shift for t in thresholds]
    below = [0.0, *(0.5 * (1 + math.erf(edge / math.sqrt(2))) for edge in edges), 1.0]
    expected = torch.tensor(below).diff()
    occupancy = normal_occupancy(4, symmetric)
    torch.testing.assert_close(occupancy, expected, atol=2e-5, rtol=0)
    torch.testing.assert_close(occupancy, torch.tensor(measured), atol=2e-3, rtol=0)


@pytest.mark.parametrize(("symmetric", "expected"), [(False, 0.989), (True, 0.993)])
def test_normalised_entropy_of_eight_levels_by_normal_input(symmetric, expected):
    p = normal_occupancy(8, symmetric)
    assert (-(p * p.log()).sum() / math.log(8)).item() == pytest.approx(expected, abs=1e-3)


def preimage(quantizer: FSQ, codes: Tensor) -> Tensor:
    """Inputs that the bound maps onto the codes: the inverse of its formula in float64."""
    levels = torch.tensor(quantizer.levels, dtype=torch.float64)
    if quantizer.bound == "clamp":
        return codes
    if quantizer.symmetric:
        return codes.double().clamp(-0.99999, 0.99999).atanh().float()
    half = (levels - 1) * (1 + 1e-3) / 2
    offset = torch.where(levels % 2 == 0, 0.5, 0.0)
    grid = codes.double() * (levels // 2)
    return (torch.atanh((grid + offset) / half) - torch.atanh(offset / half)).float()


@pytest.mark.parametrize(("symmetric", "bound"), VARIANTS)
@pytest.mark.parametrize("levels", [[2], [3, 2], [8, 6, 5], [8, 5, 5, 5], [4, 16, 9]], ids=str)
def test_every_code_can_be_reached(levels, symmetric, bound):
    quantizer = FSQ(levels, symmetric=symmetric, bound=bound)
    indices = torch.arange(quantizer.codebook_sizes[0]).reshape(1, -1, 1)
    codes = quantizer.decode(indices)
    assert len(codes[0].unique(dim=0)) == quantizer.codebook_sizes[0]
    assert torch.equal(quantizer.encode(preimage(quantizer, codes)), indices)


@pytest.mark.parametrize(
    "levels",
    [[8] * 10, [97, 257, 673], [2**16, 2**15 + 1], [16] * 10, [1024] * 4, [4] * 31, [2**20] * 3],
    ids=["8^10", "2^24+1", "2^31+", "2^40 small", "2^40 large", "2^62", "2^60"],
)
def test_wide_indices_are_exact(levels):
    quantizer = FSQ(levels, symmetric=True, bound="clamp")
    size = math.prod(levels)
    assert quantizer.codebook_sizes == (size,)
    indices = torch.randint(size, (1, 500, 1))
    indices[0, :4, 0] = torch.tensor([0, 1, size - 2, size - 1])
    codes = quantizer.decode(indices)
    assert torch.equal(quantizer.encode(codes), indices)
    for index, code in zip(indices.flatten().tolist(), codes[0].tolist(), strict=True):
        for value, num_levels in zip(code, levels, strict=True):
            digit = index % num_levels
            assert value == pytest.approx(2 * digit / (num_levels - 1) - 1, abs=1e-6)
            index //= num_levels


@pytest.mark.parametrize("levels", [[8, 5, 5, 5], [16] * 10, [1024] * 4], ids=str)
@pytest.mark.parametrize("symmetric", [False, True])
def test_digits_survive_a_perturbation_of_the_codes(levels, symmetric):
    """Trap 9: truncating a digit that a rounding error made 3.9999 gives 3."""
    quantizer = FSQ(levels, symmetric=symmetric, bound="clamp")
    indices = torch.randint(math.prod(levels), (1, 2000, 1))
    codes = quantizer.decode(indices)
    for noise in (-1e-6, 1e-6):
        assert torch.equal(quantizer.encode(codes * (1 + noise)), indices)
        assert torch.equal(quantizer.encode(codes + noise), indices)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("num_levels", [4, 8, 9])
def test_trap_10_noise_is_as_wide_as_a_step_and_indices_are_of_rounding(num_levels, symmetric):
    """Noise of +-0.5 whatever the levels had a deviation of 0.20 where a step of 2/7 asks 0.08."""
    noisy = FSQ([num_levels] * 2, symmetric=symmetric, noise_probability=1.0)
    plain = FSQ([num_levels] * 2, symmetric=symmetric)
    z = torch.randn(4, 20_000, 2, requires_grad=True)
    output, rounded = noisy(z), plain(z)
    assert torch.equal(output.indices, rounded.indices)
    step = 2 / (num_levels - 1) if symmetric else 1 / (num_levels // 2)
    error = (output.quantized - noisy._grid(noisy._squash(z)) / noisy._step).detach()
    assert error.abs().max() <= step / 2 + 1e-6
    assert error.std().item() == pytest.approx(step / math.sqrt(12), rel=0.01)
    assert error.mean().item() == pytest.approx(0.0, abs=0.01 * step)
    (gradient,) = torch.autograd.grad(output.quantized.sum(), z)
    (expected,) = torch.autograd.grad(rounded.quantized.sum(), z)
    assert torch.equal(gradient, expected)
    assert torch.equal(noisy.eval()(z).quantized, rounded.quantized)


def test_noise_comes_with_its_probability_number_by_number():
    layer = FSQ([8] * 5, noise_probability=0.3)
    output = layer(torch.randn(2, 20_000, 5))
    is_noise = output.quantized != layer.decode(output.indices)
    assert is_noise.float().mean().item() == pytest.approx(0.3, abs=0.005)
    torch.testing.assert_close(
        is_noise.float().mean((0, 1)), torch.full((5,), 0.3), rtol=0, atol=0.01
    )
    assert len(is_noise[0, :100].unique(dim=0)) > 10
    with pytest.raises(ConfigError, match=r"0 to 1, got 1\.5"):
        FSQ([8], noise_probability=1.5)


class LargestTensor(TorchFunctionMode):
    """Notes the size of the largest tensor that any function of torch returns."""

    num_elements = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.num_elements = max(self.num_elements, Tensor.numel(result))
        return result


@pytest.mark.parametrize(
    "levels", [[16] * 10, [1024] * 4, [4] * 31], ids=["16^10", "1024^4", "4^31"]
)
def test_no_codebook_is_ever_built(levels):
    """Trap 11: 4^16 codes in a table are 34 GB."""
    with LargestTensor() as largest:
        quantizer = FSQ(levels)
        quantizer.decode(quantizer.encode(torch.randn(2, 5, len(levels))))
        quantizer(torch.randn(2, 5, len(levels)))
    assert 10 <= largest.num_elements <= 10 * len(levels)
    assert quantizer.state_dict() == {}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_a_cast_of_the_module_keeps_levels_that_the_dtype_cannot_hold(dtype):
    levels, z = [1001, 70001], torch.tensor([[[20.0, -20.0], [0.1, 20.0]]])
    plain, cast = FSQ(levels), FSQ(levels).to(dtype)
    assert torch.equal(cast.encode(z), plain.encode(z))
    assert torch.equal(cast(z).quantized, plain(z).quantized)
    assert plain.encode(z).max() == math.prod(levels) - levels[0] + plain.encode(z)[0, 1, 0] % 1001


@pytest.mark.parametrize(("symmetric", "bound"), VARIANTS)
def test_far_and_bad_inputs_stay_in_range(symmetric, bound):
    quantizer = FSQ([8, 5], symmetric=symmetric, bound=bound)
    far = torch.tensor([[[1e30, 1e30], [-1e30, -1e30], [math.inf, -math.inf]]])
    assert quantizer.encode(far).flatten().tolist() == [39, 0, 7]
    assert quantizer.decode(quantizer.encode(far))[0, 1].tolist() == [-1.0, -1.0]
    bad = quantizer(torch.tensor([[[math.nan, 0.0]]], requires_grad=True))
    assert bad.indices.item() == (4 + 2 * 8)


def test_the_gradient_of_a_nan_is_nan_and_of_its_neighbour_is_not():
    z = torch.tensor([[[math.nan, 0.0]]], requires_grad=True)
    FSQ([8, 5])(z).quantized.sum().backward()
    assert z.grad[0, 0, 0].isnan()
    assert z.grad[0, 0, 1].isfinite()


def test_no_token_decodes_to_zero_beside_tokens():
    quantizer = FSQ([4, 4])
    decoded = quantizer.decode(torch.tensor([[[NO_TOKEN], [0]]]))
    assert decoded.tolist() == [[[0.0, 0.0], [-1.0, -1.0]]]


@pytest.mark.parametrize("levels", [[], [1], [8, 1], [-4]])
def test_bad_levels_are_refused(levels):
    with pytest.raises(ConfigError, match="integers >= 2"):
        FSQ(levels)


def test_more_than_62_bits_are_refused_and_the_way_out_is_named():
    assert FSQ([4] * 31).bits_per_position == 62.0
    with pytest.raises(ConfigError, match=r"2\^62.*Split the dimensions"):
        FSQ([4] * 31 + [2])


def test_levels_that_float32_does_not_tell_apart_are_refused():
    largest = FSQ([2**24], bound="clamp")
    assert int(largest.encode(torch.ones(1, 1, 1))) == 2**24 - 1
    with pytest.raises(ConfigError, match=r"2\^24 per dimension, got 16777217"):
        FSQ([2**24 + 1])


@pytest.mark.usefixtures("unchecked_shapes")
def test_an_unknown_bound_is_refused():
    with pytest.raises(ConfigError, match="'tanh' or 'clamp', got 'sigmoid'"):
        FSQ([4], bound="sigmoid")
