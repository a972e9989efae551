"""Tokenizers of images with the names of the libraries themselves, against their description."""

import argparse
import json
import os

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch.utils.data import Sampler

from tests.nets import image_references
from tests.tokenizers.converters import image_originals
from tests.tokenizers.converters.image_originals import TITOK
from vqkit.errors import ConfigError
from vqkit.quantizers import IBQ, LFQ, Cosine, GumbelQuantizer, VQLoss
from vqkit.tokenizers import Tokenizer
from vqkit.tokenizers.converters import (
    ImageChoice,
    ibq_from_original,
    llamagen_from_original,
    llamagen_to_original,
    open_magvit2_from_original,
    open_magvit2_to_original,
    read_foreign,
    titok_from_original,
    titok_to_original,
    vqgan_from_original,
    vqgan_to_original,
)

TOLERANCE = 1e-5


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


def picture(height=8, width=12, channels=3):
    generator = torch.Generator().manual_seed(height)
    return 2 * torch.rand(1, channels, height, width, generator=generator) - 1


def part(state, prefix, *others):
    below = {n.removeprefix(prefix): w for n, w in state.items() if n.startswith(prefix)}
    return below | {n: w for n, w in state.items() if n.startswith(others)}


def check_vqgan(tokenizer, state, levels=2, blocks=1):
    """Latents and pixels of the description with these weights; returns latents and indices."""
    x = picture()
    encoder = part(state, "encoder.", "quant_conv.")
    latents = image_references.vqgan_encoder(encoder, x, levels, blocks)
    torch.testing.assert_close(tokenizer.encoder(x), latents, rtol=0, atol=TOLERANCE)
    tokens = tokenizer.encode(x)
    codes = tokenizer.quantizer.decode(tokens.indices).movedim(-1, 1)
    decoder = part(state, "decoder.", "post_quant_conv.")
    pixels = image_references.vqgan_decoder(decoder, codes, levels, blocks)
    torch.testing.assert_close(tokenizer.decoder(codes), pixels, rtol=0, atol=TOLERANCE)
    return latents.movedim(1, -1), tokens.indices[..., 0]


def nearest(z, codes):
    return torch.cdist(z.double(), codes.double()).argmin(-1)


def same(left, right):
    assert left.keys() == right.keys()
    assert all(torch.equal(value, right[name]) for name, value in left.items())


TAMING = {
    "attention": {},
    "none": {"attention": (), "middle": False},
    "two blocks, widths that are no multiples": {
        "widths": (64, 96, 160),
        "blocks": 2,
        "attention": (1, 2),
    },
    "first level wider than the first layer": {"widths": (64, 64)},
}


@pytest.mark.parametrize("name", TAMING)
def test_taming(name):
    settings = TAMING[name]
    state = image_originals.taming(**settings)
    tokenizer = vqgan_from_original(state | image_originals.losses())
    levels, blocks = len(settings.get("widths", (1, 2))), settings.get("blocks", 1)
    latents, indices = check_vqgan(tokenizer, state, levels, blocks)
    assert torch.equal(indices, nearest(latents, state["quantize.embedding.weight"]))
    assert len(indices.unique()) > 3
    assert tokenizer.quantizer.loss == VQLoss.taming()
    same(vqgan_to_original(tokenizer), state)


@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
@pytest.mark.parametrize("prefix", ["", "first_stage_model.", "module.", "model._orig_mod."])
def test_files_of_lightning(prefix, suffix, tmp_path):
    """Alone, as the first stage of latent diffusion, wrapped: the same tokenizer."""
    state = image_originals.taming(attention=(), middle=False)
    stored = {prefix + name: value for name, value in (state | image_originals.losses()).items()}
    if prefix == "first_stage_model.":
        stored |= {
            "model.diffusion_model.out.0.weight": torch.ones(3),
            "cond_stage_model.encoder.conv_in.weight": torch.ones(1),
            "model_ema.decay": torch.tensor(0.9),
            "model_ema.diffusion_modelout0weight": torch.ones(3),
            "betas": torch.ones(4),
        }
    path = tmp_path / f"last{suffix}"
    if suffix == ".ckpt":
        torch.save({"state_dict": stored, "epoch": 3, "global_step": 7}, path)
    else:
        save_file(stored, path)
    assert read_foreign(path).fingerprint == vqgan_from_original(state).fingerprint


