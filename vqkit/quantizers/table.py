"""Where the rows of a large codebook come from, as objects."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from vqkit.errors import ConfigError

__all__ = ["GaussianTable", "Table", "read_table"]


class Table(ABC):
    """Makes or reads one vector per code."""

    @abstractmethod
    def __call__(self, num_codes: int, dim: int) -> Tensor:
        """Return fp32 ``[num_codes, dim]``; a table that is read is checked by who asks for it."""


@dataclass(frozen=True)
class GaussianTable(Table):
    """Independent entries from N(0, 1/dim), so that a row is about 1 long (SimVQ, 2411.02038).

    Attributes:
        seed: Draws the same table each time, whatever the random state; None draws from that.
    """

    seed: int | None = None

    def __call__(self, num_codes: int, dim: int) -> Tensor:
        """Draw; with a seed on the CPU, so that every device gets the same."""
        rows = torch.empty(num_codes, dim)
        if self.seed is None or rows.is_meta:
            return rows.normal_(0.0, dim**-0.5)
        generator = torch.Generator("cpu").manual_seed(self.seed)
        return rows.cpu().normal_(0.0, dim**-0.5, generator=generator).to(rows.device)


def read_table(table: Table, num_codes: int, dim: int) -> Tensor:
    """Vectors of a table in fp32, checked.

    Raises:
        ConfigError: Another shape, or a value that is not finite.
    """
    rows = table(num_codes, dim)
    if rows.shape != (num_codes, dim):
        raise ConfigError(
            f"{type(table).__name__}: expected {num_codes} codes of {dim} features, got a table of "
            f"shape {list(rows.shape)}. Give the quantizer "
            "the table's own sizes, or shrink or grow it with vqkit codebook."
        )
    rows = rows.float()
    # On the meta device there are no values, and none are asked for.
    if not rows.is_meta and not bool(rows.isfinite().all()):
        raise ConfigError(
            f"{type(table).__name__}: expected finite values, got a NaN or an infinity. Clean the "
            "features that the table was made of."
        )
    return rows
