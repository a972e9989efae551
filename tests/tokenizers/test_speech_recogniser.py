"""Supervised tokenizers: tokens without a way back to sound, text out of tokens."""

import pytest
import torch

from vqkit.cli.main import main
from vqkit.errors import ConfigError, ModelMismatchError
from vqkit.files import dumps, loads
from vqkit.media import write_audio
from vqkit.nets import (
    ConvLayers,
    CTCDecoder,
    FastDecoder,
    FastEncoder,
    LogMel,
    Seq2SeqDecoder,
    SpeechContext,
    SpeechEncoder,
)
from vqkit.quantizers import EMA, RandomInit, VectorQuantizer
from vqkit.tokenizers import (
    AudioFrontend,
    ImageFrontend,
    SpeechRecogniser,
    Tokenizer,
    build,
    describe,
)

RATE, STRIDE, DIM = 16_000, 1280, 8


def recogniser(quantized: bool = True, seq2seq: bool = False) -> SpeechRecogniser:
    torch.manual_seed(0)
    context = SpeechContext(ConvLayers(DIM, 1, 16, 3))
    return SpeechRecogniser(
        AudioFrontend(RATE),
        SpeechEncoder(LogMel(num_mels=16), ConvLayers(DIM, 1, 16, 3)),
        VectorQuantizer(DIM, 16, update=EMA(), init=RandomInit()) if quantized else None,
        Seq2SeqDecoder(context, "ab", 1, 2, 5) if seq2seq else CTCDecoder(context, "ab"),
        "speech/tiny",
    ).eval()


@pytest.mark.parametrize(
    ("samples", "expected"),
    [(0, 0), (1, 1), (STRIDE - 1, 1), (STRIDE, 1), (STRIDE + 1, 2), (RATE, 13), (30 * RATE, 375)],
)
def test_a_token_for_every_stride_that_begins_and_none_for_padding(samples, expected):
    tokenizer = recogniser().tokenizer
    tokens = tokenizer.encode([torch.zeros(1, samples)])
    assert tokens.indices.shape == (1, expected, 1)
    assert tokenizer.spec.grid(tokens.media[0]) == (expected,)
    assert loads(dumps(tokens)).same_as(tokens)
    assert len(tokenizer.transcribe(tokens)) == 1


def test_a_second_at_any_rate_has_13_tokens_and_silence_and_clipping_have_some():
    tokenizer = recogniser().tokenizer
    for rate, channels in ((8000, 1), (44_100, 2), (48_000, 6)):
        for value in (0.0, 1.0):
            sound = torch.full((channels, rate), value)
            assert tokenizer.encode([sound], sample_rate_hz=rate).indices.shape[1] == 13


@pytest.mark.parametrize("seq2seq", [False, True])
def test_a_folder_gives_the_same_model(tmp_path, seq2seq):
    model = recogniser(seq2seq=seq2seq)
    model.tokenizer.save_pretrained(tmp_path)
    loaded = Tokenizer.from_pretrained(tmp_path)
    sounds = [0.1 * torch.randn(1, n) for n in (5000, 9000)]
    tokens = model.tokenizer.encode(sounds)
    assert loaded.fingerprint == model.tokenizer.fingerprint
    assert loaded.encode(sounds).same_as(tokens)
    assert loaded.transcribe(tokens) == model.transcribe(sounds)
    assert describe(build(loaded.config)) == loaded.config


def test_decoding_says_why_not(tmp_path):
    tokenizer = recogniser().tokenizer
    tokens = tokenizer.encode([torch.zeros(1, RATE)])
    with pytest.raises(ConfigError, match=r"encodes only\. Tokenizer\.transcribe"):
        tokenizer.decode(tokens)
    with pytest.raises(ConfigError, match="encodes only"):
        tokenizer(torch.zeros(1, 1, STRIDE))
    alone = Tokenizer(tokenizer.frontend, tokenizer.encoder, tokenizer.quantizer, name="alone")
    alone.save_pretrained(tmp_path)
    alone = Tokenizer.from_pretrained(tmp_path)
    assert torch.equal(alone.encode([torch.zeros(1, RATE)]).indices, tokens.indices)
    assert main(["info", str(tmp_path)]) == 0
    with pytest.raises(ConfigError, match="Train a decoder"):
        alone.decode(alone.encode([torch.zeros(1, RATE)]))
    with pytest.raises(ConfigError, match="decoder to text, got NoneType"):
        alone.transcribe(tokens)
    with pytest.raises(ModelMismatchError, match="speech/tiny"):
        recogniser(seq2seq=True).tokenizer.transcribe(tokens)


def test_pictures_have_no_text():
    tokenizer = Tokenizer(
        ImageFrontend(),
        FastEncoder(dim=4, widths=(8, 8), num_blocks=(1, 1)),
        VectorQuantizer(4, 16, init=RandomInit()),
        FastDecoder(dim=4, widths=(8, 8), num_blocks=(1, 1)),
    )
    tokens = tokenizer.encode([torch.zeros(3, 16, 16)])
    with pytest.raises(ConfigError, match="decoder to text, got FastDecoder"):
        tokenizer.transcribe(tokens)


def test_verbs_that_need_sound_back_refuse_and_the_others_work(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    recogniser().tokenizer.save_pretrained("model")
    write_audio(0.1 * torch.randn(1, RATE), "talk.wav", RATE)
    assert main(["encode", "talk.wav", "-m", "model"]) == 0
    assert main(["info", "talk.wav.vqt", "model"]) == 0
    assert main(["verify", "talk.wav.vqt"]) == 0
    assert "vqkit.nets.CTCDecoder" in capsys.readouterr().out
    assert main(["decode", "talk.wav.vqt", "-m", "model", "-o", "back.wav"]) == 1
    assert main(["reconstruct", "talk.wav", "-m", "model", "-o", "back.wav"]) == 2
    assert main(["verify", "talk.wav.vqt", "-m", "model"]) == 2
    err = capsys.readouterr().err
    assert err.count("encodes only. Tokenizer.transcribe") == 3
    assert not (tmp_path / "back.wav").exists()


def test_without_a_quantizer_there_is_text_and_there_are_no_tokens():
    model = recogniser(quantized=False).train()
    sounds = [0.1 * torch.randn(1, n) for n in (5000, 0, 9000)]
    texts = model.transcribe(sounds)
    assert model.training
    assert len(texts) == 3
    assert texts[1] == ""
    assert model(torch.zeros(2, 1, 4000), torch.tensor([4000, 9])).quantizer is None
    with pytest.raises(ConfigError, match="no tokens"):
        _ = model.tokenizer


def test_a_batch_quantizes_its_sounds_alone():
    """Tokens after the end of an item are no tokens, and do not move the codebook."""
    model = recogniser().train()
    sounds = 0.1 * torch.randn(2, 1, RATE)
    output = model(sounds, torch.tensor([RATE, STRIDE + 1]))
    assert output.num_frames.tolist() == [13, 2]
    assert (output.quantizer.indices[1, :2] >= 0).all()
    assert (output.quantizer.indices[1, 2:] == -1).all()
    assert float(model.quantizer.cluster_size.sum()) == pytest.approx(0.99 * 16 + 0.01 * 15)


def test_parts_that_do_not_fit_are_refused():
    model = recogniser()
    with pytest.raises(ConfigError, match="rate of 16000 Hz"):
        SpeechRecogniser(AudioFrontend(24_000), model.encoder, None, model.decoder)
    with pytest.raises(ConfigError, match=r"quantizer\.dim"):
        SpeechRecogniser(model.frontend, model.encoder, VectorQuantizer(DIM + 1, 16), model.decoder)
