"""What trainings share: exact resumption, batches that no rank may use, entries of the log."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.ops.collectives import all_sum, rank, world_size
from vqkit.training.random_state import random_state, set_random_state
from vqkit.training.stepped import SteppedModule

__all__ = ["ResumableModule"]


class ResumableModule(SteppedModule):
    """A training that goes on exactly where the resumed run stopped, on all ranks."""

    _resumed_random_state: dict[str, Any] | None = None

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the random states of all ranks."""
        states: list[dict[str, Any] | None] = [random_state()]
        if world_size() > 1:
            states = [None] * world_size()
            dist.all_gather_object(states, random_state())
        checkpoint["random_states"] = states

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the random states until the training starts; what comes before draws as well."""
        states = checkpoint["random_states"]
        if len(states) != world_size():
            raise ConfigError(
                f"Resume: expected {len(states)} processes as in the checkpoint, got "
                f"{world_size()}. Start as many."
            )
        self._resumed_random_state = states[rank()]

    def on_train_start(self) -> None:
        """Go on drawing where the resumed run stopped."""
        if self._resumed_random_state is not None:
            set_random_state(self._resumed_random_state)
            self._resumed_random_state = None
        if self.step >= self.max_steps:
            self.trainer.should_stop = True

    def _finite_everywhere(self, value: Tensor) -> bool:
        return not bool(all_sum((~torch.isfinite(value.detach())).to(torch.int64)))

    def _write(self, logs: Mapping[str, Tensor]) -> None:
        self.latest |= {name: float(value) for name, value in logs.items()}
        # Given the step, a logger does not ask Lightning's own count.
        for logger in self.trainer.loggers:
            logger.log_metrics({name: float(v) for name, v in logs.items()}, step=self.step)
