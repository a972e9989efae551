"""Sounds with transcripts as batches: sounds of different lengths, followed by silence."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

from vqkit.data.module import AudioDataModule
from vqkit.data.source import MediaSet
from vqkit.data.stream import PositionSampler, SampleStream, generator_of
from vqkit.data.transcripts import TranscribedFiles
from vqkit.data.transforms import Transform
from vqkit.data.whole_items import WholeItemLoader, WholeItems

__all__ = ["TranscribedBatch", "TranscribedDataModule"]


class TranscribedBatch(NamedTuple):
    """Sounds and what is said in them.

    Attributes:
        waveforms: ``[batch, channels, samples]``, zero after the end of each.
        num_samples: int64 ``[batch]``, the length of each.
        transcripts: one per sound.
    """

    waveforms: Tensor
    num_samples: Tensor
    transcripts: list[str]

    @staticmethod
    def of(sounds: Sequence[tuple[Tensor, str]]) -> "TranscribedBatch":
        """Put sounds ``[channels, samples]`` side by side.

        >>> batch = TranscribedBatch.of([(torch.ones(1, 2), "a"), (torch.ones(1, 4), "b")])
        >>> batch.waveforms.shape, batch.num_samples
        (torch.Size([2, 1, 4]), tensor([2, 4]))
        """
        rows = pad_sequence([sound.mT for sound, _ in sounds], batch_first=True)
        lengths = torch.tensor([sound.shape[-1] for sound, _ in sounds])
        return TranscribedBatch(rows.mT.contiguous(), lengths, [text for _, text in sounds])


class TranscribedDataModule(AudioDataModule):
    """Transcribed sounds for training, validation and test, as ``TranscribedBatch``.

    All that ``AudioDataModule`` says holds, but that training samples may differ in length.
    Validation and test give one sound in a batch.

    Args:
        train: sounds to train on.
        transform: what makes training samples of them, of any length.
        validation: sounds to validate on, if any.
        test: sounds to test on; those of ``validation`` if left out.
        batch_size: training samples of one process in one batch.
        num_workers: processes that read; 0 reads in the main process.
        seed: of the order of the items and of the transforms.

    Raises:
        ConfigError: the sets differ in rate or channels, or a number is out of range.
    """

    train: TranscribedFiles
    validation: TranscribedFiles | None
    test: TranscribedFiles | None

    def __init__(
        self,
        train: TranscribedFiles,
        transform: Transform,
        *,
        validation: TranscribedFiles | None = None,
        test: TranscribedFiles | None = None,
        batch_size: int = 16,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(
            train,
            transform,
            validation=validation,
            test=test,
            batch_size=batch_size,
            num_workers=num_workers,
            seed=seed,
        )

    def train_dataloader(self) -> DataLoader[Any]:
        """Endless batches from ``position`` on."""
        return DataLoader(
            _Stream(self.train, self.transform, self.seed),
            batch_sampler=PositionSampler(
                self.batch_size,
                start=self.position,
                rank=self._rank,
                world_size=self._world_size,
            ),
            collate_fn=TranscribedBatch.of,
            **self._loading(),
        )

    def _measuring(self, source: MediaSet) -> WholeItemLoader:
        assert isinstance(source, TranscribedFiles)
        return WholeItemLoader(
            _Items(source), rank=self._rank, world_size=self._world_size, **self._loading()
        )


class _Stream(Dataset[tuple[Tensor, str]]):
    """The walk of ``SampleStream``, each sound with the transcript of the file that was read."""

    def __init__(self, source: TranscribedFiles, transform: Transform, seed: int) -> None:
        self._source = source
        self._transform = transform
        self._seed = seed
        self._order = SampleStream(source, transform, seed)

    def __getitem__(self, position: int) -> tuple[Tensor, str]:
        generator = generator_of(self._seed, "sample", position)
        index, sound = self._source.numbered_sample(
            self._order.index_of(position), self._transform, generator
        )
        return sound, self._source.transcript(index)


class _Items(WholeItems):
    """Batches of one sound each; None stands for a broken one."""

    def __init__(self, source: TranscribedFiles) -> None:
        super().__init__(source)
        self._transcribed = source

    def __getitem__(self, index: int) -> TranscribedBatch | None:  # type: ignore[override]
        sound = self._transcribed.sample_or_skip(index, _whole, Generator())
        if sound is None:
            return None
        return TranscribedBatch.of([(sound, self._transcribed.transcript(index))])


def _whole(sound: Tensor, generator: Generator) -> Tensor:
    return sound
