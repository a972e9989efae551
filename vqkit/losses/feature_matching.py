"""Likeness to the target in the features of a discriminator."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vqkit.errors import ConfigError, ShapeError
from vqkit.ops.collectives import all_sum, world_size
from vqkit.shapes import Float

__all__ = ["FeatureMatching"]

# Of several discriminators, the features of each from the first layer on.
Features = Sequence[Sequence[Tensor]]

_LEAST_MAGNITUDE = 1e-8


@dataclass(frozen=True)
class FeatureMatching:
    """Mean absolute difference of features, averaged over all layers of all discriminators.

    The plain one is HiFi-GAN's and DAC's, who add up where the mean is taken here: their weight is
    to be multiplied by the number of layers. The relative one, ``|fake - real| / mean |real|`` per
    layer, is that of EnCodec's paper (arXiv 2210.13438, eq. 5); audiocraft's code computes the
    denominator and does not use it.

    Attributes:
        weight: Factor of the term.
        relative: Divide each layer's difference by the mean magnitude of the real features, of all
            ranks: with a process group every rank must call.

    Raises:
        ConfigError: A negative weight.

    Example:
        >>> real, fake = torch.full((1, 2, 3), 4.0), torch.full((1, 2, 3), 3.0)
        >>> FeatureMatching()([[fake]], [[real]])
        tensor(1.)
        >>> FeatureMatching(relative=True)([[fake]], [[real]])
        tensor(0.2500)
    """

    weight: float = 1.0
    relative: bool = False

    def __post_init__(self) -> None:
        """Refuse a negative weight."""
        if self.weight < 0:
            raise ConfigError(f"FeatureMatching: expected weight >= 0, got {self.weight}.")

    def __call__(self, fake: Features, real: Features) -> Float[Tensor, ""]:
        """Unweighted term, fp32; the real features get no gradient.

        Args:
            fake: Features of reconstructions, per discriminator and layer.
            real: Features of the targets, of the same shapes.

        Raises:
            ShapeError: No features, or shapes that differ.
        """
        ours, theirs = _flat(fake), _flat(real)
        if not ours or [f.shape for f in ours] != [f.shape for f in theirs]:
            raise ShapeError(
                f"Feature matching: expected features of equal shapes, got "
                f"{[list(f.shape) for f in ours]} and {[list(f.shape) for f in theirs]}. "
                f"A discriminator without features cannot be matched."
            )
        theirs = [layer.detach().float() for layer in theirs]
        pairs = zip(ours, theirs, strict=True)
        differences = torch.stack([(f.float() - r).abs().mean() for f, r in pairs])
        if not self.relative:
            return differences.mean()
        # Of all ranks: with sizes of its own each part of a batch would have another loss.
        sizes = all_sum(torch.stack([r.abs().mean() for r in theirs])) / world_size()
        return (differences / sizes.clamp_min(_LEAST_MAGNITUDE)).mean()


def _flat(features: Features) -> list[Tensor]:
    return [layer for discriminator in features for layer in discriminator]
