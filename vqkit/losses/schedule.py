"""When the adversary comes in, and how often it learns."""

import random
from dataclasses import dataclass

from vqkit.errors import ConfigError

__all__ = ["AdversarialSchedule"]


@dataclass(frozen=True)
class AdversarialSchedule:
    """Weight of the adversarial term over training; all steps are generator steps.

    Attributes:
        start_step: First step at which the generator sees the adversary. VQGAN: 250 001.
        ramp_steps: Steps over which the weight rises in a line from 0 to 1; 0 is a jump.
        discriminator_start_step: First step at which the discriminator trains, at or before
            ``start_step``, so that it knows something when it is listened to. ``None``: with it.
        update_probability: Share of the steps at which the discriminator trains from then on.
            EnCodec: 2/3 at 24 kHz, 1/2 at 48 kHz.
        seed: Which steps these are, a function of seed and step alone.

    Raises:
        ConfigError: On a negative step, a discriminator that starts after it is listened to, or a
            probability outside (0, 1].

    Example:
        >>> schedule = AdversarialSchedule(start_step=100, ramp_steps=50)
        >>> [schedule.weight(step) for step in (99, 100, 125, 150, 1000)]
        [0.0, 0.0, 0.5, 1.0, 1.0]
    """

    start_step: int = 0
    ramp_steps: int = 0
    discriminator_start_step: int | None = None
    update_probability: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse steps that contradict each other."""
        if self.start_step < 0 or self.ramp_steps < 0 or (self.discriminator_start_step or 0) < 0:
            raise ConfigError(f"Adversarial schedule: expected steps >= 0, got {self}.")
        if self._discriminator_start > self.start_step:
            raise ConfigError(
                f"Adversarial schedule: expected discriminator_start_step <= start_step, got "
                f"{self.discriminator_start_step} > {self.start_step}: the generator would follow "
                f"an untrained discriminator."
            )
        if not 0.0 < self.update_probability <= 1.0:
            raise ConfigError(
                f"Adversarial schedule: expected 0 < update_probability <= 1, got "
                f"{self.update_probability}."
            )

    @property
    def _discriminator_start(self) -> int:
        if self.discriminator_start_step is None:
            return self.start_step
        return self.discriminator_start_step

    def weight(self, step: int) -> float:
        """Factor of the generator's adversarial term, 0 to 1."""
        if step < self.start_step:
            return 0.0
        if self.ramp_steps == 0:
            return 1.0
        return min(1.0, (step - self.start_step) / self.ramp_steps)

    def trains_discriminator(self, step: int) -> bool:
        """Whether the discriminator takes a step."""
        if step < self._discriminator_start:
            return False
        # A generator per step, of a text: a resumed run draws the same, on all ranks.
        return random.Random(f"{self.seed} {step}").random() < self.update_probability
