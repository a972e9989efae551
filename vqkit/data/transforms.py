"""What happens to media between their file and the network: pure functions of (item, generator).

Each transform is a frozen object that is called with an item [channels, *size] and a
``torch.Generator``, draws all its chance from that generator and leaves its input as it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Generator, Tensor

from vqkit.shapes import Float

__all__ = ["Chain", "Transform"]


@runtime_checkable
class Transform(Protocol):
    """Anything that turns an item and a source of chance into an item."""

    def __call__(
        self, item: Float[Tensor, "channels *size"], generator: Generator, /
    ) -> Float[Tensor, "channels *new_size"]:
        """Return a new item."""
        ...


@dataclass(frozen=True)
class Chain:
    """One transform after another.

    Attributes:
        steps: the transforms by name, in order; the names let a command line change one of them.
    """

    steps: Mapping[str, Transform]

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", dict(self.steps))

    def __call__(
        self, item: Float[Tensor, "channels *size"], generator: Generator
    ) -> Float[Tensor, "channels *new_size"]:
        """Apply all steps."""
        for step in self.steps.values():
            item = step(item, generator)
        return item
