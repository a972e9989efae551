"""What an evaluation says of one image."""

from dataclasses import dataclass

from torch import Tensor

__all__ = ["ItemFailure", "ItemResult", "Picture"]


@dataclass(frozen=True)
class ItemResult:
    """Sizes, quality and cost of one image."""

    name: str
    height: int
    width: int
    channels: int
    num_tokens: int
    nominal_bits: float
    """``log2`` of the codebook's size over all tokens."""
    size_bytes: int
    """Bytes of its token file."""
    overhead_bytes: int
    """The part of them that codes no tokens."""
    mean_squared_error: float
    """Of the 8-bit pictures in [-1, 1]."""
    psnr: float
    """In dB."""
    ssim: float | None
    ms_ssim: float | None
    lpips: float | None
    encode_seconds: float
    """From pixels to the bytes of the file."""
    decode_seconds: float
    """From the bytes of the file to pixels."""
    entropy_bits: float | None = None
    """Empirical entropy of order 0 of the tokens, times their number; None in older reports."""
    prior_bits: float | None = None
    """Information of the tokens by the prior of the model; None where it has none."""

    @property
    def num_pixels(self) -> int:
        """Pixels; channels do not count."""
        return self.height * self.width

    @property
    def nominal_bits_per_pixel(self) -> float:
        """Bits per pixel of the tokens without a file around them."""
        return self.nominal_bits / self.num_pixels

    @property
    def entropy_bits_per_pixel(self) -> float | None:
        """Bits per pixel by the frequencies of the image's own tokens."""
        return None if self.entropy_bits is None else self.entropy_bits / self.num_pixels

    @property
    def prior_bits_per_token(self) -> float | None:
        """Information of a token by the model's prior, in the mean over the image."""
        return None if self.prior_bits is None else self.prior_bits / self.num_tokens

    @property
    def actual_bits_per_pixel(self) -> float:
        """Bits per pixel counted on the bytes of the file."""
        return 8 * self.size_bytes / self.num_pixels


@dataclass(frozen=True)
class ItemFailure:
    """An image that could not be evaluated, and why."""

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
