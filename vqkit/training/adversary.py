"""The adversary of a training: discriminator, its loss, its weight and when it comes in."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from vqkit.errors import ConfigError
from vqkit.losses import (
    AdversarialLoss,
    AdversarialSchedule,
    FeatureMatching,
    Hinge,
    LeCAM,
    adaptive_weight,
)
from vqkit.nets import DiscriminatorOutput
from vqkit.training.parameter_groups import OptimizerFactory, make_optimizer

__all__ = ["Adversary"]

_GENERATOR = "adversary/generator"
_FEATURES = "adversary/features"


class Adversary(nn.Module):
    """Everything that a GAN adds to a tokenizer's training (VQGAN, arXiv 2012.09841, section 3.1).

    Args:
        discriminator: Maps media to logits, or to a ``DiscriminatorOutput``. It is this module
            whose judgement the losses see, and whose parameters the optimizer moves.
        optimizer: Makes the discriminator's optimizer of its parameters.
        loss: Which pair of losses.
        schedule: When the discriminator trains and the generator listens.
        weight: Weight of the generator's adversarial term, after the adaptive one if that is on.
        adaptive: Scale the generator's term by the ratio of gradient norms at the last layer.
        max_adaptive: Upper bound of that ratio.
        lecam_weight: Weight of the LeCAM regulariser; 0 leaves it out.
        lecam_decay: Memory of its averages.
        feature_matching: Likeness in the discriminator's features, with its own weight; None
            leaves it out.

    Raises:
        ConfigError: A negative weight.
    """

    def __init__(
        self,
        discriminator: nn.Module,
        optimizer: OptimizerFactory,
        loss: AdversarialLoss | None = None,
        schedule: AdversarialSchedule | None = None,
        weight: float = 0.8,
        adaptive: bool = True,
        max_adaptive: float = 1e4,
        lecam_weight: float = 0.0,
        lecam_decay: float = 0.999,
        feature_matching: FeatureMatching | None = None,
    ) -> None:
        super().__init__()
        if weight < 0 or lecam_weight < 0 or max_adaptive < 0:
            raise ConfigError(
                f"Adversary: expected weights >= 0, got {weight}, {lecam_weight}, {max_adaptive}."
            )
        self.discriminator = discriminator
        self.optimizer = optimizer
        self.loss = loss or Hinge()
        self.schedule = schedule or AdversarialSchedule()
        self.weight = weight
        self.adaptive = adaptive
        self.max_adaptive = max_adaptive
        self.lecam_weight = lecam_weight
        self.lecam_decay = lecam_decay
        self.feature_matching = feature_matching
        self.lecam = LeCAM(lecam_decay)

    def make_optimizer(self) -> torch.optim.Optimizer:
        """The discriminator's optimizer."""
        return make_optimizer(self.optimizer, self.discriminator)

    @property
    def term_names(self) -> tuple[str, ...]:
        """Names of all terms of the generator that there may be."""
        return (_GENERATOR,) if self.feature_matching is None else (_GENERATOR, _FEATURES)

    def generator_terms(
        self, reconstruction: Tensor, media: Tensor, step: int
    ) -> tuple[dict[str, Tensor], dict[str, float]]:
        """What the tokenizer minimises, unweighted, and the weights; nothing before its start.

        Args:
            reconstruction: Media with gradient.
            media: What is reconstructed.
            step: Generator step.

        Raises:
            ConfigError: Features are to be matched of a discriminator that has none.
        """
        ramp = self.schedule.weight(step)
        if ramp == 0.0:
            return {}, {}
        # The discriminator judges here and does not learn; what never does stays as it is.
        learning = [p for p in self.discriminator.parameters() if p.requires_grad]
        for parameter in learning:
            parameter.requires_grad_(False)
        fake = _as_output(self.discriminator(reconstruction))
        for parameter in learning:
            parameter.requires_grad_(True)
        terms, weights = {_GENERATOR: self.loss.generator(fake.logits)}, {_GENERATOR: self.weight}
        if self.feature_matching is not None:
            if not any(fake.features):
                raise ConfigError(
                    f"Adversary: feature_matching expected a discriminator that gives features, "
                    f"got {type(self.discriminator).__name__}. Set feature_matching to null."
                )
            with torch.no_grad():
                real = _as_output(self.discriminator(media))
            terms[_FEATURES] = self.feature_matching(fake.features, real.features)
            weights[_FEATURES] = self.feature_matching.weight
        return terms, {name: weight * ramp for name, weight in weights.items()}

    def weighted_term(
        self,
        terms: Mapping[str, Tensor],
        weights: Mapping[str, float],
        other_loss: Tensor,
        last_layer: Tensor,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The terms as one, the adversarial one by the adaptive weight if that is on; what to log.

        Args:
            terms: Of :meth:`generator_terms`.
            weights: Of :meth:`generator_terms`.
            other_loss: Reconstruction losses, for the adaptive weight.
            last_layer: Weight of the decoder's last layer.
        """
        total = other_loss.new_zeros(())
        logs = {}
        for name, term in terms.items():
            weight = torch.as_tensor(weights[name], device=term.device)
            if name == _GENERATOR:
                if self.adaptive:
                    weight = weight * adaptive_weight(
                        other_loss, term, last_layer, maximum=self.max_adaptive
                    )
                logs["adversary/weight"] = weight
            total = total + weight * term
        return total, logs

    def discriminator_loss(
        self, media: Tensor, reconstruction: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """What the discriminator minimises, and what to log; gradients stop at both inputs.

        Raises:
            ConfigError: LeCAM with several discriminators.
        """
        real = _as_output(self.discriminator(media.detach())).logits
        fake = _as_output(self.discriminator(reconstruction.detach())).logits
        loss = self.loss.discriminator(real, fake)
        logs = {
            "adversary/discriminator": loss.detach(),
            "adversary/real_logit": _mean(real),
            "adversary/fake_logit": _mean(fake),
        }
        if self.lecam_weight > 0:
            if len(real) > 1:
                raise ConfigError(
                    f"Adversary: LeCAM expected one discriminator, got {len(real)}, whose averages "
                    f"differ. Set lecam_weight to 0."
                )
            penalty = self.lecam(real[0], fake[0])
            logs["adversary/lecam"] = penalty.detach()
            loss = loss + self.lecam_weight * penalty
        return loss, logs


def _as_output(judged: Tensor | DiscriminatorOutput) -> DiscriminatorOutput:
    """That of a discriminator that gives logits alone: one without features."""
    if isinstance(judged, DiscriminatorOutput):
        return judged
    return DiscriminatorOutput((judged,), ((),))


def _mean(logits: Sequence[Tensor]) -> Tensor:
    """Each discriminator counts the same, whatever its number of logits."""
    return torch.stack([part.detach().float().mean() for part in logits]).mean()
