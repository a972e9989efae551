"""Recognisers of speech: parity with Whisper of transformers, masks, prefixes, counts of frames."""

import pytest
import torch

from vqkit.errors import ConfigError
from vqkit.nets import (
    AttentionLayers,
    ConvLayers,
    CTCDecoder,
    LogMel,
    Seq2SeqDecoder,
    SpeechContext,
    SpeechEncoder,
    TimePooling,
)
from vqkit.tokenizers.converters import (
    load_whisper_encoder,
    read_whisper_encoder,
    whisper_encoder_state,
)

DIM, HEADS, HIDDEN = 32, 4, 64


def attention(num_layers: int = 2, block_frames: int | None = None) -> AttentionLayers:
    return AttentionLayers(DIM, num_layers, HEADS, HIDDEN, block_frames)


def convolutions(causal: bool = False) -> ConvLayers:
    return ConvLayers(DIM, 2, HIDDEN, 3, causal)


ENCODERS = {
    "whisper": lambda: SpeechEncoder(LogMel(), attention()),
    "block-causal": lambda: SpeechEncoder(
        LogMel(loudest=1.5), attention(block_frames=8), causal=True
    ),
    "convolutions": lambda: SpeechEncoder(LogMel(loudest=1.5), convolutions()),
    "causal convolutions": lambda: SpeechEncoder(
        LogMel(loudest=1.5), convolutions(True), causal=True
    ),
    "max": lambda: SpeechEncoder(LogMel(num_mels=40), convolutions(), TimePooling(5, "max")),
}


@pytest.mark.parametrize("num_mels", [80, 128])
@pytest.mark.parametrize("samples", [1, 159, 160, 161, 7000, 16_000])
def test_features_are_those_of_transformers(num_mels, samples):
    whisper = pytest.importorskip("transformers")
    extractor = whisper.WhisperFeatureExtractor(feature_size=num_mels, chunk_length=1)
    sound = 0.1 * torch.randn(samples)
    expected = extractor(sound.numpy(), sampling_rate=16_000, return_tensors="pt").input_features
    padded = torch.zeros(1, 1, 16_000)
    padded[..., :samples] = sound
    torch.testing.assert_close(LogMel(num_mels=num_mels)(padded), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("first", [0, 2, 4])
def test_the_encoder_is_that_of_transformers(first):
    """Cut anywhere, without a quantizer in between."""
    transformers = pytest.importorskip("transformers")
    config = transformers.WhisperConfig(
        d_model=DIM,
        encoder_layers=4,
        encoder_attention_heads=HEADS,
        encoder_ffn_dim=HIDDEN,
        max_source_positions=50,
        decoder_layers=1,
        decoder_attention_heads=HEADS,
        decoder_ffn_dim=HIDDEN,
        vocab_size=100,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=3,
    )
    model = transformers.WhisperModel(config).eval()
    encoder = SpeechEncoder(LogMel(), attention(first), TimePooling(1), max_frames=50)
    context = SpeechContext(attention(4 - first), max_frames=50)
    load_whisper_encoder(encoder, context, whisper_encoder_state(model.state_dict()))
    extractor = transformers.WhisperFeatureExtractor(chunk_length=1)
    for samples in (1, 1279, 5000, 16_000):
        sounds = 0.1 * torch.randn(3, samples)
        features = extractor(list(sounds.numpy()), sampling_rate=16_000, return_tensors="pt")
        padded = torch.zeros(3, 1, 16_000)
        padded[:, 0, :samples] = sounds
        with torch.no_grad():
            expected = model.encoder(features.input_features).last_hidden_state
            ours = context(encoder(padded))
        torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)


