"""Training of a supervised speech tokenizer: what is said must be found in its tokens."""

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from vqkit.data import TranscribedBatch
from vqkit.errors import ConfigError
from vqkit.metrics import CodebookUsage, TranscriptErrors
from vqkit.quantizers import QuantizerOutput
from vqkit.tokenizers import SpeechRecogniser
from vqkit.tokenizers.converters import load_whisper_encoder, read_whisper_encoder
from vqkit.training.average import WeightAverage
from vqkit.training.health import codebook_health
from vqkit.training.optimization import Optimization
from vqkit.training.parameter_groups import make_optimizer
from vqkit.training.resumable import ResumableModule

__all__ = ["SupervisedTraining"]


class SupervisedTraining(ResumableModule):
    """Trains a recogniser on transcribed speech, through its quantizer if it has one.

    Minimised are the loss of the transcripts and the quantizer's own (arXiv 2411.17607, section
    2.1). A batch or gradient that is not finite on any rank is skipped by all and counted.

    Args:
        recogniser: What is trained.
        optimization: How the weights are moved.
        max_steps: The training stops after so many steps.
        whisper_weights: A Whisper model that lies here, a folder or a file: its encoder's weights
            are where the training starts from.
        accumulate: Batches per step.
        log_every: Steps between entries of the log.

    Raises:
        ConfigError: A count below 1, or weights or a stage that do not fit.
    """

    num_steps: Tensor
    num_skipped: Tensor

    headline = ("codebook/usage", "validation/word_error_rate")

    def __init__(
        self,
        recogniser: SpeechRecogniser,
        optimization: Optimization,
        max_steps: int,
        *,
        whisper_weights: str | os.PathLike[str] | None = None,
        accumulate: int = 1,
        log_every: int = 50,
    ) -> None:
        super().__init__()
        if min(max_steps, accumulate, log_every) < 1:
            raise ConfigError(
                "SupervisedTraining: expected max_steps, accumulate and log_every >= 1, got "
                f"{max_steps}, {accumulate}, {log_every}."
            )
        if whisper_weights is not None:
            state = read_whisper_encoder(Path(whisper_weights))
            load_whisper_encoder(recogniser.encoder, recogniser.decoder.context, state)
        optimization.stage.begin(recogniser)
        self.automatic_optimization = False
        self.recogniser = recogniser
        self.optimization = optimization
        self.max_steps = max_steps
        decay = optimization.average_decay
        self.average = WeightAverage(recogniser, decay) if decay > 0 else None
        self.accumulate = accumulate
        self.log_every = log_every
        self.register_buffer("num_steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("num_skipped", torch.zeros((), dtype=torch.int64))
        quantizer = recogniser.quantizer
        sizes = None if quantizer is None else quantizer.codebook_sizes
        self.usage = None if sizes is None else CodebookUsage(sizes)
        self.validation_usage = None if sizes is None else CodebookUsage(sizes)
        self.validation_errors = TranscriptErrors()
        self.latest = {}
        # Batches of the current step; a checkpoint is written between steps, when it is 0.
        self._num_accumulated = 0

    @property
    def exported(self) -> SpeechRecogniser:
        """The recogniser to use: the average of the weights if there is one."""
        if self.average is None:
            return self.recogniser
        model = self.average.model
        assert isinstance(model, SpeechRecogniser)
        return model

    @property
    def step(self) -> int:
        """Steps done."""
        return int(self.num_steps)

    def train(self, mode: bool = True) -> "SupervisedTraining":
        """Train all but what is frozen."""
        super().train(mode)
        self.optimization.stage.keep(self.recogniser)
        return self

    def on_train_start(self) -> None:
        """Begin with the frozen parts in evaluation."""
        super().on_train_start()
        # Not at construction: of parts in evaluation before this Lightning warns.
        self.optimization.stage.keep(self.recogniser)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """One optimizer."""
        optimizer = make_optimizer(self.optimization.factory, self.recogniser)
        for group in optimizer.param_groups:
            group.setdefault("base_lr", group["lr"])
        return optimizer

    def training_step(self, batch: TranscribedBatch, batch_idx: int) -> None:
        """One batch; every ``accumulate`` batches one step."""
        logs = self._pass(batch)
        self._num_accumulated += 1
        # Hand-made trainers in tests may feed batches without a data module.
        datamodule = getattr(self.trainer, "datamodule", None)
        if datamodule is not None:
            datamodule.advance(len(batch.transcripts) * self.trainer.world_size)
        if self._num_accumulated < self.accumulate:
            return
        self._num_accumulated = 0
        logs |= self._update()
        self.num_steps += 1
        if self.average is not None:
            self.average.update(self.recogniser, self.step - 1)
        if self.step % self.log_every == 0 or self.step == self.max_steps:
            self._log_training(logs)
        if self.step >= self.max_steps:
            self.trainer.should_stop = True

    def validation_step(self, batch: TranscribedBatch, batch_idx: int) -> None:
        """Errors of the transcripts and use of the codebook."""
        model = self.exported
        output = model(batch.waveforms, batch.num_samples)
        texts = model.decoder.transcribe(output.latent, output.num_frames)
        self.validation_errors.update(texts, batch.transcripts)
        _count(self.validation_usage, output.quantizer)

    def on_validation_epoch_end(self) -> None:
        """Log what the ranks measured together."""
        if self.trainer.sanity_checking:
            return
        logs = {f"validation/{k}": v for k, v in self.validation_errors.compute().items()}
        self.validation_errors.reset()
        if self.validation_usage is not None:
            logs |= codebook_health(self.validation_usage, None, "validation")
            self.validation_usage.reset()
        self._write(logs)

    def _pass(self, batch: TranscribedBatch) -> dict[str, Tensor]:
        """Losses and gradients of one batch."""
        output = self.recogniser(batch.waveforms, batch.num_samples)
        loss = self.recogniser.decoder.transcript_loss(
            output.latent, output.num_frames, batch.transcripts
        )
        logs = {"loss/transcript": loss.detach()}
        if output.quantizer is not None:
            logs |= {f"quantizer/{name}": term for name, term in output.quantizer.terms.items()}
            _count(self.usage, output.quantizer)
            loss = loss + output.quantizer.loss
        if self._finite_everywhere(loss):
            self.manual_backward(loss / self.accumulate)
        else:
            self.num_skipped += 1
        return logs

    def _update(self) -> dict[str, Tensor]:
        """Step if there is a gradient and it is finite."""
        optimizer = self.optimizers()
        assert not isinstance(optimizer, list)
        for group in optimizer.param_groups:
            group["lr"] = group["base_lr"] * self.optimization.learning_rate(self.step)
        parameters = [p for p in self.recogniser.parameters() if p.grad is not None]
        logs = {"learning_rate": torch.tensor(optimizer.param_groups[0]["lr"])}
        if parameters:
            limit = self.optimization.clip_norm or float("inf")
            logs["gradient_norm"] = nn.utils.clip_grad_norm_(parameters, limit)
            if self._finite_everywhere(logs["gradient_norm"]):
                optimizer.step()
            else:
                self.num_skipped += 1
        optimizer.zero_grad(set_to_none=True)
        return logs

    def _log_training(self, logs: Mapping[str, Tensor]) -> None:
        logs = {**logs, "steps/skipped": self.num_skipped}
        if self.usage is not None:
            logs |= codebook_health(self.usage, self.recogniser.quantizer, "codebook")
            self.usage.reset()
        self._write(logs)


def _count(usage: CodebookUsage | None, output: QuantizerOutput | None) -> None:
    if usage is not None and output is not None:
        usage.update(output.indices, (output.indices >= 0).all(-1))
