"""X-Codec's tokens decode without HuBERT, and with it sounds are encoded as transformers does."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from transformers import DacConfig, HubertConfig, XcodecConfig, XcodecModel

from tests.tokenizers.converters import peers
from vqkit.errors import ConfigError, ShapeError
from vqkit.files import dumps, loads
from vqkit.nets import XCodecEncoder
from vqkit.quantizers import Factorized, Residual, VectorQuantizer
from vqkit.tokenizers import Tokenizer, Tokens, TokenStream
from vqkit.tokenizers.converters import (
    dac_to_transformers,
    read_foreign,
    xcodec_from_transformers,
)
from vqkit.tokenizers.converters.state import fold_weight_norm

HOP = 320


class Semantic(nn.Module):
    """What transformers computes of the semantic half, as the half that one hands in."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        features = self.model._extract_semantic_features(x)
        return self.model.encoder_semantic(features.transpose(1, 2))


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def model():
    acoustic = DacConfig(
        encoder_hidden_size=2,
        downsampling_ratios=[8, 5, 4, 2],
        upsampling_ratios=[8, 5, 4, 2],
        decoder_hidden_size=32,
        hidden_size=16,
    )
    semantic = HubertConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=[8] * 7,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
    )
    config = XcodecConfig(
        target_bandwidths=[0.5, 1.0],
        codebook_size=64,
        acoustic_model_config=acoustic,
        semantic_model_config=semantic,
    )
    with torch.no_grad():
        # As of DAC: residual blocks and Snake let the deviation grow.
        model = peers.randomised(XcodecModel(config), gain=0.5)
        x = sound(50, 1)
        features = torch.cat([model.acoustic_encoder(x), Semantic(model)(x)], dim=1)
        latents = model.fc(features.transpose(1, 2)).transpose(1, 2)
        for number, level in enumerate(model.quantizer.quantizers):
            peers.place_codes(level.codebook.embed, latents, number)
    return model


def sound(frames, batch):
    generator = torch.Generator().manual_seed(frames)
    noise = 0.3 * torch.randn(batch, 1, frames * HOP, generator=generator)
    return (noise * torch.linspace(0.05, 1, frames * HOP)).clamp(-1, 1)


@pytest.mark.parametrize("batch", [1, 3])
def test_parity(model, batch):
    config, state = model.config.to_dict(), model.state_dict()
    tokenizer = xcodec_from_transformers(config, state, Semantic(model))
    alone = xcodec_from_transformers(config, state)
    for frames in (2, 4, 50):
        x = sound(frames, batch)
        codes = model.encode(x).audio_codes
        torch.testing.assert_close(
            tokenizer.encoder.acoustic(x), model.acoustic_encoder(x), rtol=0, atol=1e-5
        )
        latents = tokenizer.encoder(x).movedim(1, -1)
        assert torch.equal(tokenizer.quantizer.encode(latents), codes.transpose(1, 2))
        theirs = model.decode(codes).audio_values
        assert theirs.shape == x.shape
        for number, expected in enumerate(theirs):
            tokens = foreign_tokens(alone, codes[number : number + 1], frames * HOP)
            decoded = alone.decode(loads(dumps(tokens)))[0]
            torch.testing.assert_close(decoded, expected.clamp(-1, 1), rtol=0, atol=1e-5)
    assert len(codes.unique()) > 8


def foreign_tokens(tokenizer, codes, samples):
    """Indices ``[1, codebooks, frames]`` of the library as tokens of the converted model."""
    stream = TokenStream(codes.transpose(1, 2).contiguous(), (64,) * codes.shape[1], ("time",))
    size = {"samples": samples, "sample_rate_hz": 16_000, "channels": 1}
    return Tokens({"tokens": stream}, (size,), "audio", tokenizer.name, tokenizer.fingerprint)


def test_a_folder_loses_the_semantic_half_and_refuses_to_encode(model, tmp_path):
    model.save_pretrained(tmp_path / "theirs")
    tokenizer = read_foreign(tmp_path / "theirs")
    tokenizer.save_pretrained(tmp_path / "ours")
    loaded = Tokenizer.from_pretrained(tmp_path / "ours")
    assert isinstance(loaded.encoder, XCodecEncoder)
    assert not any("semantic" in name for name in loaded.state_dict())
    with pytest.raises(ConfigError, match="expected its semantic half"):
        loaded.encode(sound(2, 1))
    codes = model.encode(sound(4, 1)).audio_codes
    (decoded,) = loaded.decode(foreign_tokens(loaded, codes, 4 * HOP))
    expected = model.decode(codes).audio_values[0].clamp(-1, 1)
    torch.testing.assert_close(decoded, expected, rtol=0, atol=1e-5)


def test_sounds_that_are_no_whole_frames_are_filled_up(model):
    tokenizer = xcodec_from_transformers(
        model.config.to_dict(), model.state_dict(), Semantic(model)
    )
    x = sound(3, 1)[..., :-7]
    filled = F.pad(x, (0, 7))
    assert torch.equal(tokenizer.encoder(x), tokenizer.encoder(filled))


def test_weights_of_something_else(model):
    state = fold_weight_norm(model.state_dict())
    del state["fc2.weight"]
    with pytest.raises(ConfigError, match=r"'fc2\.weight', found none"):
        xcodec_from_transformers(model.config.to_dict(), state)
    with pytest.raises(ConfigError, match="semantic_dim >= 1"):
        XCodecEncoder(xcodec_from_transformers(*_parts(model)).encoder.acoustic, 0)


@pytest.mark.usefixtures("unchecked_shapes")
def test_a_semantic_half_of_other_frames_is_refused(model):
    tokenizer = xcodec_from_transformers(*_parts(model), nn.Conv1d(1, 16, HOP, stride=2 * HOP))
    with pytest.raises(ShapeError, match=r"expected features \[1, 16, 4\], got \[1, 16, 2\]"):
        tokenizer.encoder(sound(4, 1))


def test_its_decoder_is_no_dac(model):
    tokenizer = xcodec_from_transformers(*_parts(model))
    projected = Residual(Factorized(VectorQuantizer(4, 8), 16), 2)
    parts = tokenizer.encoder.acoustic, projected, tokenizer.decoder.acoustic
    with pytest.raises(ConfigError, match="no tanh"):
        dac_to_transformers(Tokenizer(tokenizer.frontend, *parts))


def _parts(model):
    return model.config.to_dict(), model.state_dict()
