"""What the contract leaves open: identity, batches, wrong parts, description."""

import dataclasses

import pytest
import torch

from tests.training import tiny
from vqkit.errors import ConfigError, ShapeError
from vqkit.files import read_tokens, write_tokens
from vqkit.quantizers import FSQ, MultiScaleResidual
from vqkit.tokenizers import ImageFrontend, Tokenizer, TokenizerSpec
from vqkit.tokenizers.fingerprint import fingerprint


def test_the_fingerprint_follows_every_change():
    tokenizer = tiny.tokenizer()
    seen = {tokenizer.fingerprint}
    with torch.no_grad():
        tokenizer.encoder.conv.weight.add_(1.0)
    seen.add(tokenizer.fingerprint)
    tokenizer.quantizer.codebook.mul_(2.0)
    seen.add(tokenizer.fingerprint)
    tokenizer.load_state_dict(tiny.tokenizer().state_dict())
    seen.add(tokenizer.fingerprint)
    tokenizer.double()
    seen.add(tokenizer.fingerprint)
    tokenizer.name = "renamed"
    seen.add(tokenizer.fingerprint)
    assert len(seen) == 6


def test_the_fingerprint_is_a_plain_hash():
    """Computed here by its description alone."""
    import hashlib

    state = {"b": torch.tensor([1.0, 2.0]), "a": torch.tensor(3, dtype=torch.int64)}
    text = b'{"x":1,"y":[2]}'
    text += b"\na torch.int64 []\n" + (3).to_bytes(8, "little")
    text += b"\nb torch.float32 [2]\n" + bytes.fromhex("0000803f00000040")
    expected = hashlib.blake2b(text, digest_size=16).hexdigest()
    assert fingerprint({"y": [2], "x": 1}, state) == expected


def test_batched_encoding_gives_the_same_tokens_here():
    torch.manual_seed(0)
    tokenizer = tiny.tokenizer(FSQ([5] * 4))
    media = [torch.rand(3, h, w) * 2 - 1 for h, w in [(8, 8), (9, 5), (8, 8), (7, 8)]]
    plain, batched = tokenizer.encode(media), tokenizer.encode(media, batched=True)
    assert batched.same_as(plain)


def test_parts_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match=r"encoder.dim and quantizer.dim .* 5 and 4"):
        Tokenizer(ImageFrontend(), tiny.TinyEncoder(5), FSQ([5] * 4), tiny.TinyDecoder())
    with pytest.raises(ConfigError, match=r"frontend.channels .* 3 and 1"):
        Tokenizer(ImageFrontend(1), tiny.TinyEncoder(), FSQ([5] * 4), tiny.TinyDecoder())


def test_the_description():
    spec = tiny.tokenizer(FSQ([8, 8, 4, 4])).spec
    assert spec.codebook_sizes == (1024,)
    assert spec.bits_per_pixel == 10 / 16
    assert spec.grid({"height": 5, "width": 8}) == (2, 2)
    assert TokenizerSpec.from_dict(spec.to_dict()) == spec
    with pytest.raises(ConfigError, match="expected keys"):
        TokenizerSpec.from_dict({"name": "x"})


@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (30, 45), (8, 8)])
def test_padding_repeats_the_edge_and_is_cut_off(size):
    frontend = ImageFrontend()
    image = torch.rand(3, *size) * 2 - 1
    padded, recorded = frontend.prepare(image, (8, 8))
    assert all(
        side % 8 == 0 and side - s < 8 for side, s in zip(padded.shape[1:], size, strict=True)
    )
    rows = torch.arange(padded.shape[1]).clamp(max=size[0] - 1)
    columns = torch.arange(padded.shape[2]).clamp(max=size[1] - 1)
    assert torch.equal(padded, image[:, rows][:, :, columns])
    assert torch.equal(frontend.restore(padded, recorded), image)


def test_a_size_beyond_the_output_is_refused():
    with pytest.raises(ShapeError, match="9x8"):
        ImageFrontend().restore(torch.zeros(3, 8, 8), {"height": 9, "width": 8})


def multiscale_tokenizer() -> Tokenizer:
    scales = [[1, 1], [2, 2], [3, 4]]
    return tiny.tokenizer(MultiScaleResidual(tiny.vector_quantizer(), scales))


def test_a_quantizer_of_one_grid_makes_one_stream_of_tokens(tmp_path):
    tokenizer = multiscale_tokenizer()
    image = torch.rand(3, 11, 16) * 2 - 1
    both = tokenizer.encode([image, image.flip(-1)])
    assert both.axes == ("token",)
    assert both.indices.shape == (2, 1 + 4 + 12, 1)
    tokens = both.item(1)
    write_tokens(tokens, tmp_path / "x.vqt")
    read = read_tokens(tmp_path / "x.vqt")
    assert read.same_as(tokens)
    for mine, theirs in zip(tokenizer.decode(read), tokenizer.decode(tokens), strict=True):
        assert mine.shape == (3, 11, 16)
        assert torch.equal(mine, theirs)


def test_media_of_another_grid_than_the_quantizers_are_refused_with_the_size_to_take():
    tokenizer = multiscale_tokenizer()
    with pytest.raises(ShapeError, match=r"grid of \[3, 4\].* got \[4, 4\].*\[12, 16\]"):
        tokenizer.encode([torch.zeros(3, 16, 16)])
    tokens = tokenizer.encode([torch.zeros(3, 12, 16)])
    lying = dataclasses.replace(tokens, media=({"height": 12, "width": 20},))
    with pytest.raises(ShapeError, match=r"got \[3, 5\]"):
        tokenizer.decode(lying)


def test_the_description_of_a_quantizer_of_one_grid():
    spec = multiscale_tokenizer().spec
    assert spec.grid({"height": 12, "width": 16}) == (17,)
    assert spec.bits_per_pixel == pytest.approx(4 * 17 / (12 * 16))
    assert TokenizerSpec.from_dict(spec.to_dict()) == spec
    assert "latent_grid" not in tiny.tokenizer().spec.to_dict()


def test_a_grid_of_another_number_of_axes_is_refused():
    with pytest.raises(ConfigError, match=r"quantizer.grid axes and axes .* 1 and 2"):
        tiny.tokenizer(MultiScaleResidual(tiny.vector_quantizer(), [[1], [4]]))
