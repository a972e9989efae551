"""Quantizers: layers between continuous latents and indices. Needs torch and einops alone."""

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
from vqkit.quantizers.factorized import Factorized
from vqkit.quantizers.fsq import FSQ
from vqkit.quantizers.gradient import GradientEstimator, RotationTrick, StraightThrough
from vqkit.quantizers.loss import VQLoss
from vqkit.quantizers.metric import Cosine, Euclidean, Metric
from vqkit.quantizers.residual import Residual
from vqkit.quantizers.scalar_latent import ScalarLatent
from vqkit.quantizers.vq import VectorQuantizer

__all__ = [
    "EMA",
    "FSQ",
    "NO_TOKEN",
    "CodebookInit",
    "CodebookUpdate",
    "Cosine",
    "Euclidean",
    "Factorized",
    "FromData",
    "GradientEstimator",
    "GradientUpdate",
    "KMeans",
    "Metric",
    "Quantizer",
    "QuantizerOutput",
    "RandomInit",
    "ReplaceUnused",
    "Residual",
    "RotationTrick",
    "ScalarLatent",
    "StraightThrough",
    "VQLoss",
    "VectorQuantizer",
]
