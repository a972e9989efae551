"""Every encoder and decoder of clips composes and fits its partner."""

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

import vqkit.nets
from tests.recipes.test_configurations import choices, composed
from vqkit.paths import config_dir
from vqkit.tokenizers import build, describe

STRIDES = {
    "cosmos_8x8x8": (8, 8, 8),
    "omnitokenizer": (4, 8, 8),
    "open_magvit2_video": (4, 8, 8),
    "video_light": (4, 8, 8),
    "videogpt_4x4x4": (4, 4, 4),
    "vidtok_4x16x16": (4, 16, 16),
    "vidtok_4x8x8": (4, 8, 8),
    "vidtok_4x8x8_noncausal": (4, 8, 8),
    "vidtok_8x8x8": (8, 8, 8),
}


def instantiated(name):
    config = composed(f"encoder={name}", f"decoder={name}")
    with torch.device("meta"):
        return tuple(instantiate(config[half], _convert_="all") for half in ("encoder", "decoder"))


def test_every_network_of_clips_is_seen():
    of_clips = set()
    for name in choices("encoder"):
        target = OmegaConf.load(config_dir() / "encoder" / f"{name}.yaml")._target_
        maker = getattr(vqkit.nets, target.removeprefix("vqkit.nets."))
        if isinstance(maker, type) and issubclass(maker, vqkit.nets.ClipEncoder):
            of_clips.add(name)
    assert of_clips == set(STRIDES) <= set(choices("decoder"))


@pytest.mark.parametrize(
    "name",
    [
        name if name == "video_light" else pytest.param(name, marks=pytest.mark.slow)
        for name in STRIDES
    ],
)
def test_both_halves_fit(name):
    encoder, decoder = instantiated(name)
    assert encoder.stride == decoder.stride == STRIDES[name]
    assert encoder.dim == decoder.dim
    assert encoder.in_channels == decoder.out_channels == 3
    assert encoder.first_frame_alone == decoder.first_frame_alone
    for network in (encoder, decoder):
        with torch.device("meta"):
            again = build(describe(network))
        assert describe(again) == describe(network)
