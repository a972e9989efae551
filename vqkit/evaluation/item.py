"""What an evaluation says of one item: an image, a sound or a clip."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from vqkit.tokenizers.spec import seconds_of

__all__ = ["ItemFailure", "ItemResult", "LevelResult", "Picture"]


@dataclass(frozen=True)
class LevelResult:
    """Size and quality of an item from the first codebooks of a residual quantizer alone."""

    num_codebooks: int
    size_bytes: int
    """Bytes of a token file of them."""
    scores: Mapping[str, float | None]


@dataclass(frozen=True)
class ItemResult:
    """Sizes, quality and cost of one item."""

    name: str
    size: Mapping[str, int]
    """``height``, ``width`` and ``channels``; of a clip its ``frames`` and the fraction of their
    rate too; ``samples``, ``sample_rate_hz`` and ``channels`` of a sound."""
    extent: float
    """Pixels of an image or of all frames, seconds of a sound; channels do not count."""
    digest: str
    """SHA-256 of the values and the size, the first 16 hex digits."""
    num_tokens: int
    nominal_bits: float
    """``log2`` of the codebook's size over all tokens."""
    size_bytes: int
    """Bytes of its token file."""
    overhead_bytes: int
    """The part of them that codes no tokens."""
    entropy_bits: float
    """Empirical entropy of order 0 of the tokens, times their number."""
    prior_bits: float | None
    """Information of the tokens by the prior of the model; None where it has none."""
    scores: Mapping[str, float | None]
    """By the names of the report's metrics."""
    encode_seconds: float
    """From values to the bytes of the file."""
    decode_seconds: float
    """From the bytes of the file to values."""
    reasons: Mapping[str, str] = field(default_factory=dict)
    """Why a score is None."""
    levels: tuple[LevelResult, ...] = ()
    series: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)
    """Of a clip: scores frame by frame, and ``entropy_bits`` of its latent frames."""

    @property
    def seconds(self) -> float | None:
        """How long it lasts; None of an image, and where a clip's rate is not known."""
        return seconds_of(self.size)

    @property
    def bits_per_second(self) -> float | None:
        """Counted on the bytes of the file; None where it has no seconds."""
        return 8 * self.size_bytes / self.seconds if self.seconds else None

    @property
    def nominal_rate(self) -> float:
        """Bits per pixel or second of the tokens without a file around them."""
        return self.nominal_bits / self.extent

    @property
    def entropy_rate(self) -> float:
        """Bits per pixel or second by the frequencies of the item's own tokens."""
        return self.entropy_bits / self.extent

    @property
    def actual_rate(self) -> float:
        """Bits per pixel or second counted on the bytes of the file."""
        return 8 * self.size_bytes / self.extent

    @property
    def prior_bits_per_token(self) -> float | None:
        """Information of a token by the model's prior, in the mean over the item."""
        return None if self.prior_bits is None else self.prior_bits / self.num_tokens


@dataclass(frozen=True)
class ItemFailure:
    """An item that could not be evaluated, and why."""

    name: str
    error: str
    """The kind of error."""
    message: str


@dataclass(frozen=True, eq=False)
class Picture:
    """A small copy of an image and its reconstruction, for pictures of a report."""

    name: str
    original: Tensor
    """uint8 ``[height, width, 3]``, as the two others."""
    reconstruction: Tensor
    error: Tensor
    """Absolute error times four."""
