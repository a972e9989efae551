"""Gradient estimators as objects: how the gradient passes the quantizer."""

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from vqkit.errors import ConfigError
from vqkit.ops.counter_noise import normal_noise
from vqkit.ops.gradient import directional, rotation_trick, straight_through
from vqkit.ops.soft_code import soft_code
from vqkit.quantizers.schedule import Schedule, check_positive, value_at
from vqkit.quantizers.selection import Choice, distance_scores

__all__ = [
    "DiVeQ",
    "GradientEstimator",
    "GumbelSoftmax",
    "IndexBackpropagation",
    "NoiseSubstitution",
    "RotationTrick",
    "StraightThrough",
    "check_works_on_vectors",
    "estimate",
]


class GradientEstimator(ABC):
    """Value ``codes`` (or, with noise, as far from z as they are), gradient to ``z``."""

    trains_codes: bool = False
    """Whether the gradient reaches the codes as well, so that they need no loss of their own."""
    needs_codebook: bool = False
    """Whether the codes that were not chosen matter."""

    @property
    def adds_noise(self) -> bool:
        """Whether the value leaves the code."""
        return False

    @property
    def without_noise(self) -> "GradientEstimator":
        """The estimator of evaluation, whose value is the code."""
        return self

    @abstractmethod
    def __call__(self, z: Tensor, codes: Tensor, choice: Choice | None = None) -> Tensor:
        """Return ``codes [..., dim]`` with a gradient path to ``z [..., dim]``.

        Args:
            z: What was quantized.
            codes: Their codes, with gradient to the codebook if ``trains_codes``.
            choice: How they were chosen. Noise without it is drawn from the global random state.
        """


@dataclass(frozen=True)
class StraightThrough(GradientEstimator):
    """The gradient of the code is the gradient of the input (arXiv 1308.3432)."""

    def __call__(self, z: Tensor, codes: Tensor, choice: Choice | None = None) -> Tensor:
        """Identity gradient."""
        return straight_through(z, codes)


@dataclass(frozen=True)
class RotationTrick(GradientEstimator):
    """The gradient is rotated and scaled from the code to the input (arXiv 2410.06424).

    Attributes:
        max_ratio: Upper bound of ``|code| / |z|`` in the gradient, which explodes for short z.
    """

    max_ratio: float = 10.0

    def __post_init__(self) -> None:
        """Refuse a ratio that would switch the gradient off."""
        if not self.max_ratio > 0:
            raise ConfigError(f"RotationTrick max_ratio: expected > 0, got {self.max_ratio}.")

    def __call__(self, z: Tensor, codes: Tensor, choice: Choice | None = None) -> Tensor:
        """Gradient ``|q|/|z| R^T g``."""
        return rotation_trick(z, codes, self.max_ratio)


@dataclass(frozen=True)
class DiVeQ(GradientEstimator):
    """``z + |q - z| sg[unit(q - z + noise)]`` (arXiv 2509.26469).

    The gradient reaches the codebook, which needs neither codebook nor commitment loss; unused
    codes need revival, for they get none.

    Attributes:
        noise_variance: Variance of the normal noise per feature, in training; the paper's 5e-3 is
            for latents of about unit variance. 0 gives the code itself.
    """

    noise_variance: float = 5e-3
    trains_codes = True

    def __post_init__(self) -> None:
        """Refuse a negative variance."""
        if not self.noise_variance >= 0:
            raise ConfigError(f"DiVeQ noise_variance: expected >= 0, got {self.noise_variance}.")

    @property
    def adds_noise(self) -> bool:
        """Unless the variance is 0."""
        return self.noise_variance > 0

    @property
    def without_noise(self) -> GradientEstimator:
        """Variance 0."""
        return dataclasses.replace(self, noise_variance=0.0)

    def __call__(self, z: Tensor, codes: Tensor, choice: Choice | None = None) -> Tensor:
        """Gradient along the line from z to the code for the code, the rest for z."""
        if not self.adds_noise:
            return directional(z, codes)
        noise = self.noise_variance**0.5 * _normal_like(z, choice)
        return directional(z, codes, F.normalize(codes.detach() - z.detach() + noise, dim=-1))


