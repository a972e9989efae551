"""Blocks of frames, rows and columns to features and back: cosines or Haar's wavelets."""

from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqkit.nets.clip_layers import FrameLayer
from vqkit.nets.conv_stream import Window, WindowStream
from vqkit.nets.patches import cosines
from vqkit.nets.rate_stream import ExpandStream
from vqkit.nets.stream import Stream
from vqkit.shapes import Float

__all__ = [
    "ChannelsToSpace",
    "ClipPatches",
    "ClipUnpatches",
    "SpaceToChannels",
    "blocks_to_channels",
    "channels_to_blocks",
    "cosine_basis",
    "haar_basis",
]

Block = tuple[int, int, int]


def blocks_to_channels(x: Tensor, block: Block) -> Tensor:
    """Disjoint blocks, their values as channels in the order (channel, frame, row, column)."""
    batch, channels, *size = x.shape
    t, h, w = block
    frames, rows, columns = (n // b for n, b in zip(size, block, strict=True))
    parted = x.reshape(batch, channels, frames, t, rows, h, columns, w)
    return parted.permute(0, 2, 4, 6, 1, 3, 5, 7).flatten(4).movedim(-1, 1)


def channels_to_blocks(x: Tensor, block: Block) -> Tensor:
    """The inverse of :func:`blocks_to_channels`."""
    parted = x.movedim(1, -1).unflatten(-1, (-1, *block))
    batch, frames, rows, columns, channels, t, h, w = parted.shape
    whole = parted.permute(0, 1, 5, 2, 6, 3, 7, 4)
    return whole.reshape(batch, frames * t, rows * h, columns * w, channels).movedim(-1, 1)


class SpaceToChannels(FrameLayer):
    """Squares of each frame as channels."""

    def __init__(self, factor: int = 2) -> None:
        super().__init__()
        self.factor = factor

    def forward(
        self, x: Float[Tensor, "batch dim frames height width"]
    ) -> Float[Tensor, "batch features frames rows columns"]:
        """``factor ** 2`` times the channels."""
        return blocks_to_channels(x, (1, self.factor, self.factor))


class ChannelsToSpace(FrameLayer):
    """The inverse of :class:`SpaceToChannels`."""

    def __init__(self, factor: int = 2) -> None:
        super().__init__()
        self.factor = factor

    def forward(
        self, x: Float[Tensor, "batch features frames rows columns"]
    ) -> Float[Tensor, "batch dim frames height width"]:
        """Channels over ``factor ** 2``."""
        return channels_to_blocks(x, (1, self.factor, self.factor))


class ClipPatches(nn.Module):
    """A fixed transform of disjoint blocks.

    Args:
        block: Frames, rows and columns of a block.
        basis: ``[features, channels * frames * rows * columns]``.
    """

    analysis: Tensor

    def __init__(self, block: Block, basis: Tensor) -> None:
        super().__init__()
        self.block = block
        self.register_buffer("analysis", basis, persistent=False)

    def forward(
        self, x: Float[Tensor, "batch channels frames height width"]
    ) -> Float[Tensor, "batch features block_frames rows columns"]:
        """Features of every block."""
        blocks = blocks_to_channels(x, self.block).movedim(1, -1)
        return F.linear(blocks, self.analysis).movedim(-1, 1)

    def stream(self) -> Stream:
        """Begin a clip."""
        return WindowStream(self, Window(self.block[0], self.block[0]), "replicate")


class ClipUnpatches(nn.Module):
    """The inverse of :class:`ClipPatches`.

    Args:
        block: Frames, rows and columns of a block.
        basis: ``[channels * frames * rows * columns, features]``.
    """

    synthesis: Tensor

    def __init__(self, block: Block, basis: Tensor) -> None:
        super().__init__()
        self.block = block
        self.register_buffer("synthesis", basis, persistent=False)

    def forward(
        self, features: Float[Tensor, "batch features block_frames rows columns"]
    ) -> Float[Tensor, "batch channels frames height width"]:
        """The clip."""
        blocks = F.linear(features.movedim(1, -1), self.synthesis).movedim(-1, 1)
        return channels_to_blocks(blocks, self.block)

    def stream(self) -> Stream:
        """Begin a clip."""
        return ExpandStream(self, self.block[0])


def cosine_basis(channels: int, block: Block) -> tuple[Tensor, Tensor]:
    """Orthonormal DCT-II over channels, frames, rows and columns, sizes as natural clips have them.

    What :class:`vqkit.nets.patches.Patchify` is to a picture: each frequency is divided by what
    falls as its inverse, so that a layer on top learns all of them at one rate.

    Returns:
        The basis of the analysis and that of the synthesis, its inverse.

    >>> analysis, synthesis = cosine_basis(3, (4, 8, 8))
    >>> analysis.shape, torch.allclose(synthesis @ analysis, torch.eye(768), atol=1e-5)
    (torch.Size([768, 768]), True)
    """
    axes = (channels, *block)
    basis = _product([cosines(n) for n in axes])
    numbers = [torch.arange(n, dtype=torch.float64, device="cpu") for n in axes]
    frequency = torch.stack(torch.meshgrid(*numbers, indexing="ij")).square().sum(dim=0).sqrt()
    # A flat block of +-1/2 gives its mean the size sqrt(features) / 2.
    size = (prod(axes) ** 0.5 / 2 / (1 + frequency)).flatten()
    return (basis / size[:, None]).float(), (basis.T * size).float()


def haar_basis(channels: int, side: int) -> tuple[Tensor, Tensor]:
    """Haar's wavelet packet: sums and differences of neighbours, of these again, and so on.

    Scaled like Cosmos's (arXiv 2501.03575, section 4), so that the first feature of a channel is
    the mean of its block; features in the order (last split, ..., first split, channel), and of a
    split (time, rows, columns), sums before differences.

    Args:
        channels: Channels.
        side: Frames, rows and columns of a block, a power of two.

    Returns:
        The basis of the analysis and that of the synthesis, its inverse.

    >>> analysis, synthesis = haar_basis(1, 2)
    >>> analysis[0].unique(), torch.equal(synthesis @ analysis, torch.eye(8))
    (tensor([0.1250]), True)
    """
    num_splits = side.bit_length() - 1
    features = torch.arange(8**num_splits, device="cpu")[:, None, None, None]
    place = torch.arange(side, device="cpu")
    parity = torch.zeros(8**num_splits, side, side, side, dtype=torch.int64, device="cpu")
    for split in range(num_splits):
        band = (features >> 3 * split) & 7
        bit = (place >> split) & 1
        parity = parity + (band >> 2) * bit[:, None, None]
        parity = parity + ((band >> 1) & 1) * bit[:, None] + (band & 1) * bit
    signs = (1.0 - 2.0 * (parity % 2)).flatten(1)
    eye = torch.eye(channels, device="cpu")
    analysis = torch.einsum("fp,cd->fcdp", signs / side**3, eye)
    analysis = analysis.reshape(channels * side**3, channels * side**3)
    return analysis, analysis.T.contiguous() * side**3


def _product(bases: list[Tensor]) -> Tensor:
    """The basis of all axes of those of each."""
    product = bases[0]
    for basis in bases[1:]:
        product = torch.kron(product, basis)
    return product
