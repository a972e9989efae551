"""Every recipe of sounds composes, trains two steps at reduced size, and encodes to a file."""

import json
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from vqkit.cli.train import main, to_hydra
from vqkit.data import Voices
from vqkit.files import read_tokens
from vqkit.media import read_audio, write_audio
from vqkit.nets import FrozenDiscriminator
from vqkit.paths import config_dir
from vqkit.quantizers import LevelsPerBatch
from vqkit.tokenizers import Tokenizer

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning"),
]

SMALL_SEANET = [
    "encoder.num_filters=2",
    "encoder.dim=8",
]
SMALL_BOOK = ["quantizer.inner.codebook_size=16"]
SMALL_DAC = [
    "encoder.num_filters=2",
    "encoder.dim=8",
    "decoder.num_filters=16",
    "quantizer.depth=2",
    "quantizer.inner.inner.codebook_size=16",
]
SMALL_VOCOS = [
    "decoder.width=32",
    "decoder.hidden_dim=32",
    "decoder.num_layers=1",
]
SMALL_DAC_JUDGES = [
    "discriminator.parts.periods.width=1",
    "discriminator.parts.bands.width=1",
]
AT_ONCE = [
    "adversary.schedule.start_step=0",
    "adversary.schedule.ramp_steps=0",
    "adversary.schedule.discriminator_start_step=null",
]
SHRUNK = {
    "audio/quickstart": [*SMALL_SEANET, *SMALL_VOCOS, "data.train.num_sounds=2",
                         "data.validation.num_sounds=1", "quantizer.inner.inner.codebook_size=16"],
    "audio/encodec-small": [*SMALL_SEANET, *SMALL_BOOK, "discriminator.width=2", *AT_ONCE],
    "audio/wavtokenizer-small": [*SMALL_SEANET, "quantizer.codebook_size=16", *SMALL_VOCOS,
                                 *AT_ONCE,
                                 "discriminator.parts.periods.width=1",
                                 "discriminator.parts.resolutions.width=2"],
    "audio/encodec-24k": [*SMALL_SEANET, *SMALL_BOOK, "discriminator.width=2",
                          "quantizer.depth=4", "quantizer.level_dropout.choices=[2,4]"],
    "audio/encodec-48k": [*SMALL_SEANET, *SMALL_BOOK, "discriminator.width=2",
                          "quantizer.depth=4", "quantizer.level_dropout.choices=[2,4]"],
    "audio/dac-16k": [*SMALL_DAC, *SMALL_DAC_JUDGES],
    "audio/dac-24k": [*SMALL_DAC, *SMALL_DAC_JUDGES],
    "audio/dac-44k": [*SMALL_DAC, *SMALL_DAC_JUDGES,
                      "data.transform.steps.segment.num_samples=10240"],
    "audio/soundstream": [*SMALL_SEANET, *SMALL_BOOK, "discriminator.parts.scales.width=16",
                          "discriminator.parts.spectrum.width=2", "quantizer.depth=2"],
    "audio/wavtokenizer-75": [*SMALL_SEANET, "quantizer.codebook_size=16", *SMALL_VOCOS,
                              "discriminator.parts.periods.width=1",
                              "discriminator.parts.resolutions.width=1",
                              "discriminator.parts.dac.parts.periods.width=1",
                              "discriminator.parts.dac.parts.bands.width=1"],
    "audio/wavtokenizer-40": [*SMALL_SEANET, "quantizer.codebook_size=16", *SMALL_VOCOS,
                              "discriminator=wavtokenizer_as_trained",
                              "discriminator.parts.periods.width=1",
                              "discriminator.parts.resolutions.width=1",
                              "discriminator.parts.dac.discriminator.parts.periods.width=1",
                              "discriminator.parts.dac.discriminator.parts.bands.width=1"],
    "audio/mimi": [*SMALL_SEANET, "encoder.num_layers=1", "encoder.num_heads=2",
                   "encoder.hidden_dim=16", "discriminator.width=2",
                   "quantizer.inner.semantic.inner.codebook_size=16",
                   "quantizer.inner.acoustic.inner.depth=2",
                   "quantizer.inner.acoustic.inner.inner.codebook_size=16"],
    "audio/fsq-single": [*SMALL_SEANET, *SMALL_VOCOS, *SMALL_DAC_JUDGES,
                         "quantizer.inner.levels=[4,4]"],
}  # fmt: skip
QUICK = ["audio/encodec-small"]


