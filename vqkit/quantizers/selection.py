"""How a code is chosen by its distance, as objects: the nearest one, or a sample."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.ops.collectives import rank
from vqkit.ops.counter_noise import token_keys
from vqkit.quantizers.schedule import Schedule, check_positive, value_at
from vqkit.shapes import Bool, Float, Int

__all__ = ["Choice", "CodeSelection", "NearestCode", "Sampled", "distance_scores", "draw_keys"]

# Between the seeds of two ranks that drew the same number: ranks are often seeded alike.
_RANK_STEP = 0x1851F42D4C957F2D


class CodeSelection(ABC):
    """Chooses the codes of a training pass; evaluation takes the nearest always."""

    samples: bool = False
    """Whether codes are drawn."""

    @abstractmethod
    def temperature_at(self, step: Tensor) -> Tensor | None:
        """Temperature of the draw at a training step; None takes the nearest code."""


@dataclass(frozen=True)
class NearestCode(CodeSelection):
    """The nearest code."""

    def temperature_at(self, step: Tensor) -> None:
        """No draw."""
        return


@dataclass(frozen=True)
class Sampled(CodeSelection):
    """Code k with probability ``softmax(-distance / temperature)_k`` (as SQ-VAE, arXiv 2205.07547).

    SQ-VAE learns the temperature, here it is set. The distance is the squared one, of unit vectors
    for a cosine metric. Far codes are tried too, so that all are in use before the temperature
    makes the choice sure. Drawn by Gumbel-max, in tiles; evaluation takes the nearest code.

    Attributes:
        temperature: A number or a schedule over the training steps.
        noise: Factor of the noise, a number or a schedule; the same as a factor of the
            temperature, and there because published recipes anneal both.
        last_step: From this training step on the nearest code is taken; None never stops.
    """

    temperature: float | Schedule = 1.0
    noise: float | Schedule = 1.0
    last_step: int | None = None
    samples = True

    def __post_init__(self) -> None:
        """Refuse a temperature that divides by zero."""
        check_positive("Sampled temperature", self.temperature)
        check_positive("Sampled noise", self.noise)
        if self.last_step is not None and self.last_step < 0:
            raise ConfigError(f"Sampled last_step: expected >= 0 or None, got {self.last_step}.")

    def temperature_at(self, step: Tensor) -> Tensor | None:
        """The product of both, until the last step."""
        if self.last_step is not None and int(step) >= self.last_step:
            return None
        return value_at(self.temperature, step) * value_at(self.noise, step)


@dataclass(frozen=True)
class Choice:
    """How the codes of a pass were chosen, for estimators that must know.

    Attributes:
        keys: Random numbers of each token, ``[tokens]``; None where the pass needs no noise.
        step: Training steps before this one.
        codebook: All codes ``[codes, dim]`` where they are compared, with gradient if trained.
        indices: The chosen ones, ``[tokens]``.
        temperature: That of the draw, or None for the nearest code.
    """

    keys: Tensor | None
    step: Tensor | None = None
    codebook: Tensor | None = None
    indices: Tensor | None = None
    temperature: Tensor | None = None


def draw_keys(
    z: Float[Tensor, "batch positions dim"], valid: Bool[Tensor, "batch positions"] | None
) -> Int[Tensor, " tokens"]:
    """Keys of this pass's noise, from the global random state; different on every rank."""
    seed = torch.randint(2**62, (), device=z.device) + rank() * _RANK_STEP % 2**62
    num_tokens = z.shape[0] * z.shape[1]
    return token_keys(seed, num_tokens, None if valid is None else valid.flatten())


def distance_scores(
    z: Float[Tensor, "tokens dim"],
    codebook: Float[Tensor, "codes dim"],
    temperature: Float[Tensor, ""] | float = 1.0,
) -> tuple[Float[Tensor, "tokens dim"], Float[Tensor, "codes dim"], Float[Tensor, " codes"]]:
    """Tokens, weights and biases: ``-|z - e|^2 / temperature = z W^T + bias + constant``.

    The constant is the same for all codes. Measured from the middle of the codes, because far from
    zero float32 squares cannot tell codes apart.
    """
    middle = codebook.detach().mean(0)
    centred = codebook - middle
    return (
        z - middle,
        centred * (2.0 / temperature),
        -centred.square().sum(1) / temperature,
    )
