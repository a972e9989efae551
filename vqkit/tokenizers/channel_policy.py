"""What a tokenizer makes of the channels of a sound."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from vqkit.shapes import Float
from vqkit.tokenizers.spec import MAX_CHANNELS

__all__ = ["ChannelPolicy", "MidSide", "MixChannels", "SplitChannels"]


@dataclass(frozen=True)
class ChannelPolicy(ABC):
    """From the channels of a sound to those that are encoded, and back.

    Attributes:
        codes_alone: Whether each channel is encoded by itself, as a sound of one channel: the
            tokens then have an axis ``channel``.
        max_channels: Most channels that a sound may have.
    """

    codes_alone: ClassVar[bool]
    max_channels: ClassVar[int] = MAX_CHANNELS

    @abstractmethod
    def coded(
        self, sound: Float[Tensor, "*batch channels samples"], num_channels: int
    ) -> Float[Tensor, "*batch coded samples"]:
        """What is encoded, by networks of so many channels."""

    @abstractmethod
    def restored(
        self, coded: Float[Tensor, "*batch coded samples"], num_channels: int
    ) -> Float[Tensor, "*batch channels samples"]:
        """The channels of the sound, of which there were so many."""


@final
@dataclass(frozen=True)
class MixChannels(ChannelPolicy):
    """If there are others than the networks have, their mean for each of the networks'.

    Decoded, each channel is the mean of the networks'.
    """

    codes_alone = False

    def coded(
        self, sound: Float[Tensor, "*batch channels samples"], num_channels: int
    ) -> Float[Tensor, "*batch coded samples"]:
        """The same, or the mean of the channels so many times."""
        if sound.shape[-2] == num_channels:
            return sound
        mean = sound.mean(dim=-2, keepdim=True)
        return mean.expand(*sound.shape[:-2], num_channels, sound.shape[-1])

    def restored(
        self, coded: Float[Tensor, "*batch coded samples"], num_channels: int
    ) -> Float[Tensor, "*batch channels samples"]:
        """The same again the other way round."""
        return self.coded(coded, num_channels)


@final
@dataclass(frozen=True)
class SplitChannels(ChannelPolicy):
    """Each channel alone, as many as there are.

    >>> SplitChannels().coded(torch.zeros(6, 100), 1).shape
    torch.Size([6, 100])
    """

    codes_alone = True

    def coded(
        self, sound: Float[Tensor, "*batch channels samples"], num_channels: int
    ) -> Float[Tensor, "*batch coded samples"]:
        """The channels as they are."""
        return sound

    def restored(
        self, coded: Float[Tensor, "*batch coded samples"], num_channels: int
    ) -> Float[Tensor, "*batch channels samples"]:
        """The channels as they are."""
        return coded


@final
@dataclass(frozen=True)
class MidSide(ChannelPolicy):
    """Of two channels half their sum and half their difference, each alone; one as it is.

    >>> policy, sound = MidSide(), torch.tensor([[0.5, 0.25], [0.5, -0.25]])
    >>> policy.coded(sound, 1)
    tensor([[0.5000, 0.0000],
            [0.0000, 0.2500]])
    >>> torch.equal(policy.restored(policy.coded(sound, 1), 2), sound)
    True
    """

    codes_alone = True
    max_channels = 2

    def coded(
        self, sound: Float[Tensor, "*batch channels samples"], num_channels: int
    ) -> Float[Tensor, "*batch coded samples"]:
        """Mid, side."""
        return self._turned(sound, 0.5)

    def restored(
        self, coded: Float[Tensor, "*batch coded samples"], num_channels: int
    ) -> Float[Tensor, "*batch channels samples"]:
        """Left, right."""
        return self._turned(coded, 1.0)

    def _turned(self, sound: Tensor, factor: float) -> Tensor:
        if sound.shape[-2] == 1:
            return sound
        first, second = sound.unbind(-2)
        return torch.stack([first + second, first - second], dim=-2) * factor