class Callback:
    """Stands for what Lightning 1 and OmegaConf pickle into checkpoints."""

    def __init__(self):
        self.best = Sampler  # a class, and a state that is a mapping
        self.where = {"a": 1}


class Commands:
    def __reduce__(self):
        return (os.system, ("exit 1",))


class Runs:
    """A file that would run something."""

    def __reduce__(self):
        return (print, ("this file was run",))


@pytest.mark.parametrize(
    "beside",
    [
        {"callbacks": {Callback: {"monitor": "val"}}},
        {"callbacks": [Callback()]},
        {"args": argparse.Namespace(image_size=256)},
        {"args": Runs()},
    ],
    ids=["class", "object", "settings", "hostile"],
)
def test_objects_beside_the_weights_are_not_built(beside, tmp_path, capsys):
    state = image_originals.taming(attention=(), middle=False)
    torch.save({"state_dict": state, **beside}, tmp_path / "last.ckpt")
    tokenizer = read_foreign(tmp_path / "last.ckpt")
    assert tokenizer.fingerprint == vqgan_from_original(state).fingerprint
    assert "run" not in capsys.readouterr().out


def test_a_file_that_names_the_system_is_refused(tmp_path):
    torch.save({"state_dict": {}, "args": Commands()}, tmp_path / "last.ckpt")
    with pytest.raises(ConfigError, match="blocked"):
        read_foreign(tmp_path / "last.ckpt")


def test_the_moving_average_is_what_is_read(tmp_path):
    state = image_originals.taming(attention=(), middle=False)
    better = {name: value + 1 for name, value in state.items()}
    stored = state | image_originals.average_names(better)
    stored["model_ema.num_updates"] = torch.tensor(5)
    # Its discriminator was left out, as people do who publish.
    stored["model_ema.lossdiscriminatormain0weight"] = torch.ones(1)
    torch.save({"state_dict": stored}, tmp_path / "last.ckpt")
    average = read_foreign(tmp_path / "last.ckpt")
    last = read_foreign(tmp_path / "last.ckpt", image=ImageChoice(last=True))
    same(vqgan_to_original(average), better)
    same(vqgan_to_original(last), state)
    torch.save({"state_dict": stored | {"model_ema.x": torch.ones(1)}}, tmp_path / "odd.ckpt")
    with pytest.raises(ConfigError, match=r"'model_ema.x', got none"):
        read_foreign(tmp_path / "odd.ckpt")


def test_gumbel():
    """The codes of GumbelVQ: the largest logit where the library draws."""
    state = image_originals.taming(dim=7)
    codes = state.pop("quantize.embedding.weight")
    state["quantize.embed.weight"] = codes
    state["quantize.proj.weight"] = torch.randn(len(codes), 7, 1, 1)
    state["quantize.proj.bias"] = torch.randn(len(codes))
    tokenizer = vqgan_from_original(state)
    assert isinstance(tokenizer.quantizer, GumbelQuantizer)
    latents, indices = check_vqgan(tokenizer, state)
    logits = latents @ state["quantize.proj.weight"][..., 0, 0].T + state["quantize.proj.bias"]
    assert torch.equal(indices, logits.argmax(-1))
    assert torch.equal(tokenizer.quantizer.decode(indices[..., None]), codes[indices])
    same(vqgan_to_original(tokenizer), state)


def test_trap_41_ibq(tmp_path):
    """The largest product, which no weight tells: read as VQGAN's the tokens are others."""
    state = image_originals.taming()
    codes = state["quantize.embedding.weight"]
    codes *= torch.linspace(0.5, 2, len(codes))[:, None]
    save_file(state, tmp_path / "ibq.safetensors")
    tokenizer = read_foreign(tmp_path / "ibq.safetensors", image=ImageChoice("product"))
    assert isinstance(tokenizer.quantizer, IBQ)
    assert tokenizer.name == "image/ibq"
    latents, indices = check_vqgan(tokenizer, state)
    assert torch.equal(indices, (latents.double() @ codes.double().T).argmax(-1))
    others = read_foreign(tmp_path / "ibq.safetensors").encode(picture()).indices[..., 0]
    assert not torch.equal(others, indices)
    same(vqgan_to_original(tokenizer), state)
    assert ibq_from_original(state).fingerprint == tokenizer.fingerprint


