"""The pages of ``docs`` name what there is, and their command lines run."""

import inspect
import re
import shlex
from pathlib import Path

import pytest
import torch

import vqkit.losses
import vqkit.nets
import vqkit.quantizers
from vqkit.cli.main import main
from vqkit.files.dataset import DatasetHeader, Manifest, Sample, ShardWriter, record_name
from vqkit.files.dataset.export import EXPORT_FORMATS, ORDERS, Export
from vqkit.files.storage import Storage
from vqkit.media import write_image
from vqkit.nets import FastDecoder, FastEncoder
from vqkit.paths import config_dir, recipe_dir
from vqkit.quantizers import Quantizer, VectorQuantizer
from vqkit.tokenizers import ImageFrontend, Tokenizer

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = sorted((DOCS / "quantizers").glob("*.md"))
# In the headings of a page, in small letters.
PARTS = ["when", "state", "example", "traps"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_of_a_quantizer_is_complete(page):
    text = page.read_text()
    assert f"![Cells](../images/quantizers/{page.stem}.png)" in text
    headings = " ".join(re.findall(r"^## (.*)$", text, re.MULTILINE)).lower()
    for part in PARTS:
        assert part in headings, part
    assert "```python" in text
    named = re.findall(r"quantizer=(\w+)", text)
    assert named, "which YAML?"
    for name in named:
        assert (config_dir() / "quantizer" / f"{name}.yaml").is_file(), name


def test_every_configuration_and_every_quantizer_is_on_a_page():
    text = "\n".join(page.read_text() for page in PAGES)
    words = set(re.findall(r"\w+", text))
    configurations = {path.stem for path in (config_dir() / "quantizer").glob("*.yaml")}
    exported = [getattr(vqkit.quantizers, name) for name in vqkit.quantizers.__all__]
    quantizers = {
        value.__name__
        for value in exported
        if inspect.isclass(value) and issubclass(value, Quantizer) and value is not Quantizer
    }
    assert not (configurations | quantizers) - words


def test_every_page_is_in_both_tables():
    for table in ("quantizers.md", "which_quantizer.md"):
        linked = set(re.findall(r"\(quantizers/(\w+)\.md\)", (DOCS / table).read_text()))
        missing = {page.stem for page in PAGES} - linked
        # A metric of the plain layer, no layer of its own.
        assert missing <= ({"cosine"} if table == "which_quantizer.md" else set()), table


def test_every_exported_name_of_the_package_is_explained():
    text = "\n".join(page.read_text() for page in DOCS.rglob("*.md") if "_build" not in page.parts)
    words = set(re.findall(r"\w+", text))
    bases = {
        "CodeSelection", "CodebookInit", "CodebookRegularizer", "CodebookUpdate", "Gain", "Metric",
        "Revival", "RotationInit", "Schedule", "Table", "GradientEstimator",
    }  # fmt: skip
    assert not set(vqkit.quantizers.__all__) - words - bases


def test_command_lines_about_codebooks_run(tmp_path, monkeypatch, capsys):
    """In the order of the page, with small photos and an untrained model."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    for folder in ("a", "b"):
        Path("PHOTOS", folder).mkdir(parents=True)
        for i in range(2):
            write_image(torch.rand(3, 64, 80) * 2 - 1, Path("PHOTOS", folder, f"{i}.png"))
    tokenizer = Tokenizer(
        ImageFrontend(),
        FastEncoder(dim=4, widths=(8, 8), num_blocks=(1, 1)),
        VectorQuantizer(4, 16),
        FastDecoder(dim=4, widths=(8, 8), num_blocks=(1, 1)),
        name="example",
    )
    for name in ("EARLIER", "MODEL"):
        tokenizer.train()(torch.rand(2, 3, 64, 64) * 2 - 1)
        tokenizer.eval().save_pretrained(name)
    page = (DOCS / "codebooks.md").read_text()
    verbs = set()
    for block in re.findall(r"```bash\n(.*?)```", page, re.DOTALL):
        for line in block.splitlines():
            program, *arguments = shlex.split(line)
            assert program == "vqkit"
            assert main(arguments) == 0, f"{line}\n{capsys.readouterr().err}"
            verbs.add(" ".join(arguments[: 1 + (arguments[0] == "codebook")]))
    assert verbs >= {"encode", "usage", "codebook build", "codebook remap", "codebook export"}
    assert Path("compact/index_map.safetensors").is_file()
    assert Path("small.map.safetensors").is_file()
    assert Path("report/usage.json").is_file()


def test_command_lines_about_data_sets_run(tmp_path, monkeypatch, capsys):
    """Of both pages, with a data set and a model in the places that they leave open."""
    monkeypatch.chdir(tmp_path)
    tokenizer = Tokenizer(
        ImageFrontend(),
        FastEncoder(dim=4, widths=(8, 8), num_blocks=(1, 1)),
        VectorQuantizer(4, 16),
        FastDecoder(dim=4, widths=(8, 8), num_blocks=(1, 1)),
        name="example",
    )
    tokenizer.train()(torch.rand(2, 3, 64, 64) * 2 - 1)
    tokenizer.eval().save_pretrained("runs/image/example/now/model")
    header = DatasetHeader.of(tokenizer.spec, plan_id="docs")
    writer = ShardWriter(header, 0, 1)
    for key in ("cats/1.jpg", "cats/2.jpg"):
        writer.add(Sample(key, tokenizer.encode([torch.rand(3, 32, 48) * 2 - 1])))
    data, record = writer.finish()
    storage = Storage.at("TOKENS")
    storage.write(record.name, data)
    storage.write(record_name(record.name), record.to_bytes())
    storage.write("manifest.json", Manifest.of(header, [record]).to_bytes())
    actions = set()
    for page in ("datasets.md", "language_model_tokens.md"):
        for block in re.findall(r"```bash\n(.*?)```", (DOCS / page).read_text(), re.DOTALL):
            for line in block.splitlines():
                program, *arguments = shlex.split(line)
                assert program == "vqkit"
                assert main(arguments) == 0, f"{line}\n{capsys.readouterr().err}"
                actions.add(arguments[1])
    assert actions == {"info", "verify", "decode", "export"}
    assert Path("decoded/cats/1.png").is_file()
    formats = {Export.read(path.parent).format for path in Path().glob("*/export.json")}
    assert formats == set(EXPORT_FORMATS)


def test_every_exported_name_of_data_sets_is_explained():
    text = "\n".join(page.read_text() for page in DOCS.glob("*.md"))
    assert "automodule:: vqkit.files.dataset\n" in text
    for name in ("TokenDataset", "TokenIterableDataset", "TokenLoader", *EXPORT_FORMATS, *ORDERS):
        assert f"`{name}`" in text, name


def test_every_network_of_clips_and_its_configuration_is_explained():
    words = set(re.findall(r"\w+", (DOCS / "video_networks.md").read_text()))
    bases = (vqkit.nets.ClipEncoder, vqkit.nets.ClipDecoder)
    exported = [getattr(vqkit.nets, name) for name in vqkit.nets.__all__]
    networks = {x.__name__ for x in exported if inspect.isclass(x) and issubclass(x, bases)}
    assert len(networks) == 14
    assert not networks - words
    targets = {f"_target_: vqkit.nets.{name}" for name in networks}
    for group in ("encoder", "decoder"):
        for path in (config_dir() / group).glob("*.yaml"):
            if targets & set(path.read_text().splitlines()):
                assert path.stem in words, path.stem


def test_every_loss_discriminator_and_configuration_of_audio_is_explained():
    text = (DOCS / "audio_losses.md").read_text()
    words = set(re.findall(r"\w+", text))
    of_images = {"L2", "LPIPS", "LeCAM", "AdversarialLoss", "Mixed", "adaptive_weight"}
    of_clips = {"FlowLoss", "FrameDifferences", "FrameLoss", "WeightedFrames"}
    assert not set(vqkit.losses.__all__) - words - of_images - of_clips
    words |= set(re.findall(r"\w+", (DOCS / "video_networks.md").read_text()))
    judges = {name for name in vqkit.nets.__all__ if "Discriminator" in name}
    assert not judges - words - {"PatchDiscriminator"}
    for name in ("encodec", "audiocraft", "dac", "vocos"):
        assert f"`MultiScaleMel.{name}`" in text
    of_configurations = {"none", "open_magvit2", "patch", "patch_group", "ramped", "vqgan"}
    for group in ("discriminator", "adversary", "balancer"):
        named = {path.stem for path in (config_dir() / group).glob("*.yaml")}
        assert not named - words - of_configurations, group


def test_every_loss_recipe_and_stage_of_clips_is_explained():
    text = (DOCS / "training.md").read_text()
    words = set(re.findall(r"\w+", text))
    assert {"FlowLoss", "FrameDifferences", "FrameLoss", "WeightedFrames"} <= words
    assert {"Stage", "Start", "EarlierRun", "InflatedImages"} <= words
    for group, prefix in (("loss", "video"), ("data", "video"), ("stage", "")):
        for path in (config_dir() / group).glob(f"{prefix}*.yaml"):
            assert f"`{group}={path.stem}`" in text, path.stem
    for path in (recipe_dir() / "video").glob("*/recipe.yaml"):
        assert f"`video/{path.parent.name}`" in text, path.parent.name
