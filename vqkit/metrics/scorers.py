"""Places for models that vqkit has no weights of: estimates of quality, recognition of speech."""

from typing import Protocol, runtime_checkable

from torch import Tensor

from vqkit.shapes import Float

__all__ = ["ReferenceFreeScorer", "Transcriber"]


@runtime_checkable
class ReferenceFreeScorer(Protocol):
    """Quality of a recording without its original, as DNSMOS and UTMOS estimate it."""

    def __call__(self, samples: Float[Tensor, "channels samples"], sample_rate_hz: int, /) -> float:
        """The score of audio in [-1, 1]; NaN where there is none."""
        ...


@runtime_checkable
class Transcriber(Protocol):
    """A speech recogniser."""

    def __call__(self, samples: Float[Tensor, "channels samples"], sample_rate_hz: int, /) -> str:
        """The words in audio in [-1, 1]."""
        ...
