"""The Lightning data modules: endless training batches, whole media to measure on."""

from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from vqkit.data.audio_source import AudioSource
from vqkit.data.source import MediaSet
from vqkit.data.stream import PositionSampler, SampleStream
from vqkit.data.transforms import Transform
from vqkit.data.video_source import VideoSource
from vqkit.data.whole_items import WholeItemLoader, WholeItems
from vqkit.errors import ConfigError

__all__ = ["AudioDataModule", "ImageDataModule", "MediaDataModule", "VideoDataModule"]


class MediaDataModule(LightningDataModule):
    """Images, sounds or clips for training, validation and test: batches [batch, channels, *size].

    Training never ends and resumes exactly: each sample is a function of ``seed`` and of its
    position in the run (``SampleStream``), so the samples are the same for any number of workers,
    and the ranks' batches laid end to end are the batch of one process of the whole size. Loaders
    read ahead, so whoever trains says how far it has come: ``advance`` after each batch.

    Validation and test give each readable item once, alone in its batch, in order; with several
    processes rank ``r`` takes items ``r, r + world_size, …``, which may be one more for some ranks
    than for others. ``datamodule.validation.items()`` gives the same, whole, with their names.

    Set ``use_distributed_sampler=False`` in the Trainer: the samplers here know their rank.

    Args:
        train: what to train on.
        transform: what makes training samples of them, all of one size.
        validation: what to validate on, if anything.
        test: what to test on; those of ``validation`` if left out.
        validation_transform: done to what is validated and tested on; none leaves them whole.
        batch_size: training samples of one process in one batch.
        num_workers: processes that read; 0 reads in the main process.
        seed: of the order of the items and of the transforms.

    Raises:
        ConfigError: a number is out of range.
    """

    def __init__(
        self,
        train: MediaSet,
        transform: Transform,
        *,
        validation: MediaSet | None = None,
        test: MediaSet | None = None,
        validation_transform: Transform | None = None,
        batch_size: int = 16,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for what, value, least in (
            ("batch_size", batch_size, 1),
            ("num_workers", num_workers, 0),
            ("seed", seed, 0),
        ):
            if value < least:
                raise ConfigError(f"{what} of the data: expected at least {least}, got {value}.")
        self.train = train
        self.transform = transform
        self.validation = validation
        self.test = test
        self.validation_transform = validation_transform
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.seed = seed
        self.position = 0
        """Training samples consumed so far by all processes together."""

    def advance(self, num_samples: int) -> None:
        """Note that all processes together have trained on this many more samples."""
        self.position += num_samples

    def state_dict(self) -> dict[str, Any]:
        """Where the training stands, and what that number refers to."""
        return {"position": self.position, "seed": self.seed, "length": len(self.train)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where another run stopped.

        Raises:
            ConfigError: that run had another seed or another number of items, so its position
                means other samples here.
        """
        for what, mine in (("seed", self.seed), ("length", len(self.train))):
            if state_dict[what] != mine:
                raise ConfigError(
                    f"Cannot resume the training data: expected {what} {state_dict[what]} as in "
                    f"the checkpoint, got {mine}. Resume with the data and the seed of that run."
                )
        self.position = state_dict["position"]

    def train_dataloader(self) -> DataLoader[Tensor]:
        """Endless batches from ``position`` on."""
        return DataLoader(
            SampleStream(self.train, self.transform, self.seed),
            batch_sampler=PositionSampler(
                self.batch_size,
                start=self.position,
                rank=self._rank,
                world_size=self._world_size,
            ),
            **self._loading(),
        )

    def val_dataloader(self) -> WholeItemLoader | list[WholeItemLoader]:
        """This rank's validation items, each once; an empty list without any."""
        return [] if self.validation is None else self._measuring(self.validation)

    def test_dataloader(self) -> WholeItemLoader | list[WholeItemLoader]:
        """This rank's test items, each once."""
        source = self.validation if self.test is None else self.test
        return [] if source is None else self._measuring(source)

    @property
    def _rank(self) -> int:
        return 0 if self.trainer is None else self.trainer.global_rank

    @property
    def _world_size(self) -> int:
        return 1 if self.trainer is None else self.trainer.world_size

    def _measuring(self, source: MediaSet) -> WholeItemLoader:
        return WholeItemLoader(
            WholeItems(source, self.validation_transform),
            rank=self._rank,
            world_size=self._world_size,
            **self._loading(),
        )

    def _loading(self) -> dict[str, Any]:
        return {
            "num_workers": self.num_workers,
            "persistent_workers": self.num_workers > 0,
            "pin_memory": torch.cuda.is_available(),
            # A loader seeds its workers from the global generator unless it has one of its own, and
            # would so change what the training draws after it.
            "generator": torch.Generator().manual_seed(self.seed),
        }


class ImageDataModule(MediaDataModule):
    """Images for training, validation and test, as batches [batch, channels, height, width]."""


class AudioDataModule(MediaDataModule):
    """Sounds for training, validation and test, as batches [batch, channels, samples].

    Raises:
        ConfigError: the sets differ in rate or channels, or a number is out of range.
    """

    train: AudioSource

    def __init__(
        self,
        train: AudioSource,
        transform: Transform,
        *,
        validation: AudioSource | None = None,
        test: AudioSource | None = None,
        validation_transform: Transform | None = None,
        batch_size: int = 16,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(
            train,
            transform,
            validation=validation,
            test=test,
            validation_transform=validation_transform,
            batch_size=batch_size,
            num_workers=num_workers,
            seed=seed,
        )
        for what, source in (("validation", validation), ("test", test)):
            if source is not None and _sound_of(source) != _sound_of(train):
                raise ConfigError(
                    f"{what} sounds: expected {_sound_of(train)} as in training, got "
                    f"{_sound_of(source)}. Give both the same sample_rate_hz and channels."
                )

    @property
    def sample_rate_hz(self) -> int:
        """Rate of all sounds."""
        return self.train.sample_rate_hz


def _sound_of(source: AudioSource) -> str:
    return f"{source.sample_rate_hz} Hz and {source.channels} channels"


class VideoDataModule(MediaDataModule):
    """Clips for training, validation and test, as batches [batch, channels, frames, height, width].

    Raises:
        ConfigError: the sets differ in frame rate or channels, or a number is out of range.
    """

    train: VideoSource

    def __init__(
        self,
        train: VideoSource,
        transform: Transform,
        *,
        validation: VideoSource | None = None,
        test: VideoSource | None = None,
        validation_transform: Transform | None = None,
        batch_size: int = 16,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(
            train,
            transform,
            validation=validation,
            test=test,
            validation_transform=validation_transform,
            batch_size=batch_size,
            num_workers=num_workers,
            seed=seed,
        )
        for what, source in (("validation", validation), ("test", test)):
            if source is not None and _clips_of(source) != _clips_of(train):
                raise ConfigError(
                    f"{what} clips: expected {_clips_of(train)} as in training, got "
                    f"{_clips_of(source)}. Give both the same frame_rate and channels."
                )


def _clips_of(source: VideoSource) -> str:
    rate = "their own frame rates" if source.frame_rate is None else f"{source.frame_rate} frames/s"
    return f"{rate} and {source.channels} channels"
