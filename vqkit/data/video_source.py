"""Sets of clips: all with the same channels, read in parts."""

from abc import abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from fractions import Fraction

from torch import Generator, Tensor

from vqkit.data.clips import Clip, TensorClip
from vqkit.data.source import ImageSource, MediaSet
from vqkit.data.transforms import Transform
from vqkit.data.video_transforms import transform_clip
from vqkit.errors import ConfigError, MediaError
from vqkit.media import exact_rate, from_levels
from vqkit.shapes import Float

__all__ = ["JoinedVideos", "StillVideos", "VideoSource"]


class VideoSource(MediaSet):
    """A numbered set of clips ``[channels, frames, height, width]``; a subclass opens each.

    A training sample reads only the frames that its transform wants. A file that is damaged within
    is then found broken by those samples alone that meet the damage: they take the next clip.

    Args:
        num_clips: how many there are.
        channels: number of channels of all.
        frame_rate: frames per second of all; None leaves each clip its own.

    Raises:
        ConfigError: the channels are not 1 or 3, or the frame rate is out of range.
    """

    kind = "clips"

    def __init__(
        self, num_clips: int, *, channels: int = 3, frame_rate: Fraction | float | None = None
    ) -> None:
        if channels not in (1, 3):
            raise ConfigError(f"channels of clips: expected 1 or 3, got {channels}.")
        super().__init__(num_clips)
        self.channels = channels
        self.frame_rate = frame_rate
        self._rate = None if frame_rate is None else exact_rate(frame_rate)

    @abstractmethod
    def open(self, index: int) -> AbstractContextManager[Clip]:
        """Open one clip.

        Raises:
            MediaError: it cannot be read.
        """

    def load(self, index: int) -> Float[Tensor, "channels frames height width"]:
        """Read one clip as a whole.

        Raises:
            MediaError: it cannot be read.
        """
        with self.open(index) as clip:
            frames = clip.read(0, clip.num_frames)
        return frames if frames.is_floating_point() else from_levels(frames)

    def sample_or_skip(
        self, index: int, transform: Transform, generator: Generator
    ) -> Float[Tensor, "channels frames height width"] | None:
        """Read what the transform wants of one clip; None where that cannot be read."""
        # Whether an earlier part was damaged must not matter, or a resumed run would differ.
        try:
            with self.open(index) as clip:
                return transform_clip(transform, clip, generator)
        except MediaError as error:
            self._report(index, error)
            return None


class StillVideos(VideoSource):
    """Images as clips of one frame, to train on images and clips together.

    A transform that wants more frames has the same one again (``RandomFrames``).

    Args:
        images: the images.
        channels: of all of them.

    Raises:
        ConfigError: the channels are not 1 or 3.
    """

    def __init__(self, images: ImageSource, *, channels: int = 3) -> None:
        super().__init__(len(images), channels=channels)
        self.images = images

    def name(self, index: int) -> str:
        """That of the image."""
        return self.images.name(index)

    def open(self, index: int) -> AbstractContextManager[Clip]:
        """Read one image."""
        return nullcontext(TensorClip(self.images.load(index)[:, None]))


class JoinedVideos(VideoSource):
    """Several sets one behind the other: folders of clips, clips and images.

    Args:
        sources: the sets by name, with the same channels. The frame rate is that of those which
            have one.

    Raises:
        ConfigError: there are no sets, or they differ in channels or frame rate.
    """

    def __init__(self, sources: Mapping[str, VideoSource]) -> None:
        sets = list(sources.values())
        if not sets:
            raise ConfigError("JoinedVideos: expected one set or more, got none.")
        rates = {source.frame_rate for source in sets if source.frame_rate is not None}
        channels = {source.channels for source in sets}
        if len(rates) > 1 or len(channels) > 1:
            raise ConfigError(
                "JoinedVideos: expected sets of the same channels and frame rate, got "
                f"{sorted(channels)} channels and {sorted(map(float, rates))} frames per second."
            )
        super().__init__(
            sum(map(len, sets)), channels=channels.pop(), frame_rate=next(iter(rates), None)
        )
        self.sources = sources

    def name(self, index: int) -> str:
        """The name of the set, and of the clip in it."""
        name, place = self._found(index)
        return f"{name}/{self.sources[name].name(place)}"

    def open(self, index: int) -> AbstractContextManager[Clip]:
        """Open it in its set."""
        name, place = self._found(index)
        return self.sources[name].open(place)

    def _found(self, index: int) -> tuple[str, int]:
        for name, source in self.sources.items():
            if index < len(source):
                return name, index
            index -= len(source)
        raise IndexError(f"number of a clip: expected below {len(self)}")
