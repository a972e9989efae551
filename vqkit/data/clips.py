"""Opened clips, of which any frames can be read."""

from abc import ABC, abstractmethod
from fractions import Fraction

from torch import Tensor

from vqkit.errors import ConfigError

__all__ = ["Clip", "TensorClip"]


class Clip(ABC):
    """One clip at the frame rate and with the channels of its source.

    Args:
        num_frames: its length.
        frame_rate: frames per second; None where it is not known.
    """

    def __init__(self, num_frames: int, frame_rate: Fraction | None = None) -> None:
        self.num_frames = num_frames
        self.frame_rate = frame_rate

    def read(self, start: int, num_frames: int) -> Tensor:
        """Frames ``start`` to ``start + num_frames`` of it, the same bits as of the whole.

        Returns:
            ``[channels, frames, height, width]``, uint8 or float32 in [-1, 1]
            (``vqkit.media.from_levels`` makes one of the other).

        Raises:
            ConfigError: the part does not lie within the clip.
            MediaError: it cannot be read.
        """
        if start < 0 or num_frames < 1 or start + num_frames > self.num_frames:
            raise ConfigError(
                f"Part of a clip: expected 1 or more of its {self.num_frames} frames, got "
                f"{num_frames} frames from {start} on."
            )
        return self._read(start, num_frames)

    @abstractmethod
    def _read(self, start: int, num_frames: int) -> Tensor:
        """Read a part that lies within the clip."""


class TensorClip(Clip):
    """A clip in memory.

    Args:
        frames: all of it, [channels, frames, height, width], uint8 or float32.
        frame_rate: frames per second; None where it is not known.
    """

    def __init__(self, frames: Tensor, frame_rate: Fraction | None = None) -> None:
        super().__init__(frames.shape[1], frame_rate)
        self._frames = frames

    def _read(self, start: int, num_frames: int) -> Tensor:
        return self._frames[:, start : start + num_frames]
