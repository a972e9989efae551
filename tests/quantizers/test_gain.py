"""Levels of gain against their formulas."""

import math

import pytest
import torch

from vqkit.errors import ConfigError
from vqkit.quantizers import BetaGain, LogUniformGain, MuLawGain, UnitGain


def test_log_uniform_levels_are_a_geometric_progression_over_the_range():
    levels = LogUniformGain(num_levels=5, low=0.25, high=4.0).levels(9, 9)
    assert levels == pytest.approx([0.75, 1.5, 3.0, 6.0, 12.0])


def test_mu_law_levels_compress_evenly():
    gain = MuLawGain(num_levels=9, high=2.0, mu=100.0)
    levels = gain.levels(4, 4)
    assert levels[0] == 0.0
    assert levels[-1] == pytest.approx(4.0)
    compressed = [math.log1p(100 * level / 4.0) / math.log1p(100) for level in levels]
    assert compressed == pytest.approx([i / 8 for i in range(9)])


def test_unit_gain_is_one_level():
    assert UnitGain().levels(7, 7) == (1.0,)
    assert UnitGain().num_levels == 1


def test_beta_levels_are_used_equally_often_by_rotated_vectors():
    """arXiv 2410.16926: the squared share of m of n features is Beta(m/2, (n-m)/2)."""
    levels = torch.tensor(BetaGain(num_levels=8).levels(8, 64)).double()
    x = torch.randn(50_000, 64)
    share = x[:, :8].norm(dim=1) / x.norm(dim=1)
    # A level is the middle of its cell in probability: half of the cell is below it.
    below = (share[:, None] < levels).double().mean(0)
    expected = (torch.arange(8) + 0.5).double() / 8
    torch.testing.assert_close(below, expected, atol=0.01, rtol=0)
    nearest = torch.bucketize(share.double(), (levels[1:] + levels[:-1]) / 2)
    occupancy = nearest.bincount(minlength=8) / len(share)
    assert occupancy.min() > 0.09
    assert occupancy.max() < 0.16


@pytest.mark.parametrize("gain", [LogUniformGain, MuLawGain, BetaGain])
def test_fewer_than_two_levels_are_refused(gain):
    with pytest.raises(ConfigError, match="num_levels"):
        gain(num_levels=1)


def test_bad_ranges_are_refused():
    with pytest.raises(ConfigError, match="low < high"):
        LogUniformGain(low=2.0, high=1.0)
    with pytest.raises(ConfigError, match="low"):
        LogUniformGain(low=0.0)
    with pytest.raises(ConfigError, match="mu"):
        MuLawGain(mu=0.0)
    with pytest.raises(ConfigError, match="One group"):
        BetaGain().levels(8, 8)
