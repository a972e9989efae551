"""Quantizers: layers between continuous latents and indices. Needs torch and einops alone."""

from vqkit.quantizers.affine import Affine
from vqkit.quantizers.base import NO_TOKEN, Quantizer, QuantizerOutput
from vqkit.quantizers.codebook import (
    EMA,
    CodebookInit,
    CodebookUpdate,
    FromData,
    GradientUpdate,
    KMeans,
    RandomInit,
    ReplaceUnused,
)
from vqkit.quantizers.dual import DualCodebook
from vqkit.quantizers.factorized import Factorized
from vqkit.quantizers.fsq import FSQ
from vqkit.quantizers.gradient import GradientEstimator, RotationTrick, StraightThrough
from vqkit.quantizers.grouped import Grouped
from vqkit.quantizers.loss import VQLoss
from vqkit.quantizers.metric import Cosine, Euclidean, Metric
from vqkit.quantizers.multiscale import MultiScaleResidual
from vqkit.quantizers.residual import Residual
from vqkit.quantizers.rotated import IdentityRotation, RandomRotation, Rotated, RotationInit
from vqkit.quantizers.split import Split
from vqkit.quantizers.vq import VectorQuantizer

__all__ = [
    "EMA",
    "FSQ",
    "NO_TOKEN",
    "Affine",
    "CodebookInit",
    "CodebookUpdate",
    "Cosine",
    "DualCodebook",
    "Euclidean",
    "Factorized",
    "FromData",
    "GradientEstimator",
    "GradientUpdate",
    "Grouped",
    "IdentityRotation",
    "KMeans",
    "Metric",
    "MultiScaleResidual",
    "Quantizer",
    "QuantizerOutput",
    "RandomInit",
    "RandomRotation",
    "ReplaceUnused",
    "Residual",
    "Rotated",
    "RotationInit",
    "RotationTrick",
    "Split",
    "StraightThrough",
    "VQLoss",
    "VectorQuantizer",
]
