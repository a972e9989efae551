"""Every YAML composes and builds, names facades only, and every recipe trains two steps."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.errors import ConfigCompositionException
from hydra.utils import instantiate
from omegaconf import OmegaConf
from PIL import Image

from tests.recipes.test_sound_recipes import SHRUNK as SOUND_RECIPES
from vqkit.cli.main import main as command
from vqkit.cli.train import find_recipe, main, to_hydra
from vqkit.errors import ConfigError
from vqkit.paths import config_dir, recipe_dir
from vqkit.tokenizers import Tokenizer, read_codebook
from vqkit.training import seed_everything

CONFIGS = sorted(config_dir().rglob("*.yaml"))
RECIPES = sorted(str(p.parent.relative_to(recipe_dir())) for p in recipe_dir().rglob("recipe.yaml"))
IMAGE_RECIPES = [
    "image/ibq",
    "image/llamagen-vq16",
    "image/open-magvit2",
    "image/quickstart",
    "image/ta-titok",
    "image/vqgan",
    "image/vqgan-lc",
    "image/vqgan-small",
]
VIDEO_RECIPES = [  # tests/recipes/test_video_recipes
    "video/cosmos-dv",
    "video/light-small",
    "video/open-magvit2",
    "video/quickstart",
    "video/videogpt",
    "video/vidtok-fsq",
    "video/vidtok-fsq-256",
]
SUPERVISED_RECIPES = ["audio/supervised", "audio/supervised-small"]  # tests/recipes/test_supervised
FACADES = (
    "quantizers",
    "nets",
    "losses",
    "metrics",
    "tokenizers",
    "data",
    "training",
    "evaluation",
)

# Perceptual weights are the user's to fetch; their structure does not depend on the values.
RANDOM_LPIPS = [
    "loss.perceptual.loss.backbone=random",
    "loss.perceptual.loss.heads=random",
]
RANDOM_LPIPS_OF_FRAMES = [
    "loss.perceptual.loss.loss.backbone=random",
    "loss.perceptual.loss.loss.heads=random",
]
# What losses want of the user.
OF_THE_USER = {
    "vqgan": RANDOM_LPIPS,
    "l2_lpips": RANDOM_LPIPS,
    "video": RANDOM_LPIPS_OF_FRAMES,
    "video_flow": [*RANDOM_LPIPS_OF_FRAMES, "loss.flow.loss.estimator._target_=torch.nn.Identity"],
}

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning"),
]


def composed(*overrides: str):
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        return compose("train", overrides=[*to_hydra(overrides)])


def test_every_file_is_seen():
    groups = {path.parent.name for path in CONFIGS if path.parent != config_dir()}
    assert groups == {
        "adversary",
        "balancer",
        "callbacks",
        "data",
        "decoder",
        "discriminator",
        "distillation",
        "encoder",
        "evaluation",
        "frontend",
        "logger",
        "loss",
        "optimizer",
        "quantizer",
        "stage",
        "trainer",
        "training",
        "validation",
    }
    assert len(CONFIGS) == 192
    assert [name for name in RECIPES if name.startswith("image/")] == IMAGE_RECIPES
    assert [name for name in RECIPES if name.startswith("video/")] == VIDEO_RECIPES
    of_sounds = {name for name in RECIPES if name.startswith("audio/")}
    assert of_sounds == {*SOUND_RECIPES, *SUPERVISED_RECIPES}
    assert len(RECIPES) == len(IMAGE_RECIPES) + len(VIDEO_RECIPES) + len(of_sounds)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_targets_name_facades(path):
    def walk(node):
        if isinstance(node, dict):
            target = node.get("_target_")
            if isinstance(target, str) and target.startswith("vqkit."):
                parts = target.split(".")
                assert len(parts) == 3, target
                assert parts[1] in FACADES, target
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(OmegaConf.to_container(OmegaConf.load(path), resolve=False))


def choices(group: str) -> list[str]:
    return sorted(path.stem for path in (config_dir() / group).glob("*.yaml"))


IMAGE_ENCODERS = [
    name for name in choices("encoder") if name.startswith(("fast", "vqgan", "magvit2"))
]


@pytest.mark.parametrize(
    "encoder",
    [
        name if name == "fast_f8" else pytest.param(name, marks=pytest.mark.slow)
        for name in IMAGE_ENCODERS
    ],
)
@pytest.mark.parametrize("quantizer", choices("quantizer"))
def test_every_encoder_takes_every_quantizer(encoder, quantizer):
    """Swapping a group is one edit."""
    overrides = [f"encoder={encoder}", f"quantizer={quantizer}", f"decoder={encoder}"]
    if encoder.startswith(("vqgan", "magvit2")):
        overrides.append("encoder.base_width=32")
    if encoder.startswith("magvit2"):  # 18 features are LFQ's bits, which no groups divide
        overrides.append("encoder.dim=64")
    if quantizer in ("fsq", "fsq_symmetric"):
        overrides.append("quantizer.inner.levels=[8,5,5]")
    if quantizer == "fsq_bare":  # as many features as levels
        overrides.append("encoder.dim=6")
    config = composed("recipe=image/vqgan-small", *overrides, "data=photos")
    tokenizer = instantiate(config.tokenizer, _convert_="all")
    assert tokenizer.quantizer.dim == tokenizer.encoder.dim == tokenizer.decoder.dim


TRAINING_GROUPS = ("adversary", "loss", "optimizer", "discriminator")


@pytest.mark.parametrize(
    ("group", "choice"), [(group, choice) for group in TRAINING_GROUPS for choice in choices(group)]
)
def test_every_training_builds(group, choice):
    overrides = [f"{group}={choice}", *(OF_THE_USER.get(choice, []) if group == "loss" else [])]
    # The recipe sets a width that discriminators of sound do not know.
    of_images = group != "discriminator" or choice.startswith("patch")
    base = "recipe=image/vqgan-small" if of_images else "adversary=ramped"
    config = composed(base, "data=photos", *overrides)
    training = instantiate(config.training, _convert_="all")
    assert (training.adversary is None) == (choice == "none")
    assert training.balancer is None
    assert len(training.configure_optimizers()) == (1 if choice == "none" else 2)


class Teacher(torch.nn.Module):
    """Features of a frame of 20 ms at 16 kHz."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        return waveform.unfold(1, 400, 320)[..., : self.dim]


