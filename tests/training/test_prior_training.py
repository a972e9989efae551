"""Training of a prior: what the crops show, and that it learns what there is to learn."""

import math

import pytest
import torch

from vqkit.data import TokenCrops
from vqkit.errors import ConfigError
from vqkit.priors import Levels, PriorNetwork, PriorSpec
from vqkit.training import PriorTraining, train_prior


def stripes(count: int, height: int = 20, width: int = 24, seed: int = 0) -> list[torch.Tensor]:
    """Grids whose rows have one index each, two codebooks: the second is the first plus one."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(0, 8, (count, height, 1, 1), generator=generator)
    return list(torch.cat([rows, (rows + 1) % 8], -1).expand(-1, -1, width, -1).contiguous())


LEVELS = Levels((8, 8))


def test_crop_is_a_function_of_seed_and_position() -> None:
    grids = stripes(3)
    first, same = TokenCrops(grids, LEVELS, seed=5), TokenCrops(grids, LEVELS, seed=5)
    other = TokenCrops(grids, LEVELS, seed=6)
    assert all(torch.equal(a, b) for a, b in zip(first[17], same[17], strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first[17], other[17], strict=True))


def test_crops_hide_as_coding_and_losses_do() -> None:
    crops = TokenCrops([*stripes(2), *stripes(1, height=7, width=30)], LEVELS, seed=0)
    asked_levels = set()
    num_whole = 0
    for position in range(200):
        levels, known, asked, level = crops[position]
        inside = levels[:, 0] >= 0
        asked_levels.add(int(level))
        assert levels.shape == (256, 2)
        assert torch.equal(levels[:, 1][inside], (levels[:, 0][inside] + 1) % 8)
        assert not (asked & ~inside).any()
        assert not known[asked, int(level) :].any(), "what is asked, or comes later, is hidden"
        assert known[inside, : int(level)].all(), "lower levels are known"
        assert known[inside & ~asked, int(level)].all()
        num_whole += bool(asked.any() and known[inside & ~asked].all())
    assert asked_levels == {0, 1}
    assert 20 < num_whole < 200


def test_small_grids_are_padded_and_large_ones_cut_everywhere() -> None:
    crops = TokenCrops([torch.arange(40)[:, None].repeat(20, 1)], Levels((64,)), seed=0)
    starts = {int(crops[position].levels[0]) for position in range(50)}
    assert len(starts) > 20
    small = TokenCrops([torch.arange(40)[:, None]], Levels((64,)), seed=0)[0].levels[:, 0]
    assert small.tolist() == [*range(40), *[-1] * 216]


@pytest.mark.parametrize(
    "grids", [[], [torch.zeros(3, 1)], [torch.zeros(3, 4, 1), torch.zeros(3, 1)]]
)
def test_grids_of_several_ranks_are_refused(grids: list[torch.Tensor]) -> None:
    if len(grids) == 1:
        grids = [torch.zeros(1)]
    with pytest.raises(ConfigError, match="1 to 4 axes alike"):
        TokenCrops(grids, LEVELS, seed=0)


@pytest.mark.slow
def test_a_prior_learns_and_fills_in() -> None:
    spec = PriorSpec("tokens", 2, (8, 8), "0" * 32)
    prior = train_prior(
        spec,
        stripes(40),
        max_steps=300,
        dim=32,
        depth=1,
        batch_size=4,
        learning_rate=1e-2,
        accelerator="cpu",
    )
    (held_out,) = stripes(1, seed=9)
    bits_per_token = prior.bits(held_out) / held_out.numel()
    # Each row has one token of 3 bits; order 0 would be 3 bits for each of 960.
    assert bits_per_token < 0.6
    lost = torch.where(
        torch.rand(20, 24, 1, generator=torch.Generator().manual_seed(0)) < 0.2, -1, held_out
    )
    assert (prior.fill(lost) == held_out).float().mean() > 0.99


def test_same_seed_same_prior() -> None:
    spec = PriorSpec("tokens", 2, (8, 8), "0" * 32)
    settings = {"max_steps": 3, "dim": 32, "depth": 1, "batch_size": 2, "accelerator": "cpu"}
    digests = [train_prior(spec, stripes(4), seed=seed, **settings).digest for seed in (0, 0, 1)]  # type: ignore[arg-type]
    assert digests[0] == digests[1] != digests[2]


def test_numbers_out_of_range_are_refused() -> None:
    network = PriorNetwork(LEVELS.sizes, 2, dim=32, depth=1)
    crops = TokenCrops(stripes(1), LEVELS, seed=0)
    with pytest.raises(ConfigError, match="max_steps, batch_size and log_every >= 1"):
        PriorTraining(network, crops, 0)
    with pytest.raises(ConfigError, match="positive learning_rate"):
        PriorTraining(network, crops, 1, learning_rate=math.nan)


def test_gradient_that_is_not_finite_is_skipped() -> None:
    from vqkit.training import make_trainer

    network = PriorNetwork(LEVELS.sizes, 2, dim=32, depth=1)
    training = PriorTraining(network, TokenCrops(stripes(2), LEVELS, seed=0), 2, batch_size=2)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    training._bits = lambda batch: math.nan * network.blocks[0].offset_bias.sum()  # type: ignore[method-assign]
    make_trainer(accelerator="cpu", devices=1).fit(training)
    assert training.num_skipped == 2
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
