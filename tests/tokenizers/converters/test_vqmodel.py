"""The same tokens and the same pixels as diffusers' ``VQModel`` from the same weights, and back."""

import json

import pytest
import torch
from diffusers import VQModel
from safetensors.torch import load_file

from tests.tokenizers.converters import image_originals
from vqkit.errors import ConfigError
from vqkit.quantizers import Cosine, VectorQuantizer
from vqkit.tokenizers import Tokenizer
from vqkit.tokenizers.converters import (
    read_foreign,
    vqgan_from_original,
    vqgan_to_original,
    vqmodel_from_diffusers,
    vqmodel_to_diffusers,
    write_diffusers,
)

TOLERANCE = 1e-5

LAYOUTS = {
    "factor 4, no attention": {
        "block_out_channels": (32, 64, 64),
        "layers_per_block": 1,
        "mid_block_add_attention": False,
        "attention": (),
    },
    "factor 4, attention in the middle": {
        "block_out_channels": (32, 64, 64),
        "latent_channels": 3,
        "attention": (),
    },
    "factor 8, odd widths": {
        "block_out_channels": (96, 32, 160, 64),
        "latent_channels": 5,
        "vq_embed_dim": 4,
        "attention": (3,),
    },
    "factor 16": {
        "block_out_channels": (32, 32, 64, 64, 96),
        "layers_per_block": 2,
        "latent_channels": 8,
        "attention": (4,),
    },
    "factor 1, grey": {
        "block_out_channels": (64,),
        "layers_per_block": 3,
        "in_channels": 1,
        "out_channels": 1,
        "attention": (0,),
    },
}
QUICK = "factor 8, odd widths"


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


def vqmodel(*, attention, **settings):
    """A small model of random weights, codes where its latents are, pixels in [-1, 1]."""
    num_levels = len(settings["block_out_channels"])
    kinds = ["Attn" if level in attention else "" for level in range(num_levels)]
    settings = {"layers_per_block": 1, "latent_channels": 4, "num_vq_embeddings": 32} | settings
    model = VQModel(
        down_block_types=[f"{kind}DownEncoderBlock2D" for kind in kinds],
        up_block_types=[f"{kind}UpDecoderBlock2D" for kind in reversed(kinds)],
        **settings,
    )
    generator = torch.Generator().manual_seed(0)
    for name, value in model.state_dict().items():
        noise = torch.randn(value.shape, generator=generator)
        if value.ndim > 1:
            value.copy_(noise * 1.2 / value[0].numel() ** 0.5)
        else:
            value.copy_(0.3 * noise + ("norm" in name and name.endswith("weight")))
    latents = model.encode(pictures(model, 2, 3, 5)).latents
    centre, spread = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    codes = model.quantize.embedding.weight
    codes.copy_(centre + spread * torch.randn(codes.shape, generator=generator))
    greatest = 1.5 * model.decode(latents).sample.abs().max()
    model.decoder.conv_out.weight /= greatest
    model.decoder.conv_out.bias /= greatest
    return model.eval()


def pictures(model, batch, rows, columns):
    """Images that differ from place to place, of so many latents."""
    step = 2 ** (len(model.config.block_out_channels) - 1)
    generator = torch.Generator().manual_seed(rows)
    shape = (batch, model.config.in_channels, rows * step, columns * step)
    noise = torch.rand(shape, generator=generator) - 0.5
    return 2 * noise * torch.linspace(0.1, 1, shape[-1])


@pytest.mark.parametrize(
    "name",
    [name if name == QUICK else pytest.param(name, marks=pytest.mark.slow) for name in LAYOUTS],
)
def test_the_same_tokens_and_pixels_and_back(name):
    model = vqmodel(**LAYOUTS[name])
    tokenizer = vqmodel_from_diffusers(dict(model.config), model.state_dict())
    for batch, rows, columns in ((1, 2, 3), (2, 5, 4)):
        x = pictures(model, batch, rows, columns)
        latents = model.encode(x).latents
        torch.testing.assert_close(tokenizer.encoder(x), latents, rtol=0, atol=TOLERANCE)
        _, _, (_, _, indices) = model.quantize(latents)
        tokens = tokenizer.encode(x)
        distances = torch.cdist(latents.movedim(1, -1).flatten(0, 2), tokenizer.quantizer.codebook)
        nearest, next_one = distances.topk(2, largest=False).values.unbind(-1)
        sure = next_one - nearest > 1e-4
        assert sure.float().mean() > 0.9
        assert torch.equal(tokens.indices.flatten()[sure], indices[sure])
        assert len(indices.unique()) > 3
        pixels = model.decode(latents).sample
        assert 0.2 < pixels.abs().max() <= 1
        ours = tokenizer.decoder(tokenizer.quantizer.decode(tokens.indices).movedim(-1, 1))
        torch.testing.assert_close(ours, pixels, rtol=0, atol=TOLERANCE)
    config, state = vqmodel_to_diffusers(tokenizer)
    assert_same_tensors(state, model.state_dict())
    again = VQModel(**{key: value for key, value in config.items() if key != "_class_name"}).eval()
    again.load_state_dict(state, strict=True)
    assert torch.equal(again.decode(latents).sample, pixels)


