"""The same tokens and the same sound as transformers from the same weights, and back again."""

import json
import math

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from tests.tokenizers.converters import peers
from vqkit.tokenizers.converters import (
    dac_from_transformers,
    dac_to_transformers,
    encodec_from_transformers,
    encodec_to_transformers,
    mimi_from_transformers,
    mimi_to_transformers,
)

TOLERANCE = 1e-5
RATE_HZ = 24_000


def lengths(hop, batch, *, long=RATE_HZ):
    """Around the hop, and a long one, which says nothing more in company."""
    return [1, hop - 1, hop, hop + 1, int(3.7 * hop)] + ([long] if batch == 1 else [])


def sounds(batch, channels, length):
    """Noise that grows louder, so that frames differ."""
    generator = torch.Generator().manual_seed(length)
    noise = 0.3 * torch.randn(batch, channels, length, generator=generator)
    return (noise * torch.linspace(0.1, 1, length)).clamp(-1, 1)


def check_encoder(tokenizer, x, latents, indices):
    """``latents [batch, dim, frames]``, ``indices [batch, codebooks, frames]``."""
    ours = tokenizer.encoder(x)
    torch.testing.assert_close(ours, latents, rtol=0, atol=TOLERANCE)
    tokens = tokenizer.encode(x)
    assert torch.equal(tokens.indices, indices.transpose(1, 2))
    if tokens.num_tokens > 100:
        assert len(tokens.indices.unique()) > 8
    return tokens


def check_decoder(tokenizer, tokens, sound):
    """The sound of all frames, of which the tokenizer gives what the original had."""
    quantized = tokenizer.quantizer.decode(tokens.indices)
    whole = tokenizer.decoder(quantized.movedim(-1, 1))
    torch.testing.assert_close(whole[..., : sound.shape[-1]], sound, rtol=0, atol=TOLERANCE)
    for decoded, theirs, size in zip(tokenizer.decode(tokens), sound, tokens.media, strict=True):
        length = min(size["samples"], theirs.shape[-1])
        assert decoded.shape[-1] == size["samples"]
        expected = theirs[..., :length].clamp(-1, 1)
        torch.testing.assert_close(decoded[..., :length], expected, rtol=0, atol=TOLERANCE)


@pytest.fixture(scope="module", autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


ENCODEC = {
    "24 kHz": {},
    "two blocks, identity shortcut, zero padding": {
        "num_residual_layers": 2,
        "use_conv_shortcut": False,
        "pad_mode": "constant",
    },
    "stereo, whole": {
        "norm_type": "time_group_norm",
        "use_causal_conv": False,
        "audio_channels": 2,
    },
}


@pytest.mark.parametrize("name", ENCODEC)
@pytest.mark.parametrize("batch", [1, 3])
def test_encodec(name, batch):
    model = peers.encodec(**ENCODEC[name])
    tokenizer = encodec_from_transformers(model.config.to_dict(), model.state_dict())
    config, state = encodec_to_transformers(tokenizer)
    again = type(model)(type(model.config)(**config)).eval()
    again.load_state_dict(state)
    for length in lengths(320, batch):
        x = sounds(batch, model.config.audio_channels, length)
        for peer in (model, again):
            codes = peer.encode(x, bandwidth=peer.config.target_bandwidths[-1]).audio_codes[0]
            tokens = check_encoder(tokenizer, x, peer.encoder(x), codes)
            check_decoder(tokenizer, tokens, peer.decode(codes[None], [None]).audio_values)


def test_encodec_at_a_lower_bandwidth_has_the_first_codebooks():
    model = peers.encodec(codebook_size=1024, target_bandwidths=[1.5, 3.0])
    tokenizer = encodec_from_transformers(model.config.to_dict(), model.state_dict())
    x = sounds(1, 1, 5000)
    tokens = tokenizer.encode(x).first_codebooks(2)
    codes = model.encode(x, bandwidth=1.5).audio_codes[0]
    assert torch.equal(tokens.indices, codes.transpose(1, 2))
    check_decoder(tokenizer, tokens, model.decode(codes[None], [None]).audio_values)


@pytest.mark.parametrize("strides", peers.DAC_STRIDES, ids=str)
@pytest.mark.parametrize("batch", [1, 3])
def test_dac(strides, batch):
    model = peers.dac(strides)
    tokenizer = dac_from_transformers(model.config.to_dict(), model.state_dict())
    config, state = dac_to_transformers(tokenizer)
    again = type(model)(type(model.config)(**config)).eval()
    again.load_state_dict(state)
    hop = math.prod(strides)
    for length in lengths(hop, batch, long=model.config.sampling_rate):
        x = sounds(batch, 1, length)
        padded = F.pad(x, (0, -length % hop))
        for peer in (model, again):
            output = peer.encode(padded)
            tokens = check_encoder(tokenizer, x, peer.encoder(padded), output.audio_codes)
            sound = peer.decode(audio_codes=output.audio_codes).audio_values
            check_decoder(tokenizer, tokens, sound[:, None])


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("changes", [{}, {"use_conv_shortcut": True, "num_residual_layers": 2}])
def test_mimi(batch, changes):
    model = peers.mimi(**changes)
    tokenizer = mimi_from_transformers(model.config.to_dict(), model.state_dict())
    assert tokenizer.stride == (1920,)
    for length in lengths(1920, batch, long=3 * RATE_HZ):
        x = sounds(batch, 1, length)
        output = model.encode(x)
        tokens = check_encoder(tokenizer, x, model.encoder(x).latents, output.audio_codes)
        check_decoder(tokenizer, tokens, model.decode(output.audio_codes).audio_values)


def test_mimi_back(tmp_path):
    """Read as the library reads its files, whose names are not those in memory."""
    model = peers.mimi()
    tokenizer = mimi_from_transformers(model.config.to_dict(), model.state_dict())
    config, state = mimi_to_transformers(tokenizer)
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file(
        {name: value.contiguous() for name, value in state.items()},
        tmp_path / "model.safetensors",
        metadata={"format": "pt"},
    )
    again = type(model).from_pretrained(tmp_path).eval()
    x = sounds(2, 1, 9000)
    assert torch.equal(again.encode(x).audio_codes, model.encode(x).audio_codes)
    codes = model.encode(x).audio_codes
    torch.testing.assert_close(
        again.decode(codes).audio_values, model.decode(codes).audio_values, rtol=0, atol=TOLERANCE
    )
