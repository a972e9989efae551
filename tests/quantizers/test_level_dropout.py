import pytest
import torch

from vqkit.errors import ConfigError
from vqkit.quantizers import (
    FSQ,
    NO_TOKEN,
    LevelsPerBatch,
    LevelsPerItem,
    Residual,
    VectorQuantizer,
)

CPU = torch.device("cpu")


def used(layer: Residual, num_items: int) -> torch.Tensor:
    """Levels of each item in one training pass."""
    indices = layer(torch.rand(num_items, 3, layer.dim)).indices
    counts = (indices != NO_TOKEN).sum(-1)
    assert (counts == counts[:, :1]).all(), "the same for all positions of an item"
    return counts[:, 0]


def scalar_residual(rule: float | LevelsPerBatch | LevelsPerItem) -> Residual:
    inner = FSQ([5, 5], symmetric=True, bound="clamp")
    return Residual(inner, depth=8, level_scale=0.25, level_dropout=rule)


def test_a_batch_has_one_of_the_choices_and_each_is_met():
    layer = scalar_residual(LevelsPerBatch([2, 4, 8]))
    seen = set()
    for _ in range(40):
        numbers = used(layer, 5)
        assert (numbers == numbers[0]).all()
        seen.add(int(numbers[0]))
    assert seen == {2, 4, 8}


def test_a_probability_is_short_for_the_rule_per_item():
    torch.manual_seed(0)
    short = used(scalar_residual(0.5), 2000)
    torch.manual_seed(0)
    long = used(scalar_residual(LevelsPerItem(0.5)), 2000)
    assert torch.equal(short, long)
    # Half of the items, of which an eighth draw all levels.
    assert float((short == 8).float().mean()) == pytest.approx(0.5 + 0.5 / 8, abs=0.04)


def test_without_dropout_nothing_is_drawn():
    before = torch.get_rng_state()
    assert LevelsPerItem(0.0).draw(4, 8, CPU) is None
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("make", [lambda: LevelsPerBatch([]), lambda: LevelsPerBatch([0, 2]),
                                  lambda: LevelsPerItem(1.5),
                                  lambda: scalar_residual(LevelsPerBatch([2, 16]))])  # fmt: skip
def test_what_cannot_be_drawn_is_refused(make):
    with pytest.raises(ConfigError):
        make()


@pytest.mark.parametrize(("commitment", "num_pulling"), [("all", 3), ("first", 1)])
def test_which_levels_pull_the_input(commitment, num_pulling):
    """By the gradient of the loss: the mean over levels of ``2 r_i / (positions dim)``."""
    torch.manual_seed(0)
    layer = Residual(VectorQuantizer(4, 8), depth=3, commitment=commitment)
    for _ in range(4):
        layer(torch.randn(8, 32, 4))
    z = torch.randn(2, 10, 4, requires_grad=True)
    codes = [level.codebook.clone() for level in layer.levels]
    output = layer(z)
    output.loss.backward()
    residual, expected = z.detach(), torch.zeros_like(z)
    for number, book in enumerate(codes):
        residual = residual - book[output.indices[..., number]]
        if number < num_pulling:
            expected += 0.25 * 2 * residual / (2 * 10 * 4) / len(codes)
    torch.testing.assert_close(z.grad, expected)


@pytest.mark.usefixtures("unchecked_shapes")
def test_an_unknown_commitment_is_refused():
    with pytest.raises(ConfigError, match="commitment"):
        Residual(FSQ([5, 5]), depth=2, commitment="last")
