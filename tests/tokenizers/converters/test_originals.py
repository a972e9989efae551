"""Checkpoints with the names of the libraries themselves, read from files without running them."""

import json
import pickle

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from tests.tokenizers.converters import originals, peers
from vqkit.errors import ConfigError
from vqkit.nets import VocosDecoder
from vqkit.tokenizers import Tokenizer
from vqkit.tokenizers.converters import (
    VocosChoice,
    audiocraft_from_original,
    encodec_from_transformers,
    encodec_to_original,
    encodec_to_transformers,
    mimi_from_original,
    read_foreign,
    speechtokenizer_from_original,
    speechtokenizer_to_original,
    vocos_from_original,
    write_transformers,
)
from vqkit.tokenizers.converters.mimi import _halves
from vqkit.tokenizers.converters.state import fold_weight_norm, unfold_weight_norm


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


def sound(length, batch=2):
    generator = torch.Generator().manual_seed(length)
    return 0.3 * torch.randn(batch, 1, length, generator=generator).clamp(-3, 3)


def test_encodec(tmp_path):
    model = peers.encodec()
    torch.save(originals.encodec(model), tmp_path / "encodec.th")
    tokenizer = read_foreign(tmp_path / "encodec.th")
    x = sound(3000)
    codes = model.encode(x, bandwidth=model.config.target_bandwidths[-1]).audio_codes[0]
    tokens = tokenizer.encode(x)
    assert torch.equal(tokens.indices, codes.transpose(1, 2))
    theirs = model.decode(codes[None], [None]).audio_values[..., :3000].clamp(-1, 1)
    torch.testing.assert_close(torch.stack(tokenizer.decode(tokens)), theirs, rtol=0, atol=1e-5)
    written = encodec_to_original(tokenizer)
    assert written.keys() == originals.encodec(model).keys()
    torch.save(written, tmp_path / "back.th")
    assert torch.equal(read_foreign(tmp_path / "back.th").encode(x).indices, tokens.indices)


AUDIOCRAFT = {
    "identity shortcut, zeros": {"use_conv_shortcut": False, "pad_mode": "constant"},
    "causal, dilated": {"use_causal_conv": True, "num_residual_layers": 2},
    "normalised": {"normalize": True},
}


@pytest.mark.parametrize("name", AUDIOCRAFT)
def test_audiocraft(name, tmp_path):
    """What its weights do not say stands in the text of its configuration."""
    changes = {"use_causal_conv": False, "upsampling_ratios": [5, 4, 4], **AUDIOCRAFT[name]}
    model = peers.encodec(sampling_rate=32_000, target_bandwidths=[2.4, 4.8], **changes)
    torch.save(originals.audiocraft(model), tmp_path / "compression_state_dict.bin")
    tokenizer = read_foreign(tmp_path / "compression_state_dict.bin")
    assert tokenizer.spec.sample_rate_hz == 32_000
    assert tokenizer.stride == (80,)
    x = sound(3000)
    encoded = model.encode(x, bandwidth=4.8)
    tokens = tokenizer.encode(x)
    assert torch.equal(tokens.indices, encoded.audio_codes[0].transpose(1, 2))
    theirs = model.decode(encoded.audio_codes, encoded.audio_scales).audio_values[..., :3000]
    ours = torch.stack(tokenizer.decode(tokens))
    torch.testing.assert_close(ours, theirs.clamp(-1, 1), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("solver: musicgen", "no codec.*'musicgen'"),
        ("seanet: [", "no YAML"),
        ("seanet: !!python/object/apply:os.system [ls]", "no YAML"),
        ("compression_model: encodec\nseanet: {causal: '${a}'}\na: '${a}'", "refer"),
        ("compression_model: encodec\nseanet: {activation: Snake}", "activation.*'Snake'"),
        ("compression_model: encodec\nseanet: {decoder: {n_filters: 3}}", "decoder.*n_filters"),
        ("compression_model: encodec\nseanet: {}", "expected 'seanet.causal'"),
    ],
)
def test_configurations_of_audiocraft_that_say_something_else(config, message):
    checkpoint = originals.audiocraft(peers.encodec())
    with pytest.raises(ConfigError, match=message):
        audiocraft_from_original(config, checkpoint["best_state"])


