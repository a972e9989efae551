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
from vqkit.quantizers.gain import BetaGain, Gain, LogUniformGain, MuLawGain, UnitGain
from vqkit.quantizers.gradient import GradientEstimator, RotationTrick, StraightThrough
from vqkit.quantizers.grouped import Grouped
from vqkit.quantizers.loss import VQLoss
from vqkit.quantizers.metric import Cosine, Euclidean, Metric
from vqkit.quantizers.multiscale import MultiScaleResidual
from vqkit.quantizers.projected import ProjectedVQ
from vqkit.quantizers.pyramid import HadamardRotation, PyramidVQ
from vqkit.quantizers.regularizer import (
    CodebookEntropy,
    CodebookRegularizer,
    Diversity,
    Orthogonality,
)
from vqkit.quantizers.residual import Residual
from vqkit.quantizers.rotated import IdentityRotation, RandomRotation, Rotated, RotationInit
from vqkit.quantizers.simvq import SimVQ
from vqkit.quantizers.split import Split
from vqkit.quantizers.table import FromTable, GaussianTable, Table
from vqkit.quantizers.vq import VectorQuantizer

__all__ = [
    "EMA",
    "FSQ",
    "NO_TOKEN",
    "Affine",
    "BetaGain",
    "CodebookEntropy",
    "CodebookInit",
    "CodebookRegularizer",
    "CodebookUpdate",
    "Cosine",
    "Diversity",
    "DualCodebook",
    "Euclidean",
    "Factorized",
    "FromData",
    "FromTable",
    "Gain",
    "GaussianTable",
    "GradientEstimator",
    "GradientUpdate",
    "Grouped",
    "HadamardRotation",
    "IdentityRotation",
    "KMeans",
    "LogUniformGain",
    "Metric",
    "MuLawGain",
    "MultiScaleResidual",
    "Orthogonality",
    "ProjectedVQ",
    "PyramidVQ",
    "Quantizer",
    "QuantizerOutput",
    "RandomInit",
    "RandomRotation",
    "ReplaceUnused",
    "Residual",
    "Rotated",
    "RotationInit",
    "RotationTrick",
    "SimVQ",
    "Split",
    "StraightThrough",
    "Table",
    "UnitGain",
    "VQLoss",
    "VectorQuantizer",
]
