"""Quantizers: layers between continuous latents and indices. Needs torch and einops alone."""

from vqkit.quantizers.base import NO_TOKEN, Quantizer, QuantizerOutput
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
from vqkit.quantizers.factorized import Factorized
from vqkit.quantizers.fsq import FSQ
from vqkit.quantizers.gradient import GradientEstimator, RotationTrick, StraightThrough
from vqkit.quantizers.index_map import IndexMap
from vqkit.quantizers.loss import VQLoss
from vqkit.quantizers.metric import Cosine, Euclidean, Metric
from vqkit.quantizers.ordering import neighbour_distance, order_by_similarity
from vqkit.quantizers.residual import Residual
from vqkit.quantizers.revival import Anchors, ReplaceUnused, Revival, Timeout
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
from vqkit.quantizers.vq import VectorQuantizer

__all__ = [
    "EMA",
    "FSQ",
    "NO_TOKEN",
    "Anchors",
    "CodebookInit",
    "CodebookUpdate",
    "Cosine",
    "Euclidean",
    "Factorized",
    "FromData",
    "FromTable",
    "GradientEstimator",
    "GradientUpdate",
    "IndexMap",
    "KMeans",
    "Metric",
    "Quantizer",
    "QuantizerOutput",
    "RandomInit",
    "ReplaceUnused",
    "Residual",
    "Revival",
    "RotationTrick",
    "StraightThrough",
    "Timeout",
    "VQLoss",
    "VectorQuantizer",
    "export_codebook",
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
