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
from vqkit.quantizers.entropy_penalty import AssignmentEntropy
from vqkit.quantizers.factorized import Factorized
from vqkit.quantizers.fsq import FSQ
from vqkit.quantizers.gradient import (
    DiVeQ,
    GradientEstimator,
    GumbelSoftmax,
    IndexBackpropagation,
    NoiseSubstitution,
    RotationTrick,
    StraightThrough,
)
from vqkit.quantizers.gumbel import GumbelQuantizer
from vqkit.quantizers.ibq import IBQ
from vqkit.quantizers.loss import VQLoss
from vqkit.quantizers.metric import Cosine, Euclidean, Metric
from vqkit.quantizers.residual import Residual
from vqkit.quantizers.schedule import Annealed, Schedule
from vqkit.quantizers.selection import CodeSelection, NearestCode, Sampled
from vqkit.quantizers.vq import VectorQuantizer

__all__ = [
    "EMA",
    "FSQ",
    "IBQ",
    "NO_TOKEN",
    "Annealed",
    "AssignmentEntropy",
    "CodeSelection",
    "CodebookInit",
    "CodebookUpdate",
    "Cosine",
    "DiVeQ",
    "Euclidean",
    "Factorized",
    "FromData",
    "GradientEstimator",
    "GradientUpdate",
    "GumbelQuantizer",
    "GumbelSoftmax",
    "IndexBackpropagation",
    "KMeans",
    "Metric",
    "NearestCode",
    "NoiseSubstitution",
    "Quantizer",
    "QuantizerOutput",
    "RandomInit",
    "ReplaceUnused",
    "Residual",
    "RotationTrick",
    "Sampled",
    "Schedule",
    "StraightThrough",
    "VQLoss",
    "VectorQuantizer",
]
