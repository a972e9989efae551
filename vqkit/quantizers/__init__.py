"""Quantizers: layers between continuous latents and indices. Needs torch and einops alone."""

from vqkit.quantizers.affine import Affine
from vqkit.quantizers.base import NO_TOKEN, Quantizer, QuantizerOutput
from vqkit.quantizers.bsq import BSQ
from vqkit.quantizers.bypass import Bypass
from vqkit.quantizers.clustering import kmeans_per_class, minibatch_kmeans
from vqkit.quantizers.codebook import (
    EMA,
    CodebookInit,
    CodebookUpdate,
    FromData,
    FromTable,
    GradientUpdate,
    KMeans,
    RandomInit,
)
from vqkit.quantizers.dual import DualCodebook
from vqkit.quantizers.entropy_penalty import AssignmentEntropy, BitEntropy
from vqkit.quantizers.factorized import Factorized
from vqkit.quantizers.fsq import FSQ
from vqkit.quantizers.gain import BetaGain, Gain, LogUniformGain, MuLawGain, UnitGain
from vqkit.quantizers.gradient import (
    DiVeQ,
    GradientEstimator,
    GumbelSoftmax,
    IndexBackpropagation,
    NoiseSubstitution,
    RotationTrick,
    StraightThrough,
)
from vqkit.quantizers.grouped import Grouped
from vqkit.quantizers.gumbel import GumbelQuantizer
from vqkit.quantizers.ibq import IBQ
from vqkit.quantizers.index_map import IndexMap
from vqkit.quantizers.interchange import (
    from_dac,
    from_diffusers,
    from_encodec,
    from_ibq,
    from_mimi,
    from_taming,
    from_titok,
    from_vector_quantize_pytorch,
)
from vqkit.quantizers.level_dropout import LevelDropout, LevelsPerBatch, LevelsPerItem
from vqkit.quantizers.lfq import LFQ
from vqkit.quantizers.loss import VQLoss
from vqkit.quantizers.metric import Cosine, CosineSearch, Euclidean, Metric
from vqkit.quantizers.multiscale import MultiScaleResidual
from vqkit.quantizers.ordering import neighbour_distance, order_by_similarity
from vqkit.quantizers.projected import ProjectedVQ
from vqkit.quantizers.pyramid import HadamardRotation, PyramidVQ
from vqkit.quantizers.regularizer import (
    CodebookEntropy,
    CodebookRegularizer,
    Diversity,
    Orthogonality,
)
from vqkit.quantizers.residual import Residual
from vqkit.quantizers.revival import Anchors, ReplaceUnused, Revival, Timeout
from vqkit.quantizers.rotated import IdentityRotation, RandomRotation, Rotated, RotationInit
from vqkit.quantizers.scalar_latent import ScalarLatent
from vqkit.quantizers.schedule import Annealed, Schedule
from vqkit.quantizers.selection import CodeSelection, NearestCode, Sampled
from vqkit.quantizers.simvq import SimVQ
from vqkit.quantizers.split import Split
from vqkit.quantizers.surgery import (
    export_codebook,
    grow,
    ladder,
    merge_twins,
    prune,
    reindex_to_used,
    replace_codebook,
    shrink,
)
from vqkit.quantizers.table import GaussianTable, Table
from vqkit.quantizers.vq import VectorQuantizer

__all__ = [
    "BSQ",
    "EMA",
    "FSQ",
    "IBQ",
    "LFQ",
    "NO_TOKEN",
    "Affine",
    "Anchors",
    "Annealed",
    "AssignmentEntropy",
    "BetaGain",
    "BitEntropy",
    "Bypass",
    "CodeSelection",
    "CodebookEntropy",
    "CodebookInit",
    "CodebookRegularizer",
    "CodebookUpdate",
    "Cosine",
    "CosineSearch",
    "DiVeQ",
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
    "GumbelQuantizer",
    "GumbelSoftmax",
    "HadamardRotation",
    "IdentityRotation",
    "IndexBackpropagation",
    "IndexMap",
    "KMeans",
    "LevelDropout",
    "LevelsPerBatch",
    "LevelsPerItem",
    "LogUniformGain",
    "Metric",
    "MuLawGain",
    "MultiScaleResidual",
    "NearestCode",
    "NoiseSubstitution",
    "Orthogonality",
    "ProjectedVQ",
    "PyramidVQ",
    "Quantizer",
    "QuantizerOutput",
    "RandomInit",
    "RandomRotation",
    "ReplaceUnused",
    "Residual",
    "Revival",
    "Rotated",
    "RotationInit",
    "RotationTrick",
    "Sampled",
    "ScalarLatent",
    "Schedule",
    "SimVQ",
    "Split",
    "StraightThrough",
    "Table",
    "Timeout",
    "UnitGain",
    "VQLoss",
    "VectorQuantizer",
    "export_codebook",
    "from_dac",
    "from_diffusers",
    "from_encodec",
    "from_ibq",
    "from_mimi",
    "from_taming",
    "from_titok",
    "from_vector_quantize_pytorch",
    "grow",
    "kmeans_per_class",
    "ladder",
    "merge_twins",
    "minibatch_kmeans",
    "neighbour_distance",
    "order_by_similarity",
    "prune",
    "reindex_to_used",
    "replace_codebook",
    "shrink",
]
