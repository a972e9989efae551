"""Every recipe of clips composes, trains two steps and leaves what it promises."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from PIL import Image

from tests.recipes.test_configurations import RANDOM_LPIPS_OF_FRAMES, composed
from vqkit.cli.train import main
from vqkit.data import MovingShapes
from vqkit.media import write_video
from vqkit.nets import FrameDiscriminator, VideoVQGANEncoder
from vqkit.tokenizers import Tokenizer

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning"),
]

NO_REPORT = "evaluation.enabled=false"
SMALL_SCALED = ["data.transform.steps.picture.transform.steps.resize.size=32"]
SMALL_ADVERSARY = ["adversary.schedule.start_step=1",
                   "adversary.schedule.discriminator_start_step=0"]  # fmt: skip
SMALL_VQGAN = ["encoder.base_width=32", "encoder.multipliers=[1,1,1,1]", "encoder.num_res_blocks=1",
               "encoder.latent_width=32"]  # fmt: skip
SMALL_VIDTOK = [*SMALL_SCALED, *RANDOM_LPIPS_OF_FRAMES, *SMALL_ADVERSARY, "encoder.base_width=8",
                "encoder.multipliers=[1,1,1,1]", "encoder.num_res_blocks=1",
                "discriminator.discriminator.base_width=8",
                "data.transform.steps.frames.num_frames=9", "trainer.precision=32-true",
                # Random weights learn nothing in two steps at their rate.
                "optimizer.factory.lr=1e-3"]  # fmt: skip
SHRUNK = {
    "video/vidtok-fsq": SMALL_VIDTOK,
    "video/open-magvit2": [*SMALL_SCALED, *RANDOM_LPIPS_OF_FRAMES, *SMALL_VQGAN, "stage=whole",
                           "discriminator.base_width=8", "discriminator.norm=batch",
                           "data.transform.steps.frames.num_frames=5",
                           "data.validation_transform.steps.frames.multiple=4",
                           "trainer.precision=32-true"],
    "video/videogpt": [*SMALL_SCALED, "encoder.width=16", "encoder.num_blocks=1", "encoder.dim=8",
                       "quantizer.codebook_size=32", "data.transform.steps.frames.num_frames=8"],
    "video/cosmos-dv": ["data.transform.steps.picture.transform.steps.crop.size=32",
                        "data.transform.steps.frames.num_frames=9",
                        "data.validation_transform.steps.frames.max_frames=9",
                        "encoder.base_width=8", "encoder.multipliers=[1,1,1]",
                        "encoder.num_res_blocks=1", *RANDOM_LPIPS_OF_FRAMES,
                        "trainer.precision=32-true"],
}  # fmt: skip


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for split, seed in (("train", 0), ("validation", 1)):
        (folder / split).mkdir()
        shapes = MovingShapes(2, num_frames=12, side=48, seed=seed)
        for number, (_, clip) in enumerate(shapes.items()):
            write_video(clip, folder / split / f"{number}.y4m", 10)
    return folder


def train(recipe: str, clips: Path, output: str, *overrides: str) -> Path:
    status = main(
        [
            f"recipe={recipe}",
            f"output_dir={output}",
            "trainer.max_steps=2",
            "trainer.log_every=1",
            "trainer.validate_every=1",
            "trainer.accelerator=cpu",
            "data.num_workers=0",
            "data.batch_size=2",
            "callbacks.pictures.every=2",
            "evaluation.max_items=1",
            "evaluation.max_train_items=1",
            "evaluation.references.x264=[35]",
            "evaluation.matched=[]",
            f"data.train.path={clips / 'train'}",
            f"data.validation.path={clips / 'validation'}",
            *overrides,
        ]
    )
    assert status == 0
    return Path(output).resolve()


@pytest.mark.slow
@pytest.mark.parametrize("recipe", SHRUNK)
def test_two_steps_of_every_recipe_of_clips(recipe, clips, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    output = train(recipe, clips, "out", *SHRUNK[recipe])
    for name in ("report.json", "usage.png", "config.yaml", "checkpoints/last.ckpt",
                 "training_clips/report.json"):  # fmt: skip
        assert (output / name).stat().st_size > 0, name
    tokenizer = Tokenizer.from_pretrained(output / "model")
    assert tokenizer.name == recipe
    assert tokenizer.fingerprint in (output / "report.json").read_text()
    (file,) = output.glob("*.vqt")
    assert file.stat().st_size > 0
    assert "is decoded from it" in capsys.readouterr().out
    assert json.loads((output / "report.json").read_text())["metrics"]
    assert list((output / "log").rglob("events.*"))


def state(output: Path, *parts: str) -> dict[str, torch.Tensor]:
    weights = Tokenizer.from_pretrained(output / "model").state_dict()
    return {name: value for name, value in weights.items() if name.split(".")[0] in parts}


def equal(first: dict, second: dict) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


@pytest.fixture(scope="module")
def small_frames(clips, tmp_path_factory) -> Path:
    """VidTok's first stage."""
    folder = tmp_path_factory.mktemp("first")
    return train("video/vidtok-fsq", clips, str(folder), *SMALL_VIDTOK, NO_REPORT)


