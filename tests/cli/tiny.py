"""A tokenizer of few parameters that nothing needs to train: means of blocks."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqkit.quantizers import FSQ, Quantizer, Residual
from vqkit.tokenizers import ImageFrontend, Tokenizer


class BlockMeans(nn.Module):
    def __init__(self, side: int = 8, gain: float = 1.0, in_channels: int = 3) -> None:
        super().__init__()
        self.side = side
        self.gain = gain
        self.in_channels = self.dim = in_channels
        self.stride = (side, side)
        self.scale = nn.Parameter(torch.tensor(gain))

    def forward(self, media: Tensor) -> Tensor:
        return F.avg_pool2d(media, self.side) * self.scale


class Blocks(nn.Module):
    def __init__(self, side: int = 8, out_channels: int = 3) -> None:
        super().__init__()
        self.side = side
        self.out_channels = self.dim = out_channels
        self.stride = (side, side)
        self.last_layer = nn.Parameter(torch.ones(()))

    def forward(self, latent: Tensor) -> Tensor:
        return F.interpolate(latent * self.last_layer, scale_factor=float(self.side))


def tiny_tokenizer(
    name: str = "image/tiny", gain: float = 1.0, channels: int = 3, levels: int = 1
) -> Tokenizer:
    quantizer: Quantizer = FSQ([8] * channels)
    if levels > 1:
        inner = FSQ([5] * channels, symmetric=True, bound="clamp")
        quantizer = Residual(inner, depth=levels, level_scale=0.25)
    encoder = BlockMeans(gain=gain, in_channels=channels)
    frontend = ImageFrontend(channels)
    return Tokenizer(frontend, encoder, quantizer, Blocks(out_channels=channels), name).eval()