@pytest.fixture(scope="module")
def sounds(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sounds")
    for split, seed in (("train", 0), ("validation", 1)):
        (folder / split).mkdir()
        voices = Voices(2, seconds=0.3, sample_rate_hz=16_000, seed=seed)
        for number, (_, samples) in enumerate(voices.items()):
            write_audio(samples, folder / split / f"{number}.wav", 16_000)
        names = [f"{split}/{number}.wav" for number in range(2)]
        (folder / f"{split}.txt").write_text("\n".join(names))
    return folder


def data_of(recipe: str, sounds: Path) -> list[str]:
    if recipe == "audio/quickstart":
        return []
    suffix = ".txt" if recipe.endswith("-small") else ""
    return [f"data.{part}.path={sounds / part}{suffix}" for part in ("train", "validation")]


@pytest.mark.parametrize(
    "recipe",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in SHRUNK],
)
def test_two_steps_of_every_recipe_of_sounds(recipe, sounds, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status = main(
        [
            f"recipe={recipe}",
            "output_dir=out",
            "trainer.max_steps=2",
            "trainer.log_every=1",
            "trainer.validate_every=1",
            "trainer.accelerator=cpu",
            "data.num_workers=0",
            "data.batch_size=2",
            "data.transform.steps.segment.num_samples=9600",
            "callbacks.pictures.every=2",
            "evaluation.max_train_items=1",
            "evaluation.max_items=1",
            "evaluation.quality.metrics=[mel_distance,si_sdr]",
            *data_of(recipe, sounds),
            *SHRUNK[recipe],
        ]
    )
    output = tmp_path / "out"
    captured = capsys.readouterr()
    assert status == 0, captured.err
    for name in (
        "report.json",
        "spectrogram_worst.png",
        "usage.png",
        "config.yaml",
        "checkpoints/last.ckpt",
        "training_sounds/report.json",
    ):
        assert (output / name).stat().st_size > 0, name
    tokenizer = Tokenizer.from_pretrained(output / "model")
    assert tokenizer.name == recipe
    assert tokenizer.fingerprint in (output / "report.json").read_text()
    report = json.loads((output / "report.json").read_text())
    assert report["references"]
    (file,) = output.glob("*.vqt")
    decoded = tokenizer.decode(read_tokens(file))[0]
    written = read_audio(file.with_suffix(".wav"))
    assert written.sample_rate_hz == tokenizer.frontend.sample_rate_hz
    assert torch.allclose(written.samples, decoded, atol=1e-4)
    assert "is decoded from it: mel distance" in captured.out
    assert "usage" in captured.out
    assert list((output / "log").rglob("events.*"))


def composed(*overrides: str):
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        return compose("train", overrides=to_hydra(overrides))


def test_as_trained_wavtokenizer_has_judges_that_never_learn():
    """The published trap, as an option: see ``docs/audio_losses.md``."""
    recipe = "audio/wavtokenizer-40"
    config = composed(f"recipe={recipe}", *SHRUNK[recipe])
    training = instantiate(config.training, _convert_="all")
    frozen = training.adversary.discriminator.parts["dac"]
    assert isinstance(frozen, FrozenDiscriminator)
    learning = [p for group in training.adversary.make_optimizer().param_groups
                for p in group["params"]]  # fmt: skip
    assert not {id(p) for p in frozen.parameters()} & {id(p) for p in learning}
    sound = torch.randn(1, 1, 4800, requires_grad=True)
    terms, _ = training.adversary.generator_terms(sound, torch.zeros(1, 1, 4800), step=0)
    sum(terms.values()).backward()
    assert sound.grad is not None
    assert not any(p.requires_grad for p in frozen.parameters())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "bits_per_second"),
    [("encodec-24k", 24_000), ("encodec-48k", 24_000), ("soundstream", 6000),
     ("dac-16k", 6000), ("dac-24k", 24_000), ("dac-44k", 7751.953125),
     ("wavtokenizer-75", 900), ("wavtokenizer-40", 480), ("mimi", 1100), ("fsq-single", 800),
     ("encodec-small", 4000), ("wavtokenizer-small", 960), ("quickstart", 3200)],
)  # fmt: skip
def test_the_rate_of_every_recipe_is_the_paper_s(recipe, bits_per_second):
    """At its full size, without memory for the weights."""
    config = composed(f"recipe=audio/{recipe}")
    with torch.device("meta"):
        tokenizer = instantiate(config.tokenizer, _convert_="all")
    rate_hz = tokenizer.frontend.sample_rate_hz / tokenizer.stride[0]
    assert tokenizer.quantizer.bits_per_position * rate_hz == pytest.approx(bits_per_second)


def test_quickstart_takes_files():
    config = composed("recipe=audio/quickstart", "data=audio_folder", "data.train.path=x")
    assert set(config.data.train) == {"_target_", "path", "sample_rate_hz", "channels"}
    assert config.data.train.sample_rate_hz == config.frontend.sample_rate_hz


def test_encodec_draws_its_bandwidths_per_batch():
    config = composed("recipe=audio/encodec-24k")
    rule = instantiate(config.quantizer.level_dropout, _convert_="all")
    assert rule == LevelsPerBatch([2, 4, 8, 16, 32])
    assert [10 * 75 * levels for levels in rule.choices] == [1500, 3000, 6000, 12_000, 24_000]
