"""Image quality against a reference: PSNR, SSIM and MS-SSIM, one fp64 value per image."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from vqkit.errors import ShapeError
from vqkit.shapes import Float

__all__ = [
    "MSSSIM_MINIMUM_SIDE",
    "PSNR_CAP_DB",
    "SSIM_MINIMUM_SIDE",
    "mean_squared_error",
    "ms_ssim",
    "psnr",
    "psnr_from_error",
    "round_to_eight_bits",
    "ssim",
    "ssim_and_ms_ssim",
]

MEDIA_RANGE = 2.0  # media live in [-1, 1]
PSNR_CAP_DB = 100.0
"""PSNR of identical pictures, and the most that any pair is given."""

_WINDOW_SIDE = 11
_WINDOW_SIGMA = 1.5
_K1, _K2 = 0.01, 0.03
_SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)

SSIM_MINIMUM_SIDE = _WINDOW_SIDE
"""Shortest side in pixels that holds one window of SSIM."""
MSSSIM_MINIMUM_SIDE = (_WINDOW_SIDE - 1) * 2 ** (len(_SCALE_WEIGHTS) - 1) + 1
"""Shortest side in pixels that still holds one window at the fifth scale of MS-SSIM."""

# Values per map in one strip of rows: the maps of a strip stay in the cache, whatever the size.
_STRIP_VALUES = 2**17


def round_to_eight_bits(media: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Clip media in [-1, 1] and round to the 256 levels that an 8-bit picture file can hold.

    Raises:
        ShapeError: a value is not finite.

    Example:
        >>> round_to_eight_bits(torch.tensor([-3.0, 0.0, 0.999]))
        tensor([-1.0000,  0.0039,  1.0000])
    """
    _check_finite("media", media)
    levels = ((media.float().clamp(-1, 1) + 1) * 127.5).round()
    return levels / 127.5 - 1


def mean_squared_error(
    reconstruction: Float[Tensor, "batch channels height width"],
    target: Float[Tensor, "..."],
) -> Float[Tensor, " batch"]:
    """Squared error of each image, mean over its channels and pixels, in fp64.

    Raises:
        ShapeError: the shapes differ, an image is empty or a value is not finite.
    """
    reconstruction, target = _checked(reconstruction, target)
    return (reconstruction - target).square_().mean(dim=(1, 2, 3))


def psnr_from_error(
    error: Float[Tensor, "*shape"],
    *,
    data_range: float = MEDIA_RANGE,
    cap_db: float = PSNR_CAP_DB,
) -> Float[Tensor, "*shape"]:
    """Peak signal-to-noise ratio in dB of a mean squared error, at most ``cap_db``."""
    return (10 * torch.log10(data_range**2 / error.double())).clamp(max=cap_db)


def psnr(
    reconstruction: Float[Tensor, "batch channels height width"],
    target: Float[Tensor, "..."],
    *,
    data_range: float = MEDIA_RANGE,
    cap_db: float = PSNR_CAP_DB,
) -> Float[Tensor, " batch"]:
    """Peak signal-to-noise ratio of each image in dB: ``10 log10(data_range² / MSE)``.

    The error is the mean over all channels and pixels of the image. Identical images have no
    finite ratio: they get ``cap_db``, and so does every ratio above it, so that a set that holds
    one has a finite mean.

    Raises:
        ShapeError: the shapes differ, an image is empty or a value is not finite.

    Example:
        >>> black, white = torch.full((1, 3, 4, 4), -1.0), torch.ones(1, 3, 4, 4)
        >>> psnr(black, white).item(), psnr(black, black).item()
        (0.0, 100.0)
    """
    error = mean_squared_error(reconstruction, target)
    return psnr_from_error(error, data_range=data_range, cap_db=cap_db)


def ssim(
    reconstruction: Float[Tensor, "batch channels height width"],
    target: Float[Tensor, "..."],
    *,
    data_range: float = MEDIA_RANGE,
) -> Float[Tensor, " batch"]:
    """Structural similarity of each image (Wang et al. 2004, eq. 13), at most 1.

    Gaussian window of 11 × 11 with sigma 1.5, K1 = 0.01, K2 = 0.03, biased variances, the mean
    over the windows that lie wholly inside the picture, then the mean over the channels. This is
    the paper's code without its optional downsampling, and scikit-image's
    ``structural_similarity(gaussian_weights=True, sigma=1.5, use_sample_covariance=False)``;
    torchmetrics also counts windows that reach into a reflected border.

    Raises:
        ShapeError: the shapes differ, a side is below 11 pixels or a value is not finite.
    """
    reconstruction, target = _checked(reconstruction, target, SSIM_MINIMUM_SIDE)
    similarity, _ = _similarity_and_contrast(reconstruction, target, data_range)
    return similarity.mean(dim=1)


def ms_ssim(
    reconstruction: Float[Tensor, "batch channels height width"],
    target: Float[Tensor, "..."],
    *,
    data_range: float = MEDIA_RANGE,
) -> Float[Tensor, " batch"]:
    """Multi-scale structural similarity of each image (Wang et al. 2003, eq. 7), in [0, 1].

    Contrast and structure at five scales and luminance at the coarsest, weighted as in the
    paper; each scale halves the sides by 2 × 2 means, an odd side repeating its last row as the
    paper's code does. A negative term counts as 0. Computed for each channel, then averaged.

    Raises:
        ShapeError: the shapes differ, a side is below 161 pixels or a value is not finite.
    """
    return ssim_and_ms_ssim(reconstruction, target, data_range=data_range)[1]