def test_weights_of_the_original_library_are_the_same(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.WhisperConfig(
        d_model=DIM, encoder_layers=2, encoder_attention_heads=HEADS, encoder_ffn_dim=HIDDEN,
        decoder_layers=1, decoder_attention_heads=HEADS, decoder_ffn_dim=HIDDEN, vocab_size=100,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=3,
    )  # fmt: skip
    state = transformers.WhisperModel(config).state_dict()
    original = {
        name.replace("embed_positions.weight", "positional_embedding")
        .replace("layers.", "blocks.")
        .replace("self_attn_layer_norm", "attn_ln")
        .replace("final_layer_norm", "mlp_ln")
        .replace("self_attn.q_proj", "attn.query")
        .replace("self_attn.k_proj", "attn.key")
        .replace("self_attn.v_proj", "attn.value")
        .replace("self_attn.out_proj", "attn.out")
        .replace("fc1", "mlp.0")
        .replace("fc2", "mlp.2")
        .replace("encoder.layer_norm", "encoder.ln_post"): value
        for name, value in state.items()
    }
    ours, theirs = whisper_encoder_state(original), whisper_encoder_state(state)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    torch.save({"dims": {"n_mels": 80}, "model_state_dict": original}, tmp_path / "tiny.pt")
    read = read_whisper_encoder(tmp_path / "tiny.pt")
    assert all(torch.equal(read[name], theirs[name]) for name in theirs)


def test_files_that_are_no_weights_are_refused(tmp_path):
    for name in ("model.safetensors", "model.pt"):
        (tmp_path / name).write_bytes(b"nothing of the kind")
        with pytest.raises(ConfigError, match=name):
            read_whisper_encoder(tmp_path / name)
    with pytest.raises(ConfigError, match="found none"):
        read_whisper_encoder(tmp_path / "absent")


def test_weights_of_other_sizes_and_models_are_refused():
    encoder, context = SpeechEncoder(LogMel(), attention(1)), SpeechContext(attention(1))
    with pytest.raises(ConfigError, match="expected an encoder with"):
        whisper_encoder_state({"decoder.conv1.weight": torch.zeros(1)})
    state = {"positions": torch.zeros(1500, DIM), "conv1.weight": torch.zeros(1, 1, 3)}
    with pytest.raises(ConfigError, match="up to the quantizer"):
        load_whisper_encoder(encoder, context, state)
    with pytest.raises(ConfigError, match="expected AttentionLayers"):
        load_whisper_encoder(encoder, SpeechContext(convolutions()), state)


@pytest.mark.parametrize("name", ENCODERS)
def test_as_many_latents_as_strides_begin(name):
    encoder = ENCODERS[name]().eval()
    stride = encoder.stride[0]
    rate = 16_000 / stride
    for samples in (1, stride - 1, stride, stride + 1, 16_000):
        assert encoder(torch.zeros(1, 1, samples)).shape[-1] == -(-samples // stride)
    assert encoder(torch.zeros(1, 1, 16_000)).shape[-1] == -(-rate // 1)


def test_thirty_seconds_are_375_latents_and_a_longer_sound_has_segments():
    encoder = SpeechEncoder(LogMel(num_mels=8), AttentionLayers(4, 1, 1, 4)).eval()
    sound = 0.1 * torch.randn(1, 1, 32 * 16_000)
    with torch.no_grad():
        whole = encoder(sound)
        assert whole.shape[-1] == 400
        parts = [encoder(part) for part in sound.split(30 * 16_000, dim=-1)]
    assert parts[0].shape[-1] == 375
    torch.testing.assert_close(torch.cat(parts, dim=-1), whole, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ENCODERS)
def test_an_item_of_a_batch_is_what_it_is_alone(name):
    """Of other lengths, none of it at all among them, whatever follows their end."""
    encoder = ENCODERS[name]().eval()
    lengths = torch.tensor([7000, 1, 0, 16_000, 1280, 1281])
    sounds = 0.1 * torch.randn(len(lengths), 1, 16_000)
    with torch.no_grad():
        batch = encoder(sounds, lengths)
        assert batch.isfinite().all()
        for i, length in enumerate(lengths.tolist()):
            if length:
                alone = encoder(sounds[i : i + 1, :, :length])[0]
                ours = batch[i, :, : alone.shape[-1]]
                torch.testing.assert_close(ours, alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["block-causal", "convolutions", "causal convolutions"])
def test_a_latent_depends_on_no_sample_after_its_look_ahead(name):
    """What a stream rests on: the latents of a prefix are those of the whole."""
    encoder = ENCODERS[name]().eval()
    ahead, stride = encoder.look_ahead_samples, encoder.stride[0]
    sound = 0.1 * torch.randn(1, 1, 20_000)
    with torch.no_grad():
        whole = encoder(sound)
        for samples in (stride + ahead, 9000, 9001, 17_000):
            known = (samples - ahead) // stride
            prefix = encoder(sound[..., :samples])[..., :known]
            assert known > 0
            torch.testing.assert_close(prefix, whole[..., :known], atol=1e-5, rtol=0)
            other = sound.clone()
            other[..., samples:] = 0.3
            torch.testing.assert_close(encoder(other)[..., :known], prefix, atol=1e-5, rtol=0)


def test_look_ahead_is_told_where_it_is_known():
    assert ENCODERS["whisper"]().look_ahead_samples is None
    assert SpeechEncoder(LogMel(), convolutions()).look_ahead_samples is None
    # Windows of 25 ms around the beginnings of frames that are 10 ms long.
    assert ENCODERS["causal convolutions"]().look_ahead_samples == 40
    assert ENCODERS["block-causal"]().look_ahead_samples == 7 * 320 + 40
    assert ENCODERS["convolutions"]().look_ahead_samples == 2 * 320 + 160 + 40


def decoders() -> dict[str, CTCDecoder | Seq2SeqDecoder]:
    return {
        "ctc": CTCDecoder(SpeechContext(attention(1), max_frames=8), "abc"),
        "seq2seq": Seq2SeqDecoder(SpeechContext(attention(1), max_frames=8), "abc", 1, HEADS, 9),
    }


@pytest.mark.parametrize("name", ["ctc", "seq2seq"])
def test_the_loss_of_a_batch_is_that_of_its_items(name):
    decoder = decoders()[name].eval()
    torch.nn.init.normal_(decoder.context.position_table)
    latents, counts = torch.randn(3, DIM, 10), torch.tensor([10, 3, 7])
    texts = ["abcab", "a", "cc"]
    with torch.no_grad():
        together = decoder.transcript_loss(latents, counts, texts)
        alone = [
            decoder.transcript_loss(latents[i : i + 1, :, :n], counts[i : i + 1], [texts[i]])
            for i, n in enumerate(counts.tolist())
        ]
    weights = torch.tensor([1.0, 1, 1] if name == "ctc" else [6.0, 2, 3])
    expected = (torch.stack(alone) * weights).sum() / weights.sum()
    torch.testing.assert_close(together, expected, atol=1e-5, rtol=0)
    assert decoder.transcribe(latents, counts) == [
        decoder.transcribe(latents[i : i + 1, :, :n])[0] for i, n in enumerate(counts.tolist())
    ]


def test_ctc_is_that_of_its_definition():
    """The sum over all paths that spell the text, by enumeration."""
    decoder = CTCDecoder(SpeechContext(convolutions()), "ab", steps_per_frame=1).eval()
    latent = torch.randn(1, DIM, 4)
    with torch.no_grad():
        p = decoder(latent)[0].softmax(-1)
        total = 0.0
        for path in torch.cartesian_prod(*[torch.arange(3)] * 4):
            symbols = [s for s in torch.unique_consecutive(path).tolist() if s]
            if symbols == [1, 2]:
                total += p[torch.arange(4), path].prod()
        loss = decoder.transcript_loss(latent, torch.tensor([4]), ["ab"])
    torch.testing.assert_close(loss, -torch.log(total) / 2)


def test_a_text_that_no_frames_can_hold_counts_nothing_and_other_characters_are_refused():
    ctc, seq2seq = decoders().values()
    latent, count = torch.randn(1, DIM, 1), torch.tensor([1])
    assert ctc.transcript_loss(latent, count, ["abcabc"]) == 0
    with pytest.raises(ConfigError, match="expected characters of 'abc', got 'd'"):
        ctc.transcript_loss(latent, count, ["ad"])
    with pytest.raises(ConfigError, match="expected at most 9"):
        seq2seq.transcript_loss(latent, count, ["abcabcabca"])
    with pytest.raises(ConfigError, match="each once"):
        CTCDecoder(SpeechContext(convolutions()), "aa")


@pytest.mark.parametrize(
    "make",
    [
        lambda: AttentionLayers(DIM, 1, 5, HIDDEN),
        lambda: AttentionLayers(DIM, 1, HEADS, HIDDEN, 0),
        lambda: ConvLayers(DIM, 1, HIDDEN, 4),
        lambda: LogMel(window_size=401),
        lambda: TimePooling(0),
        lambda: SpeechEncoder(LogMel(), attention(), TimePooling(7)),
        lambda: SpeechContext(attention(), max_frames=0),
        lambda: Seq2SeqDecoder(SpeechContext(attention()), "a", num_heads=5),
    ],
)
def test_settings_that_make_no_sense_are_refused(make):
    with pytest.raises(ConfigError, match="expected"):
        make()
