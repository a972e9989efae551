"""What happens to a clip between its file and the network."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from vqkit.data.clips import Clip, TensorClip
from vqkit.data.image_transforms import training_chain
from vqkit.data.transforms import Chain, Transform
from vqkit.errors import ConfigError
from vqkit.media import from_levels
from vqkit.shapes import Float

__all__ = [
    "ClipTransform",
    "EveryFrame",
    "FramesToMultiple",
    "RandomFrames",
    "transform_clip",
    "video_training_chain",
]


class ClipTransform(ABC):
    """A transform that wants a part of a clip: of a file no more than that is decoded."""

    @abstractmethod
    def cut(self, clip: Clip, generator: Generator) -> Tensor:
        """Choose frames and read them: ``[channels, frames, height, width]``."""

    def __call__(
        self, clip: Float[Tensor, "channels frames height width"], generator: Generator
    ) -> Float[Tensor, "channels new_frames height width"]:
        """Cut frames out of a clip that is in memory."""
        return self.cut(TensorClip(clip), generator)


@dataclass(frozen=True)
class RandomFrames(ClipTransform):
    """So many frames that follow each other, from a random place on.

    Of a shorter clip all frames, and the last one again and again: as a picture that stands still.

    Attributes:
        num_frames: length of what comes out.
    """

    num_frames: int

    def __post_init__(self) -> None:
        _check_positive("num_frames of RandomFrames", self.num_frames)

    def cut(self, clip: Clip, generator: Generator) -> Tensor:
        """Draw a place."""
        num_places = max(1, clip.num_frames - self.num_frames + 1)
        start = int(torch.randint(num_places, (), generator=generator))
        return _standing(clip.read(start, min(self.num_frames, clip.num_frames)), self.num_frames)


@dataclass(frozen=True)
class FramesToMultiple(ClipTransform):
    """The first frames, as many as a network takes: ``multiple * k``, one more with a frame alone.

    Fewer than the least count are followed by the last one again.

    Attributes:
        multiple: the stride in frames.
        first_alone: a causal network codes the first frame for itself.
        max_frames: so many at most; None takes all.
    """

    multiple: int
    first_alone: bool = True
    max_frames: int | None = None

    def __post_init__(self) -> None:
        _check_positive("multiple of FramesToMultiple", self.multiple)
        if self.max_frames is not None and self.max_frames < self._least:
            raise ConfigError(
                f"max_frames of FramesToMultiple: expected at least {self._least}, got "
                f"{self.max_frames}."
            )

    @property
    def _least(self) -> int:
        return 1 if self.first_alone else self.multiple

    def cut(self, clip: Clip, generator: Generator) -> Tensor:
        """Leave the end out."""
        available = clip.num_frames
        if self.max_frames is not None:
            available = min(available, self.max_frames)
        count = max(self._least, available - (available - self._least) % self.multiple)
        return _standing(clip.read(0, min(count, available)), count)


@dataclass(frozen=True)
class EveryFrame:
    """A transform of images done to each frame, with the same chances for all.

    One frame at a time is in memory as floats, however large the clip was.

    Attributes:
        transform: of one frame; all that come out are of one size.
    """

    transform: Transform

    def __call__(
        self, clip: Tensor, generator: Generator
    ) -> Float[Tensor, "channels frames new_height new_width"]:
        """Transform each frame."""
        chances = generator.get_state()
        frames = []
        for frame in clip.unbind(1):
            generator.set_state(chances)
            values = from_levels(frame) if frame.dtype is torch.uint8 else frame
            frames.append(self.transform(values, generator))
        return torch.stack(frames, 1)


def video_training_chain(num_frames: int, size: int, scale: Sequence[float] = (1.0, 1.0)) -> Chain:
    """Make the usual chain for training: random frames, one random crop, half of the time flipped.

    Example:
        >>> chain = video_training_chain(5, 16)
        >>> chain(torch.zeros(3, 9, 40, 50), Generator().manual_seed(0)).shape
        torch.Size([3, 5, 16, 16])
    """
    return Chain(
        {"frames": RandomFrames(num_frames), "picture": EveryFrame(training_chain(size, scale))}
    )


def transform_clip(
    transform: Transform, clip: Clip, generator: Generator
) -> Float[Tensor, "channels frames height width"]:
    """Apply a transform to a clip of which it reads no more than the transform wants."""
    frames = _transformed(transform, clip, generator)
    return from_levels(frames) if frames.dtype is torch.uint8 else frames


def _transformed(transform: Transform, clip: Clip, generator: Generator) -> Tensor:
    if isinstance(transform, ClipTransform):
        return transform.cut(clip, generator)
    if isinstance(transform, Chain) and transform.steps:
        first, *others = transform.steps.values()
        frames = _transformed(first, clip, generator)
        for step in others:
            # What knows of bytes takes them: floats take four times the memory.
            if frames.dtype is torch.uint8 and not isinstance(step, EveryFrame):
                frames = from_levels(frames)
            frames = step(frames, generator)
        return frames
    frames = clip.read(0, clip.num_frames)
    if frames.dtype is torch.uint8 and not isinstance(transform, EveryFrame):
        frames = from_levels(frames)
    return transform(frames, generator)


def _check_positive(what: str, value: int) -> None:
    if value < 1:
        raise ConfigError(f"{what}: expected at least 1, got {value}.")


def _standing(frames: Tensor, num_frames: int) -> Tensor:
    """The last frame again, up to so many."""
    missing = num_frames - frames.shape[1]
    if missing <= 0:
        return frames
    return torch.cat([frames, frames[:, -1:].expand(-1, missing, -1, -1)], 1)
