"""The adversary of a training: discriminator, its loss, its weight and when it comes in."""

import torch
from torch import Tensor, nn

from vqkit.errors import ConfigError
from vqkit.losses import AdversarialLoss, AdversarialSchedule, Hinge, LeCAM, adaptive_weight
from vqkit.training.parameter_groups import OptimizerFactory, make_optimizer

__all__ = ["Adversary"]


class Adversary(nn.Module):
    """Everything that a GAN adds to a tokenizer's training (VQGAN, arXiv 2012.09841, section 3.1).

    Args:
        discriminator: Maps media to logits.
        optimizer: Makes the discriminator's optimizer of its parameters.
        loss: Which pair of losses.
        schedule: When the discriminator trains and the generator listens.
        weight: Weight of the generator's term, after the adaptive one if that is on.
        adaptive: Scale the generator's term by the ratio of gradient norms at the last layer.
        max_adaptive: Upper bound of that ratio.
        lecam_weight: Weight of the LeCAM regulariser; 0 leaves it out.
        lecam_decay: Memory of its averages.

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
        self.lecam = LeCAM(lecam_decay)

    def make_optimizer(self) -> torch.optim.Optimizer:
        """The discriminator's optimizer."""
        return make_optimizer(self.optimizer, self.discriminator)

    def generator_term(
        self, reconstruction: Tensor, other_loss: Tensor, last_layer: Tensor, step: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted term that the tokenizer minimises, and what to log.

        Args:
            reconstruction: Media with gradient.
            other_loss: Reconstruction losses, for the adaptive weight.
            last_layer: Weight of the decoder's last layer.
            step: Generator step.
        """
        ramp = self.schedule.weight(step)
        if ramp == 0.0:
            return reconstruction.new_zeros((), dtype=torch.float32), {}
        # The discriminator judges here and does not learn.
        self.discriminator.requires_grad_(False)
        term = self.loss.generator(self.discriminator(reconstruction))
        self.discriminator.requires_grad_(True)
        logs = {"adversary/generator": term.detach()}
        weight = torch.as_tensor(self.weight * ramp, device=term.device)
        if self.adaptive:
            weight = weight * adaptive_weight(
                other_loss, term, last_layer, maximum=self.max_adaptive
            )
        logs["adversary/weight"] = weight
        return weight * term, logs

    def discriminator_loss(
        self, media: Tensor, reconstruction: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """What the discriminator minimises, and what to log; gradients stop at both inputs."""
        real = self.discriminator(media.detach())
        fake = self.discriminator(reconstruction.detach())
        loss = self.loss.discriminator(real, fake)
        logs = {
            "adversary/discriminator": loss.detach(),
            "adversary/real_logit": real.detach().float().mean(),
            "adversary/fake_logit": fake.detach().float().mean(),
        }
        if self.lecam_weight > 0:
            penalty = self.lecam(real, fake)
            logs["adversary/lecam"] = penalty.detach()
            loss = loss + self.lecam_weight * penalty
        return loss, logs
