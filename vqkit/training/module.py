"""The Lightning module: a tokenizer, its losses, an adversary, and steps counted once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from vqkit.errors import ConfigError
from vqkit.losses import GradientBalancer
from vqkit.metrics import CodebookUsage
from vqkit.tokenizers import Tokenizer, TokenizerOutput
from vqkit.training.adversary import Adversary
from vqkit.training.average import WeightAverage
from vqkit.training.distillation import Distillation
from vqkit.training.health import codebook_health
from vqkit.training.optimization import Optimization
from vqkit.training.parameter_groups import make_optimizer
from vqkit.training.resumable import ResumableModule

__all__ = ["TokenizerTraining", "WeightedLoss"]

BalancerFactory = Callable[[Sequence[str]], GradientBalancer]


@dataclass(frozen=True)
class WeightedLoss:
    """A loss ``(reconstruction, target) -> scalar`` and its weight."""

    loss: nn.Module
    weight: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a negative weight."""
        if self.weight < 0:
            raise ConfigError(f"WeightedLoss: expected a weight >= 0, got {self.weight}.")


class TokenizerTraining(ResumableModule):
    """Trains a tokenizer, with an adversary if there is one.

    One step is one update of the generator: ``num_steps`` counts them, and every schedule, period
    and limit refers to it. Lightning's own count grows with each optimizer's step and is not used.
    A batch or an accumulated gradient that is not finite on any rank is skipped by all and counted.

    Args:
        tokenizer: What is trained.
        losses: By name; their weighted sum and the quantizer's loss are minimised.
        optimization: How the weights are moved.
        max_steps: The training stops after so many steps.
        adversary: Discriminator and what belongs to it.
        balancer: Makes, of the names of all losses, what turns their weights into shares of the
            reconstruction's gradient (EnCodec); the quantizer's loss stands beside. None adds up.
        distillation: Draws the first codebook to a model of speech; its loss stands beside, as the
            quantizer's does.
        validation: What is measured on held-out media, by name: metrics whose ``update`` takes
            reconstruction and target. The use of the codebooks is measured in any case.
        accumulate: Batches per step.
        log_every: Steps between entries of the log.

    Raises:
        ConfigError: No loss, a count below 1, a balancer beside an adaptive weight, a stage that
            does not fit, or an adaptive weight although the decoder's last layer is frozen.
    """

    num_steps: Tensor
    num_skipped: Tensor

    def __init__(
        self,
        tokenizer: Tokenizer,
        losses: Mapping[str, WeightedLoss],
        optimization: Optimization,
        max_steps: int,
        *,
        adversary: Adversary | None = None,
        balancer: BalancerFactory | None = None,
        distillation: Distillation | None = None,
        validation: Mapping[str, Metric] | None = None,
        accumulate: int = 1,
        log_every: int = 50,
    ) -> None:
        super().__init__()
        if not losses or min(max_steps, accumulate, log_every) < 1:
            raise ConfigError(
                "TokenizerTraining: expected at least one loss, and max_steps, accumulate and "
                f"log_every >= 1, got {sorted(losses)}, {max_steps}, {accumulate}, {log_every}."
            )
        self.automatic_optimization = False
        self.tokenizer = tokenizer
        self.losses = nn.ModuleDict({name: item.loss for name, item in losses.items()})
        self.loss_weights = {name: item.weight for name, item in losses.items()}
        self.optimization = optimization
        self.max_steps = max_steps
        self.adversary = adversary
        if balancer is not None and adversary is not None and adversary.adaptive:
            raise ConfigError(
                "TokenizerTraining: expected a balancer or an adaptive weight, got both. Set the "
                "adversary's adaptive to false."
            )
        optimization.stage.begin(tokenizer, adversary)
        if adversary is not None and adversary.adaptive and _last_layer_is_frozen(tokenizer):
            raise ConfigError(
                "TokenizerTraining: expected a last layer of the decoder that learns, because the "
                "adaptive weight is measured there, got a frozen one. Set adaptive to false."
            )
        names = [*losses, *(adversary.term_names if adversary is not None else ())]
        self.balancer = balancer(names) if balancer is not None else None
        self.distillation = distillation
        decay = optimization.average_decay
        self.average = WeightAverage(tokenizer, decay) if decay > 0 else None
        self.accumulate = accumulate
        self.log_every = log_every
        self.register_buffer("num_steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("num_skipped", torch.zeros((), dtype=torch.int64))
        self.usage = CodebookUsage(tokenizer.quantizer.codebook_sizes)
        self.validation_usage = CodebookUsage(tokenizer.quantizer.codebook_sizes)
        self.validation = MetricCollection(
            dict(validation or {}), prefix="validation/", compute_groups=False
        )
        self.latest = {}
        self.headline = ("codebook/usage", "codebook/usage_0", *self.validation)
        # Batches of the current step; a checkpoint is written between steps, when it is 0.
        self._num_accumulated = 0

    @property
    def exported(self) -> Tokenizer:
        """The tokenizer to use: the average of the weights if there is one."""
        if self.average is None:
            return self.tokenizer
        model = self.average.model
        assert isinstance(model, Tokenizer)
        return model

    @property
    def step(self) -> int:
        """Generator steps done."""
        return int(self.num_steps)

    def train(self, mode: bool = True) -> "TokenizerTraining":
        """Train all but what is frozen."""
        super().train(mode)
        self.optimization.stage.keep(self.tokenizer)
        return self

    def on_train_start(self) -> None:
        """Begin with the frozen parts in evaluation."""
        super().on_train_start()
        # Not at construction: of parts in evaluation before this Lightning warns.
        self.optimization.stage.keep(self.tokenizer)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Generator's optimizer, then the discriminator's."""
        generator: nn.Module = self.tokenizer
        if self.distillation is not None:
            generator = nn.ModuleList([self.tokenizer, self.distillation])
        optimizers = [make_optimizer(self.optimization.factory, generator)]
        if self.adversary is not None:
            optimizers.append(self.adversary.make_optimizer())
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group.setdefault("base_lr", group["lr"])
        return optimizers

    def training_step(self, batch: Tensor, batch_idx: int) -> None:
        """One batch; every ``accumulate`` batches one step of each optimizer."""
        logs = self._generator_pass(batch)
        self._num_accumulated += 1
        # Hand-made trainers in tests may feed batches without a data module.
        datamodule = getattr(self.trainer, "datamodule", None)
        if datamodule is not None:
            datamodule.advance(len(batch) * self.trainer.world_size)
        if self._num_accumulated < self.accumulate:
            return
        self._num_accumulated = 0
        self._update(logs)
        self.num_steps += 1
        if self.average is not None:
            self.average.update(self.tokenizer, self.step - 1)
        if self.step % self.log_every == 0 or self.step == self.max_steps:
            self._log_training(logs)
        if self.step >= self.max_steps:
            self.trainer.should_stop = True

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        """Quality and codebook use of whole items."""
        # The samplers give each rank its own items and perhaps one more: no collective here.
        output = self.exported(batch)
        self.validation.update(output.reconstruction.float().clamp(-1, 1), batch)
        self.validation_usage.update(output.quantizer.indices)

    def on_validation_epoch_end(self) -> None:
        """Log what the ranks measured together."""
        if self.trainer.sanity_checking:
            return
        logs = self.validation.compute()
        logs |= codebook_health(self.validation_usage, None, "validation")
        self.validation.reset()
        self.validation_usage.reset()
        self._write(logs)

    def _generator_pass(self, batch: Tensor) -> dict[str, Tensor]:
        """Losses and gradients of one batch, the discriminator's too."""
        output = self.tokenizer(batch)
        terms = {name: loss(output.reconstruction, batch) for name, loss in self.losses.items()}
        logs = {f"loss/{name}": term.detach() for name, term in terms.items()}
        logs |= {f"quantizer/{name}": term for name, term in output.quantizer.terms.items()}
        valid = (output.quantizer.indices >= 0).all(-1)
        self.usage.update(output.quantizer.indices, valid)
        beside = output.quantizer.loss
        if self.distillation is not None:
            distilled = self.distillation(output.quantizer.first, batch)
            logs["loss/distillation"] = distilled.detach()
            beside = beside + self.distillation.weight * distilled
        if not self._finite_everywhere(self._weighted(terms) + beside):
            self.num_skipped += 1
            return logs
        loss, term_logs = self._total(output, terms, batch)
        logs |= term_logs
        self.manual_backward((loss + beside) / self.accumulate)
        if self.adversary is not None and self.adversary.schedule.trains_discriminator(self.step):
            loss, adversary_logs = self.adversary.discriminator_loss(batch, output.reconstruction)
            logs |= adversary_logs
            self.manual_backward(loss / self.accumulate)
        return logs

    def _total(
        self, output: TokenizerOutput, terms: Mapping[str, Tensor], batch: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of the reconstruction, adversarial terms in it, and what to log."""
        judged: dict[str, Tensor] = {}
        weights: dict[str, float] = {}
        if self.adversary is not None:
            judged, weights = self.adversary.generator_terms(
                output.reconstruction, batch, self.step
            )
        logs = {name: term.detach() for name, term in judged.items()}
        if self.balancer is not None:
            loss = self.balancer(
                {**terms, **judged}, {**self.loss_weights, **weights}, output.reconstruction
            )
            norms = self.balancer.average_norms()
            logs |= {f"balancer/{name}_norm": norms[name] for name in (*terms, *judged)}
            return loss, logs
        loss = self._weighted(terms)
        if self.adversary is not None and judged:
            last_layer: Tensor = self.tokenizer.decoder.last_layer  # type: ignore[union-attr,assignment]
            term, weight_logs = self.adversary.weighted_term(judged, weights, loss, last_layer)
            return loss + term, logs | weight_logs
        return loss, logs

    def _weighted(self, terms: Mapping[str, Tensor]) -> Tensor:
        return torch.stack([self.loss_weights[name] * t.float() for name, t in terms.items()]).sum()

    def _update(self, logs: dict[str, Tensor]) -> None:
        """Step each optimizer whose gradient is there and finite."""
        optimizers = self.optimizers()
        for number, optimizer in enumerate(
            optimizers if isinstance(optimizers, list) else [optimizers]
        ):
            name = "discriminator" if number else "generator"
            groups = optimizer.param_groups
            parameters = [p for group in groups for p in group["params"] if p.grad is not None]
            for group in groups:
                group["lr"] = group["base_lr"] * self.optimization.learning_rate(self.step)
            if parameters:
                limit = self.optimization.clip_norm or float("inf")
                norm = nn.utils.clip_grad_norm_(parameters, limit)
                logs[f"gradient_norm/{name}"] = norm
                if self._finite_everywhere(norm):
                    optimizer.step()
                else:
                    self.num_skipped += 1
            optimizer.zero_grad(set_to_none=True)

    def _log_training(self, logs: dict[str, Tensor]) -> None:
        logs = dict(logs)
        logs["steps/skipped"] = self.num_skipped
        optimizer = self.optimizers()
        first = optimizer[0] if isinstance(optimizer, list) else optimizer
        logs["learning_rate"] = torch.tensor(first.param_groups[0]["lr"])
        logs |= codebook_health(self.usage, self.tokenizer.quantizer, "codebook")
        self.usage.reset()
        self._write(logs)


def _last_layer_is_frozen(tokenizer: Tokenizer) -> bool:
    layer = getattr(tokenizer.decoder, "last_layer", None)
    return isinstance(layer, Tensor) and not layer.requires_grad
