"""``vqkit convert`` on tokenizers of images."""

from pathlib import Path

import torch
from safetensors.torch import load_file

from tests.cli.conftest import Run
from tests.tokenizers.converters import image_originals
from vqkit.media import write_image
from vqkit.quantizers import IBQ, VectorQuantizer
from vqkit.tokenizers import Tokenizer
from vqkit.tokenizers.converters import vqgan_to_original


def test_a_checkpoint_becomes_a_model_that_encodes_and_a_folder_of_diffusers(
    run: Run, tmp_path: Path
) -> None:
    state = image_originals.taming(attention=(), middle=False)
    average = {name: value * 0.5 for name, value in state.items()}
    stored = state | image_originals.average_names(average)
    torch.save({"state_dict": stored}, tmp_path / "last.ckpt")
    ran = run("convert", tmp_path / "last.ckpt", tmp_path / "model")
    assert ran.status == 0, ran.err
    assert "image/vqgan for vqkit" in ran.err
    model = Tokenizer.from_pretrained(tmp_path / "model")
    assert isinstance(model.quantizer, VectorQuantizer)
    assert torch.equal(vqgan_to_original(model)["quant_conv.bias"], average["quant_conv.bias"])
    write_image(torch.rand(3, 9, 14) * 2 - 1, tmp_path / "photo.png")
    ran = run("encode", tmp_path / "photo.png", "-m", tmp_path / "model")
    assert ran.status == 0, ran.err

    ran = run("convert", tmp_path / "model", tmp_path / "theirs", "--to", "diffusers")
    assert ran.status == 0, ran.err
    written = load_file(tmp_path / "theirs" / "diffusion_pytorch_model.safetensors")
    assert torch.equal(written["quant_conv.bias"], average["quant_conv.bias"])
    ran = run("convert", tmp_path / "theirs", tmp_path / "again", "--name", "image/vqgan")
    assert ran.status == 0, ran.err
    assert Tokenizer.from_pretrained(tmp_path / "again").fingerprint == model.fingerprint

    options = ("--codes", "product", "--last-weights", "-f")
    ran = run("convert", tmp_path / "last.ckpt", tmp_path / "model", *options)
    assert ran.status == 0, ran.err
    model = Tokenizer.from_pretrained(tmp_path / "model")
    assert isinstance(model.quantizer, IBQ)
    assert torch.equal(vqgan_to_original(model)["quant_conv.bias"], state["quant_conv.bias"])
    ran = run("convert", tmp_path / "model", tmp_path / "ibq", "--to", "diffusers")
    assert ran.status != 0
    assert "nearest code is taken, got IBQ" in ran.err
