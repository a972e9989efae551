"""HiFi-GAN's discriminators of waveforms: by periods, and by scales."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from vqkit.errors import ConfigError
from vqkit.nets.discriminator import ConvolutionalJudge, DiscriminatorOutput, require_sound
from vqkit.ops.stft import reflect_pad
from vqkit.shapes import Float

__all__ = ["MultiPeriodDiscriminator", "MultiScaleDiscriminator"]

_GROUPS = 16


class MultiPeriodDiscriminator(nn.Module):
    """Judges a waveform wrapped into rows of several periods (HiFi-GAN, arXiv 2010.05646).

    Sample i stands in row ``i // period`` and column ``i % period``; kernels of 5 x 1 and strides
    of 3 x 1 see one column alone. The last row is completed by reflection (DAC's code adds a whole
    row to what needs none).

    Args:
        periods: Samples per row, one per discriminator.
        in_channels: Channels of the sound.
        width: Channels after the first layer; times 4 per layer, up to 32 times this.
        slope: Of the leaky ReLU.

    Raises:
        ConfigError: No period, or a setting below 1.

    Example:
        >>> import torch
        >>> output = MultiPeriodDiscriminator(width=4)(torch.zeros(2, 1, 1000))
        >>> [list(logits.shape) for logits in output.logits]
        [[2, 1, 7, 2], [2, 1, 5, 3], [2, 1, 3, 5], [2, 1, 2, 7], [2, 1, 2, 11]]
    """

    def __init__(
        self,
        periods: Sequence[int] = (2, 3, 5, 7, 11),
        in_channels: int = 1,
        width: int = 32,
        slope: float = 0.1,
    ) -> None:
        super().__init__()
        if not periods or min(*periods, in_channels, width) < 1:
            raise ConfigError(
                f"MultiPeriodDiscriminator: expected periods, in_channels and width >= 1, got "
                f"{list(periods)}, {in_channels} and {width}."
            )
        self.periods = tuple(periods)
        self.in_channels = in_channels
        self.width = width
        self.slope = slope
        self.judges = nn.ModuleList([self._judge() for _ in self.periods])

    def _judge(self) -> ConvolutionalJudge:
        widths = [self.in_channels, *(self.width * factor for factor in (1, 4, 16, 32, 32))]
        strides = (3, 3, 3, 3, 1)
        convs = [
            nn.Conv2d(before, after, (5, 1), stride=(stride, 1), padding=(2, 0))
            for before, after, stride in zip(widths[:-1], widths[1:], strides, strict=True)
        ]
        return ConvolutionalJudge(
            convs, nn.Conv2d(widths[-1], 1, (3, 1), padding=(1, 0)), self.slope
        )

    def forward(self, x: Float[Tensor, "batch channels samples"]) -> DiscriminatorOutput:
        """Logits ``[batch, 1, rows, period]`` and features per period.

        Raises:
            ShapeError: Other channels, or no sample.
        """
        require_sound(x, self.in_channels, "MultiPeriodDiscriminator")
        return DiscriminatorOutput.joined(
            judge(reflect_pad(x, 0, -x.shape[-1] % period).unflatten(-1, (-1, period)))
            for period, judge in zip(self.periods, self.judges, strict=True)
        )


class MultiScaleDiscriminator(nn.Module):
    """Judges a waveform and its averages over 2, 4, … samples (HiFi-GAN after MelGAN).

    Long grouped convolutions, together of stride 64. Scales are made by averages over 4 samples at
    every second one. HiFi-GAN has spectral normalisation at the first scale; here all have weight
    normalisation: the power iteration would change buffers in each pass, the generator's included.

    Args:
        num_scales: Discriminators.
        in_channels: Channels of the sound.
        width: Channels after the first layer, a multiple of 16; 8 times that at the end.
        slope: Of the leaky ReLU.

    Raises:
        ConfigError: A count below 1, or a width that 16 does not divide.

    Example:
        >>> import torch
        >>> output = MultiScaleDiscriminator(width=16)(torch.zeros(2, 1, 1000))
        >>> [list(logits.shape) for logits in output.logits]
        [[2, 1, 16], [2, 1, 8], [2, 1, 4]]
    """

    def __init__(
        self, num_scales: int = 3, in_channels: int = 1, width: int = 128, slope: float = 0.1
    ) -> None:
        super().__init__()
        if min(num_scales, in_channels, width) < 1 or width % _GROUPS:
            raise ConfigError(
                f"MultiScaleDiscriminator: expected num_scales and in_channels >= 1 and a width "
                f"that {_GROUPS} divides, got {num_scales}, {in_channels} and {width}."
            )
        self.num_scales = num_scales
        self.in_channels = in_channels
        self.width = width
        self.slope = slope
        self.judges = nn.ModuleList([self._judge() for _ in range(num_scales)])

    def _judge(self) -> ConvolutionalJudge:
        width = self.width
        convs = [
            nn.Conv1d(self.in_channels, width, 15, padding=7),
            nn.Conv1d(width, width, 41, stride=2, groups=4, padding=20),
            nn.Conv1d(width, 2 * width, 41, stride=2, groups=_GROUPS, padding=20),
            nn.Conv1d(2 * width, 4 * width, 41, stride=4, groups=_GROUPS, padding=20),
            nn.Conv1d(4 * width, 8 * width, 41, stride=4, groups=_GROUPS, padding=20),
            nn.Conv1d(8 * width, 8 * width, 41, groups=_GROUPS, padding=20),
            nn.Conv1d(8 * width, 8 * width, 5, padding=2),
        ]
        return ConvolutionalJudge(convs, nn.Conv1d(8 * width, 1, 3, padding=1), self.slope)

    def forward(self, x: Float[Tensor, "batch channels samples"]) -> DiscriminatorOutput:
        """Logits ``[batch, 1, frames]`` and features per scale.

        Raises:
            ShapeError: Other channels, or no sample.
        """
        require_sound(x, self.in_channels, "MultiScaleDiscriminator")
        outputs = []
        for scale, judge in enumerate(self.judges):
            if scale:
                x = F.avg_pool1d(x, 4, stride=2, padding=2)
            outputs.append(judge(x))
        return DiscriminatorOutput.joined(outputs)