def test_settings_of_a_wrong_kind(tmp_path):
    checkpoint = originals.audiocraft(peers.encodec())
    checkpoint["xp.cfg"] = checkpoint["xp.cfg"].replace("n_filters: 4", "n_filters: many")
    torch.save(checkpoint, tmp_path / "x.bin")
    with pytest.raises(ConfigError, match=r"x\.bin: its configuration is no such model's"):
        read_foreign(tmp_path / "x.bin")


def test_dac(tmp_path):
    networks, checkpoint = originals.dac()
    torch.save(checkpoint, tmp_path / "weights.pth")
    tokenizer = read_foreign(tmp_path / "weights.pth")
    assert tokenizer.spec.sample_rate_hz == 16_000
    x = sound(120)
    torch.testing.assert_close(tokenizer.encoder(x), networks.encoder(x), rtol=1e-5, atol=1e-5)
    latent = torch.randn(2, 6, 12)
    theirs = networks.decoder.model(latent)
    assert theirs.shape[-1] == 118, "an odd stride costs samples"
    ours = tokenizer.decoder(latent)
    torch.testing.assert_close(ours, F.pad(theirs, (0, 2)), rtol=1e-5, atol=1e-5)


def test_mimi(tmp_path):
    model = peers.mimi(num_attention_heads=8, num_key_value_heads=8, head_dim=4)
    state = originals.mimi(model)
    assert state["encoder_transformer.transformer.layers.0.self_attn.in_proj_weight"].ndim == 2
    save_file(
        {name: value.contiguous() for name, value in state.items()}, tmp_path / "m.safetensors"
    )
    x = sound(30_000, batch=1)
    codes = model.encode(x).audio_codes
    tokenizer = mimi_from_original(state, window=model.config.sliding_window)
    assert torch.equal(tokenizer.encode(x).indices, codes.transpose(1, 2))
    # The window of the file's one model is longer than these frames: nothing else differs.
    assert read_foreign(tmp_path / "m.safetensors").encoder.transformer.window == 250


