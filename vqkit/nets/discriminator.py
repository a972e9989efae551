"""What discriminators have in common, and several of them as one."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from vqkit.errors import ConfigError, ShapeError
from vqkit.shapes import Float

__all__ = [
    "DiscriminatorEnsemble",
    "DiscriminatorOutput",
    "FrozenDiscriminator",
    "PeakNormalisation",
]

# Louder than this, -100 dBFS, a sound is brought to the peak; what is quieter stays quiet.
_LEAST_PEAK = 1e-5


@dataclass(frozen=True)
class DiscriminatorOutput:
    """What several discriminators say of the same media.

    Attributes:
        logits: One tensor per discriminator, of any shape, high for real.
        features: Of each discriminator the activations of its layers, from the first on, without
            the logits.
    """

    logits: tuple[Tensor, ...]
    features: tuple[tuple[Tensor, ...], ...]

    @classmethod
    def joined(cls, outputs: Iterable["DiscriminatorOutput"]) -> "DiscriminatorOutput":
        """Those of all, in their order."""
        outputs = list(outputs)
        return cls(
            tuple(logits for output in outputs for logits in output.logits),
            tuple(features for output in outputs for features in output.features),
        )


class LeakyConvolutions(nn.Module):
    """Convolutions with weight normalisation (arXiv 1602.07868), leaky ReLU behind each."""

    def __init__(self, convs: Sequence[nn.Module], slope: float) -> None:
        super().__init__()
        self.convs = nn.ModuleList([weight_norm(conv) for conv in convs])
        self.slope = slope

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Activations of all layers."""
        layers = []
        for conv in self.convs:
            x = nn.functional.leaky_relu(conv(x), self.slope)
            layers.append(x)
        return tuple(layers)


class ConvolutionalJudge(nn.Module):
    """One discriminator: layers, and a convolution to logits behind the last."""

    def __init__(self, convs: Sequence[nn.Module], head: nn.Module, slope: float) -> None:
        super().__init__()
        self.layers = LeakyConvolutions(convs, slope)
        self.head = weight_norm(head)

    def forward(self, x: Tensor) -> DiscriminatorOutput:
        """Logits and features."""
        features = self.layers(x)
        return DiscriminatorOutput((self.head(features[-1]),), (features,))


def require_sound(x: Tensor, in_channels: int, name: str) -> None:
    """Check ``[batch, in_channels, samples]`` with at least one sample.

    Raises:
        ShapeError: Another rank or channel count, or an empty axis.
    """
    if x.ndim != 3 or x.shape[1] != in_channels or 0 in x.shape:
        raise ShapeError(
            f"{name}: expected [batch, {in_channels}, samples] with at least one sample, got "
            f"{list(x.shape)}."
        )


@dataclass(frozen=True)
class PeakNormalisation:
    """Take the mean off each channel of each item and bring its peak to a level.

    DAC does so before its discriminators (its code, not its paper), which then cannot tell levels
    apart. The gradient goes through both. Peaks below 1e-5 are scaled as if they were that.

    Attributes:
        peak: Greatest magnitude of the result.

    Raises:
        ConfigError: A peak that is not positive.

    Example:
        >>> import torch
        >>> PeakNormalisation()(torch.tensor([[[1.0, 2.0, 3.0]]]))
        tensor([[[-0.8000,  0.0000,  0.8000]]])
    """

    peak: float = 0.8

    def __post_init__(self) -> None:
        """Refuse a peak that is not positive."""
        if self.peak <= 0:
            raise ConfigError(f"PeakNormalisation: expected peak > 0, got {self.peak}.")

    def __call__(
        self, x: Float[Tensor, "batch channels samples"]
    ) -> Float[Tensor, "batch channels samples"]:
        """Sounds of one level."""
        centred = x - x.mean(-1, keepdim=True)
        peaks = centred.abs().amax(-1, keepdim=True).clamp_min(_LEAST_PEAK)
        return self.peak * centred / peaks


class DiscriminatorEnsemble(nn.Module):
    """Several discriminators of the same media as one.

    DAC's is ``MultiPeriodDiscriminator`` and ``MultiBandSTFTDiscriminator`` behind
    ``PeakNormalisation``; HiFi-GAN's is ``MultiPeriodDiscriminator`` and
    ``MultiScaleDiscriminator``.

    Args:
        parts: By name; each gives a :class:`DiscriminatorOutput`.
        normalisation: Of the input of all.

    Raises:
        ConfigError: No part.

    Example:
        >>> import torch
        >>> from vqkit.nets import MultiPeriodDiscriminator
        >>> both = DiscriminatorEnsemble(
        ...     {"short": MultiPeriodDiscriminator([2], width=4),
        ...      "long": MultiPeriodDiscriminator([7, 11], width=4)}
        ... )
        >>> len(both(torch.zeros(1, 1, 600)).logits)
        3
    """

    def __init__(
        self, parts: Mapping[str, nn.Module], normalisation: PeakNormalisation | None = None
    ) -> None:
        super().__init__()
        if not parts:
            raise ConfigError("DiscriminatorEnsemble: expected at least one part, got none.")
        self.members = nn.ModuleDict(dict(parts))
        self.normalisation = normalisation

    @property
    def parts(self) -> dict[str, nn.Module]:
        """The discriminators by name."""
        return dict(self.members.items())

    def forward(self, x: Float[Tensor, "batch channels *size"]) -> DiscriminatorOutput:
        """Logits and features of all parts, in their order."""
        if self.normalisation is not None:
            x = self.normalisation(x)
        return DiscriminatorOutput.joined(member(x) for member in self.members.values())


class FrozenDiscriminator(nn.Module):
    """A discriminator that judges and never learns: random features, or those of another run.

    WavTokenizer's release was trained with DAC's discriminators like this, by an oversight: the
    optimizer had another copy of them than the losses.

    Args:
        discriminator: As it is, it stays.

    Example:
        >>> import torch
        >>> from vqkit.nets import MultiPeriodDiscriminator
        >>> frozen = FrozenDiscriminator(MultiPeriodDiscriminator([2], width=4))
        >>> any(parameter.requires_grad for parameter in frozen.parameters())
        False
    """

    def __init__(self, discriminator: nn.Module) -> None:
        super().__init__()
        self.discriminator = discriminator.requires_grad_(False)

    def forward(self, x: Float[Tensor, "batch channels *size"]) -> DiscriminatorOutput:
        """What the discriminator says."""
        output: DiscriminatorOutput = self.discriminator(x)
        return output