@dataclass(frozen=True)
class NoiseSubstitution(GradientEstimator):
    """``z + |q - z| v / |v|`` with normal v (NSVQ, Vali and Backstrom 2022).

    The quantization error is replaced by one of its length and of random direction, in training;
    evaluation gives the code. The gradient reaches the codebook through the length.
    """

    trains_codes = True

    @property
    def adds_noise(self) -> bool:
        """Always."""
        return True

    @property
    def without_noise(self) -> GradientEstimator:
        """The code, straight through."""
        return StraightThrough()

    def __call__(self, z: Tensor, codes: Tensor, choice: Choice | None = None) -> Tensor:
        """Gradient of the length of the error."""
        return directional(z, codes, F.normalize(_normal_like(z, choice), dim=-1))


@dataclass(frozen=True)
class IndexBackpropagation(GradientEstimator):
    """Gradient of a soft assignment over the whole codebook (IBQ, arXiv 2412.02692).

    The value is the code, the gradient that of ``softmax(-distance / temperature) @ codebook`` at
    z and at the distances of every code: all codes move at each step, used or not. The code that
    was chosen gets the plain gradient as well.

    Attributes:
        temperature: A number or a schedule over the training steps, in squared distance.
    """

    temperature: float | Schedule = 1.0
    trains_codes = True
    needs_codebook = True

    def __post_init__(self) -> None:
        """Refuse a temperature that divides by zero."""
        check_positive("IndexBackpropagation temperature", self.temperature)

    def __call__(self, z: Tensor, codes: Tensor, choice: Choice | None = None) -> Tensor:
        """Gradient through all codes, without noise."""
        return _through_all_codes(self, self.temperature, z, codes, choice, noisy=False)


@dataclass(frozen=True)
class GumbelSoftmax(GradientEstimator):
    """Straight-through Gumbel softmax (arXiv 1611.01144), for codes that were drawn.

    The gradient is that of ``softmax((-distance / s + noise) / temperature) @ codebook``, where s
    is the temperature of the draw and the noise the one that drew. It needs
    ``selection=Sampled(...)``; in evaluation there is no noise.

    Attributes:
        temperature: A number or a schedule over the training steps.
    """

    temperature: float | Schedule = 1.0
    trains_codes = True
    needs_codebook = True

    def __post_init__(self) -> None:
        """Refuse a temperature that divides by zero."""
        check_positive("GumbelSoftmax temperature", self.temperature)

    def __call__(self, z: Tensor, codes: Tensor, choice: Choice | None = None) -> Tensor:
        """Gradient through all codes, with the noise of the draw."""
        return _through_all_codes(self, self.temperature, z, codes, choice, noisy=True)


def check_works_on_vectors(gradient: GradientEstimator, owner: str) -> None:
    """Refuse an estimator that needs a codebook where there is none.

    Raises:
        ConfigError: Names both.
    """
    if gradient.needs_codebook:
        raise ConfigError(
            f"{owner} gradient: expected an estimator that works on vectors, got {gradient}, which "
            "needs the codebook. Give it to a VectorQuantizer."
        )


def estimate(gradient: GradientEstimator, z: Tensor, codes: Tensor, noise: Choice | None) -> Tensor:
    """Apply an estimator that works on vectors; without its noise where none was drawn."""
    estimator = gradient.without_noise if noise is None else gradient
    return estimator(z, codes, noise)


def _through_all_codes(
    estimator: GradientEstimator,
    temperature: float | Schedule,
    z: Tensor,
    codes: Tensor,
    choice: Choice | None,
    noisy: bool,
) -> Tensor:
    if choice is None or choice.codebook is None or choice.indices is None or choice.step is None:
        check_works_on_vectors(estimator, "Quantizer")
        raise AssertionError("an estimator of all codes needs the codebook")
    keys = choice.keys if noisy and choice.temperature is not None else None
    draw = 1.0 if keys is None or choice.temperature is None else choice.temperature
    tokens = z.reshape(-1, z.shape[-1])
    centred, weight, bias = distance_scores(tokens, choice.codebook, draw)
    soft = soft_code(
        centred,
        weight,
        bias,
        choice.codebook,
        choice.indices,
        value_at(temperature, choice.step),
        keys,
    )
    # The gradient is that of ``soft``; its value is the code but for the way it was looked up.
    return straight_through(soft.reshape(codes.shape), codes.detach())


def _normal_like(z: Tensor, choice: Choice | None) -> Tensor:
    if choice is None or choice.keys is None:
        return torch.randn_like(z)
    return normal_noise(choice.keys, z.shape[-1]).reshape(z.shape)