@pytest.mark.parametrize("cosine", [True, False])
def test_llamagen(cosine, tmp_path):
    state = image_originals.taming((32, 32, 64), blocks=2, attention=(2,), dim=3)
    stored = image_originals.llamagen(state)
    checkpoint = {
        "model": {name: value + 1 for name, value in stored.items()},
        "ema": stored | {"quantize.codebook_used": torch.zeros(65_536)},
        "discriminator": {"main.0.weight": torch.ones(2)},
        "optimizer": {"state": {}},
        "args": argparse.Namespace(vq_model="VQ-16"),
        "steps": 300_000,
    }
    torch.save(checkpoint, tmp_path / "vq.pt")
    tokenizer = read_foreign(tmp_path / "vq.pt", image=ImageChoice(None if cosine else "nearest"))
    latents, indices = check_vqgan(tokenizer, state, levels=3, blocks=2)
    codes = state["quantize.embedding.weight"]
    if not cosine:
        assert torch.equal(indices, nearest(latents, codes))
        return
    assert tokenizer.quantizer.metric == Cosine()
    assert tokenizer.quantizer.loss == VQLoss.paper()
    unit = F.normalize(codes, dim=-1)
    assert torch.equal(indices, nearest(F.normalize(latents, dim=-1), unit))
    same(llamagen_to_original(tokenizer), stored)
    last = read_foreign(tmp_path / "vq.pt", image=ImageChoice(last=True))
    assert last.fingerprint == llamagen_from_original(checkpoint["model"]).fingerprint


@pytest.mark.parametrize("height", [2, 8])
def test_trap_42_open_magvit2(height, tmp_path):
    """Of one latent as well, which has no deviation."""
    state = image_originals.open_magvit2()
    stored = state | image_originals.losses()
    stored["quantize.mask"] = 2 ** torch.arange(5)
    torch.save({"state_dict": stored}, tmp_path / "imagenet_256_L.ckpt")
    tokenizer = read_foreign(tmp_path / "imagenet_256_L.ckpt")
    assert tokenizer.quantizer.codebook_sizes == (32,)
    assert isinstance(tokenizer.quantizer, LFQ)
    x = picture(height, height)
    encoder, decoder = part(state, "encoder."), part(state, "decoder.")
    latents = image_references.magvit2_encoder(encoder, x, 2, 2)
    torch.testing.assert_close(tokenizer.encoder(x), latents, rtol=0, atol=TOLERANCE)
    tokens = tokenizer.encode(x)
    bits = (latents > 0).long().movedim(1, -1)
    assert torch.equal(tokens.indices[..., 0], (bits * 2 ** torch.arange(5)).sum(-1))
    codes = 2.0 * bits.movedim(-1, 1) - 1
    pixels = image_references.magvit2_decoder(decoder, codes, 2, 2)
    assert pixels.isfinite().all()
    torch.testing.assert_close(tokenizer.decoder(codes), pixels, rtol=0, atol=TOLERANCE)
    same(open_magvit2_to_original(tokenizer), state)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("cosine", [False, True])
def test_trap_43_titok(legacy, cosine, tmp_path):
    config, state = image_originals.titok(legacy=legacy, cosine=cosine)
    stored = state | {"quantize.embed_prob": torch.zeros(image_originals.CODES)}
    save_file(stored, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config))
    tokenizer = read_foreign(tmp_path)
    x = picture(TITOK["side"], TITOK["side"])
    encoder = part(state, "encoder.")
    latents = image_references.titok_encoder(
        encoder, state["latent_tokens"], (x + 1) / 2, 1, legacy=legacy
    )
    torch.testing.assert_close(tokenizer.encoder(x), latents, rtol=0, atol=TOLERANCE)
    tokens = tokenizer.encode(x)
    assert tokens.axes == ("token",)
    z, codes = latents.mT, state["quantize.embedding.weight"]
    if cosine:
        z, codes = F.normalize(z, dim=-1), F.normalize(codes, dim=-1)
    index = nearest(z, codes)
    assert torch.equal(tokens.indices[..., 0], index)
    side = TITOK["side"] // TITOK["patch"]
    pixels = image_references.titok_decoder(part(state, "decoder."), codes[index].mT, 1, side)
    ours = tokenizer.decoder(codes[index].mT)
    torch.testing.assert_close(ours, 2 * pixels - 1, rtol=0, atol=1e-4)
    tokenizer.save_pretrained(tmp_path / "ours")
    again = Tokenizer.from_pretrained(tmp_path / "ours")
    assert again.encode(x).indices.equal(tokens.indices)
    with pytest.raises(ConfigError, match="width and layers"):
        titok_to_original(tokenizer)


