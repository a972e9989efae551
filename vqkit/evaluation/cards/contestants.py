"""The quantizers of the cards, all set to the same number of bits; a new one is a line here."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vqkit.evaluation.cards.sources import DIM
from vqkit.quantizers import (
    BSQ,
    EMA,
    FSQ,
    IBQ,
    LFQ,
    Affine,
    Annealed,
    AssignmentEntropy,
    BetaGain,
    BitEntropy,
    Cosine,
    Factorized,
    GaussianTable,
    GradientUpdate,
    Grouped,
    GumbelQuantizer,
    HadamardRotation,
    KMeans,
    LogUniformGain,
    MuLawGain,
    ProjectedVQ,
    PyramidVQ,
    Quantizer,
    RandomInit,
    RandomRotation,
    ReplaceUnused,
    Residual,
    Rotated,
    ScalarLatent,
    SimVQ,
    Split,
    UnitGain,
    VectorQuantizer,
)

__all__ = ["BITS", "CONTESTANTS", "Contestant", "Fit", "projected"]

BITS = 8
"""Bits of every vector."""


class Fit(NamedTuple):
    """What a quantizer may know of its training when it is built."""

    rows: Tensor
    """Some vectors of the source, ``[n, DIM]``."""
    num_steps: int


@dataclass(frozen=True)
class Contestant:
    """A quantizer with the settings that suit vectors of ``DIM`` features at ``BITS`` bits.

    Attributes:
        name: What it is called on the command line.
        text: What it is, in a few words.
        build: Makes it, untrained.
        learning_rate: Of Adam, for those that have parameters.
        source: The one source that it is made for; None for any.
    """

    name: str
    text: str
    build: Callable[[Fit], Quantizer]
    learning_rate: float = 0.01
    source: str | None = None


def projected(inner: Quantizer, dim: int = DIM, scale: float = 1.0) -> Factorized:
    """Put a quantizer of bounded or other width between two trained linear layers.

    They start as the identity, or, between different widths, as a rotation and its transpose; the
    first times ``scale``, the second divided by it.
    """
    quantizer = Factorized(inner, dim)
    with torch.no_grad():
        if inner.dim == dim:
            nn.init.eye_(quantizer.project_in.weight)
        else:
            nn.init.orthogonal_(quantizer.project_in.weight)
        quantizer.project_out.weight.copy_(quantizer.project_in.weight.T / scale)
        quantizer.project_in.weight.mul_(scale)
        nn.init.zeros_(quantizer.project_in.bias)
        nn.init.zeros_(quantizer.project_out.bias)
    return quantizer


def _standardised(inner: Quantizer, fit: Fit) -> Factorized:
    """Between linear layers whose first brings the features to a deviation of 1."""
    return projected(inner, scale=1.0 / float(fit.rows.std()))


def _vq(codebook_size: int, dim: int = DIM) -> VectorQuantizer:
    # A fast average for a short training.
    return VectorQuantizer(dim, codebook_size, update=EMA(0.95), revive=ReplaceUnused())


def _by_gradient(codebook_size: int, dim: int, *, cosine: bool = False) -> VectorQuantizer:
    return VectorQuantizer(
        dim,
        codebook_size,
        metric=Cosine() if cosine else None,
        update=GradientUpdate(),
        init=KMeans(),
    )


def _length_range(fit: Fit, low: float, high: float) -> tuple[float, float]:
    """Quantiles of the vectors' length, in units of the gain: root mean square of the features."""
    length = fit.rows.square().mean(-1).sqrt()
    lower, upper = torch.quantile(length, torch.tensor([low, high])).tolist()
    # Distinct levels on the sphere too, where all lengths are the same.
    return max(lower, 0.01 * upper), 1.01 * upper


def _log_gain(fit: Fit) -> LogUniformGain:
    low, high = _length_range(fit, 0.2, 0.9)
    return LogUniformGain(low=low, high=high)


def _mu_gain(fit: Fit) -> MuLawGain:
    return MuLawGain(high=_length_range(fit, 0.0, 0.995)[1], mu=4.0)


def _beta_gain(fit: Fit) -> BetaGain:
    return BetaGain(norm=LogUniformGain(4, *_length_range(fit, 0.15, 0.95)))


