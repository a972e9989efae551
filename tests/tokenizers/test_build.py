"""Building from a foreign configuration does what it says and nothing else."""

import os
import subprocess

import pytest
import torch

from tests.training import tiny
from vqkit.errors import ConfigError
from vqkit.quantizers import EMA, FSQ, Residual, RotationTrick, VectorQuantizer, VQLoss
from vqkit.tokenizers import build, describe


def test_objects_come_back():
    quantizer = Residual(
        VectorQuantizer(4, 16, update=EMA(0.5), loss=VQLoss.taming(), gradient=RotationTrick(3.0)),
        depth=2,
        level_dropout=0.5,
    )
    config = describe(quantizer)
    again = build(config)
    assert describe(again) == config
    assert again.inner.loss == VQLoss(commitment=1.0, codebook=0.25)
    assert again.inner.update == EMA(0.5)
    assert again.depth == 2


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.eval",
        "subprocess.Popen",
        "torch.load",
        "torch.hub.load",
        "vqkit.tokenizers.tokenizer.os.system",
        "vqkit.tokenizers.build.importlib.import_module",
        "vqkit.quantizers.vq.torch.load",
        "vqkit.tokenizers.build",
        "vqkit.cli.train.main",
        "vqkit.data.ImageFolder",
        "vqkit.quantizers.base.Quantizer",
        "vqkit.quantizers.torch",
        "vqkit.quantizers",
        "vqkitten.FSQ",
        "FSQ",
        "",
        "..",
        7,
        None,
    ],
)
def test_what_may_not_be_built_is_refused(target):
    with pytest.raises(ConfigError, match="_target_"):
        build({"_target_": target})


def test_nested_targets_are_held_to_the_same_rule():
    config = {
        "_target_": "vqkit.quantizers.Factorized",
        "dim": 4,
        "inner": {"_target_": "os.system", "command": "true"},
    }
    with pytest.raises(ConfigError, match=r"os.system"):
        build(config)


def test_trusted_packages_are_named_by_the_caller():
    config = describe(tiny.TinyEncoder(dim=5))
    with pytest.raises(ConfigError, match=r"trusted=\['tests'\]"):
        build(config)
    assert build(config, trusted=["tests"]).dim == 5
    # A trusted package vouches for its own classes, not for what it imported.
    with pytest.raises(ConfigError, match="expected a class"):
        build({"_target_": "tests.tokenizers.test_build.subprocess"}, trusted=["tests"])
    with pytest.raises(ConfigError, match="expected a class"):
        build({"_target_": "tests.training.tiny.partial"}, trusted=["tests"])
    assert subprocess
    assert os


def test_wrong_arguments_are_named():
    with pytest.raises(ConfigError, match="level"):
        build({"_target_": "vqkit.quantizers.FSQ", "level": [8]})
    with pytest.raises(ConfigError, match="FSQ"):
        build({"_target_": "vqkit.quantizers.FSQ", "levels": 8})
    with pytest.raises(ConfigError, match=">= 2"):
        build({"_target_": "vqkit.quantizers.FSQ", "levels": [1]})
    with pytest.raises(ConfigError, match="expected a mapping"):
        build({"levels": [8]})


def test_depth_is_bounded():
    config = {"_target_": "vqkit.quantizers.FSQ", "levels": [8]}
    for _ in range(100):
        config = {"_target_": "vqkit.quantizers.Factorized", "dim": 1, "inner": config}
    with pytest.raises(ConfigError, match="nested"):
        build(config)


def test_what_cannot_be_described_is_refused():
    class Forgetful:
        def __init__(self, size):
            pass

    with pytest.raises(ConfigError, match="'size'"):
        describe(Forgetful(3))


def test_a_whole_tokenizer_is_described():
    torch.manual_seed(0)
    tokenizer = tiny.tokenizer(FSQ([5] * 4))
    again = build(tokenizer.config, trusted=["tests"])
    again.load_state_dict(tokenizer.state_dict(), strict=True)
    assert again.fingerprint == tokenizer.fingerprint
