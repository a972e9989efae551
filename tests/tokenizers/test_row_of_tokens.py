"""Tokens in a row, on no axis of the image: in files, in data sets, and with other parts."""

import json

import pytest
import torch

from tests.training import tiny
from vqkit.errors import ConfigError, ShapeError
from vqkit.files import dumps, loads
from vqkit.nets import TiTokDecoder, TiTokEncoder
from vqkit.quantizers import FSQ, MultiScaleResidual, Residual
from vqkit.tokenizers import ImageFrontend, MediaPart, Tokenizer, TokenizerSpec

SIZES = {
    "dim": 4,
    "side_pixels": 24,
    "patch_pixels": 8,
    "num_tokens": 5,
    "width": 16,
    "num_layers": 1,
    "num_heads": 2,
}


@pytest.fixture
def tokenizer():
    torch.manual_seed(0)
    quantizer = Residual(FSQ([5] * 4, symmetric=True, bound="clamp"), 2, level_scale=0.25)
    encoder, decoder = TiTokEncoder(**SIZES), TiTokDecoder(**SIZES)
    return Tokenizer(ImageFrontend(), encoder, quantizer, decoder, "row").eval()


def test_a_row_of_tokens_through_a_file(tokenizer):
    images = torch.rand(2, 3, 24, 24) * 2 - 1
    tokens = tokenizer.encode(images)
    assert tokens.axes == ("token",)
    assert tokens.indices.shape == (2, 5, 2)
    read = loads(dumps(tokens.item(1)))
    assert read.same_as(tokens.item(1))
    assert torch.equal(tokenizer.decode(read)[0], tokenizer.decode(tokens)[1])
    together = torch.stack(tokenizer.decode(tokens, batched=True))
    torch.testing.assert_close(together, torch.stack(tokenizer.decode(tokens)), rtol=0, atol=1e-5)


def test_its_description(tokenizer):
    spec = tokenizer.spec
    assert (spec.latent_grid, spec.num_positions) == ((3, 3), 5)
    assert spec.grid({"height": 24, "width": 24}) == (5,)
    assert spec.bits_per_pixel == pytest.approx(5 * spec.bits_per_position / 24**2)
    assert TokenizerSpec.from_dict(json.loads(spec.to_json())) == spec


def test_images_that_are_padded_to_its_size_and_no_others(tokenizer):
    tokens = tokenizer.encode([torch.zeros(3, 17, 24)])
    assert tokens.indices.shape == (1, 5, 2)
    assert tokenizer.decode(tokens)[0].shape == (3, 17, 24)
    with pytest.raises(ShapeError, match=r"grid of \[3, 3\].* got \[2, 3\].*\[24, 24\]"):
        tokenizer.encode([torch.zeros(3, 16, 24)])
    with pytest.raises(ShapeError, match="stand for all of it"):
        MediaPart.of(tokenizer.spec, {"height": 24, "width": 24}, {"height": (0, 8)}, 1)


def test_every_token_moves_the_whole_image(tokenizer):
    """That is why a part cannot be decoded alone."""
    image = torch.rand(1, 3, 24, 24) * 2 - 1
    indices = tokenizer.encode(image).indices
    other = indices.clone()
    other[0, 2, 0] = (other[0, 2, 0] + 1) % 625
    changed = (tokenizer.decode_whole(other) - tokenizer.decode_whole(indices)).abs()
    assert (changed.amax(dim=(0, 1)) > 0).all()


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"decoder": tiny.TinyDecoder(4)}, "encoder.stride|encoder.grid"),
        ({"decoder": TiTokDecoder(**SIZES | {"num_tokens": 6})}, "encoder.grid and decoder.grid"),
        (
            {"quantizer": MultiScaleResidual(tiny.vector_quantizer(), [[1, 1], [3, 3]])},
            "single positions after an encoder to a row",
        ),
    ],
    ids=["decoder of a grid", "other number of tokens", "quantizer of a grid"],
)
def test_parts_that_do_not_go_with_a_row(tokenizer, part, message):
    parts = {
        "encoder": tokenizer.encoder,
        "quantizer": tokenizer.quantizer,
        "decoder": tokenizer.decoder,
    }
    with pytest.raises(ConfigError, match=message):
        Tokenizer(ImageFrontend(), **parts | part)
