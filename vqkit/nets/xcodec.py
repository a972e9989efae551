"""The encoder and decoder of X-Codec: those of DAC, beside features of what is said."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqkit.errors import ConfigError, ShapeError
from vqkit.nets.dac import DACDecoder, DACEncoder
from vqkit.nets.waveform import require_frames, require_waveform
from vqkit.shapes import Float

__all__ = ["XCodecDecoder", "XCodecEncoder"]


class XCodecEncoder(nn.Module):
    """Waveform to latent frames of acoustic and semantic features (X-Codec, arXiv 2408.17175).

    The semantic half is a large model of speech, HuBERT say, and no part of vqkit: whoever has it
    hands it in. Without it there are no latents, as those of sound alone would be other tokens; the
    acoustic half is then here for its weights.

    Args:
        acoustic: Waveform to its frames.
        semantic_dim: Features of a frame of the semantic half.
        semantic: Waveforms ``[batch, 1, samples]``, of a multiple of the stride, to ``[batch,
            semantic_dim, frames]``.

    Raises:
        ConfigError: ``semantic_dim < 1``.

    Example:
        >>> acoustic = DACEncoder(dim=4, num_filters=2, strides=(2, 3))
        >>> encoder = XCodecEncoder(acoustic, 3, nn.Conv1d(1, 3, 6, stride=6))
        >>> encoder(torch.zeros(1, 1, 17)).shape
        torch.Size([1, 7, 3])
    """

    def __init__(
        self, acoustic: DACEncoder, semantic_dim: int, semantic: nn.Module | None = None
    ) -> None:
        super().__init__()
        if semantic_dim < 1:
            raise ConfigError(f"XCodecEncoder: expected semantic_dim >= 1, got {semantic_dim}.")
        self.acoustic = acoustic
        self.semantic_dim = semantic_dim
        self.semantic = semantic
        self.in_channels = acoustic.in_channels
        self.dim = acoustic.dim + semantic_dim
        self.stride = acoustic.stride
        self.project = nn.Linear(self.dim, self.dim)

    def forward(
        self, x: Float[Tensor, "batch channels samples"]
    ) -> Float[Tensor, "batch dim frames"]:
        """``ceil(samples / stride)`` frames; the end is filled up with zeros.

        Raises:
            ConfigError: There is no semantic half.
            ShapeError: Other channels, no sample, or a semantic half of other frames.
        """
        require_waveform(x, self.in_channels)
        if self.semantic is None:
            raise ConfigError(
                "X-Codec: expected its semantic half, a model of speech that vqkit does not have, "
                "got none. Hand one in (XCodecEncoder(..., semantic=...)), or encode with the "
                "library that has it: its tokens decode here."
            )
        whole = F.pad(x, (0, -x.shape[-1] % self.stride[0]))
        sound, speech = self.acoustic(whole), self.semantic(whole)
        expected = (len(sound), self.semantic_dim, sound.shape[-1])
        if tuple(speech.shape) != expected:
            raise ShapeError(
                f"X-Codec's semantic half: expected features {list(expected)}, got "
                f"{list(speech.shape)}."
            )
        features = torch.cat([sound, speech], dim=1)
        out: Tensor = self.project(features.transpose(1, 2)).transpose(1, 2)
        return out


class XCodecDecoder(nn.Module):
    """Latent frames to waveform: the acoustic part of them, and the decoder of DAC.

    Args:
        acoustic: Frames to waveform.
        dim: Features of one latent vector.

    Raises:
        ConfigError: ``dim < 1``.

    Example:
        >>> acoustic = DACDecoder(dim=4, num_filters=8, strides=(2, 3), whole_strides=True)
        >>> XCodecDecoder(acoustic, dim=7)(torch.zeros(1, 7, 3)).shape
        torch.Size([1, 1, 18])
    """

    def __init__(self, acoustic: DACDecoder, dim: int) -> None:
        super().__init__()
        if dim < 1:
            raise ConfigError(f"XCodecDecoder: expected dim >= 1, got {dim}.")
        self.acoustic = acoustic
        self.dim = dim
        self.out_channels = acoustic.out_channels
        self.stride = acoustic.stride
        self.project = nn.Linear(dim, acoustic.dim)

    @property
    def last_layer(self) -> Tensor:
        """Weight of the last layer that learns, where the adaptive weight is measured."""
        return self.acoustic.last_layer

    def forward(
        self, latent: Float[Tensor, "batch dim frames"]
    ) -> Float[Tensor, "batch channels samples"]:
        """``frames * stride`` samples.

        Raises:
            ShapeError: Another number of features, or no frame.
        """
        require_frames(latent, self.dim)
        out: Tensor = self.acoustic(self.project(latent.transpose(1, 2)).transpose(1, 2))
        return out
