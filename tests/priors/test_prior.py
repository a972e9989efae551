"""A prior as a coder, as a measure and as a means against losses."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.priors.networks import random_network
from vqkit.coding import RangeDecoder, RangeEncoder
from vqkit.errors import CodingError, ShapeError
from vqkit.files import CodingResources, dumps, loads, read_info
from vqkit.files.modes import LEARNED
from vqkit.priors import Levels, Prior, PriorSpec
from vqkit.tokenizers import Tokens, TokenStream

FINGERPRINT = "0123456789abcdef" * 2


def make_prior(sizes: tuple[int, ...] = (40,), rank: int = 2, seed: int = 0) -> Prior:
    spec = PriorSpec("tokens", rank, sizes, FINGERPRINT)
    return Prior(spec, random_network(Levels(sizes).sizes, rank, depth=1, seed=seed))


def random_indices(grid: tuple[int, ...], sizes: tuple[int, ...], seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return np.stack([random.integers(0, size, math.prod(grid)) for size in sizes], -1)


@given(
    st.lists(st.integers(1, 12), min_size=1, max_size=3).map(tuple),
    st.sampled_from([(2,), (40,), (1, 40, 3), (5000,), (1 << 60, 7)]),
    st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_decodes_what_was_encoded(grid: tuple[int, ...], sizes: tuple[int, ...], seed: int) -> None:
    prior = make_prior(sizes, len(grid))
    indices = random_indices(grid, sizes, seed)
    data = prior.encode("tokens", indices, grid, sizes)
    assert data is not None
    assert np.array_equal(prior.decode("tokens", data, grid, sizes), indices)


def test_first_codebooks_are_coded_alone() -> None:
    prior, grid = make_prior((40, 1 << 20, 9)), (6, 7)
    indices = random_indices(grid, (40, 1 << 20))
    data = prior.encode("tokens", indices, grid, (40, 1 << 20))
    assert data is not None
    assert np.array_equal(prior.decode("tokens", data, grid, (40, 1 << 20)), indices)
    assert not prior.covers("tokens", grid, (1 << 20,))


def test_size_is_the_information_and_few_bytes_more() -> None:
    prior, grid = make_prior((40, 9)), (20, 30)
    indices = random_indices(grid, (40, 9))
    data = prior.encode("tokens", indices, grid, (40, 9))
    assert data is not None
    bits = prior.bits(torch.from_numpy(indices).view(*grid, 2))
    # The coder's tables give each symbol 2^-24 more, which the rarest of an untrained one feel.
    assert bits * 0.99 <= 8 * len(data) < bits * 1.001 + 64


def test_prediction_sees_nothing_that_the_decoder_does_not_know() -> None:
    prior, grid = make_prior(), (6, 7)
    indices = random_indices(grid, (40,))
    symbols = prior.spec.levels.split(torch.from_numpy(indices))
    whole = list(prior._predictions(symbols, grid))
    blind = torch.full_like(symbols, -1)
    steps = zip(whole, prior._predictions(blind, grid), strict=True)
    for (level, places, weights), (_, _, seen) in steps:
        assert np.array_equal(weights, seen)
        blind[places, level] = symbols[places, level]


def test_chunks_that_hardly_take_bytes_are_left_to_other_modes() -> None:
    prior = make_prior((2,))
    with torch.no_grad():
        for head in prior.network.heads:
            head.weight.zero_()
            head.bias.copy_(torch.tensor([30.0, -30.0]))
    indices = np.zeros((64 * 64, 1), np.int64)
    assert prior.encode("tokens", indices, (64, 64), (2,)) is None
    with pytest.raises(CodingError, match="a byte for 16 of 4096 symbols, got 16"):
        prior.decode("tokens", bytes(16), (64, 64), (2,))


@pytest.mark.parametrize("seed", range(20))
def test_other_bytes_give_other_tokens_or_an_error(seed: int) -> None:
    prior, grid = make_prior(), (6, 7)
    data = prior.encode("tokens", random_indices(grid, (40,)), grid, (40,))
    assert data is not None
    mutated = bytearray(data)
    random = np.random.default_rng(seed)
    mutated[random.integers(len(data))] ^= 1 << random.integers(8)
    try:
        decoded = prior.decode("tokens", bytes(mutated), grid, (40,))
    except CodingError:
        return
    assert decoded.min() >= 0
    assert decoded.max() < 40


def test_chunks_of_other_tokens_are_refused() -> None:
    prior = make_prior()
    assert prior.covers("tokens", (3, 4), (40,))
    for stream, grid, sizes in (
        ("side", (3, 4), (40,)),
        ("tokens", (3, 4, 5), (40,)),
        ("tokens", (3, 4), (41,)),
        ("tokens", (1 << 10, 1 << 10), (40,)),
    ):
        assert not prior.covers(stream, grid, sizes)
        with pytest.raises(ShapeError, match="expected a grid of 2 axes"):
            prior.encode(stream, np.zeros((12, 1), np.int64), grid, sizes)


def test_digest_is_that_of_the_weights() -> None:
    prior = make_prior()
    assert len(prior.digest) == 4
    assert make_prior().digest == prior.digest
    assert make_prior(seed=1).digest != prior.digest


def test_filling_leaves_known_tokens_and_puts_the_likeliest_elsewhere() -> None:
    prior = make_prior((40, 9))
    indices = torch.from_numpy(random_indices((6, 7), (40, 9))).view(6, 7, 2)
    lost = indices.clone()
    lost[2, 3] = -1
    filled = prior.fill(lost)
    assert torch.equal(filled[lost >= 0], indices[lost >= 0])
    symbols = lost.flatten(0, 1)
    ((_, weights),) = prior._weights(symbols, (6, 7), 0, torch.tensor([2 * 7 + 3]))
    assert int(filled[2, 3, 0]) == int(weights.argmax())
    symbols[2 * 7 + 3, 0] = filled[2, 3, 0]
    ((_, weights),) = prior._weights(symbols, (6, 7), 1, torch.tensor([2 * 7 + 3]))
    assert int(filled[2, 3, 1]) == int(weights.argmax())


def test_filling_stays_within_codebooks_that_digits_exceed() -> None:
    prior = make_prior((5000,), rank=1)
    filled = prior.fill(torch.full((300, 1), -1))
    assert int(filled.min()) >= 0
    assert int(filled.max()) < 5000


def test_filling_tokens_of_ragged_items() -> None:
    prior = make_prior()
    indices = torch.from_numpy(random_indices((2, 6, 7), (40,))).view(2, 6, 7, 1)
    indices[1, 5] = 0
    indices[0, 1, 1] = indices[1, 0, 0] = -1
    lengths = torch.tensor([[6, 7], [5, 7]])
    stream = TokenStream(indices, (40,), ("height", "width"), lengths)
    media = ({"height": 48, "width": 56}, {"height": 40, "width": 56})
    tokens = Tokens({"tokens": stream}, media, "image", "image/example", FINGERPRINT)
    filled = prior.fill_tokens(tokens)
    assert filled.num_unknown == 0
    assert filled.item(1).indices.shape == (1, 5, 7, 1)
    assert torch.equal(filled.item(0).indices[0], prior.fill(indices[0]))


def test_files_hold_chunks_coded_with_a_prior() -> None:
    spec = PriorSpec("tokens", 2, (40,), FINGERPRINT)
    network = random_network((40,), 2, depth=1)
    with torch.no_grad():  # else it is sure of itself and draws the same token everywhere
        network.heads[0].parametrizations.weight.original.mul_(0.1)
    prior, grid = Prior(spec, network), (12, 20)
    resources = CodingResources(prior=prior)
    drawn = RangeDecoder(np.random.default_rng(3).bytes(4000))
    symbols = torch.full((240, 1), -1)
    for level, places, weights in prior._predictions(symbols, grid):
        symbols[places, level] = torch.from_numpy(drawn.decode_each(weights))
    stream = TokenStream(symbols.view(1, *grid, 1), (40,), ("height", "width"))
    media = ({"height": 96, "width": 160},)
    tokens = Tokens({"tokens": stream}, media, "image", "image/example", FINGERPRINT)
    data = dumps(tokens, resources=resources)
    assert len(data) < len(dumps(tokens))
    assert LEARNED.number in read_info(data).streams[0].modes
    assert loads(data, resources=resources).same_as(tokens)


def test_range_coder_takes_a_table_for_each_symbol() -> None:
    random = np.random.default_rng(0)
    weights = np.floor(random.exponential(1000, (500, 37))) + 1
    symbols = random.integers(0, 37, 500)
    together, alone = RangeEncoder(), RangeEncoder()
    together.encode_each(symbols, weights)
    for row in range(500):
        alone.encode(symbols[row : row + 1], weights[row])
    assert together.to_bytes() == alone.to_bytes()
    decoder = RangeDecoder(together.to_bytes())
    assert np.array_equal(decoder.decode_each(weights), symbols)
    decoder.finish()