@pytest.mark.parametrize(
    ("name", "dim", "num_frames"), [("mimi", 1024, 13), ("speechtokenizer", 768, 49)]
)
def test_a_teacher_that_the_user_names(name, dim, num_frames):
    config = composed(
        "recipe=audio/quickstart",
        f"distillation={name}",
        f"distillation.teacher._target_={__name__}.Teacher",
        "+distillation.teacher.dim=300",
        "distillation.teacher_dim=300",
    )
    assert config.distillation.loss._target_.startswith("vqkit.losses.")
    assert composed(f"distillation={name}").distillation.teacher_dim == dim
    distillation = instantiate(config.training, _convert_="all").distillation
    loss = distillation(torch.randn(2, num_frames, config.encoder.dim), torch.randn(2, 1, 16_000))
    assert loss.isfinite()


@pytest.mark.parametrize("adversary", ["none", "encodec", "audiocraft"])
def test_the_balancer_builds_with_what_has_no_adaptive_weight(adversary):
    config = composed(f"adversary={adversary}", "balancer=encodec", "loss=l2")
    training = instantiate(config.training, _convert_="all")
    terms = ("adversary/generator", "adversary/features")
    assert training.balancer.names == ("pixel", *(terms if adversary != "none" else ()))


@pytest.mark.parametrize("group", ["callbacks", "logger"])
def test_callbacks_and_loggers_build(group, tmp_path):
    for choice in choices(group):
        config = composed(f"{group}={choice}", f"output_dir={tmp_path}")
        assert all(instantiate(config[group], _convert_="all").values())


@pytest.fixture
def photos(tmp_path) -> Path:
    rng = np.random.default_rng(0)
    for split in ("train", "validation"):
        (tmp_path / split).mkdir()
        for i in range(3):
            coarse = Image.fromarray(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8))
            coarse.resize((96, 80), Image.Resampling.BICUBIC).save(tmp_path / split / f"{i}.png")
    return tmp_path


# Of what is written for ImageNet: pictures of 64 pixels, and an adversary from the second step on.
IMAGENET = ["data.transform.steps.resize.size=64", "data.transform.steps.crop.size=64",
            "data.validation_transform.steps.resize.size=64",
            "data.validation_transform.steps.crop.size=64", "trainer.precision=32-true",
            "discriminator.base_width=8", "adversary.schedule.start_step=1",
            *RANDOM_LPIPS]  # fmt: skip
SMALL_VQGAN = ["encoder.base_width=32", "encoder.latent_width=32"]
SMALL_TITOK = [f"{part}.{size}" for part in ("encoder", "decoder")
               for size in ("width=32", "num_layers=1", "num_heads=2")]  # fmt: skip
SHRUNK_IMAGES = {
    "image/quickstart": ["evaluation.max_train_items=1"],
    "image/vqgan-small": ["adversary.schedule.start_step=1", "adversary.schedule.ramp_steps=0",
                          "adversary.schedule.discriminator_start_step=0"],
    "image/vqgan": [*IMAGENET, *SMALL_VQGAN, "encoder.dim=32"],
    "image/llamagen-vq16": [*IMAGENET, *SMALL_VQGAN, "quantizer.codebook_size=32"],
    "image/open-magvit2": [*IMAGENET, "encoder.base_width=32", "encoder.num_res_blocks=1"],
    "image/ibq": [*IMAGENET, *SMALL_VQGAN, "encoder.dim=16", "quantizer.codebook_size=32"],
    "image/vqgan-lc": [*IMAGENET, *SMALL_VQGAN, "encoder.dim=32"],
    "image/ta-titok": [*IMAGENET, *SMALL_TITOK, "encoder.side_pixels=64", "encoder.num_tokens=6",
                       "quantizer.codebook_size=16"],
}  # fmt: skip


