"""The losses, adversaries and discriminators of the audio codecs as ``configs`` spells them."""

import pytest
import torch
from omegaconf import OmegaConf

from vqkit.losses import L1, MultiScaleMel
from vqkit.nets import MultiScaleSTFTDiscriminator
from vqkit.paths import config_dir
from vqkit.tokenizers import build, describe

TRUSTED = ["vqkit.losses", "vqkit.training"]
MEL = {
    "encodec": (MultiScaleMel.encodec(24000), 1.0),
    "audiocraft": (MultiScaleMel.audiocraft(24000), 2.0),
    "dac": (MultiScaleMel.dac(44100), 15.0),
    "wavtokenizer": (MultiScaleMel.vocos(24000), 45.0),
}


def load(group: str, name: str):
    return OmegaConf.to_container(OmegaConf.load(config_dir() / group / f"{name}.yaml"))


@pytest.mark.parametrize("name", MEL)
def test_losses_are_the_variants_of_the_class(name):
    config = load("loss", name)
    mel = build(config["mel"], trusted=TRUSTED)
    expected, weight = MEL[name]
    assert describe(mel.loss) == describe(expected)
    assert mel.weight == weight
    rebuilt = build(describe(mel.loss), trusted=TRUSTED)
    x, y = torch.randn(1, 1, 3000), torch.randn(1, 1, 3000)
    assert torch.equal(rebuilt(x, y), expected(x, y))
    if name in ("encodec", "audiocraft"):
        waveform = build(config["waveform"], trusted=TRUSTED)
        assert (type(waveform.loss), waveform.weight) == (L1, 0.1)
    else:
        assert set(config) == {"mel"}


DISCRIMINATORS = {
    # Discriminators, and layers in all.
    "encodec": (5, 5 * 5),
    "hifi_gan": (5 + 3, 5 * 5 + 3 * 7),
    "dac": (5 + 3, 5 * 5 + 3 * 25),
    "wavtokenizer": (5 + 3 + 8, 5 * 5 + 3 * 5 + 100),
}


def narrowed(config):
    if isinstance(config, dict):
        return {k: 16 if k == "width" else narrowed(v) for k, v in config.items()}
    return config


@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_discriminators_have_as_many_parts_as_the_weights_assume(name):
    output = build(narrowed(load("discriminator", name)))(torch.randn(1, 1, 4000))
    num_discriminators, num_layers = DISCRIMINATORS[name]
    assert len(output.logits) == len(output.features) == num_discriminators
    assert sum(map(len, output.features)) == num_layers


def test_weights_of_dac_are_those_of_its_sums():
    """1 x sum over the discriminators of E (1 - D)^2, and 2 x sum over the layers."""
    config = load("adversary", "dac")
    num_discriminators, num_layers = DISCRIMINATORS["dac"]
    assert config["weight"] == 1.0 * num_discriminators * 2
    assert config["feature_matching"]["weight"] == 2.0 * num_layers


def test_encodecs_discriminator_is_the_default():
    discriminator = build(load("discriminator", "encodec"))
    assert describe(discriminator) == describe(MultiScaleSTFTDiscriminator())
