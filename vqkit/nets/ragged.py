"""Layers of torch that take lengths: of a batch, each item gets what it would get alone."""

import torch
from torch import Tensor, nn

from vqkit.nets.lengths import Lengths, TimeLayer
from vqkit.ops.transposed_conv import conv_transpose1d
from vqkit.shapes import Float

__all__ = ["QuickConvTranspose1d", "RaggedConv1d", "RaggedConvTranspose1d", "RaggedGroupNorm"]


class RaggedConv1d(nn.Conv1d, TimeLayer):
    """A convolution that pads with zeros."""

    def forward(
        self, x: Float[Tensor, "batch channels samples"], lengths: Lengths | None = None
    ) -> Float[Tensor, "batch out_channels frames"]:
        """As :class:`torch.nn.Conv1d`; writes zeros after the ends of items into ``x``."""
        if lengths is not None:
            x = lengths.silence(x, int(self.padding[0]))
        return super().forward(x)

    def lengths_after(self, lengths: Lengths) -> Lengths:
        """Lengths in frames."""
        reach = self.dilation[0] * (self.kernel_size[0] - 1) - 2 * int(self.padding[0])
        return lengths.scaled(1, -reach).strided(self.stride[0])


class QuickConvTranspose1d(nn.ConvTranspose1d):
    """A transposed convolution without dilation, faster on a CPU unless its output is padded."""

    def forward(  # type: ignore[override]
        self, x: Float[Tensor, "batch channels frames"]
    ) -> Float[Tensor, "batch out_channels samples"]:
        """As :class:`torch.nn.ConvTranspose1d`."""
        if self.output_padding[0]:
            return super().forward(x)
        stride, padding = self.stride[0], int(self.padding[0])
        return conv_transpose1d(x, self.weight, self.bias, stride, padding, self.groups)


class RaggedConvTranspose1d(QuickConvTranspose1d, TimeLayer):
    """A transposed convolution."""

    def forward(  # type: ignore[override]
        self, x: Float[Tensor, "batch channels frames"], lengths: Lengths | None = None
    ) -> Float[Tensor, "batch out_channels samples"]:
        """As :class:`torch.nn.ConvTranspose1d`; writes zeros after the ends of items into ``x``."""
        if lengths is not None:
            surplus = self.kernel_size[0] - self.stride[0] - int(self.padding[0])
            x = lengths.silence(x, max(0, -(-surplus // self.stride[0])))
        return super().forward(x)

    def lengths_after(self, lengths: Lengths) -> Lengths:
        """Lengths in samples."""
        surplus = self.kernel_size[0] - self.stride[0] - 2 * int(self.padding[0])
        return lengths.scaled(self.stride[0], surplus + int(self.output_padding[0]))


class RaggedGroupNorm(nn.GroupNorm, TimeLayer):
    """A group norm over channels and time, whose statistics are those of each item."""

    def forward(
        self, x: Float[Tensor, "batch channels samples"], lengths: Lengths | None = None
    ) -> Float[Tensor, "batch channels samples"]:
        """As :class:`torch.nn.GroupNorm`."""
        if lengths is None:
            return super().forward(x)
        groups = x.unflatten(1, (self.num_groups, -1))
        there = lengths.mask().to(x.device)[:, None, None]
        count = (lengths.values * groups.shape[2]).to(x.device)[:, None, None, None]
        mean = groups.masked_fill(~there, 0.0).sum((2, 3), keepdim=True) / count
        centred = (groups - mean).masked_fill(~there, 0.0)
        variance = centred.square().sum((2, 3), keepdim=True) / count
        normed = (centred * torch.rsqrt(variance + self.eps)).flatten(1, 2)
        return normed * self.weight[:, None] + self.bias[:, None]
