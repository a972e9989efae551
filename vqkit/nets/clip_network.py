"""What encoders and decoders of clips have in common: the first frame, the layers, the stream.

A causal network sees the first frame ``stride[0] - 1`` more times in front of the clip, and drops
as many frames in front of what it decodes. So ``1 + t k`` frames have ``1 + k`` latent ones, the
first of which stands for the first frame alone, and a single frame is an image.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator

from torch import Tensor, nn

from vqkit.nets.clip_layers import channels_last
from vqkit.nets.grid import require_clip, require_clip_latent
from vqkit.nets.rate_stream import CutStream, RepeatFirstStream
from vqkit.nets.signal_padding import pad_signal
from vqkit.nets.stream import ChainStream, PointwiseStream, Stream
from vqkit.nets.streaming import open_stream
from vqkit.shapes import Float

__all__ = ["ClipDecoder", "ClipEncoder"]


class ClipEncoder(nn.Module, ABC):
    """A network from clips to latents, its layers one after the other.

    Attributes:
        in_channels: Channels of the media.
        dim: Features of one latent vector.
        stride: Frames, rows and columns of one latent vector.
        first_frame_alone: Whether the first latent frame stands for the first frame alone.
    """

    in_channels: int
    dim: int
    stride: tuple[int, int, int]
    first_frame_alone: bool = True

    @abstractmethod
    def layers(self) -> Iterator[nn.Module]:
        """In the order in which they work; their strides make ``stride``."""

    def forward(
        self, x: Float[Tensor, "batch channels frames height width"]
    ) -> Float[Tensor, "batch dim latent_frames latent_height latent_width"]:
        """Latents of clips in [-1, 1].

        Raises:
            ShapeError: On other channels, or sizes that the stride does not divide.
        """
        require_clip(x, self.in_channels, self.stride, self.first_frame_alone)
        x = channels_last(x)
        if self.first_frame_alone:
            x = pad_signal(x, self.stride[0] - 1, 0, "replicate")
        for layer in self.layers():
            x = layer(x)
        return x

    def stream(self) -> Stream:
        """Begin a clip.

        Raises:
            StreamingError: A layer needs the whole clip.
        """
        streams = [open_stream(layer) for layer in self.layers()]
        if self.first_frame_alone:
            streams.insert(0, RepeatFirstStream(self.stride[0] - 1))
        return ChainStream([PointwiseStream(channels_last), *streams])


class ClipDecoder(nn.Module, ABC):
    """A network from latents to clips, its layers one after the other.

    Attributes:
        dim: Features of one latent vector.
        out_channels: Channels of the media.
        stride: Frames, rows and columns of one latent vector.
        first_frame_alone: Whether the first latent frame stands for the first frame alone.
    """

    dim: int
    out_channels: int
    stride: tuple[int, int, int]
    first_frame_alone: bool = True

    @abstractmethod
    def layers(self) -> Iterator[nn.Module]:
        """In the order in which they work; their factors make ``stride``."""

    @property
    @abstractmethod
    def last_layer(self) -> Tensor:
        """Weight of the last layer that learns, where the adaptive weight is measured."""

    def forward(
        self, latent: Float[Tensor, "batch dim latent_frames latent_height latent_width"]
    ) -> Float[Tensor, "batch channels frames height width"]:
        """Clips, nominally in [-1, 1].

        Raises:
            ShapeError: On another number of features or an empty grid.
        """
        require_clip_latent(latent, self.dim)
        x = channels_last(latent)
        for layer in self.layers():
            x = layer(x)
        return x[:, :, self.stride[0] - 1 :] if self.first_frame_alone else x

    def stream(self) -> Stream:
        """Begin a clip.

        Raises:
            StreamingError: A layer needs the whole clip.
        """
        streams = [open_stream(layer) for layer in self.layers()]
        if self.first_frame_alone:
            streams.append(CutStream(self.stride[0] - 1))
        return ChainStream([PointwiseStream(channels_last), *streams])
