"""Training of a prior over token grids."""

import math
from collections.abc import Mapping, Sequence
from functools import partial

import torch
from lightning.pytorch import Callback
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader

from vqkit.data import MaskedCrop, PositionSampler, TokenCrops
from vqkit.errors import ConfigError
from vqkit.priors import Prior, PriorNetwork, PriorSpec
from vqkit.training.learning_rate import WarmupCosine
from vqkit.training.parameter_groups import make_optimizer
from vqkit.training.stepped import SteppedModule
from vqkit.training.trainer import make_trainer

__all__ = ["PriorTraining", "train_prior"]

_BETAS = (0.9, 0.98)
_CLIP_NORM = 1.0
_WARMUP = 0.05
_WEIGHT_DECAY = 0.02


class PriorTraining(SteppedModule):
    """Minimises the bits that hidden tokens take (`TokenCrops` says which).

    A batch whose gradient is not finite is skipped and counted.

    Args:
        network: What is trained.
        crops: What it is trained on.
        max_steps: Batches.
        batch_size: Crops of one process in a batch.
        learning_rate: Highest rate of AdamW, after a linear warm-up; half a cosine leads to zero.
        log_every: Steps between entries of the log.

    Raises:
        ConfigError: A number is out of range.
    """

    def __init__(
        self,
        network: PriorNetwork,
        crops: TokenCrops,
        max_steps: int,
        *,
        batch_size: int = 16,
        learning_rate: float = 4e-3,
        log_every: int = 50,
    ) -> None:
        super().__init__()
        if min(max_steps, batch_size, log_every) < 1 or not 0 < learning_rate < math.inf:
            raise ConfigError(
                "PriorTraining: expected max_steps, batch_size and log_every >= 1 and a positive "
                f"learning_rate, got {max_steps}, {batch_size}, {log_every}, {learning_rate}."
            )
        self.automatic_optimization = False
        self.network = network
        self.crops = crops
        self.max_steps = max_steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.schedule = WarmupCosine(max_steps, warmup_steps=int(_WARMUP * max_steps))
        self.log_every = log_every
        self.latest = {}
        self.num_skipped = 0
        self._step = 0

    @property
    def step(self) -> int:
        """Batches trained on."""
        return self._step

    def train_dataloader(self) -> DataLoader[MaskedCrop]:
        """Endless batches; each rank has its own."""
        sampler = PositionSampler(
            self.batch_size,
            rank=self.trainer.global_rank,
            world_size=self.trainer.world_size,
        )
        return DataLoader(self.crops, batch_sampler=sampler)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW; biases do not decay."""
        factory = partial(
            torch.optim.AdamW, lr=self.learning_rate, betas=_BETAS, weight_decay=_WEIGHT_DECAY
        )
        return make_optimizer(factory, self.network)

    def training_step(self, batch: MaskedCrop, batch_idx: int) -> None:
        """One step."""
        optimizer = self.optimizers()
        assert not isinstance(optimizer, list)
        bits = self._bits(batch)
        self.manual_backward(bits)
        for group in optimizer.param_groups:
            group["lr"] = self.learning_rate * self.schedule(self._step)
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), _CLIP_NORM)
        if torch.isfinite(norm):
            optimizer.step()
        else:
            self.num_skipped += 1
        optimizer.zero_grad()
        self._step += 1
        if self._step % self.log_every == 0 or self._step == self.max_steps:
            self._log({"loss/bits": bits.detach(), "gradient_norm": norm})
        if self._step >= self.max_steps:
            self.trainer.should_stop = True

    def _bits(self, batch: MaskedCrop) -> Tensor:
        """Mean information of the tokens asked for, in bits."""
        seen = torch.where(batch.known, batch.levels, -1)
        features = self.network(seen, self.crops.crop, batch.levels[..., 0] >= 0)
        losses = []
        for level in batch.level.unique().tolist():
            asked = batch.asked & (batch.level == level)[:, None]
            logits = self.network.logits(features[asked], level)
            losses.append(F.cross_entropy(logits, batch.levels[..., level][asked], reduction="sum"))
        num_asked = batch.asked.sum().clamp(min=1)
        return torch.stack(losses).sum() / (num_asked * math.log(2))

    def _log(self, logs: Mapping[str, Tensor]) -> None:
        self.latest |= {name: float(value) for name, value in logs.items()}
        for logger in self.trainer.loggers:
            logger.log_metrics(self.latest, step=self._step)


def train_prior(
    spec: PriorSpec,
    grids: Sequence[Tensor],
    *,
    max_steps: int = 2000,
    dim: int = 128,
    depth: int = 3,
    batch_size: int = 16,
    learning_rate: float = 4e-3,
    seed: int = 0,
    callbacks: Sequence[Callback] = (),
    accelerator: str = "auto",
) -> Prior:
    """Train a prior of the tokens of one tokenizer.

    Args:
        spec: What it is for.
        grids: Indices ``[*grid, codebooks]`` to train on.
        max_steps: Batches.
        dim: Width of the network.
        depth: Its blocks.
        batch_size: Crops in a batch.
        learning_rate: Highest rate.
        seed: Of the weights and of the crops.
        callbacks: Of Lightning's trainer.
        accelerator: Of Lightning's trainer.

    Raises:
        ConfigError: No grid, or a number out of range.
    """
    crops = TokenCrops(grids, spec.levels, seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = PriorNetwork(spec.levels.sizes, spec.rank, dim=dim, depth=depth)
    training = PriorTraining(
        network, crops, max_steps, batch_size=batch_size, learning_rate=learning_rate
    )
    make_trainer(callbacks=callbacks, accelerator=accelerator, devices=1).fit(training)
    return Prior(spec, network.cpu())