def test_titok_of_two_stages():
    """By way of the codes of MaskGIT's VQGAN."""
    config, state = image_originals.titok(legacy=True, cosine=True, two_stages=True)
    tokenizer = titok_from_original(config, state)
    side = TITOK["side"] // TITOK["patch"]
    z = F.normalize(torch.randn(2, TITOK["dim"], TITOK["tokens"]), dim=1)
    pixels = image_references.titok_two_stage_decoder(
        part(state, "decoder."),
        part(state, "pixel_decoder."),
        state["pixel_quantize.embedding.weight"],
        z,
        num_heads=1,
        side=side,
    )
    torch.testing.assert_close(tokenizer.decoder(z), 2 * pixels - 1, rtol=0, atol=1e-4)
    tokens = tokenizer.encode(picture(TITOK["side"], TITOK["side"]))
    assert tokenizer.decode(tokens)[0].shape == (3, TITOK["side"], TITOK["side"])


@pytest.mark.slow
@pytest.mark.parametrize("two_stages", [False, True])
def test_titok_back_at_its_own_size(two_stages):
    """The library has words for sizes, and no numbers: small is the least."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image_originals, "TITOK", TITOK | {"width": 512, "layers": 8})
        config, state = image_originals.titok(cosine=True, two_stages=two_stages)
    written, again = titok_to_original(titok_from_original(config, state))
    same(again, state)
    assert written["model"]["vq_model"]["vit_enc_model_size"] == "small"
    assert written["model"]["vq_model"]["finetune_decoder"] == two_stages
    assert titok_from_original(written, again).config == titok_from_original(config, state).config


@pytest.mark.parametrize(
    ("read", "state", "message"),
    [
        (vqgan_from_original, {"encoder.x": torch.ones(1)}, "down.0, down.1"),
        (open_magvit2_from_original, {"encoder.x": torch.ones(1)}, "conv_in.weight"),
        (llamagen_from_original, {"encoder.x": torch.ones(1)}, "down.0, down.1"),
    ],
)
def test_other_weights_are_refused(read, state, message):
    with pytest.raises(ConfigError, match=message):
        read(state)


def test_an_autoencoder_without_codes_is_refused():
    state = image_originals.taming()
    del state["quantize.embedding.weight"]
    with pytest.raises(ConfigError, match=r"quantize\.embedding\.weight"):
        vqgan_from_original(state)


@pytest.mark.parametrize("make", [image_originals.taming, image_originals.open_magvit2])
def test_entries_of_unknown_meaning_are_refused(make):
    read = vqgan_from_original if make is image_originals.taming else open_magvit2_from_original
    with pytest.raises(ConfigError, match=r"'upscaler.weight'\] besides"):
        read(make() | {"upscaler.weight": torch.ones(1)})
    missing = make()
    del missing["decoder.norm_out.bias"]
    with pytest.raises(ConfigError, match=r"norm_out\.bias"):
        read(missing)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("decoder.text_guidance_proj.weight", "text"),
        ("decoder.ffn.2.weight", "tokens of another"),
    ],
)
def test_titok_without_pixels_is_refused(name, message):
    config, state = image_originals.titok()
    with pytest.raises(ConfigError, match=message):
        titok_from_original(config, state | {name: torch.ones(1)})


def test_titok_alone_in_a_file_wants_its_configuration(tmp_path):
    _, state = image_originals.titok()
    torch.save(state, tmp_path / "tokenizer_titok_bl64_vq8k.bin")
    with pytest.raises(ConfigError, match=r"config\.json beside"):
        read_foreign(tmp_path / "tokenizer_titok_bl64_vq8k.bin")


@pytest.mark.usefixtures("unchecked_shapes")
def test_an_unknown_choice_is_refused():
    with pytest.raises(ConfigError, match="nearest or product"):
        ImageChoice("largest")  # type: ignore[arg-type]