CONTESTANTS: dict[str, Contestant] = {
    contestant.name: contestant
    for contestant in (
        Contestant("vq_ema", "VectorQuantizer, moving average", lambda fit: _vq(256)),
        Contestant(
            "vq_gradient",
            "VectorQuantizer, gradient",
            lambda fit: _by_gradient(256, DIM),
            learning_rate=0.03,
        ),
        Contestant("affine", "VectorQuantizer in Affine", lambda fit: Affine(_vq(256))),
        Contestant(
            "vq_cosine",
            "VectorQuantizer, cosine",
            lambda fit: VectorQuantizer(
                DIM, 256, metric=Cosine(), update=EMA(0.95), revive=ReplaceUnused()
            ),
            source="sphere",
        ),
        Contestant(
            "factorized",
            "VectorQuantizer, cosine in 8 dims",
            lambda fit: _standardised(_by_gradient(256, 8, cosine=True), fit),
            learning_rate=0.1,
        ),
        Contestant(
            "projected",
            "ProjectedVQ, table of 64 dims",
            lambda fit: ProjectedVQ(DIM, 256, 64, table=GaussianTable()),
            learning_rate=0.1,
        ),
        Contestant("simvq", "SimVQ", lambda fit: SimVQ(DIM, 256), learning_rate=0.1),
        Contestant(
            "ibq",
            "IBQ with entropy penalty",
            lambda fit: _standardised(
                IBQ(DIM, 256, entropy=AssignmentEntropy(0.2, 0.2), init=RandomInit(1.0)), fit
            ),
            learning_rate=0.05,
        ),
        Contestant(
            "gumbel",
            "GumbelQuantizer",
            lambda fit: GumbelQuantizer(
                DIM, 256, temperature=Annealed(1.0, 0.0625, fit.num_steps), kl_weight=0.02
            ),
            learning_rate=0.2,
        ),
        Contestant("grouped", "Grouped, 2 x 16 codes", lambda fit: Grouped(_vq(16, DIM // 2), 2)),
        Contestant(
            "rotated",
            "Rotated (OPQ), 2 x 16 codes",
            lambda fit: Rotated(Grouped(_vq(16, DIM // 2), 2), every=10, init=RandomRotation()),
        ),
        Contestant("residual", "Residual, 2 x 16 codes", lambda fit: Residual(_vq(16), 2)),
        Contestant(
            "grouped_residual",
            "Residual of Grouped, 2 x 2 x 4 codes",
            lambda fit: Residual(Grouped(_vq(4, DIM // 2), 2), 2),
        ),
        Contestant(
            "split",
            "Split, 16 + 16 codes",
            lambda fit: Split(
                _standardised(_by_gradient(16, DIM), fit), _standardised(_by_gradient(16, DIM), fit)
            ),
            learning_rate=0.1,
        ),
        Contestant(
            "fsq",
            "FSQ, levels 4-4-4-4",
            lambda fit: _standardised(FSQ([4] * DIM), fit),
            learning_rate=0.03,
        ),
        Contestant(
            "fsq_symmetric",
            "FSQ, symmetric",
            lambda fit: _standardised(FSQ([4] * DIM, symmetric=True), fit),
            learning_rate=0.03,
        ),
        Contestant(
            "residual_fsq",
            "Residual FSQ, 2 x levels 2-2-2-2",
            lambda fit: _standardised(
                Residual(FSQ([2] * DIM, symmetric=True, bound="clamp"), 2, level_scale=0.5), fit
            ),
            learning_rate=0.003,
        ),
        Contestant(
            "lfq",
            "LFQ, 8 half-spaces: at most 163 cells",
            lambda fit: _standardised(LFQ(8, entropy=BitEntropy(temperature=1.0)), fit),
            learning_rate=0.03,
        ),
        Contestant(
            "bsq",
            "BSQ, 8 half-spaces: at most 163 cells",
            lambda fit: _standardised(BSQ(8, entropy=BitEntropy(temperature=0.1)), fit),
            learning_rate=0.03,
        ),
        Contestant(
            "scalar_latent",
            "ScalarLatent, 4 x 4 values",
            lambda fit: ScalarLatent(DIM, 4),
            learning_rate=0.1,
        ),
        Contestant(
            "pyramid",
            "PyramidVQ, log-uniform gain",
            lambda fit: PyramidVQ.for_bits(DIM, BITS, _log_gain(fit)),
        ),
        Contestant(
            "pyramid_mu_law",
            "PyramidVQ, mu-law gain",
            lambda fit: PyramidVQ.for_bits(DIM, BITS, _mu_gain(fit)),
        ),
        Contestant(
            "pyramid_beta",
            "PyramidVQ, 2 groups, beta gain",
            lambda fit: PyramidVQ.for_bits(DIM, BITS, _beta_gain(fit), 2, HadamardRotation()),
        ),
        Contestant(
            "pyramid_unit",
            "PyramidVQ, unit gain",
            lambda fit: PyramidVQ.for_bits(DIM, BITS, UnitGain()),
            source="sphere",
        ),
    )
}
"""Every quantizer by its name, in the order of the report."""
