"""How latents and factors of variation belong together: InfoMEC (arXiv 2305.18378, section 4)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vqkit.errors import ShapeError
from vqkit.shapes import Bool, Float

__all__ = ["InfoMEC", "info_mec"]

_NUM_NEIGHBOURS = 10
# A continuous latent is inactive below this share of the largest range.
_ACTIVE_RANGE = 1 / 20


@dataclass(frozen=True, eq=False)
class InfoMEC:
    """Three views of one matrix, each in [0, 1]; NaN if no factor varies."""

    modularity: float
    """InfoM: does each active latent inform about one factor only?"""
    explicitness: float
    """InfoE: can a linear model read the factors from the latents?"""
    compactness: float
    """InfoC: is each factor held by one latent only?"""
    mutual_information: Float[Tensor, "factors latents"]
    """I(factor; latent) / H(factor), fp64; zero for a factor that does not vary."""
    active: Bool[Tensor, " latents"]
    """Latents that vary (discrete), or by at least 1/20 of the largest range (continuous)."""


def info_mec(latents: Tensor, factors: Tensor, discrete_latents: bool) -> InfoMEC:
    """Modularity, explicitness and compactness of latents (InfoMEC, arXiv 2305.18378, section 4).

    InfoM is the mean over active latents of ``(max_i / sum_i - 1/n) / (1 - 1/n)`` of the normalised
    mutual information with the n factors; InfoC the same over factors and active latents; InfoE the
    mean over factors of ``(H0 - H) / H0``, where H is the log loss of a multinomial logistic
    regression on all latents (one-hot, or standardised) and H0 that of its intercept alone.

    The regression is fitted and measured on the same samples, without penalty, as by the paper's
    authors: take far more samples than one-hot columns (10,000 for 12 latents of 10 values). They
    weight classes by inverse frequency; here H0 is the factor's entropy, which is the same for
    uniform factors and keeps InfoE in [0, 1] for others. Latents that inform about nothing have an
    InfoM of noise over noise: read it beside InfoE.

    Where the formulas divide by zero: factors that do not vary are left out, and if none varies all
    three are NaN. A latent (factor) that carries (has) no information adds 0. One factor makes
    every informative latent modular, one active latent every informed factor compact: 1. Without
    active latents all three are 0.

    Args:
        latents: ``[samples, latents]``: indices or values if discrete, else real numbers.
        factors: ``[samples, factors]``, discrete labels.
        discrete_latents: How mutual information is estimated: by counting, or by 10 nearest
            neighbours (Ross 2014, doi 10.1371/journal.pone.0087357).

    Raises:
        ShapeError: No matrices, different numbers of samples, no sample, or values not finite.

    >>> factors = torch.cartesian_prod(torch.arange(4), torch.arange(5)).repeat(20, 1)
    >>> result = info_mec(factors, factors, discrete_latents=True)
    >>> round(result.modularity, 2), round(result.explicitness, 2), round(result.compactness, 2)
    (1.0, 1.0, 1.0)
    """
    _check(latents, factors)
    labels = _labels(factors)
    varying = labels.amax(0) > 0
    codes = _labels(latents) if discrete_latents else None
    spread = (latents.amax(0) - latents.amin(0)).double()
    if codes is not None:
        active = codes.amax(0) > 0
    else:
        active = (spread > 0) & (spread >= _ACTIVE_RANGE * spread.max())
    standardised = _standardise(latents.double())
    information = torch.zeros(labels.shape[1], latents.shape[1], dtype=torch.float64)
    for i in varying.nonzero().flatten().tolist():
        entropy = _entropy(labels[:, i])
        for j in range(latents.shape[1]):
            shared = (
                _mutual_information(labels[:, i], codes[:, j])
                if codes is not None
                else _mutual_information_by_neighbours(labels[:, i], standardised[:, j])
            )
            information[i, j] = shared / entropy
    if not bool(varying.any()):
        undefined = float("nan")
        return InfoMEC(undefined, undefined, undefined, information, active)
    counted = information[varying][:, active]
    features = standardised if codes is None else _one_hot(codes)
    # Without an active latent nothing is explained; a fit of nothing says so but for rounding.
    informative = bool(active.any())
    explained = [
        informative * max(1.0 - _log_loss(features, column) / _entropy(column), 0.0)
        for column in labels[:, varying].unbind(1)
    ]
    return InfoMEC(
        modularity=_concentration(counted.T),
        explicitness=sum(explained) / len(explained),
        compactness=_concentration(counted),
        mutual_information=information,
        active=active,
    )


def _check(latents: Tensor, factors: Tensor) -> None:
    if (
        latents.ndim != 2
        or factors.ndim != 2
        or len(latents) != len(factors)
        or latents.numel() * factors.numel() == 0
    ):
        raise ShapeError(
            "info_mec: expected latents [samples, latents] and factors [samples, factors] of the "
            f"same samples, at least one, got {list(latents.shape)} and {list(factors.shape)}."
        )
    if not bool(latents.isfinite().all() & factors.isfinite().all()):
        raise ShapeError(
            "info_mec: expected finite latents and factors, got NaN or infinity. Leave out the "
            "samples that hold them."
        )


def _labels(columns: Tensor) -> Tensor:
    """Each column's values as 0, 1, … in ascending order."""
    return torch.stack(
        [column.unique(return_inverse=True)[1] for column in columns.cpu().unbind(1)], 1
    )


