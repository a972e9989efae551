"""The health of the codebooks while they are trained: numbers, a picture, limits."""

import logging
import os
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import nn
from torch.utils.hooks import RemovableHandle

from vqkit.errors import ConfigError
from vqkit.evaluation import CodebookHealthReport, HealthLimits, TableHealth, draw_usage
from vqkit.metrics import (
    CodebookUsage,
    LevelInformation,
    PairInformation,
    codebook_level,
)
from vqkit.quantizers import QuantizerOutput
from vqkit.quantizers.base import in_backward
from vqkit.training.callbacks import StepCallback, tokenizer_training
from vqkit.training.module import TokenizerTraining
from vqkit.training.stepped import SteppedModule

__all__ = ["WatchCodebooks"]

_log = logging.getLogger(__name__)
_LOGGED = ("relative_usage", "normalised_entropy", "overused_share", "num_dead")


class WatchCodebooks(StepCallback):
    """Reports on all training tokens since its last report, of all ranks, every so many steps.

    Writes ``usage.json`` and ``usage.png``, logs what they say in numbers, draws the picture in
    TensorBoard, and says where limits are broken: what ``vqkit usage`` does, live.

    Args:
        directory: Where the two files go; each report replaces the one before.
        every: Steps between reports.
        limits: What must hold; None asks for nothing.
        patience: So many reports in a row must break a limit before anything is done about it: a
            codebook that is being initialised breaks them all.
        broken: ``warn`` says so, ``stop`` ends the training with a checkpoint as well.

    Raises:
        ConfigError: A count below 1 or another word.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        every: int = 1000,
        limits: HealthLimits | None = None,
        patience: int = 2,
        broken: Literal["warn", "stop"] = "warn",
    ) -> None:
        super().__init__()
        if min(every, patience) < 1 or broken not in ("warn", "stop"):
            raise ConfigError(
                "WatchCodebooks: expected every and patience >= 1 and broken 'warn' or 'stop', got "
                f"{every}, {patience} and {broken!r}."
            )
        self.directory = Path(directory)
        self.every = every
        self.limits = limits or HealthLimits()
        self.patience = patience
        self.broken = broken
        self._num_broken = 0
        self._hook: RemovableHandle | None = None
        self._usage: CodebookUsage | None = None
        self._information: LevelInformation | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to count what the quantizer gives out in training."""
        super().on_train_start(trainer, pl_module)
        quantizer = tokenizer_training(pl_module).tokenizer.quantizer
        sizes = quantizer.codebook_sizes
        self._usage = CodebookUsage(sizes).to(pl_module.device)
        if len(sizes) > 1:
            self._information = LevelInformation(sizes).to(pl_module.device)
        self._hook = quantizer.register_forward_hook(self._count)

    def on_step(self, trainer: Trainer, module: SteppedModule) -> None:
        """Report when it is time; all ranks take part, the first one writes."""
        if module.step % self.every and not trainer.should_stop:
            return
        report = self._report(tokenizer_training(module))
        if trainer.is_global_zero:
            report.save(self.directory)
            self._write(report, trainer, module.step)
        sentences = report.broken(self.limits) if self.limits.asks else ()
        self._num_broken = self._num_broken + 1 if sentences else 0
        if self._num_broken >= self.patience:
            if trainer.is_global_zero:
                _log.warning("step %d: %s", module.step, " ".join(sentences))
            if self.broken == "stop":
                trainer.should_stop = True

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Stop counting."""
        if self._hook is not None:
            self._hook.remove()
            self._hook = None

    def _count(self, module: nn.Module, inputs: Any, output: QuantizerOutput) -> None:
        # A recomputed pass would count its tokens twice.
        if not module.training or in_backward():
            return
        assert self._usage is not None, "made before the hook"
        valid = (output.indices >= 0).all(-1)
        self._usage.update(output.indices, valid)
        if self._information is not None:
            self._information.update(output.indices, valid)

    def _report(self, module: TokenizerTraining) -> CodebookHealthReport:
        assert self._usage is not None, "made at the start"
        with self._usage.sync_context():
            histograms = self._usage.histograms()
        self._usage.reset()
        information: tuple[PairInformation, ...] = ()
        if self._information is not None:
            with self._information.sync_context():
                information = self._information.information()
            self._information.reset()
        tables = module.tokenizer.quantizer.tables()
        return CodebookHealthReport(
            name=f"{module.tokenizer.name}, step {module.step}",
            levels=tuple(codebook_level(histogram) for histogram in histograms),
            information=information,
            tables=tuple(TableHealth.of(name, codes) for name, codes in tables.items()),
            histograms=histograms,
        )

    def _write(self, report: CodebookHealthReport, trainer: Trainer, step: int) -> None:
        numbers: dict[str, float] = {}
        for number, level in enumerate(report.levels):
            suffix = f"_{number}" if len(report.levels) > 1 else ""
            numbers |= {f"watch/{name}{suffix}": getattr(level, name) for name in _LOGGED}
        for pair in report.information:
            numbers[f"watch/shared_{pair.first}_{pair.second}"] = pair.shared
        for codes in report.tables:
            name = f"_{codes.name}" if codes.name else ""
            numbers[f"watch/twins{name}"] = codes.num_twins
        for logger in trainer.loggers:
            logger.log_metrics(numbers, step=step)
            if isinstance(logger, TensorBoardLogger) and report.levels[0].num_tokens:
                figure = draw_usage(report.levels, report.histograms, report.name)
                logger.experiment.add_figure("codebook/usage", figure, step)
