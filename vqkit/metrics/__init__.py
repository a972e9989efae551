"""Image quality, codebook use and rate: pure functions, and torchmetrics that sum them exactly.

The torchmetrics classes load on first use: importing torchmetrics takes seconds (it loads
torchvision, scipy and matplotlib) and the functions do without.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from vqkit.metrics.codebook import (
    CodebookLevel,
    CodeHistogram,
    bitrate_efficiency,
    codebook_level,
    divergence_bits,
    uniform_usage,
)
from vqkit.metrics.codebook_vectors import (
    CodebookDrift,
    codebook_drift,
    distinct_vectors,
    twin_vectors,
)
from vqkit.metrics.disentanglement import InfoMEC, info_mec
from vqkit.metrics.image import (
    MSSSIM_MINIMUM_SIDE,
    PSNR_CAP_DB,
    SSIM_MINIMUM_SIDE,
    mean_squared_error,
    ms_ssim,
    psnr,
    psnr_from_error,
    round_to_eight_bits,
    ssim,
)
from vqkit.metrics.mutual_information import PairInformation
from vqkit.metrics.rate import RateTotals

if TYPE_CHECKING:
    from vqkit.metrics.codebook_metric import CodebookUsage
    from vqkit.metrics.image_metric import MSSSIM, PSNR, SSIM, ImageMetric, PooledPSNR
    from vqkit.metrics.mutual_information_metric import LevelInformation
    from vqkit.metrics.rate_metric import Rate

__all__ = [
    "MSSSIM",
    "MSSSIM_MINIMUM_SIDE",
    "PSNR",
    "PSNR_CAP_DB",
    "SSIM",
    "SSIM_MINIMUM_SIDE",
    "CodeHistogram",
    "CodebookDrift",
    "CodebookLevel",
    "CodebookUsage",
    "ImageMetric",
    "InfoMEC",
    "LevelInformation",
    "PairInformation",
    "PooledPSNR",
    "Rate",
    "RateTotals",
    "bitrate_efficiency",
    "codebook_drift",
    "codebook_level",
    "distinct_vectors",
    "divergence_bits",
    "info_mec",
    "mean_squared_error",
    "ms_ssim",
    "psnr",
    "psnr_from_error",
    "round_to_eight_bits",
    "ssim",
    "twin_vectors",
    "uniform_usage",
]

_LAZY = {
    "CodebookUsage": "vqkit.metrics.codebook_metric",
    "LevelInformation": "vqkit.metrics.mutual_information_metric",
    "ImageMetric": "vqkit.metrics.image_metric",
    "MSSSIM": "vqkit.metrics.image_metric",
    "PSNR": "vqkit.metrics.image_metric",
    "PooledPSNR": "vqkit.metrics.image_metric",
    "Rate": "vqkit.metrics.rate_metric",
    "SSIM": "vqkit.metrics.image_metric",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)
