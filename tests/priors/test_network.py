"""The network against loops over int64, and against itself under other conditions."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.priors.networks import random_network
from tests.priors.reference import ReferenceNetwork, neighbours
from vqkit.errors import ConfigError
from vqkit.priors import Levels, PriorNetwork
from vqkit.priors.fixed_point import rounded, symbol_weights
from vqkit.priors.integers import freeze, load_integers, to_integers
from vqkit.priors.tiling import num_offsets, tiling

GRIDS = [(1,), (70,), (1, 1), (9, 11), (17, 3), (2, 3, 9), (5, 4, 4), (2, 3, 2, 4)]


def random_levels(sizes: tuple[int, ...], count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    columns = [torch.randint(-1, size, (count,), generator=generator) for size in sizes]
    return torch.stack(columns, -1)


@pytest.mark.parametrize("grid", GRIDS)
def test_weights_of_symbols_equal_those_of_int64_arithmetic(grid: tuple[int, ...]) -> None:
    sizes = (7, 40)
    network = freeze(random_network(sizes, len(grid), seed=len(grid)))
    integers = {name: value.numpy() for name, value in to_integers(network).items()}
    reference = ReferenceNetwork(integers, len(sizes), network.depth)
    levels = random_levels(sizes, int(np.prod(grid)))
    features = network(levels[None], grid)[0]
    expected = reference.features(levels.numpy(), grid)
    assert np.array_equal((features * 32).numpy(), expected)
    for level in range(len(sizes)):
        weights = symbol_weights(network.logits(features, level)).numpy()
        assert np.array_equal(weights, reference.weights(expected, level))
        assert weights.min() >= 1
        assert weights.max() == 2**20


def test_activations_of_that_network_reach_their_limits() -> None:
    network = freeze(random_network((40,), 2))
    features = network(random_levels((40,), 99)[None], (9, 11))
    assert (features * 32).abs().max() == 127


@pytest.mark.parametrize("grid", [(300,), (40, 50)])
def test_prediction_does_not_depend_on_threads_batch_or_kernel(grid: tuple[int, ...]) -> None:
    network = freeze(random_network((64,), len(grid), dim=64))
    levels = random_levels((64,), int(np.prod(grid)))
    expected = network(levels[None], grid)[0]
    other = random_levels((64,), len(levels), seed=1)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert torch.equal(network(torch.stack([other, levels]), grid)[1], expected)
    finally:
        torch.set_num_threads(threads)
    try:
        torch.backends.mkldnn.set_flags(_enabled=False)
        assert torch.equal(network(levels[None], grid)[0], expected)
    finally:
        torch.backends.mkldnn.set_flags(_enabled=True)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(network(levels[None], grid)[0], expected)
    precision = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        assert torch.equal(network(levels[None], grid)[0], expected)
    finally:
        torch.set_float32_matmul_precision(precision)


@pytest.mark.gpu
def test_prediction_on_a_gpu_is_that_on_the_cpu() -> None:
    network = freeze(random_network((64,), 2, dim=64))
    levels = random_levels((64,), 40 * 50)[None]
    expected = network(levels, (40, 50))
    assert torch.equal(network.cuda()(levels.cuda(), (40, 50)).cpu(), expected)


def test_padded_batch_equals_each_grid_alone() -> None:
    network = freeze(random_network((64,), 2))
    small, large = (
        random_levels((64,), 5 * 7).view(5, 7, 1),
        random_levels((64,), 108).view(9, 12, 1),
    )
    padded = torch.full((9, 12, 1), 3)
    padded[:5, :7] = small
    inside = torch.zeros(9, 12, dtype=torch.bool)
    inside[:5, :7] = True
    batch = torch.stack([padded.flatten(0, 1), large.flatten(0, 1)])
    both = network(batch, (9, 12), torch.stack([inside.flatten(), torch.ones(108).bool()]))
    alone = network(small.flatten(0, 1)[None], (5, 7))[0]
    assert torch.equal(both[0][inside.flatten()], alone)
    assert torch.equal(both[1], network(large.flatten(0, 1)[None], (9, 12))[0])


@pytest.mark.parametrize("grid", GRIDS)
def test_tiles_hold_each_neighbourhood(grid: tuple[int, ...]) -> None:
    tiles = tiling(grid)
    count = int(np.prod(grid))
    for position in range(count):
        tile, query = divmod(int(tiles.places[position]), tiles.queries.shape[1])
        assert int(tiles.queries[tile, query]) == position
        seen = {
            (int(offset), int(key))
            for offset, key in zip(tiles.offsets[query], tiles.keys[tile], strict=True)
            if key < count and offset < num_offsets(len(grid))
        }
        assert seen == set(neighbours(grid, position))


def test_training_and_use_predict_nearly_the_same() -> None:
    network = random_network((64,), 2)
    levels = random_levels((64,), 99)[None]
    training = network.logits(network(levels, (9, 11)), 0)
    assert training.requires_grad
    frozen = freeze(network)
    used = frozen.logits(frozen(levels, (9, 11)), 0)
    # Attention weights are rounded to 1/16 nat in use alone, and a difference moves roundings.
    assert (training - used).abs().mean() < 0.05 * used.std()


def test_integers_are_the_network() -> None:
    network = freeze(random_network((64, 5), 2))
    loaded = load_integers(PriorNetwork((64, 5), 2, dim=32, depth=2), to_integers(network))
    levels = random_levels((64, 5), 99)[None]
    assert torch.equal(loaded(levels, (9, 11)), network(levels, (9, 11)))
    state = loaded.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


def test_gradient_is_finite_and_reaches_every_parameter() -> None:
    network = random_network((64, 5), 2)
    levels = random_levels((64, 5), 99)[None]
    features = network(levels, (9, 11))
    (network.logits(features, 0).square().sum() + network.logits(features, 1).sum()).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.any(), name


def test_rounding_has_the_gradient_of_a_clamp() -> None:
    x = torch.tensor([-3.0, -0.4, 0.26, 2.0, 9.0], requires_grad=True)
    y = rounded(x, bits=2, limit=8)
    y.sum().backward()
    assert y.tolist() == [-2.0, -0.5, 0.25, 2.0, 2.0]
    assert x.grad is not None
    assert x.grad.tolist() == [0, 1, 1, 1, 0]


@pytest.mark.parametrize(
    ("settings_", "words"),
    [
        ({"rank": 0}, "1 to 4 axes"),
        ({"rank": 5}, "1 to 4 axes"),
        ({"dim": 40}, "32 divides"),
        ({"dim": 544}, "up to 512"),
        ({"level_sizes": ()}, "two codes or more"),
    ],
)
def test_sizes_out_of_range_are_refused(settings_: dict[str, object], words: str) -> None:
    arguments = {"level_sizes": (8,), "rank": 2, "dim": 32, "depth": 1} | settings_
    with pytest.raises(ConfigError, match=words):
        PriorNetwork(**arguments)  # type: ignore[arg-type]


@given(
    st.lists(st.integers(1, 1 << 62), min_size=1, max_size=4),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=60)
def test_levels_join_to_what_was_split(sizes: list[int], seed: int) -> None:
    random = np.random.default_rng(seed)
    indices = np.stack([random.integers(-1, size, 20) for size in sizes], -1)
    levels = Levels(tuple(sizes))
    split = levels.split(torch.from_numpy(indices))
    assert split.shape == (20, len(levels.sizes))
    for column, size in zip(split.unbind(-1), levels.sizes, strict=True):
        assert size <= 4096
        assert -1 <= int(column.min()) <= int(column.max()) < size
    used = [i for i, size in enumerate(sizes) if size > 1]
    joined = levels.join(split).numpy()
    assert np.array_equal(joined[:, used], indices[:, used])
