"""Codebooks out of more vectors than fit into memory."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from vqkit.errors import ConfigError, ShapeError
from vqkit.ops.nearest import nearest_code
from vqkit.quantizers.kmeans import draw_by_weight, kmeans
from vqkit.shapes import Float, Int

__all__ = ["kmeans_per_class", "minibatch_kmeans"]

# A centre that holds less than this part of a fair share of the vectors so far is starved.
_STARVED = 0.01
# What a centre is said to hold after it moved: it follows its new vectors quickly, yet keeps off
# the list of the starved for a while.
_FRESH = 0.1


@torch.no_grad()
def minibatch_kmeans(
    batches: Iterable[Tensor],
    num_codes: int,
    *,
    iterations: int = 20,
    num_kept: int = 65536,
) -> tuple[Float[Tensor, "codes dim"], Float[Tensor, " codes"]]:
    """Cluster a stream of batches in bounded memory, in one pass.

    The first ``num_kept`` vectors (at least ten per code) are clustered by k-means++ and Lloyd
    steps. Then mini-batch k-means (Sculley, WWW 2010) follows the rest: each centre is the mean of
    what it was given, that is, moves with a learning rate of one over its count. Centres that
    starve move to vectors of large error. A stream that is not longer than ``num_kept`` is
    clustered exactly as :func:`kmeans` does. The order should be random: what comes first decides
    where the centres start.

    Args:
        batches: Tensors ``[tokens, dim]`` of floats, any number of rows each, 0 included.
        num_codes: Number of centres.
        iterations: Lloyd steps over the first vectors.
        num_kept: Vectors kept in memory.

    Returns:
        Centres in fp32 and the number of vectors that each was given.

    Raises:
        ConfigError: No vectors at all, or counts that make no sense.
        ShapeError: A batch of another width, no matrix of floats, or not finite.

    >>> _ = torch.manual_seed(0)
    >>> stream = (torch.randn(100, 2) + 20 * (i % 4) for i in range(40))
    >>> codes, counts = minibatch_kmeans(stream, 4, num_kept=1000)
    >>> codes.mean(1).round().int().sort().values, counts.sum()
    (tensor([ 0, 20, 40, 60], dtype=torch.int32), tensor(4000.))
    """
    if num_codes < 1 or iterations < 0 or num_kept < 1:
        raise ConfigError(
            "minibatch_kmeans: expected num_codes >= 1, iterations >= 0 and num_kept >= 1, got "
            f"{num_codes}, {iterations} and {num_kept}."
        )
    stream = _checked(batches)
    first: list[Tensor] = []
    num_first = 0
    for batch in stream:
        first.append(batch)
        num_first += len(batch)
        if num_first >= max(num_kept, 10 * num_codes):
            break
    if num_first == 0:
        raise ConfigError("minibatch_kmeans: expected at least one vector, got none.")
    codes, counts = kmeans(torch.cat(first), num_codes, iterations)
    first.clear()
    for batch in stream:
        if len(batch):
            codes, counts = _follow(codes, counts, batch)
    return codes, counts


@torch.no_grad()
def kmeans_per_class(
    features: Float[Tensor, "tokens dim"],
    labels: Int[Tensor, " tokens"],
    num_codes_per_class: int,
    *,
    iterations: int = 20,
) -> tuple[Float[Tensor, "codes dim"], Int[Tensor, " codes"]]:
    """Cluster each class by itself, so that rare classes get as many codes as common ones.

    VQGAN-LC, arXiv 2406.11837: 100 centres in each of 1,000 classes of ImageNet. Where the
    features do not fit into memory, call :func:`minibatch_kmeans` once per class.

    Args:
        features: Vectors of all classes.
        labels: Class of each.
        num_codes_per_class: Centres of each class that occurs.
        iterations: Lloyd steps.

    Returns:
        Centres, class by class in ascending order, and the class of each.

    Raises:
        ConfigError: Fewer than one code per class, or no vectors.
        ShapeError: Other numbers of features and labels, or features that are not finite.
    """
    if len(features) != len(labels):
        raise ShapeError(
            f"kmeans_per_class: expected a label for each of {len(features)} features, got "
            f"{len(labels)}."
        )
    if num_codes_per_class < 1 or len(features) == 0:
        raise ConfigError(
            "kmeans_per_class: expected at least one vector and one code per class, got "
            f"{len(features)} and {num_codes_per_class}."
        )
    (features,) = _checked([features])
    classes = labels.unique()
    codes = [kmeans(features[labels == c], num_codes_per_class, iterations)[0] for c in classes]
    return torch.cat(codes), classes.repeat_interleave(num_codes_per_class)


def _follow(codes: Tensor, counts: Tensor, batch: Tensor) -> tuple[Tensor, Tensor]:
    assigned = nearest_code(batch, codes)
    error = (batch - codes[assigned]).square().sum(-1)
    counts = counts + torch.bincount(assigned, minlength=len(codes))
    shift = torch.zeros_like(codes).index_add_(0, assigned, batch - codes[assigned])
    codes = codes + shift / counts.clamp_min(1.0)[:, None]
    starved = torch.nonzero(counts < _STARVED * counts.mean()).flatten()
    far = int((error > 0).sum())
    if len(starved) and far:
        rows = draw_by_weight(error, min(len(starved), far))
        # Equal vectors may be drawn together: two codes that coincide could never part again.
        new = batch[rows].unique(dim=0)
        starved = starved[: len(new)]
        codes[starved] = new
        counts[starved] = _FRESH * counts.mean()
    return codes, counts


def _checked(batches: Iterable[Tensor]) -> Iterator[Tensor]:
    dim: int | None = None
    for batch in batches:
        dim = batch.shape[-1] if dim is None and batch.ndim else dim
        if batch.ndim != 2 or not batch.is_floating_point() or batch.shape[1] != dim:
            raise ShapeError(
                f"Clustering: expected floats [tokens, {dim or 'dim'}], got {batch.dtype} "
                f"{list(batch.shape)}. Flatten the positions to rows."
            )
        batch = batch.detach().float()
        if not bool(batch.isfinite().all()):
            raise ShapeError(
                "Clustering: expected finite vectors, got a NaN or an infinity. Look for it in "
                "the module that made them."
            )
        yield batch
