"""Square patches to frequencies and back, so that networks start at a fraction of the pixels."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqkit.shapes import Float

__all__ = ["Patchify", "Unpatchify", "cosines"]


def _numbers(count: int) -> Tensor:
    # Not on the meta device, where models are tried out before loading: the basis is no weight.
    return torch.arange(count, dtype=torch.float64, device="cpu")


def cosines(size: int) -> Tensor:
    """Orthonormal DCT-II basis, one frequency per row."""
    index = _numbers(size)
    basis = torch.cos(torch.pi * index[:, None] * (index + 0.5) / size) * (2.0 / size) ** 0.5
    basis[0] /= 2.0**0.5
    return basis


def _transform(channels: int, patch: int) -> tuple[Tensor, Tensor]:
    """Basis ``[features, channels, patch, patch]`` and the expected size of each feature."""
    colour, space = cosines(channels), cosines(patch)
    basis = torch.einsum("ac,yi,xj->ayxcij", colour, space, space)
    axes = (_numbers(n) for n in (channels, patch, patch))
    frequency = torch.stack(torch.meshgrid(*axes, indexing="ij")).square().sum(dim=0).sqrt()
    # A flat patch of +-1/2 gives its mean the size sqrt(features) / 2; the rest falls as 1 / f.
    size = (channels * patch**2) ** 0.5 / 2 / (1 + frequency)
    return basis.reshape(-1, channels, patch, patch), size.reshape(-1, 1, 1, 1)


class Patchify(nn.Module):
    """Cosine transform of disjoint patches, each frequency scaled to a size near one.

    Orthonormal DCT-II over channels (of RGB: brightness and two opponent colours), rows and
    columns, divided by what natural images hold at that frequency, which falls as its inverse.
    The same information as a pixel unshuffle, but a layer on top learns brightness, colour and
    detail at one rate.

    Example:
        >>> Patchify(channels=3, patch=4)(torch.ones(1, 3, 8, 12)).shape
        torch.Size([1, 48, 2, 3])
    """

    analysis: Tensor

    def __init__(self, channels: int, patch: int) -> None:
        super().__init__()
        self.patch = patch
        basis, size = _transform(channels, patch)
        self.register_buffer("analysis", (basis / size).float(), persistent=False)

    def forward(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch features rows columns"]:
        """``channels * patch**2`` features per patch."""
        return F.conv2d(x, self.analysis, stride=self.patch)


class Unpatchify(nn.Module):
    """The exact inverse of :class:`Patchify`.

    Example:
        >>> image = torch.rand(1, 3, 8, 8)
        >>> restored = Unpatchify(3, 4)(Patchify(3, 4)(image))
        >>> torch.allclose(restored, image, atol=1e-5)
        True
    """

    synthesis: Tensor

    def __init__(self, channels: int, patch: int) -> None:
        super().__init__()
        self.patch = patch
        basis, size = _transform(channels, patch)
        self.register_buffer("synthesis", (basis * size).float(), persistent=False)

    def forward(
        self, features: Float[Tensor, "batch features rows columns"]
    ) -> Float[Tensor, "batch channels height width"]:
        """``patch`` times the rows and columns."""
        return F.conv_transpose2d(features, self.synthesis, stride=self.patch)
