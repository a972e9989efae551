"""What every training module counts and says, for the callbacks."""

from abc import ABC, abstractmethod

from lightning.pytorch import LightningModule

__all__ = ["SteppedModule"]


class SteppedModule(LightningModule, ABC):
    """A module that counts its own steps and ends the training after ``max_steps`` of them."""

    max_steps: int
    latest: dict[str, float]
    """What was logged last, for progress bars."""
    headline: tuple[str, ...] = ()
    """Names of what progress bars show of it beside the losses."""

    @property
    @abstractmethod
    def step(self) -> int:
        """Steps done."""
