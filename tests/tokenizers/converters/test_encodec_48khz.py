"""EnCodec at 48 kHz: chunks, scales and sounds as transformers has them, and back again."""

import pytest
import torch

from tests.tokenizers.converters import originals, peers
from vqkit.files import dumps, loads
from vqkit.tokenizers import Chunking, Tokenizer
from vqkit.tokenizers.chunking import SCALE_STREAM
from vqkit.tokenizers.converters import (
    encodec_from_original,
    encodec_from_transformers,
    encodec_to_original,
    encodec_to_transformers,
)
from vqkit.tokenizers.converters.encodec import _chunking_of, _chunks_of
from vqkit.tokenizers.float_bits import floats_of_bytes

RATE_HZ, HOP, BANDWIDTH = 48_000, 320, 1.8
LENGTHS = {1: (1, HOP - 1, HOP, HOP + 1, int(3.7 * HOP), RATE_HZ, int(2.3 * RATE_HZ))}
LENGTHS[3] = LENGTHS[1][:5]


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def model():
    """Bandwidths of 1 and 2 levels of 6 bits."""
    with torch.no_grad():
        return peers.encodec(
            sampling_rate=RATE_HZ,
            audio_channels=2,
            norm_type="time_group_norm",
            use_causal_conv=False,
            normalize=True,
            chunk_length_s=1.0,
            overlap=0.01,
            target_bandwidths=[0.9, BANDWIDTH],
        )


@pytest.fixture(scope="module")
def tokenizer(model):
    with torch.no_grad():
        return encodec_from_transformers(model.config.to_dict(), model.state_dict())


def sounds(batch, length):
    """Noise that grows louder, so that chunks differ, and not alike in both channels."""
    generator = torch.Generator().manual_seed(length)
    noise = 0.3 * torch.randn(batch, 2, length, generator=generator)
    return (noise * torch.linspace(0.05, 1, length)).clamp(-1, 1)


def theirs(model, x):
    """Indices ``[batch, frames, codebooks]``, scales ``[batch, chunks]``, and the sound."""
    encoded = model.encode(x, bandwidth=BANDWIDTH)
    padding = encoded.last_frame_pad_length
    indices = torch.cat(list(encoded.audio_codes.transpose(-1, -2)), dim=1)
    indices = indices[:, : indices.shape[1] - padding]
    sound = model.decode(
        encoded.audio_codes, encoded.audio_scales, last_frame_pad_length=padding
    ).audio_values
    return indices, torch.cat(encoded.audio_scales, dim=1), sound


def check(tokenizer, model, x):
    indices, scales, sound = theirs(model, x)
    tokens = tokenizer.encode(x)
    assert torch.equal(tokens.indices, indices)
    ours = floats_of_bytes(tokens.streams[SCALE_STREAM].indices)
    torch.testing.assert_close(ours, scales, rtol=1e-6, atol=0)
    expected = sound[..., : x.shape[-1]].clamp(-1, 1)
    for i in range(len(x)):
        (decoded,) = tokenizer.decode(loads(dumps(tokens.item(i))))
        torch.testing.assert_close(decoded, expected[i], rtol=0, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 3])
def test_parity_with_transformers(model, tokenizer, batch):
    for length in LENGTHS[batch]:
        check(tokenizer, model, sounds(batch, length))
    tokens = tokenizer.encode(sounds(1, RATE_HZ))
    assert len(tokens.indices.unique()) > 8


def test_back_to_transformers(model, tokenizer):
    config, state = encodec_to_transformers(tokenizer)
    again = type(model)(type(model.config)(**config)).eval()
    again.load_state_dict(state)
    assert (again.config.chunk_length, again.config.chunk_stride) == (48_000, 47_520)
    assert BANDWIDTH in again.config.target_bandwidths
    check(tokenizer, again, sounds(1, 50_000))


def test_the_original_there_and_back(model, tokenizer):
    state = originals.encodec(model)
    assert "encoder.model.0.conv.norm.weight" in state
    assert "decoder.model.3.convtr.norm.weight" in state
    read = encodec_from_original(state)
    assert read.fingerprint == tokenizer.fingerprint
    written = encodec_to_original(read)
    assert written.keys() == state.keys()
    for name, value in written.items():
        # The moving sum says the same as codes and counts, and is not read.
        if not name.endswith("embed_avg"):
            assert torch.equal(value, state[name]), name


def test_chunks_in_samples_are_those_of_the_configuration():
    for samples, step in ((48_000, 47_520), (24_000, 12_000), (32_001, 32_001), (4801, 4321)):
        chunking = Chunking(samples, step, normalises=samples % 2 == 0)
        assert _chunking_of(_chunks_of(chunking, RATE_HZ), RATE_HZ) == chunking
    whole = _chunking_of({"normalize": True, "chunk_length_s": None}, RATE_HZ)
    assert _chunks_of(whole, RATE_HZ)["chunk_length_s"] is None
    assert _chunking_of(_chunks_of(None, RATE_HZ), RATE_HZ) is None


def test_a_model_that_normalises_whole_sounds(model):
    whole = peers.encodec(normalize=True)
    x = sounds(2, 4000)[:, :1]
    encoded = whole.encode(x, bandwidth=BANDWIDTH)
    tokenizer = encodec_from_transformers(whole.config.to_dict(), whole.state_dict())
    tokens = tokenizer.encode(x)
    assert torch.equal(tokens.indices, encoded.audio_codes[0].transpose(1, 2))
    sound = whole.decode(encoded.audio_codes, encoded.audio_scales).audio_values
    for decoded, expected in zip(tokenizer.decode(tokens), sound, strict=True):
        torch.testing.assert_close(decoded, expected[..., :4000].clamp(-1, 1), rtol=0, atol=1e-5)


def test_a_folder_of_the_model(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    loaded = Tokenizer.from_pretrained(tmp_path)
    assert loaded.spec == tokenizer.spec
    assert loaded.spec.bits_per_second == 1800
    x = sounds(1, 50_000)
    assert loaded.encode(x).same_as(tokenizer.encode(x))