class VisionEncoder(torch.nn.Module):
    """Stands for CLIP: features [batch, positions, dim] of patches, always the same."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.patches = torch.nn.Conv2d(3, 12, 8, stride=8)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.patches(images).flatten(2).mT


def build_codebook(photos: Path, output: Path) -> list[str]:
    """As the recipe's page says: a folder for each class, so many codes for each."""
    for name in ("a", "b"):
        shutil.copytree(photos / "train", photos / "classes" / name)
    status = command(
        ["codebook", "build", str(photos / "classes"), "--module", f"{__name__}:VisionEncoder",
         "--per-class", "5", "--pool", "4", "--image-size", "64", "-o", str(output)]
    )  # fmt: skip
    assert status == 0
    return [
        f"quantizer.inner.table.path={output}",
        "quantizer.inner.codebook_size=10",
        "quantizer.inner.table_dim=12",
    ]


@pytest.mark.parametrize(
    "recipe",
    [
        name if name == "image/quickstart" else pytest.param(name, marks=pytest.mark.slow)
        for name in IMAGE_RECIPES
    ],
)
def test_two_steps_of_every_recipe_of_images(recipe, photos, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    overrides = list(SHRUNK_IMAGES[recipe])
    if recipe != "image/quickstart":
        overrides += [
            f"data.train.path={photos / 'train'}",
            f"data.validation.path={photos / 'validation'}",
        ]
    if recipe == "image/vqgan-lc":
        overrides += build_codebook(photos, tmp_path / "book.safetensors")
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
            "callbacks.pictures.every=1",
            *overrides,
        ]
    )
    output = tmp_path / "out"
    assert status == 0, capsys.readouterr().err
    for name in (
        "report.json",
        "reconstruction.png",
        "usage.png",
        "config.yaml",
        "checkpoints/last.ckpt",
        "training_images/report.json",
    ):
        assert (output / name).stat().st_size > 0, name
    report = json.loads((output / "report.json").read_text())
    tokenizer = Tokenizer.from_pretrained(output / "model")
    assert tokenizer.name == recipe
    assert tokenizer.fingerprint in json.dumps(report)
    files = list(output.glob("*.vqt"))
    assert len(files) == 1
    out = capsys.readouterr().out
    assert "decoded from it: PSNR" in out
    assert "usage" in out
    assert list((output / "log").rglob("events.*"))
    if recipe == "image/vqgan-lc":
        table, _ = read_codebook(tmp_path / "book.safetensors")
        assert torch.equal(tokenizer.quantizer.inner.features, table), "it is frozen"


IMAGENET_RECIPES = {
    "vqgan": 10 / 256,
    "llamagen-vq16": 14 / 256,
    "open-magvit2": 18 / 256,
    "ibq": 14 / 256,
    "vqgan-lc": math.log2(100_000) / 256,
    "ta-titok": 64 * 13 / 256**2,
}


@pytest.mark.parametrize("recipe", IMAGENET_RECIPES)
def test_the_rate_of_every_recipe_is_the_paper_s(recipe):
    """At its full size, without memory for the weights."""
    config = composed(f"recipe=image/{recipe}")
    if recipe == "vqgan-lc":
        config.quantizer.inner.table = None
    with torch.device("meta"):
        tokenizer = instantiate(config.tokenizer, _convert_="all")
    stride = math.prod(tokenizer.stride)
    positions = getattr(tokenizer.encoder, "num_tokens", 256**2 // stride)
    bits = tokenizer.quantizer.bits_per_position * positions
    assert bits / 256**2 == pytest.approx(IMAGENET_RECIPES[recipe])


def test_an_unknown_recipe_lists_the_known(capsys):
    assert main(["recipe=image/nothing"]) == 2
    err = capsys.readouterr().err
    assert "image/nothing" in err
    assert all(recipe in err for recipe in RECIPES)
    with pytest.raises(ConfigError):
        find_recipe("../quickstart")


@pytest.mark.parametrize(
    "override", ["trainer.lr=0.1", "optimizer.learning_rat=null", "adversary.start=3"]
)
@pytest.mark.slow
def test_trap_48_an_option_that_nothing_reads_is_refused(override):
    with pytest.raises(ConfigCompositionException, match="Could not override"):
        composed("recipe=image/vqgan-small", override)


def test_a_wrong_setting_is_one_line(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["output_dir=out", "quantizer.codebook_size=1"]) == 1
    err = capsys.readouterr().err
    assert "codebook_size >= 2" in err
    assert "Traceback" not in err


def test_seeds_repeat():
    """The same configuration gives the same initial weights."""
    states = []
    for _ in range(2):
        config = composed()
        seed_everything(config.seed)
        states.append(instantiate(config.tokenizer, _convert_="all").state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
