"""What a token file costs beside what it stands for: bits per pixel, or bits per second."""

from collections.abc import Mapping
from typing import Any

__all__ = ["duration_words", "extent_of", "rate_facts", "rate_words", "speed_words"]

_RATES = {"num_pixels": "bits_per_pixel", "media_seconds": "bits_per_second"}


def extent_of(media: Mapping[str, int]) -> tuple[str, float | None]:
    """Which fact rates refer to, and its value: seconds of what has any, or pixels (of all frames).

    >>> extent_of({"samples": 12_000, "sample_rate_hz": 24_000, "channels": 1})
    ('media_seconds', 0.5)
    """
    from vqkit.tokenizers.spec import seconds_of

    if (seconds := seconds_of(media)) is not None:
        return "media_seconds", seconds
    if "height" in media and "width" in media:
        return "num_pixels", media["height"] * media["width"] * media.get("frames", 1)
    return "num_pixels", None


def rate_facts(media: Mapping[str, int], size_bytes: int) -> dict[str, float | None]:
    """The extent and the rate, by name."""
    name, extent = extent_of(media)
    return {name: extent, _RATES[name]: 8 * size_bytes / extent if extent else None}


def rate_words(facts: Mapping[str, Any]) -> str | None:
    """The rate as a reader wants it; None where it is not known.

    >>> rate_words({"bits_per_second": 6012.4})
    '6.012 kbit/s'
    """
    if facts.get("bits_per_second") is not None:
        return f"{facts['bits_per_second'] / 1000:.3f} kbit/s"
    if facts.get("bits_per_pixel") is not None:
        return f"{facts['bits_per_pixel']:.4f} bits per pixel"
    return None


def duration_words(seconds: float) -> str:
    """How long sounds last.

    >>> duration_words(45.25), duration_words(754.0), duration_words(9000.0)
    ('45.2 s', '12.6 min', '2.5 h')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:,.1f} h"


def speed_words(times_real_time: float) -> str:
    """How much faster sounds were worked on than they last.

    >>> speed_words(12.345)
    '12.3 times real time'
    """
    return f"{times_real_time:.1f} times real time"
