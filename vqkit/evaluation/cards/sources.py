"""What the cards quantize: vectors of known distributions, and features of photographs."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from vqkit.data import ImageFolder, ImageSource, Photos
from vqkit.errors import MediaError
from vqkit.evaluation.cards.bounds import (
    gaussian_distortion,
    laplace_distortion,
    shannon_lower_bound,
    sphere_distortion,
    water_filling_distortion,
)

__all__ = ["DIM", "SOURCES", "Source", "make_source"]

DIM = 4
"""Features of every vector."""

Draw = Callable[[int, Generator], Tensor]
Bound = Literal["exact", "lower", "upper"]

_NUM_COMPONENTS = 8
_COMPONENT_VARIANCE = 0.1
_BLOCK = 8
_FREQUENCIES = ((0, 1), (1, 0), (2, 0), (1, 1))
_TEST_SHARE = 0.25
_FEWEST_BLOCKS = 4096


@dataclass(frozen=True)
class Source:
    """A distribution of vectors of ``DIM`` features.

    Attributes:
        name: What it is called on the command line.
        text: What it is.
        draw: Vectors to train with, ``[n, DIM]``.
        draw_test: Vectors to measure with, none of them trained with.
        distortion: Squared error per feature that theory allows at a rate in bits per vector.
        bound: Whether no code can reach less ("exact", "lower"), or a good code might ("upper").
        bound_text: Where ``distortion`` comes from.
        variance: Mean over the features.
    """

    name: str
    text: str
    draw: Draw
    draw_test: Draw
    distortion: Callable[[float], float]
    bound: Bound
    bound_text: str
    variance: float = 1.0


def make_source(name: str, image_folder: str | Path | None = None) -> Source:
    """Build a source by its name in :data:`SOURCES`.

    Args:
        name: One of ``SOURCES``.
        image_folder: Photographs for ``images``; None takes those inside scikit-image.

    Raises:
        MediaError: No images, or too few pixels in them.
        MissingExtraError: There are no photographs inside scikit-image.
    """
    if name == "images":
        return _images(Photos(channels=1) if image_folder is None else _folder(image_folder))
    return SOURCES[name]()


def _gaussian() -> Source:
    def draw(num_vectors: int, generator: Generator) -> Tensor:
        return torch.randn(num_vectors, DIM, generator=generator)

    return Source(
        "gaussian",
        "Independent Gaussian features of variance 1",
        draw,
        draw,
        lambda bits: gaussian_distortion(bits / DIM),
        "exact",
        "rate-distortion function, 2^-2R",
    )


def _laplace() -> Source:
    def draw(num_vectors: int, generator: Generator) -> Tensor:
        # The difference of two exponentials; 1 - u is never 0.
        uniform = torch.rand(2, num_vectors, DIM, generator=generator, dtype=torch.float64)
        first, second = -torch.log1p(-uniform)
        return ((first - second) / math.sqrt(2.0)).float()

    return Source(
        "laplace",
        "Independent Laplace features of variance 1",
        draw,
        draw,
        lambda bits: laplace_distortion(bits / DIM),
        "lower",
        "Shannon's lower bound, within 0.003 dB of the rate-distortion function",
    )


def _sphere() -> Source:
    def draw(num_vectors: int, generator: Generator) -> Tensor:
        return F.normalize(torch.randn(num_vectors, DIM, generator=generator), dim=-1)

    return Source(
        "sphere",
        f"Uniform on the unit sphere in {DIM} dimensions",
        draw,
        draw,
        lambda bits: sphere_distortion(bits, DIM),
        "exact",
        "rate-distortion function, by quadrature",
        variance=1.0 / DIM,
    )


def _mixture() -> Source:
    # The same components whatever the seed of the run.
    generator = Generator().manual_seed(0)
    means = torch.randn(_NUM_COMPONENTS, DIM, generator=generator)
    means = means - means.mean(0)
    means = means * ((1.0 - _COMPONENT_VARIANCE) / means.square().mean()).sqrt()

    def draw(num_vectors: int, generator: Generator) -> Tensor:
        component = torch.randint(_NUM_COMPONENTS, (num_vectors,), generator=generator)
        noise = torch.randn(num_vectors, DIM, generator=generator)
        return means[component] + math.sqrt(_COMPONENT_VARIANCE) * noise

    entropy_bits = _mixture_entropy_bits(means, draw(2**17, generator))
    return Source(
        "mixture",
        f"Mixture of {_NUM_COMPONENTS} round Gaussians of variance {_COMPONENT_VARIANCE}, total "
        "variance 1",
        draw,
        draw,
        lambda bits: shannon_lower_bound(bits / DIM, entropy_bits / DIM),
        "lower",
        "Shannon's lower bound, its entropy by sampling",
    )


def _mixture_entropy_bits(means: Tensor, samples: Tensor) -> float:
    """Differential entropy per vector, as the mean of ``-log p`` over samples."""
    square = torch.cdist(samples.double(), means.double()).square()
    exponents = -square / (2.0 * _COMPONENT_VARIANCE)
    constant = math.log(len(means)) + DIM / 2 * math.log(2.0 * math.pi * _COMPONENT_VARIANCE)
    return float((constant - exponents.logsumexp(1)).mean()) / math.log(2.0)


def _folder(path: str | Path) -> ImageSource:
    return ImageFolder(path, channels=1)


def _images(images: ImageSource) -> Source:
    basis = _cosine_basis()
    parts = [
        F.conv2d(image[None], basis, stride=_BLOCK).flatten(2)[0].T
        for _, image in images.items()
        if min(image.shape[1:]) >= _BLOCK
    ]
    rows = torch.cat(parts) if parts else torch.empty(0, DIM)
    if len(rows) < _FEWEST_BLOCKS:
        raise MediaError(
            f"Features of images: expected {_FEWEST_BLOCKS} blocks of {_BLOCK} x {_BLOCK} pixels "
            f"or more, got {len(rows)}. Name a folder with more or larger images."
        )
    rows = rows[torch.randperm(len(rows), generator=Generator().manual_seed(0))]
    rows = rows - rows.mean(0)
    rows = rows / rows.square().mean().sqrt()
    variances = torch.linalg.eigvalsh(rows.T.double() @ rows.double() / len(rows)).tolist()
    num_test = int(_TEST_SHARE * len(rows))
    return Source(
        "images",
        f"{DIM} lowest AC coefficients of the cosine transform of {_BLOCK} x {_BLOCK} pixels in "
        f"grey, mean variance 1, of {len(images)} photographs",
        partial(_choose, rows[num_test:]),
        partial(_choose, rows[:num_test]),
        lambda bits: water_filling_distortion(bits, variances),
        "upper",
        "Gaussian of the same covariance, reverse water-filling: a good code may do better",
    )


def _cosine_basis() -> Tensor:
    """Filters ``[DIM, 1, 8, 8]`` of the orthonormal DCT-II, low frequencies but the mean."""
    position = (torch.arange(_BLOCK) + 0.5) * math.pi / _BLOCK
    waves = torch.stack([torch.cos(k * position) for k in range(_BLOCK)])
    waves = F.normalize(waves, dim=1)
    return torch.stack([torch.outer(waves[i], waves[j]) for i, j in _FREQUENCIES])[:, None]


def _choose(rows: Tensor, num_vectors: int, generator: Generator) -> Tensor:
    """Random rows, each at most once while there are enough."""
    if num_vectors <= len(rows):
        return rows[torch.randperm(len(rows), generator=generator)[:num_vectors]]
    return rows[torch.randint(len(rows), (num_vectors,), generator=generator)]


SOURCES: dict[str, Callable[[], Source]] = {
    "gaussian": _gaussian,
    "laplace": _laplace,
    "sphere": _sphere,
    "mixture": _mixture,
    "images": partial(make_source, "images"),
}
"""Every source by its name, in the order of the report."""
