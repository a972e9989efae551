"""The vectors of a table of codes: how many are twins, how far they drifted."""

from dataclasses import dataclass, field

from torch import Tensor

from vqkit.metrics.codebook_vectors import CodebookDrift, codebook_drift, twin_vectors

__all__ = ["TableHealth"]

_MOST_TWINS = 1000


@dataclass(frozen=True)
class TableHealth:
    """The vectors of one table of codes."""

    name: str
    """Path of its module in the quantizer; empty for the quantizer itself."""
    num_codes: int
    dim: int
    twins: tuple[tuple[int, int], ...] = field(repr=False)
    """Codes that are near-copies of one with a lower index, each beside it; the first thousand."""
    num_twins: int
    drift: CodebookDrift | None
    """Against the same table of another checkpoint."""

    @property
    def num_distinct(self) -> int:
        """Codes that are no near-copy of another one."""
        return self.num_codes - self.num_twins

    @classmethod
    def of(cls, name: str, codes: Tensor, before: Tensor | None = None) -> "TableHealth":
        """Look at a table ``[codes, dim]`` and, if given, at its drift from an earlier one.

        Raises:
            ShapeError: The earlier one has another shape, or a value is not finite.
        """
        twins = twin_vectors(codes)
        shown = tuple((code, original) for code, original in twins[:_MOST_TWINS].tolist())
        drift = None if before is None else codebook_drift(before, codes)
        return cls(name, len(codes), codes.shape[1], shown, len(twins), drift)
