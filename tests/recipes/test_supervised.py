"""The recipes of supervised tokenizers compose, train two steps and leave what they promise."""

import json

import pytest
import torch
from hydra.utils import instantiate

from tests.recipes.test_configurations import composed
from vqkit.cli.train import main
from vqkit.media import write_audio
from vqkit.nets import CTCDecoder, Seq2SeqDecoder
from vqkit.tokenizers import Tokenizer

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning")

TINY = [
    "encoder.features.num_mels=8",
    "encoder.layers.dim=8",
    "encoder.layers.hidden_dim=16",
    "decoder.context.layers.hidden_dim=16",
    "quantizer.codebook_size=4",
]


@pytest.fixture
def digits(tmp_path):
    folder = tmp_path / "recordings"
    folder.mkdir()
    for digit in range(2):
        for take in (0, 1, 3):
            tone = 0.5 * torch.sin(torch.arange(2000 + 500 * digit) / (3 + digit))[None]
            write_audio(tone, folder / f"{digit}_ann_{take}.wav", 8000)
    return folder


def train(folder, *overrides: str) -> int:
    return main(
        [
            "recipe=audio/supervised-small",
            f"data.train.path={folder}",
            "output_dir=out",
            "trainer.max_steps=2",
            "trainer.validate_every=1",
            "trainer.accelerator=cpu",
            "data.batch_size=4",
            *TINY,
            *overrides,
        ]
    )


def test_two_steps_of_the_small_recipe(digits, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert train(digits) == 0, capsys.readouterr().err
    report = json.loads((tmp_path / "out" / "recognition.json").read_text())
    assert [item["transcript"] for item in report["items"]] == ["zero", "one"]
    assert report["nominal_tokens_per_second"] == 12.5
    assert report["num_words"] == 2
    tokenizer = Tokenizer.from_pretrained(tmp_path / "out" / "model")
    assert tokenizer.name == "audio/supervised-small"
    assert report["tokenizer"]["fingerprint"] == tokenizer.fingerprint
    assert (tmp_path / "out" / "checkpoints" / "last.ckpt").is_file()
    out = capsys.readouterr().out
    assert "word error rate" in out
    assert "tokens per second" in out


@pytest.mark.slow
def test_without_a_quantizer_there_is_a_report_and_no_model(digits, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert train(digits, "training.recogniser.quantizer=null") == 0, capsys.readouterr().err
    report = json.loads((tmp_path / "out" / "recognition.json").read_text())
    assert report["tokens_per_second"] is None
    assert report["codebooks"] == []
    assert not (tmp_path / "out" / "model").exists()
    assert "no model" in capsys.readouterr().err


@pytest.mark.parametrize(("decoder", "kind"), [("ctc", CTCDecoder), ("seq2seq", Seq2SeqDecoder)])
def test_both_decoders_to_text_build(decoder, kind):
    config = composed(
        "recipe=audio/supervised-small", f"decoder={decoder}_small", "data.train.path=x"
    )
    training = instantiate(config.training, _convert_="all")
    assert isinstance(training.recogniser.decoder, kind)
    assert training.recogniser.tokenizer.stride == (1280,)


def test_the_large_recipe_is_whisper_at_175_bits_per_second(tmp_path):
    """Composed, and built with narrow layers of the same number."""
    config = composed(
        "recipe=audio/supervised",
        f"training.whisper_weights={tmp_path}",
        "data.train.path=x",
        "data.validation.path=y",
    )
    assert config.encoder.layers.dim == config.quantizer.dim == 1280
    num_layers = config.encoder.layers.num_layers + config.decoder.context.layers.num_layers
    assert num_layers == 32
    assert config.encoder.layers.block_frames == 4 * config.decoder.context.layers.block_frames
    for layers in (config.encoder.layers, config.decoder.context.layers):
        layers.dim, layers.num_heads, layers.hidden_dim = 8, 2, 16
    config.encoder.features.num_mels = 16
    config.training.whisper_weights = None
    recogniser = instantiate(config.training, _convert_="all").recogniser
    assert recogniser.tokenizer.spec.bits_per_second == 175
    assert recogniser.encoder.look_ahead_samples == 99 * 320 + 40
