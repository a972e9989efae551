"""LeCAM: hold the discriminator near the averages of its own past judgements."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqkit.errors import ConfigError
from vqkit.ops.collectives import all_sum, world_size
from vqkit.shapes import Float

__all__ = ["LeCAM"]


class LeCAM(nn.Module):
    """``E max(0, real - fake_mean)^2 + E max(0, real_mean - fake)^2``, for the discriminator.

    Tseng et al. 2021, "Regularizing GANs under Limited Data", eq. 5, one-sided as in the authors'
    published code: a penalty on real logits above the average fake one and on fake logits below the
    average real one. The averages are exponential, over all ranks, and buffers, so that a resumed
    run goes on with them. They move in training with gradients enabled only; the first batch sets
    them; a batch with logits that are not finite moves nothing.

    Args:
        decay: Share of the past in each update of the averages.

    Raises:
        ConfigError: If the decay is outside [0, 1).

    Example:
        >>> LeCAM()(torch.tensor([1.0]), torch.tensor([-1.0]))
        tensor(8.)
    """

    real_mean: Tensor
    fake_mean: Tensor
    num_updates: Tensor

    def __init__(self, decay: float = 0.999) -> None:
        super().__init__()
        if not 0.0 <= decay < 1.0:
            raise ConfigError(f"LeCAM: expected 0 <= decay < 1, got {decay}.")
        self.decay = decay
        self.register_buffer("real_mean", torch.zeros(()))
        self.register_buffer("fake_mean", torch.zeros(()))
        self.register_buffer("num_updates", torch.zeros((), dtype=torch.int64))

    def forward(
        self, real_logits: Float[Tensor, "*real"], fake_logits: Float[Tensor, "*fake"]
    ) -> Float[Tensor, ""]:
        """Unweighted penalty, fp32; in training the averages take the batch in first."""
        real, fake = real_logits.float(), fake_logits.float()
        if self.training and torch.is_grad_enabled():
            self._update(real.detach().mean(), fake.detach().mean())
        too_real = F.relu(real - self.fake_mean).square().mean()
        too_fake = F.relu(self.real_mean - fake).square().mean()
        return too_real + too_fake

    def _update(self, real: Tensor, fake: Tensor) -> None:
        real, fake = all_sum(torch.stack([real, fake])).div(world_size()).unbind()
        finite = real.isfinite() & fake.isfinite()
        weight = torch.where(self.num_updates == 0, 1.0, 1.0 - self.decay)
        # Not in place: the graph of an earlier batch may still hold the old averages.
        self.real_mean = torch.where(finite, self.real_mean.lerp(real, weight), self.real_mean)
        self.fake_mean = torch.where(finite, self.fake_mean.lerp(fake, weight), self.fake_mean)
        self.num_updates = self.num_updates + finite
