"""A tokenizer without a network: block means, quantized uniformly."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from vqkit.errors import ShapeError
from vqkit.tokenizers.spec import TokenizerSpec
from vqkit.tokenizers.tokens import Tokens, TokenStream


class BlockMeans:
    """Three codebooks, one per colour, each a uniform scale of levels."""

    def __init__(self, factor: int = 4, num_levels: int = 20) -> None:
        self.factor = factor
        self.num_levels = num_levels

    @property
    def spec(self) -> TokenizerSpec:
        return TokenizerSpec(
            name="test/block-means",
            modality="image",
            channels=3,
            axes=("height", "width"),
            strides=(self.factor, self.factor),
            codebook_sizes=(self.num_levels,) * 3,
            fingerprint=f"{self.factor:016x}{self.num_levels:016x}",
        )

    def encode(self, media: Sequence[Tensor]) -> Tokens:
        return Tokens.stack([self._encode(image) for image in media])

    def decode(self, tokens: Tokens) -> list[Tensor]:
        images = []
        for number, size in enumerate(tokens.media):
            levels = tokens.item(number).indices[0].permute(2, 0, 1).float()
            image = (levels + 0.5) * 2 / self.num_levels - 1
            image = image.repeat_interleave(self.factor, 1).repeat_interleave(self.factor, 2)
            images.append(image[:, : size["height"], : size["width"]])
        return images

    def _encode(self, image: Tensor) -> Tokens:
        if image.shape[0] != 3:
            raise ShapeError(f"Encoding failed: expected 3 channels, got {image.shape[0]}.")
        means = F.avg_pool2d(image[None], self.factor, ceil_mode=True)
        levels = ((means + 1) / 2 * self.num_levels).long().clamp(0, self.num_levels - 1)
        stream = TokenStream(
            levels.permute(0, 2, 3, 1).contiguous(), self.spec.codebook_sizes, self.spec.axes
        )
        size = {"height": image.shape[1], "width": image.shape[2]}
        return Tokens({"tokens": stream}, (size,), "image", self.spec.name, self.spec.fingerprint)


def pictures(count: int, *, height: int = 40, width: int = 52) -> list[tuple[str, Tensor]]:
    """Different smooth pictures with some noise, the same on every call."""
    generator = torch.Generator().manual_seed(5)
    y = torch.linspace(0, 4, height)[:, None]
    x = torch.linspace(0, 5, width)[None, :]
    images = []
    for number in range(count):
        phase = torch.rand(3, 1, 1, generator=generator) * 6
        image = torch.sin((number + 1) * x / 2 + phase) * torch.cos(y + phase) * 0.8
        noise = 0.1 * torch.randn(3, height, width, generator=generator)
        images.append((f"picture {number:02}.png", (image + noise).clamp(-1, 1)))
    return images
