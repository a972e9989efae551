"""When frames are shown: whole numbers of ticks, so that nothing is rounded on the way."""

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from vqkit.errors import ConfigError

__all__ = ["FrameTimes", "exact_rate"]


def exact_rate(frame_rate: Fraction | float) -> Fraction:
    """A frame rate as a fraction: what is written 29.97 or 23.976 is a multiple of 1000/1001.

    Raises:
        ConfigError: it is not above 0, or above 1000.

    Example:
        >>> exact_rate(29.97), exact_rate(25), exact_rate(12.5)
        (Fraction(30000, 1001), Fraction(25, 1), Fraction(25, 2))
    """
    if not 0 < frame_rate <= 1000:
        raise ConfigError(f"frame_rate: expected above 0 and up to 1000, got {frame_rate}.")
    if isinstance(frame_rate, float) and not frame_rate.is_integer():
        by_television = Fraction(round(frame_rate * 1001 / 1000) * 1000, 1001)
        if abs(by_television - Fraction(frame_rate)) < Fraction(1, 200) and by_television > 0:
            return by_television
        return max(Fraction(frame_rate).limit_denominator(1000), Fraction(1, 1000))
    return Fraction(frame_rate)


@dataclass(frozen=True)
class FrameTimes:
    """When each of some frames is shown, counted from the first frame of the file.

    Attributes:
        ticks: when each begins, in ticks, rising.
        last_ticks: how long the last one lasts.
        time_base: seconds of a tick.

    Example:
        >>> times = FrameTimes((0, 2, 3), 1, Fraction(1, 10))
        >>> float(times.seconds), times.durations, times.frame_rate
        (0.4, (2, 1, 1), Fraction(15, 2))
        >>> times.nearest(0.16)
        1
    """

    ticks: Sequence[int]
    last_ticks: int
    time_base: Fraction

    @property
    def durations(self) -> tuple[int, ...]:
        """How long each frame is shown, in ticks."""
        if not self.ticks:
            return ()
        ends = [*self.ticks[1:], self.end]
        return tuple(end - start for start, end in zip(self.ticks, ends, strict=True))

    @property
    def end(self) -> int:
        """When the last frame ends, in ticks."""
        return self.ticks[-1] + self.last_ticks if self.ticks else 0

    @property
    def seconds(self) -> Fraction:
        """From the beginning of the first of these frames to the end of the last."""
        return (self.end - self.ticks[0]) * self.time_base if self.ticks else Fraction(0)

    @property
    def frame_rate(self) -> Fraction | None:
        """Frames per second on average; None without frames, or if they take no time."""
        return len(self.ticks) / self.seconds if self.seconds else None

    @property
    def is_constant(self) -> bool:
        """Whether all frames last equally long, within the rounding to whole ticks."""
        if not self.ticks:
            return True
        step = Fraction(self.end - self.ticks[0], len(self.ticks))
        return all(abs(tick - self.ticks[0] - i * step) <= 1 for i, tick in enumerate(self.ticks))

    def nearest(self, seconds: float | Fraction) -> int:
        """Which frame, counted from 0, begins nearest to a time; the earlier one on a tie.

        Raises:
            ConfigError: there are no frames.
        """
        if not self.ticks:
            raise ConfigError("Nearest frame: there are no frames.")
        wanted = Fraction(seconds) / self.time_base
        after = bisect.bisect_left(self.ticks, wanted)
        candidates = range(max(0, after - 1), min(len(self.ticks), after + 1))
        return min(candidates, key=lambda i: abs(self.ticks[i] - wanted))

    def in_ticks_of(self, time_base: Fraction) -> "FrameTimes":
        """The same times in ticks of another length, each rounded to the nearest."""
        factor = self.time_base / time_base
        ticks = tuple(round(tick * factor) for tick in self.ticks)
        last = round(self.end * factor) - ticks[-1] if ticks else 0
        return FrameTimes(ticks, last, time_base)