def test_folders_of_diffusers(tmp_path):
    """Read as its files have it, and written so that it reads them."""
    model = vqmodel(**LAYOUTS[QUICK])
    model.save_pretrained(tmp_path / "theirs")
    tokenizer = read_foreign(tmp_path / "theirs")
    assert tokenizer.name == "image/vqmodel"
    tokenizer.save_pretrained(tmp_path / "ours")
    write_diffusers(Tokenizer.from_pretrained(tmp_path / "ours"), tmp_path / "back")
    again = VQModel.from_pretrained(tmp_path / "back").eval()
    x = pictures(model, 1, 2, 3)
    assert torch.equal(again(x).sample, model(x).sample)
    files = [load_file(tmp_path / part / FILE) for part in ("theirs", "back")]
    assert_same_tensors(*files)
    (tmp_path / "theirs" / FILE).unlink()
    with pytest.raises(ConfigError, match=r"diffusion_pytorch_model\.safetensors"):
        read_foreign(tmp_path / "theirs")


FILE = "diffusion_pytorch_model.safetensors"


def test_from_taming_to_diffusers_and_back():
    """Through both layouts: the tensors of taming-transformers, byte for byte."""
    state = image_originals.taming((32, 64, 96), blocks=2, attention=(1, 2))
    tokenizer = vqgan_from_original(state)
    config, theirs = vqmodel_to_diffusers(tokenizer)
    model = VQModel(**{key: value for key, value in config.items() if key != "_class_name"}).eval()
    model.load_state_dict(theirs, strict=True)
    x = pictures(model, 1, 3, 2)
    latents = model.encode(x).latents
    torch.testing.assert_close(tokenizer.encoder(x), latents, rtol=0, atol=TOLERANCE)
    decoded = torch.stack(tokenizer.decode(tokenizer.encode(x)))
    theirs_decoded = model(x).sample.clamp(-1, 1)
    torch.testing.assert_close(decoded, theirs_decoded, rtol=0, atol=TOLERANCE)
    again = vqmodel_from_diffusers(config, model.state_dict())
    assert_same_tensors(vqgan_to_original(again), state)
    assert again.encode(x).indices.equal(tokenizer.encode(x).indices)


def assert_same_tensors(left, right):
    assert left.keys() == right.keys()
    assert all(torch.equal(value, right[name]) for name, value in left.items())


def test_old_names_of_attention():
    """Files from before diffusers 0.14, which are still on the hub."""
    model = vqmodel(**LAYOUTS[QUICK])
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    state = {}
    for name, value in model.state_dict().items():
        for new, before in old.items():
            name = name.replace(f".{new}.", f".{before}.")
        state[name] = value
    assert any(".query." in name for name in state)
    renamed = vqmodel_from_diffusers(dict(model.config), state)
    plain = vqmodel_from_diffusers(dict(model.config), model.state_dict())
    assert renamed.fingerprint == plain.fingerprint


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"norm_type": "spatial"}, "norm_type 'group', got 'spatial'"),
        ({"norm_num_groups": 16}, "norm_num_groups 32, got 16"),
        ({"act_fn": "relu"}, "act_fn"),
    ],
)
def test_what_vqmodel_may_be_beside_is_refused(change, message):
    model = vqmodel(**LAYOUTS[QUICK])
    with pytest.raises(ConfigError, match=message):
        vqmodel_from_diffusers(dict(model.config) | change, model.state_dict())


def test_what_vqmodel_cannot_be_is_not_written():
    tokenizer = vqgan_from_original(image_originals.taming())
    tokenizer.quantizer = VectorQuantizer(5, 8, metric=Cosine())
    with pytest.raises(ConfigError, match="nearest code is taken"):
        vqmodel_to_diffusers(tokenizer)
    wider = vqgan_from_original(image_originals.taming((64, 64), base=32))
    with pytest.raises(ConfigError, match="first level as wide"):
        vqmodel_to_diffusers(wider)


def test_json_of_a_config_is_read(tmp_path):
    model = vqmodel(**LAYOUTS[QUICK])
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["_class_name"] = "AutoencoderKL"
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="'AutoencoderKL'"):
        read_foreign(tmp_path)