@pytest.mark.slow
@pytest.mark.parametrize("start", ["checkpoints/last.ckpt", ""])
def test_both_stages_of_vidtok(start, small_frames, clips, tmp_path, monkeypatch):
    """As its page says: all of it small, then the decoder alone, larger."""
    monkeypatch.chdir(tmp_path)
    larger = [override.replace("size=32", "size=48") for override in SMALL_VIDTOK]
    path = f"stage.start.path={small_frames / start}"
    second = train("video/vidtok-fsq-256", clips, "second", *larger, path, NO_REPORT)
    frozen = [state(run, "encoder", "quantizer") for run in (small_frames, second)]
    assert equal(*frozen)
    before, after = (state(run, "decoder") for run in (small_frames, second))
    assert before.keys() == after.keys()
    assert not equal(before, after)
    item = torch.rand(3, 6, 20, 30) * 2 - 1
    models = [Tokenizer.from_pretrained(run / "model") for run in (small_frames, second)]
    tokens = [model.encode([item]).indices for model in models]
    assert torch.equal(*tokens)
    assert "size: 48" in (second / "config.yaml").read_text()


@pytest.mark.slow
def test_clips_from_inflated_images(clips, tmp_path, capsys, monkeypatch):
    """Both commands of the page, at reduced size: a single frame is an image at first."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for number in range(2):
        pixels = rng.integers(0, 255, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{number}.png")
    status = main(
        ["recipe=image/open-magvit2", "encoder=vqgan_f8", "decoder=vqgan_f8", "encoder.dim=18",
         "encoder.num_res_blocks=4", "encoder.attention_levels=[]",
         "encoder.middle_attention=false", *SMALL_VQGAN,
         *[f"data.{chain}.steps.{step}.size=32" for chain in ("transform", "validation_transform")
           for step in ("resize", "crop")],
         "loss.perceptual.loss.backbone=random", "loss.perceptual.loss.heads=random",
         "data.train.path=images", "data.validation.path=images", "data.num_workers=0",
         "data.batch_size=2", "discriminator.base_width=8", "trainer.max_steps=2",
         "trainer.precision=32-true", "trainer.accelerator=cpu", NO_REPORT,
         "output_dir=runs/images"]
    )  # fmt: skip
    assert status == 0
    overrides = [o for o in SHRUNK["video/open-magvit2"] if o != "stage=whole"]
    output = train("video/open-magvit2", clips, "runs/clips", *overrides, NO_REPORT,
                   "stage.start.path=runs/images/model", "optimizer.factory.lr=0.0")  # fmt: skip
    of_images = Tokenizer.from_pretrained("runs/images/model")
    of_clips = Tokenizer.from_pretrained(output / "model")
    assert isinstance(of_clips.encoder, VideoVQGANEncoder)
    picture = torch.rand(3, 24, 40) * 2 - 1
    tokens = of_clips.encode([picture[:, None]])
    assert torch.equal(tokens.indices[:, 0], of_images.encode([picture]).indices)


class Motion(torch.nn.Module):
    """Stands for RAFT."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(6, 2, 3, padding=1)

    def forward(self, frames: torch.Tensor, later: torch.Tensor) -> torch.Tensor:
        return self.conv(torch.cat([frames, later], dim=1))


@pytest.mark.slow
def test_all_three_stages_after_cosmos(clips, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = SHRUNK["video/cosmos-dv"]
    motion = ["loss=video_flow", f"loss.flow.loss.estimator._target_={__name__}.Motion"]
    train("video/cosmos-dv", clips, "runs/first", *small, NO_REPORT)
    train("video/cosmos-dv", clips, "runs/second", *small, *motion, "stage=continued",
          "stage.start.path=runs/first", NO_REPORT)  # fmt: skip
    third = train(
        "video/cosmos-dv", clips, "runs/third", *small, *motion, "stage=continued",
        "stage.start.path=runs/second", "adversary=open_magvit2", "discriminator=video_frames",
        "discriminator.discriminator.base_width=32", NO_REPORT,
    )  # fmt: skip
    checkpoint = torch.load(third / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    parts = {name.split(".")[0] for name in checkpoint}
    assert "adversary" in parts
    assert "losses" not in parts, "yardsticks are not kept"


RATES = {
    "vidtok-fsq": 18 / (4 * 64),
    "open-magvit2": 18 / (4 * 64),
    "videogpt": 11 / (4 * 16),
    "cosmos-dv": math.log2(64_000) / (8 * 64),
}


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RATES)
def test_the_rate_of_every_recipe_is_the_paper_s(recipe):
    """At its full size, without memory for the weights: bits per pixel of a frame."""
    config = composed(f"recipe=video/{recipe}")
    with torch.device("meta"):
        tokenizer = instantiate(config.tokenizer, _convert_="all")
    rate = tokenizer.quantizer.bits_per_position / math.prod(tokenizer.stride)
    assert rate == pytest.approx(RATES[recipe])


def test_the_second_stage_of_vidtok_is_the_first_but_for_what_it_says():
    first, second = (composed(f"recipe=video/vidtok-fsq{stage}") for stage in ("", "-256"))
    assert second.stage.frozen == ["encoder", "quantizer"]
    assert first.stage.frozen == []
    for config, side, steps in ((first, 128, 50_000), (second, 256, 30_000)):
        picture = config.data.validation_transform.steps.picture.transform.steps
        assert picture.resize.size == picture.crop.size == side
        assert config.trainer.max_steps == config.training.max_steps == steps
        assert config.data.batch_size * side**2 * 8 == {128: 16 * 128**2, 256: 8 * 256**2}[side]
    for group in ("encoder", "decoder", "quantizer", "loss", "adversary", "optimizer"):
        assert first[group] == second[group], group
    # 20,001 counted on both optimizers.
    assert first.adversary.schedule.start_step == 10_001
    judge = instantiate(first.discriminator, _convert_="all")
    assert isinstance(judge, FrameDiscriminator), "frames are judged, each by its mean logit"
    assert instantiate(first.adversary.loss, _convert_="all").of_generator.per_image
