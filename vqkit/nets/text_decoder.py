"""From latent frames of speech to text: what every such decoder is, and its characters."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vqkit.errors import ConfigError
from vqkit.nets.frame_layers import FrameLayers
from vqkit.shapes import Float, Int

__all__ = ["SpeechContext", "TextDecoder", "check_characters", "encode_characters"]


class SpeechContext(nn.Module):
    """The second half of a recogniser: positions, layers and a norm (arXiv 2411.17607).

    Latents longer than ``max_frames`` are taken in segments of that length, each by itself.

    Args:
        layers: What is done with the latent frames.
        max_frames: Frames of a segment: 375 are 30 s at 12.5 Hz.
        positions: Whether learned positions are added, which are lost in the quantizer.

    Raises:
        ConfigError: ``max_frames < 1``.

    Example:
        >>> from vqkit.nets import ConvLayers
        >>> SpeechContext(ConvLayers(8, 1, 16))(torch.zeros(2, 8, 5)).shape
        torch.Size([2, 5, 8])
    """

    def __init__(self, layers: FrameLayers, max_frames: int = 375, positions: bool = True) -> None:
        super().__init__()
        if max_frames < 1:
            raise ConfigError(f"SpeechContext: expected max_frames >= 1, got {max_frames}.")
        self.layers = layers
        self.max_frames = max_frames
        self.positions = positions
        self.dim = layers.dim
        # From nothing: a trained encoder has positions of its own, and they may do.
        table = torch.zeros(max_frames, self.dim)
        self.position_table = nn.Parameter(table) if positions else None
        self.norm = nn.LayerNorm(self.dim)

    def forward(
        self,
        latent: Float[Tensor, "batch dim frames"],
        num_frames: Int[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch frames dim"]:
        """As many frames, features last.

        Args:
            latent: Channels first, as decoders take them.
            num_frames: Length of each item; frames after it mean nothing. None means all.
        """
        counts = num_frames
        if counts is None:
            counts = torch.full((len(latent),), latent.shape[-1], device=latent.device)
        starts = range(0, latent.shape[-1], self.max_frames)
        segments = [
            self._segment(latent[..., start : start + self.max_frames].mT, counts - start)
            for start in starts
        ]
        out: Tensor = self.norm(torch.cat(segments, dim=1))
        return out

    def _segment(self, frames: Tensor, counts: Tensor) -> Tensor:
        valid = None
        if bool((counts < frames.shape[1]).any()):
            valid = torch.arange(frames.shape[1], device=frames.device) < counts[:, None]
        if self.position_table is not None:
            frames = frames + self.position_table[: frames.shape[1]]
        out: Tensor = self.layers(frames, valid)
        return out


class TextDecoder(nn.Module, ABC):
    """A decoder whose output is no sound but the words in it.

    Attributes:
        dim: Features of a latent frame.
        characters: What texts are made of.
        context: Its layers over the latent frames.
    """

    dim: int
    characters: str
    context: SpeechContext

    @abstractmethod
    def transcript_loss(
        self,
        latent: Float[Tensor, "batch dim frames"],
        num_frames: Int[Tensor, " batch"],
        transcripts: Sequence[str],
    ) -> Float[Tensor, ""]:
        """How badly the texts are known: mean over the items, per character; fp32.

        Raises:
            ConfigError: A text with other characters.
        """

    @abstractmethod
    def transcribe(
        self,
        latent: Float[Tensor, "batch dim frames"],
        num_frames: Int[Tensor, " batch"] | None = None,
    ) -> list[str]:
        """The likeliest text of each item, taken greedily."""


def check_characters(characters: str) -> None:
    """Refuse an alphabet that is empty or has a character twice.

    Raises:
        ConfigError: It is one.
    """
    if not characters or len(set(characters)) != len(characters):
        raise ConfigError(
            f"Characters of a text decoder: expected each once, at least one, got {characters!r}."
        )


def encode_characters(text: str, characters: str, device: torch.device) -> Int[Tensor, " length"]:
    """Places of a text's characters in the alphabet.

    Raises:
        ConfigError: A character that is not in it.

    >>> encode_characters("cab", "abc", torch.device("cpu"))
    tensor([2, 0, 1])
    """
    unknown = sorted(set(text) - set(characters))
    if unknown:
        raise ConfigError(
            f"Transcript {text!r}: expected characters of {characters!r}, got {''.join(unknown)!r}."
            " Give the text decoder these characters too."
        )
    return torch.tensor([characters.index(c) for c in text], dtype=torch.int64, device=device)