def _standardise(columns: Tensor) -> Tensor:
    columns = columns.cpu()
    centred = columns - columns.mean(0)
    deviation = centred.square().mean(0).sqrt()
    return centred / torch.where(deviation > 0, deviation, 1.0)


def _concentration(shares: Tensor) -> float:
    """Mean over rows of the largest entry's share of its row, from 0 (even) to 1 (all of it)."""
    rows, columns = shares.shape
    if rows == 0 or columns == 0:
        return 0.0
    total = shares.sum(1)
    informative = total > 0
    share = torch.where(informative, shares.amax(1) / total.clamp_min(1e-300), 0.0)
    if columns > 1:
        share = ((share - 1 / columns) / (1 - 1 / columns)).clamp_min(0.0)
    return float(share.mean())


def _entropy(labels: Tensor) -> float:
    """Entropy in nats of integer labels."""
    counts = labels.bincount().double()
    return float(torch.special.entr(counts / len(labels)).sum())


def _mutual_information(a: Tensor, b: Tensor) -> float:
    """In nats, of two columns of labels, by the counts of their pairs."""
    pairs = (a * (int(b.amax()) + 1) + b).unique(return_inverse=True)[1]
    return max(_entropy(a) + _entropy(b) - _entropy(pairs), 0.0)


def _mutual_information_by_neighbours(labels: Tensor, values: Tensor) -> float:
    """In nats, of labels and a real number (Ross 2014), without a sample x sample matrix.

    A sample whose k nearest of its own label all have its very value counts equal values in place
    of distances, as Gao et al. (arXiv 1709.06212) do for mixtures of discrete and continuous.
    """
    counts = labels.bincount()
    kept = counts[labels] > 1  # the only one of its label has no neighbour
    labels, values = labels[kept], values[kept]
    if len(values) == 0:
        return 0.0
    num_same = counts[labels].double()
    radius, num_neighbours = torch.empty_like(values), torch.empty_like(values)
    for label in labels.unique():
        own = labels == label
        column, order = values[own].sort()
        k = min(_NUM_NEIGHBOURS, len(column) - 1)
        nearest = _distance_to_neighbour(column, k)
        equal = _count_within(column, column, torch.zeros_like(column))
        at = own.nonzero().flatten()[order]
        radius[at] = nearest
        num_neighbours[at] = torch.where(nearest > 0, k, equal)
    # Strictly inside the radius, the sample itself included: as many as Ross's m.
    num_within = _count_within(values.sort().values, values, radius * (1 - 1e-10))
    information = (
        torch.digamma(torch.tensor(float(len(values)), dtype=torch.float64))
        + torch.digamma(num_neighbours).mean()
        - torch.digamma(num_same).mean()
        - torch.digamma(num_within).mean()
    )
    return max(float(information), 0.0)


def _distance_to_neighbour(ascending: Tensor, k: int) -> Tensor:
    """Distance of each entry to its k-th nearest other one: the best window of k + 1 around it."""
    best = torch.full_like(ascending, float("inf"))
    size = len(ascending)
    for below in range(k + 1):
        # Windows that begin `below` entries before the entry and end k - below after it.
        middle = ascending[below : size - (k - below)]
        low, high = ascending[: size - k], ascending[k:]
        reach = torch.maximum(middle - low, high - middle)
        window = best[below : size - (k - below)]
        window.copy_(torch.minimum(window, reach))
    return best


def _count_within(ascending: Tensor, centres: Tensor, radius: Tensor) -> Tensor:
    high = torch.searchsorted(ascending, centres + radius, right=True)
    return (high - torch.searchsorted(ascending, centres - radius)).double()


def _one_hot(codes: Tensor) -> Tensor:
    """One column per latent and value, fp64."""
    sizes = codes.amax(0) + 1
    columns = codes + sizes.cumsum(0) - sizes
    features = torch.zeros(len(codes), int(sizes.sum()), dtype=torch.float64)
    return features.scatter_(1, columns, 1.0)


def _log_loss(features: Tensor, labels: Tensor) -> float:
    """Least mean cross-entropy in nats of a linear model with intercept, found by L-BFGS."""
    frequencies = labels.bincount().double() / len(labels)
    weight = features.new_zeros(features.shape[1], len(frequencies)).requires_grad_()
    # Begins at the intercept's own optimum, so that the result is never worse than that.
    bias = frequencies.log().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [weight, bias],
        max_iter=200,
        tolerance_grad=1e-6,
        tolerance_change=1e-9,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(features @ weight + bias, labels)
        value.backward()
        return value.detach()

    with torch.enable_grad():
        optimizer.step(loss)
        return float(loss())
