"""How many frames of a clip a latent frame stands for."""

from dataclasses import dataclass

__all__ = ["FrameGroups"]


@dataclass(frozen=True)
class FrameGroups:
    """Frames in groups, each of which is a latent frame.

    Args:
        stride: Frames of a group.
        first_alone: Whether the first frame is a group by itself, as in causal networks, to which a
            single frame is a picture.

    >>> groups = FrameGroups(4, first_alone=True)
    >>> [groups.num_latents(frames) for frames in (0, 1, 2, 5, 17)], groups.num_frames(5)
    ([0, 1, 2, 2, 5], 17)
    """

    stride: int
    first_alone: bool

    def num_latents(self, num_frames: int) -> int:
        """Groups that so many frames make, the last perhaps in part."""
        alone = int(self.first_alone and num_frames > 0)
        return alone - (alone - num_frames) // self.stride

    def num_frames(self, num_latents: int) -> int:
        """Frames that so many whole groups hold."""
        alone = int(self.first_alone and num_latents > 0)
        return alone + (num_latents - alone) * self.stride

    def missing(self, num_frames: int) -> int:
        """Frames that make the last group whole."""
        return self.num_frames(self.num_latents(num_frames)) - num_frames
