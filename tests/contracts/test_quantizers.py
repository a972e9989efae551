"""Every quantizer of ``configs/quantizer`` keeps the contract."""

import functools
import math
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from vqkit.paths import config_dir
from vqkit.quantizers import Quantizer
from vqkit.testing import check_quantizer, quantizer_checks
from vqkit.tokenizers.build import build, describe

CONFIGS = sorted((config_dir() / "quantizer").rglob("*.yaml"))
DIM = 12


def load(path: Path) -> dict:
    """The configuration as a recipe would resolve it, for an encoder of ``DIM`` features."""
    config = OmegaConf.create({"encoder": {"dim": DIM}, "quantizer": OmegaConf.load(path)})
    return OmegaConf.to_container(config.quantizer, resolve=True)


# Large enough for what can go wrong, and small: the checks train every quantizer many times.
LARGEST = {"codebook_size": 64, "depth": 3}
# What takes the encoder's features as they are is of one width.
BARE = {"fsq_bare": 6}
# Mimi's codes have half of the features of its latents.
HALF = {"mimi": 6}


def shrink(config: dict) -> dict:
    """The same with few codes per codebook and few levels."""
    return {
        key: min(value, LARGEST[key])
        if key in LARGEST
        else (shrink(value) if isinstance(value, dict) else value)
        for key, value in config.items()
    }


def with_code_dim(config: dict, dim: int) -> dict:
    """The same with codes of so many features."""
    is_book = "codebook_size" in config
    return {
        key: dim
        if is_book and key == "dim"
        else (with_code_dim(value, dim) if isinstance(value, dict) else value)
        for key, value in config.items()
    }


def make(path: Path) -> Quantizer:
    torch.manual_seed(0)
    config = shrink(load(path))
    if path.stem in HALF:
        config = with_code_dim(config, HALF[path.stem])
    return build(config)


@functools.cache
def example(path: Path) -> Quantizer:
    """One for all checks, which work on copies."""
    return make(path)


def test_every_configuration_is_seen():
    assert len(CONFIGS) == 46


# The layers of other configurations, in the sizes of published codecs.
ALIKE = {"encodec", "dac", "fsq_bare", "residual_vq_affine"}


@pytest.mark.parametrize("check", quantizer_checks(), ids=lambda check: check.__name__)
@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.stem, marks=pytest.mark.slow if path.stem in ALIKE else ())
        for path in CONFIGS
    ],
)
@pytest.mark.usefixtures("unchecked_shapes")
def test_contract(path, check):
    check(example(path))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_description_rebuilds_the_same_quantizer(path):
    quantizer = make(path)
    again = build(describe(quantizer))
    assert describe(again) == describe(quantizer)
    assert str(again) == str(quantizer)
    again.load_state_dict(quantizer.state_dict(), strict=True)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_full_size_builds_and_follows_the_encoder(path):
    assert build(load(path)).dim == BARE.get(path.stem, DIM)


class LossyQuantizer(Quantizer):
    """Breaks the contract on purpose: the output is not the code."""

    def __init__(self):
        super().__init__()
        self.dim, self.codebook_sizes = 2, (4,)

    def _assign(self, z, valid):
        from vqkit.quantizers.base import Assignment

        indices = (z > 0).long() @ torch.tensor([1, 2])
        return Assignment(
            self._lookup(indices[..., None]) * 1.001, indices[..., None], z.new_zeros(()), {}
        )

    def _lookup(self, indices):
        return torch.stack([indices[..., 0] % 2, indices[..., 0] // 2], -1) * 2.0 - 1.0


def test_a_broken_quantizer_is_caught_and_the_check_is_named():
    with pytest.raises(AssertionError, match="LossyQuantizer, check_decode_matches_forward"):
        check_quantizer(LossyQuantizer())


def test_the_check_for_kept_memory_can_fail():
    class Kept(LossyQuantizer):
        def __init__(self):
            super().__init__()
            self.codebook_sizes = (2**12,)

        def _assign(self, z, valid):
            result = super()._assign(z, valid)
            big = (z[..., :1] * torch.ones(2**12)).exp().mean()
            return result._replace(loss=big * 0)

    check = next(c for c in quantizer_checks() if c.__name__ == "check_memory")
    with pytest.raises(AssertionError, match="kept for backward"):
        check(Kept())
    assert math.log2(Kept().codebook_sizes[0]) == 12