def ssim_and_ms_ssim(
    reconstruction: Float[Tensor, "batch channels height width"],
    target: Float[Tensor, "..."],
    *,
    data_range: float = MEDIA_RANGE,
) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
    """:func:`ssim`, which is a part of it, and :func:`ms_ssim` in the time of the latter.

    Raises:
        ShapeError: as for :func:`ms_ssim`.
    """
    reconstruction, target = _checked(reconstruction, target, MSSSIM_MINIMUM_SIDE)
    product = torch.ones_like(reconstruction[:, :, 0, 0])
    finest = product
    for scale, weight in enumerate(_SCALE_WEIGHTS):
        if scale:
            reconstruction, target = _halve(reconstruction), _halve(target)
        similarity, contrast = _similarity_and_contrast(reconstruction, target, data_range)
        if scale == 0:
            finest = similarity
        term = similarity if scale == len(_SCALE_WEIGHTS) - 1 else contrast
        product = product * term.clamp(min=0) ** weight
    return finest.mean(dim=1), product.mean(dim=1)


def _checked(
    reconstruction: Tensor, target: Tensor, minimum_side: int = 1
) -> tuple[Tensor, Tensor]:
    """Both images in fp64, or the reason why they cannot be compared."""
    if reconstruction.shape != target.shape:
        raise ShapeError(
            "Comparing images failed: expected two of one shape, got a reconstruction of "
            f"{tuple(reconstruction.shape)} and a target of {tuple(target.shape)}. "
            "Crop the reconstruction to the size of the original."
        )
    if target.ndim != 4:
        raise ShapeError(
            "Comparing images failed: expected [batch, channels, height, width], got "
            f"{tuple(target.shape)}. For clips there are FramePSNR, ClipPSNR, FrameSSIM."
        )
    if min(target.shape[-2:]) < minimum_side or target.shape[1] == 0:
        raise ShapeError(
            f"Comparing images failed: expected sides of at least {minimum_side} pixels and a "
            f"channel, got {tuple(target.shape)}. Leave this image out of this metric."
        )
    _check_finite("reconstruction", reconstruction)
    _check_finite("target", target)
    # Apple's GPUs have no fp64.
    device = torch.device("cpu") if target.device.type == "mps" else target.device
    return (
        reconstruction.detach().to(device, torch.float64),
        target.detach().to(device, torch.float64),
    )


def _check_finite(name: str, media: Tensor) -> None:
    if not torch.isfinite(media).all():
        raise ShapeError(
            f"Measuring images failed: expected finite values, got NaN or infinity (in the "
            f"{name}). Look for the step that diverged."
        )


def _similarity_and_contrast(x: Tensor, y: Tensor, data_range: float) -> tuple[Tensor, Tensor]:
    """Mean SSIM and mean contrast-structure term of every plane, each ``[batch, channels]``."""
    c1, c2 = (_K1 * data_range) ** 2, (_K2 * data_range) ** 2
    batch, channels, height, width = x.shape
    num_rows, num_columns = height - _WINDOW_SIDE + 1, width - _WINDOW_SIDE + 1
    strip = max(1, _STRIP_VALUES // max(1, batch * channels * width))
    similarity, contrast = x.new_zeros(batch, channels), x.new_zeros(batch, channels)
    for top in range(0, num_rows, strip):
        bottom = min(top + strip, num_rows) + _WINDOW_SIDE - 1
        a, b = x[:, :, top:bottom], y[:, :, top:bottom]
        maps = _blur(torch.stack((a, b, a * a, b * b, a * b)))
        mean_a, mean_b, square_a, square_b, product = maps.unbind()
        mean_product, mean_squares = mean_a * mean_b, mean_a**2 + mean_b**2
        covariance, variances = product - mean_product, square_a + square_b - mean_squares
        structure = (2 * covariance + c2) / (variances + c2)
        contrast += structure.sum(dim=(-2, -1))
        luminance = (2 * mean_product + c1) / (mean_squares + c1)
        similarity += (luminance * structure).sum(dim=(-2, -1))
    num_windows = num_rows * num_columns
    return similarity / num_windows, contrast / num_windows


def _blur(maps: Tensor) -> Tensor:
    """Separable Gaussian over the windows inside, as shifted sums: faster in fp64 than conv2d."""
    offsets = [k - _WINDOW_SIDE // 2 for k in range(_WINDOW_SIDE)]
    window = [math.exp(-(offset**2) / (2 * _WINDOW_SIGMA**2)) for offset in offsets]
    weights = [value / sum(window) for value in window]
    for dim in (-2, -1):
        length = maps.shape[dim] - _WINDOW_SIDE + 1
        blurred = maps.narrow(dim, 0, length) * weights[0]
        for k in range(1, _WINDOW_SIDE):
            blurred.add_(maps.narrow(dim, k, length), alpha=weights[k])
        maps = blurred
    return maps


def _halve(media: Tensor) -> Tensor:
    height, width = media.shape[-2:]
    return F.avg_pool2d(F.pad(media, (0, width % 2, 0, height % 2), mode="replicate"), 2)