def test_rows_for_neighbouring_pairs_become_rows_for_halves():
    """Scores of attention with rotations of neighbours and, of the new rows, of halves."""
    heads, size, frames = 2, 6, 5
    weight, x = torch.randn(3 * 12, 12), torch.randn(frames, 12)
    angles = torch.arange(frames)[:, None] / 10_000 ** (torch.arange(0, size, 2) / size)
    turn = torch.polar(torch.ones_like(angles), angles)[:, None]
    q, k = ((x @ rows.mT).view(frames, heads, size // 2, 2) for rows in weight.chunk(3)[:2])
    neighbours = [torch.view_as_real(torch.view_as_complex(y) * turn).flatten(2) for y in (q, k)]
    halves = []
    for rows in _halves(weight, heads).chunk(3)[:2]:
        first, second = (x @ rows.mT).view(frames, heads, size).chunk(2, dim=-1)
        turned = torch.complex(first, second) * turn
        halves.append(torch.cat([turned.real, turned.imag], dim=-1))
    scores = [torch.einsum("ihd,jhd->hij", *pair) for pair in (neighbours, halves)]
    torch.testing.assert_close(scores[0], scores[1])


def test_wavtokenizer(tmp_path):
    decoder = VocosDecoder(16, width=32, hidden_dim=48, num_layers=2, hop=320, n_fft=1280).eval()
    for parameter in decoder.parameters():
        parameter.add_(0.05 * torch.randn(parameter.shape))
    model, checkpoint = originals.wavtokenizer(decoder)
    torch.save(checkpoint, tmp_path / "wavtokenizer.ckpt")
    tokenizer = read_foreign(tmp_path / "wavtokenizer.ckpt")
    x = sound(2000)
    codes = model.encode(x, bandwidth=0.45).audio_codes[0]
    tokens = tokenizer.encode(x)
    assert torch.equal(tokens.indices, codes.transpose(1, 2))
    latent = model.quantizer.decode(codes.transpose(0, 1))
    torch.testing.assert_close(tokenizer.decoder(latent), decoder(latent), rtol=0, atol=1e-5)


def test_speechtokenizer_there_and_back(tmp_path):
    model, config, state = originals.speechtokenizer()
    assert "encoder.model.13.lstm.weight_ih_l1_reverse" in state
    torch.save(state, tmp_path / "SpeechTokenizer.pt")
    (tmp_path / "config.json").write_text(json.dumps(config))
    tokenizer = read_foreign(tmp_path / "SpeechTokenizer.pt")
    assert tokenizer.spec.sample_rate_hz == 16_000
    for length in (1, 319, 320, 321, 1184):
        x = sound(length)
        codes = model.encode(x, bandwidth=model.config.target_bandwidths[-1]).audio_codes[0]
        tokens = tokenizer.encode(x)
        assert torch.equal(tokens.indices, codes.transpose(1, 2))
        theirs = model.decode(codes[None], [None]).audio_values[..., :length].clamp(-1, 1)
        ours = torch.stack(tokenizer.decode(tokens))
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    again_config, again = speechtokenizer_to_original(tokenizer)
    assert again.keys() == state.keys() - {"transform.weight"}
    assert again_config["semantic_dimension"] == again_config["dimension"] == 16
    assert again_config["strides"] == [8, 5, 4, 2]
    read = speechtokenizer_from_original(again_config, again)
    assert torch.equal(read.encode(x).indices, tokens.indices)
    with pytest.raises(ConfigError, match=r"activation 'ELU'.*'Snake'"):
        speechtokenizer_from_original(config | {"activation": "Snake"}, state)
    plain = encodec_from_transformers(*transformers_of(peers.encodec()))
    with pytest.raises(ConfigError, match="both directions"):
        speechtokenizer_to_original(plain)
    with pytest.raises(ConfigError, match="runs forwards"):
        encodec_to_transformers(tokenizer)


def transformers_of(model):
    return model.config.to_dict(), model.state_dict()


def test_vocos_for_tokens_of_encodec(tmp_path):
    model = peers.encodec()
    encodec = encodec_from_transformers(*transformers_of(model))
    decoder = VocosDecoder(16, 32, 48, 2, hop=320, n_fft=1280, position_net=False).eval()
    for parameter in decoder.parameters():
        parameter.add_(0.05 * torch.randn(parameter.shape))
    state = originals.vocos(decoder)
    books = torch.cat([layer.codebook.embed for layer in model.quantizer.layers])
    state["feature_extractor.codebook_weights"] = books
    bandwidths = model.config.target_bandwidths
    tokenizer = vocos_from_original(
        state, encodec, bandwidth_kbps=bandwidths[1], bandwidths_kbps=bandwidths
    )
    x = sound(3000)
    codes = model.encode(x, bandwidth=bandwidths[1]).audio_codes[0]
    tokens = tokenizer.encode(x)
    assert torch.equal(tokens.indices, codes.transpose(1, 2))
    # Its features are the sum of its own codebooks, one after the other in a table.
    places = codes + 64 * torch.arange(codes.shape[1])[:, None]
    latent = F.embedding(places, books).sum(1).transpose(1, 2)
    theirs = decoder(latent)[..., :3000].clamp(-1, 1)
    ours = torch.stack(tokenizer.decode(tokens))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    lower = vocos_from_original(
        state, encodec, bandwidth_kbps=bandwidths[0], bandwidths_kbps=bandwidths
    )
    assert lower.quantizer.codebook_sizes == (64,) * (len(tokens.codebook_sizes) // 2)
    weights = state["backbone.norm.scale.weight"]
    assert torch.equal(lower.decoder.norm.weight, weights[0])

    torch.save(state, tmp_path / "pytorch_model.bin")
    with pytest.raises(ConfigError, match="EnCodec at 24 kHz beside Vocos"):
        read_foreign(tmp_path / "pytorch_model.bin")
    with pytest.raises(ConfigError, match=r"1\.5.*got 7"):
        read_foreign(tmp_path / "pytorch_model.bin", VocosChoice(encodec, 7))
    del state["feature_extractor.codebook_weights"]
    with pytest.raises(ConfigError, match="a vocoder"):
        vocos_from_original(state)
    state["feature_extractor.codebook_weights"] = books + 1
    with pytest.raises(ConfigError, match="not the EnCodec"):
        vocos_from_original(state, encodec, bandwidth_kbps=0.9, bandwidths_kbps=bandwidths)
    with_encodec = {
        f"feature_extractor.encodec.{k}": v for k, v in originals.encodec(model).items()
    }
    state["feature_extractor.codebook_weights"] = books
    whole = vocos_from_original(
        state | with_encodec, bandwidth_kbps=bandwidths[1], bandwidths_kbps=bandwidths
    )
    assert torch.equal(whole.encode(x).indices, tokens.indices)


@pytest.mark.parametrize("kind", ["encodec", "dac", "mimi"])
def test_through_folders_and_back(kind, tmp_path):
    model = peers.dac([2, 4]) if kind == "dac" else getattr(peers, kind)()
    model.save_pretrained(tmp_path / "theirs")
    tokenizer = read_foreign(tmp_path / "theirs")
    tokenizer.save_pretrained(tmp_path / "ours")
    loaded = Tokenizer.from_pretrained(tmp_path / "ours")
    x = sound(4000, batch=1)
    assert loaded.encode(x).same_as(tokenizer.encode(x))
    write_transformers(loaded, tmp_path / "back")
    again = type(model).from_pretrained(tmp_path / "back").eval()
    assert torch.equal(again.encode(x).audio_codes, model.encode(x).audio_codes)


def test_weight_norm_there_and_back():
    weight = torch.randn(4, 3, 5)
    unfolded = unfold_weight_norm({"a.weight": weight, "a.bias": torch.ones(3)}, ["a"])
    assert unfolded["a.parametrizations.weight.original0"].shape == (4, 1, 1)
    folded = fold_weight_norm(unfolded)
    assert sorted(folded) == ["a.bias", "a.weight"]
    torch.testing.assert_close(folded["a.weight"], weight)
    with pytest.raises(ConfigError, match=r"'a.weight_v' beside 'a.weight_g'"):
        fold_weight_norm({"a.weight_g": weight})


class Bomb:
    def __reduce__(self):
        return print, ("run",)


def test_files_that_are_no_models(tmp_path, capsys):
    (tmp_path / "bomb.th").write_bytes(pickle.dumps({"encoder.model.0": Bomb()}))
    torch.save({"encoder.model.0": torch.ones(1)}, tmp_path / "other.th")
    torch.save([1, 2], tmp_path / "list.th")
    (tmp_path / "damaged.safetensors").write_bytes(b"12345678")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "config.json").write_text('{"model_type": "bert"}')
    for name, message in (
        ("bomb.th", "expected a file of weights"),
        ("other.th", "expected convolutions"),
        ("list.th", "expected a state dict, got list"),
        ("damaged.safetensors", "damaged"),
        ("absent.th", "no such file"),
        ("folder", "'bert'"),
        (".", "expected config.json"),
    ):
        with pytest.raises(ConfigError, match=message):
            read_foreign(tmp_path / name)
    assert capsys.readouterr().out == ""


def test_models_that_cannot_be_converted_say_why():
    config = peers.encodec().config.to_dict() | {"trim_right_ratio": 0.5}
    with pytest.raises(ConfigError, match=r"trim_right_ratio 1 and .* got 0\.5"):
        encodec_from_transformers(config, peers.encodec().state_dict())
    state = dict(peers.encodec().state_dict())
    del state["encoder.layers.0.conv.bias"]
    with pytest.raises(ConfigError, match=r"layers\.0\.conv\.bias"):
        encodec_from_transformers(peers.encodec().config.to_dict(), state)
