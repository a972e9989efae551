"""Every file in configs/data builds what it says."""

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from tests.media.video_files import clip
from vqkit.data import (
    AudioDataModule,
    ImageDataModule,
    TranscribedDataModule,
    VideoDataModule,
)
from vqkit.media import write_video
from vqkit.paths import config_dir
from vqkit.tokenizers import build, describe

FILES = sorted((config_dir() / "data").rglob("*.yaml"))


def build_data(config):
    return build(config, trusted=["vqkit.data"])


@pytest.fixture
def filled(folder, sounds, tmp_path):
    """The configuration of a file, with the places that a user fills in filled in."""

    def fill(file: Path):
        config = OmegaConf.load(file)
        sources = [config.train, config.validation]
        if config.train._target_ == "vqkit.data.JoinedVideos":
            sources += [config.train.sources.clips, config.train.sources.stills.images]
        for source in sources:
            if source._target_ == "vqkit.data.ImageFolder":
                source.path = str(folder)
            elif source._target_ == "vqkit.data.ImageFileList":
                (tmp_path / "list.txt").write_text("images/1.png\nimages/2.png\n")
                source.path = str(tmp_path / "list.txt")
            elif source._target_ in ("vqkit.data.VideoFolder", "vqkit.data.VideoFileList"):
                clips = tmp_path / "clips"
                clips.mkdir(exist_ok=True)
                write_video(clip(10, 40, 70), clips / "a.y4m", 25, overwrite=True)
                (tmp_path / "list.txt").write_text("clips/a.y4m\n")
                is_list = source._target_ == "vqkit.data.VideoFileList"
                source.path = str(tmp_path / "list.txt" if is_list else clips)
            elif source._target_ == "vqkit.data.AudioFolder":
                source.path = str(sounds)
            elif source._target_ == "vqkit.data.TranscribedFolder":
                source.path, source.pattern = str(sounds), r"(?P<text>\d)"
            elif source._target_ == "vqkit.data.TranscribedManifest":
                (tmp_path / "set.tsv").write_text("sounds/1.wav\tone\nsounds/2.flac\ttwo\n")
                source.path = str(tmp_path / "set.tsv")
            elif source._target_ == "vqkit.data.AudioFileList":
                (tmp_path / "list.txt").write_text("sounds/1.wav\nsounds/2.flac\n")
                source.path = str(tmp_path / "list.txt")
            elif source._target_ == "vqkit.data.TorchvisionImages":
                source.dataset, source.options = "FakeData", {"size": 4, "image_size": [3, 32, 32]}
        config.num_workers = 0
        return OmegaConf.to_container(config, resolve=True, throw_on_missing=True)

    return fill


def test_all_files_are_seen():
    assert [file.stem for file in FILES] == [
        "audio_file_list",
        "audio_folder",
        "cifar10",
        "file_list",
        "folder",
        "imagenet",
        "moving_shapes",
        "photos",
        "shapes",
        "spoken_digits",
        "transcribed_folder",
        "transcribed_manifest",
        "video_and_images",
        "video_file_list",
        "video_folder",
        "video_scaled",
        "voices",
    ]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_file_builds_a_data_module_that_gives_batches(file, filled):
    config = filled(file)
    module = build_data(config)
    batch = next(iter(module.train_dataloader()))
    whole = next(iter(module.val_dataloader()))
    if isinstance(module, TranscribedDataModule):
        assert len(batch.transcripts) == len(batch.waveforms) == config["batch_size"]
        assert module.sample_rate_hz == 16_000
        assert len(whole.transcripts) == 1
        return
    assert batch.dtype == torch.float32
    if config["_target_"] == "vqkit.data.AudioDataModule":
        assert isinstance(module, AudioDataModule)
        assert batch.shape == (config["batch_size"], 1, 24_000)
        assert module.sample_rate_hz == 24_000
        assert whole.shape[:2] == (1, 1)
        assert whole.shape[2] % 1920 == 0
    elif config["_target_"] == "vqkit.data.VideoDataModule":
        assert isinstance(module, VideoDataModule)
        size = 64 if file.stem == "moving_shapes" else 128
        assert batch.shape == (config["batch_size"], 3, 17, size, size)
        assert whole.shape[2] % 8 == 1
        assert all(side % 32 == 0 for side in whole.shape[3:])
    else:
        assert isinstance(module, ImageDataModule)
        assert batch.shape[:2] == (config["batch_size"], 3)
        assert whole.shape[:2] == (1, 3)
        assert all(side % 32 == 0 for side in whole.shape[2:])


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_object_can_be_described_and_built_again(file, filled):
    module = build_data(filled(file))
    again = build_data(describe(module))
    assert describe(again) == describe(module)
    assert again.transform == module.transform
    ours, theirs = (next(iter(m.val_dataloader())) for m in (module, again))
    if isinstance(module, TranscribedDataModule):
        assert ours.transcripts == theirs.transcripts
        ours, theirs = ours.waveforms, theirs.waveforms
    assert torch.equal(ours, theirs)


def test_hydra_builds_it_too():
    from hydra.utils import instantiate

    config = OmegaConf.load(config_dir() / "data" / "photos.yaml")
    module = instantiate(config, _convert_="all")
    assert module.transform.steps["crop"].scale == (0.5, 1.0)
    assert next(iter(module.train_dataloader())).shape == (16, 3, 64, 64)
    assert module.validation.name(0) == "chelsea"


def test_one_edit_changes_the_rate_and_the_channels_of_a_whole_configuration():
    from hydra import compose, initialize_config_dir
    from hydra.utils import instantiate

    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        overrides = ["data=voices", "data.train.sample_rate_hz=16000", "data.train.channels=2"]
        config = compose("train", overrides=overrides)
    module = instantiate(config.data, _convert_="all")
    assert module.sample_rate_hz == 16_000
    assert next(iter(module.val_dataloader())).shape == (1, 2, 30_720)
