"""What a set of token files costs: nominal and actual bits per pixel or per second."""

import math
from dataclasses import dataclass

from vqkit.errors import ConfigError

__all__ = ["RateTotals"]


@dataclass(frozen=True)
class RateTotals:
    """Bits, bytes and extents added up over a set, so that the ratios are exact over all of it.

    Example:
        >>> totals = RateTotals(80.0, 20, 8, 256) + RateTotals(160.0, 30, 8, 512)
        >>> totals.nominal_rate, totals.overhead_share
        (0.3125, 0.32)
    """

    nominal_bits: float
    """``log2`` of the codebook's size for every token, side information included."""
    size_bytes: int
    """Bytes of the files."""
    overhead_bytes: int
    """The part of them that holds no tokens: magic, header, checksums, index."""
    extent: float
    """Pixels of images or seconds of sounds; channels do not count."""

    def __post_init__(self) -> None:
        amounts = (self.nominal_bits, self.size_bytes, self.overhead_bytes, self.extent)
        if min(amounts) < 0 or not math.isfinite(self.nominal_bits + self.extent):
            raise ConfigError(
                f"Counting a rate failed: expected finite amounts of at least 0, got {self}."
            )
        if self.overhead_bytes > self.size_bytes:
            raise ConfigError(
                "Counting a rate failed: expected an overhead within its file, got "
                f"{self.overhead_bytes} bytes of {self.size_bytes}."
            )

    def __add__(self, other: "RateTotals") -> "RateTotals":
        return RateTotals(
            self.nominal_bits + other.nominal_bits,
            self.size_bytes + other.size_bytes,
            self.overhead_bytes + other.overhead_bytes,
            self.extent + other.extent,
        )

    @property
    def nominal_rate(self) -> float:
        """Bits per pixel or second without header, padding or entropy coding; NaN without any."""
        return self.nominal_bits / self.extent if self.extent else math.nan

    @property
    def actual_rate(self) -> float:
        """Bits per pixel or second counted on the bytes of the files; NaN without any."""
        return 8 * self.size_bytes / self.extent if self.extent else math.nan

    @property
    def overhead_share(self) -> float:
        """Share of the bytes that hold no tokens; NaN without bytes."""
        return self.overhead_bytes / self.size_bytes if self.size_bytes else math.nan
