"""Held-out media beside their reconstructions, in TensorBoard."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Generator, Tensor

from vqkit.data import FramesToMultiple, MediaSet, Transform
from vqkit.errors import ConfigError
from vqkit.evaluation import spectrogram_figure
from vqkit.tokenizers import Tokenizer
from vqkit.training.callbacks import StepCallback, tokenizer_training
from vqkit.training.stepped import SteppedModule

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = ["Clips", "Examples", "Pictures", "Spectrograms"]


_ERROR_GAIN = 4


class Examples(StepCallback):
    """Writes the first held-out items and what the tokenizer makes of them to TensorBoard.

    Args:
        every: Steps between them.
        num_items: Validation items shown, the same each time.

    Raises:
        ConfigError: A number below 1.
    """

    def __init__(self, every: int, num_items: int) -> None:
        super().__init__()
        if min(every, num_items) < 1:
            raise ConfigError(
                f"{type(self).__name__}: expected numbers >= 1, got {every} and {num_items}."
            )
        self.every = every
        self.num_items = num_items

    def on_step(self, trainer: Trainer, module: SteppedModule) -> None:
        """Write when it is time, on the first rank."""
        if module.step % self.every and not trainer.should_stop:
            return
        boards = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
        data = getattr(trainer, "datamodule", None)
        source = getattr(data, "validation", None)
        if not boards or source is None or not trainer.is_global_zero:
            return
        tokenizer = tokenizer_training(module).exported
        prepare = getattr(data, "validation_transform", None)
        numbers = range(min(self.num_items, len(source)))
        items = [self._item(source, i, prepare, tokenizer) for i in numbers]
        decoded = [item.cpu() for item in tokenizer.decode(tokenizer.encode(items))]
        for board in boards:
            self._write(board.experiment, items, decoded, tokenizer, module.step)

    def _item(
        self, source: MediaSet, index: int, prepare: Transform | None, tokenizer: Tokenizer
    ) -> Tensor:
        """What is shown of an item."""
        item = source[index]
        if tokenizer.spec.latent_grid is not None and prepare is not None:
            # What takes one size alone sees them as the validation has them.
            item = prepare(item, Generator().manual_seed(0))
        return item

    @abstractmethod
    def _write(
        self,
        board: "SummaryWriter",
        items: Sequence[Tensor],
        decoded: Sequence[Tensor],
        tokenizer: Tokenizer,
        step: int,
    ) -> None:
        """Write the items and their reconstructions."""


class Pictures(Examples):
    """Originals above reconstructions, as one picture.

    Args:
        every: Steps between pictures.
        num_images: Validation images shown, the same each time.
        side: Their height and width in the picture, in pixels.

    Raises:
        ConfigError: A number below 1.
    """

    def __init__(self, every: int = 1000, num_images: int = 4, side: int = 256) -> None:
        super().__init__(every, num_images)
        if side < 1:
            raise ConfigError(f"Pictures side: expected >= 1, got {side}.")
        self.side = side

    def _write(
        self,
        board: "SummaryWriter",
        items: Sequence[Tensor],
        decoded: Sequence[Tensor],
        tokenizer: Tokenizer,
        step: int,
    ) -> None:
        rows = [torch.cat([self._fit(x) for x in row], dim=-1) for row in (items, decoded)]
        board.add_image("reconstruction", (torch.cat(rows, dim=-2) + 1) / 2, step)

    def _fit(self, image: Tensor) -> Tensor:
        return _resized(image[None], self.side, self.side)[0]


class Clips(Examples):
    """Frames of clips from left to right: originals, reconstructions, four times the error.

    Clips are prepared as those of the validation are; without a transform their first frames are
    taken as they are.

    Args:
        every: Steps between them.
        num_clips: Validation clips shown, the same each time.
        max_frames: So many of each, from its start, are encoded.
        num_frames: So many of these are shown, at equal distances.
        height: Of a frame in the picture, in pixels.

    Raises:
        ConfigError: A number below 1.
    """

    def __init__(
        self,
        every: int = 1000,
        num_clips: int = 4,
        max_frames: int = 17,
        num_frames: int = 6,
        height: int = 128,
    ) -> None:
        super().__init__(every, num_clips)
        if min(max_frames, num_frames, height) < 1:
            raise ConfigError(
                "Clips max_frames, num_frames and height: expected >= 1, got "
                f"{max_frames}, {num_frames} and {height}."
            )
        self.max_frames = max_frames
        self.num_frames = num_frames
        self.height = height

    def _item(
        self, source: MediaSet, index: int, prepare: Transform | None, tokenizer: Tokenizer
    ) -> Tensor:
        # Of a file no more is decoded than is shown.
        prepare = prepare or FramesToMultiple(1, False, self.max_frames)
        return source.sample(index, prepare, Generator().manual_seed(0))[:, : self.max_frames]

    def _write(
        self,
        board: "SummaryWriter",
        items: Sequence[Tensor],
        decoded: Sequence[Tensor],
        tokenizer: Tokenizer,
        step: int,
    ) -> None:
        for number, (original, reconstruction) in enumerate(zip(items, decoded, strict=True)):
            error = (reconstruction - original).abs() * _ERROR_GAIN - 1
            rows = [self._strip(clip) for clip in (original, reconstruction, error)]
            board.add_image(f"clip/{number}", (torch.cat(rows, dim=-2) + 1) / 2, step)

    def _strip(self, clip: Tensor) -> Tensor:
        """Frames side by side."""
        count, (height, width) = clip.shape[1], clip.shape[2:]
        shown = torch.linspace(0, count - 1, min(count, self.num_frames)).round().long()
        wide = max(1, round(width * self.height / height))
        frames = _resized(clip[:, shown].movedim(1, 0), self.height, wide)
        return torch.cat(list(frames), dim=-1)


class Spectrograms(Examples):
    """Spectrograms of originals, reconstructions and what changed, and both to listen to.

    Args:
        every: Steps between them.
        num_sounds: Validation sounds shown, the same each time.
        max_seconds: So much of each, from its start.

    Raises:
        ConfigError: A number below 1, or no time.
    """

    def __init__(self, every: int = 1000, num_sounds: int = 4, max_seconds: float = 10.0) -> None:
        super().__init__(every, num_sounds)
        if not max_seconds > 0:
            raise ConfigError(f"Spectrograms max_seconds: expected > 0, got {max_seconds}.")
        self.max_seconds = max_seconds

    def _item(
        self, source: MediaSet, index: int, prepare: Transform | None, tokenizer: Tokenizer
    ) -> Tensor:
        item = super()._item(source, index, prepare, tokenizer)
        return item[:, : max(1, round(self.max_seconds * _rate_of(tokenizer)))]

    def _write(
        self,
        board: "SummaryWriter",
        items: Sequence[Tensor],
        decoded: Sequence[Tensor],
        tokenizer: Tokenizer,
        step: int,
    ) -> None:
        rate_hz = _rate_of(tokenizer)
        for number, (original, reconstruction) in enumerate(zip(items, decoded, strict=True)):
            figure = spectrogram_figure(original, reconstruction, rate_hz)
            board.add_figure(f"spectrogram/{number}", figure, step)
            for name, sound in (("original", original), ("reconstruction", reconstruction)):
                # TensorBoard plays one channel.
                board.add_audio(f"{name}/{number}", sound.mean(0), step, rate_hz)


def _resized(images: Tensor, height: int, width: int) -> Tensor:
    size = (height, width)
    fitted = F.interpolate(images, size, mode="bilinear", antialias=True, align_corners=False)
    return fitted.clamp(-1, 1)


def _rate_of(tokenizer: Tokenizer) -> int:
    rate_hz = tokenizer.frontend.sample_rate_hz
    if rate_hz is None:
        raise ConfigError(
            f"Spectrograms: expected a tokenizer of sounds, got {tokenizer.name!r} of "
            f"{tokenizer.frontend.modality}. Take callbacks=default."
        )
    return rate_hz
