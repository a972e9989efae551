"""How weights are moved: the optimizer and what goes with it."""

from dataclasses import dataclass, field

from vqkit.errors import ConfigError
from vqkit.training.learning_rate import Constant, LearningRate
from vqkit.training.parameter_groups import OptimizerFactory
from vqkit.training.stage import Stage

__all__ = ["Optimization"]


@dataclass(frozen=True)
class Optimization:
    """The optimizer of a training, what it moves, its rate over the steps, what becomes of them.

    Attributes:
        factory: Makes the optimizer of the tokenizer's parameters, or of groups of them: weight
            decay spares biases, gains and codes (``parameter_groups``).
        learning_rate: Factor of the rate over the steps, of the discriminator's too.
        clip_norm: Upper bound of the gradient's norm, per optimizer; None leaves it.
        average_decay: Decay of the weight average that is exported; 0 exports the weights.
        stage: Where the weights start from and which of them stay.

    Raises:
        ConfigError: A decay outside [0, 1), or a bound that is not positive.
    """

    factory: OptimizerFactory
    learning_rate: LearningRate = field(default_factory=Constant)
    clip_norm: float | None = None
    average_decay: float = 0.0
    stage: Stage = field(default_factory=Stage)

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        bounded = self.clip_norm is None or self.clip_norm > 0
        if not bounded or not 0.0 <= self.average_decay < 1.0:
            raise ConfigError(
                f"Optimization: expected 0 <= average_decay < 1 and clip_norm > 0 or None, got "
                f"{self.average_decay} and {self.clip_norm}."
            )
