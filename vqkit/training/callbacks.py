"""What happens around the steps: checkpoints, pictures, progress, a clean stop."""

import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vqkit.errors import ConfigError
from vqkit.training.module import TokenizerTraining
from vqkit.training.stepped import SteppedModule

__all__ = [
    "Checkpoints",
    "ProgressBar",
    "StepCallback",
    "StopOnInterrupt",
    "tokenizer_training",
]


class StepCallback(Callback):
    """Calls ``on_step`` after each generator step, once, whatever is accumulated."""

    def __init__(self) -> None:
        self._last_step = -1

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Steps are counted from here."""
        self._last_step = _stepped(pl_module).step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *arguments: Any
    ) -> None:
        """Call ``on_step`` if this batch ended a step."""
        module = _stepped(pl_module)
        if module.step != self._last_step:
            self._last_step = module.step
            self.on_step(trainer, module)

    def on_step(self, trainer: Trainer, module: SteppedModule) -> None:
        """What the callback does."""


class Checkpoints(StepCallback):
    """Writes ``last.ckpt`` every so many steps and at the end; each appears whole or not at all.

    Args:
        directory: Where; created if absent.
        every: Steps between checkpoints.
        keep: Also keep every checkpoint under its step number.

    Raises:
        ConfigError: ``every < 1``.
    """

    def __init__(
        self, directory: str | os.PathLike[str], every: int = 1000, keep: bool = False
    ) -> None:
        super().__init__()
        if every < 1:
            raise ConfigError(f"Checkpoints every: expected >= 1, got {every}.")
        self.directory = Path(directory)
        self.every = every
        self.keep = keep

    def on_step(self, trainer: Trainer, module: SteppedModule) -> None:
        """Save when it is time, at the last step in any case."""
        if module.step % self.every == 0 or trainer.should_stop:
            self.save(trainer, module)

    def save(self, trainer: Trainer, module: SteppedModule) -> None:
        """Write the checkpoint; all ranks take part, the first one writes."""
        temporary = self.directory / ".last.ckpt.tmp"
        trainer.save_checkpoint(temporary)
        if trainer.is_global_zero:
            temporary.replace(self.directory / "last.ckpt")
            if self.keep:
                kept = self.directory / f"step_{module.step:08d}.ckpt"
                kept.unlink(missing_ok=True)
                os.link(self.directory / "last.ckpt", kept)
        trainer.strategy.barrier()


class ProgressBar(StepCallback):
    """A bar over the steps on a terminal, a line now and then elsewhere; on stderr."""

    def __init__(self) -> None:
        super().__init__()
        self._progress: Progress | None = None
        self._start = (0.0, 0)
        self._next_line = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the bar."""
        super().on_train_start(trainer, pl_module)
        module = _stepped(pl_module)
        self._start = (time.monotonic(), module.step)
        self._next_line = module.step + 1
        if trainer.is_global_zero and sys.stderr.isatty():
            from rich.console import Console

            self._progress = Progress(
                TextColumn("training"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[state]}"),
                console=Console(stderr=True),
            )
            self._progress.start()
            self._progress.add_task("", total=module.max_steps, completed=module.step, state="")

    def on_step(self, trainer: Trainer, module: SteppedModule) -> None:
        """Move the bar, or print a line for about every twentieth of the training."""
        if self._progress is not None:
            task = self._progress.task_ids[0]
            self._progress.update(task, completed=module.step, state=self._state(module))
        elif trainer.is_global_zero and module.step >= self._next_line:
            self._next_line = module.step + max(1, module.max_steps // 20)
            print(
                f"step {module.step}/{module.max_steps}  {self._state(module)}",
                file=sys.stderr,
                flush=True,
            )

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Close the bar, after an error too."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _state(self, module: SteppedModule) -> str:
        seconds, first = time.monotonic() - self._start[0], self._start[1]
        parts = [f"{(module.step - first) / max(seconds, 1e-9):.1f} steps/s"]
        shown = [name for name in module.latest if name.startswith("loss/")]
        shown += module.headline
        parts += [f"{n.split('/')[-1]} {module.latest[n]:.4g}" for n in shown if n in module.latest]
        return "  ".join(parts)


class StopOnInterrupt(Callback):
    """Ctrl-C ends the training after the current step, with a checkpoint and a usable model.

    A second Ctrl-C interrupts at once. ``interrupted`` tells whether it happened.
    """

    def __init__(self) -> None:
        self.interrupted = False
        self._previous: Any = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over Ctrl-C."""

        def stop(number: int, frame: FrameType | None) -> None:
            self.interrupted = True
            trainer.should_stop = True
            signal.signal(signal.SIGINT, self._previous)
            print("Interrupted: stopping after this step.", file=sys.stderr, flush=True)

        self._previous = signal.signal(signal.SIGINT, stop)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give Ctrl-C back."""
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
            self._previous = None


def _stepped(module: LightningModule) -> SteppedModule:
    if not isinstance(module, SteppedModule):
        raise ConfigError(
            f"Callback: expected a module that counts steps, got {type(module).__name__}."
        )
    return module


def tokenizer_training(module: LightningModule) -> TokenizerTraining:
    """The module as what it must be.

    Raises:
        ConfigError: It trains something else.
    """
    if not isinstance(module, TokenizerTraining):
        raise ConfigError(
            f"Callback: expected a TokenizerTraining to watch, got {type(module).__name__}."
        )
    return module
