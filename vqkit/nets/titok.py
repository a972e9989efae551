"""Transformers that read an image into a row of latent tokens, and write it from them.

Submodules carry the names of the published checkpoints of TiTok. The positions are learned: a
network takes images of one size alone, and its tokens lie on no axis of the image.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqkit.errors import ConfigError, ShapeError
from vqkit.nets.maskgit import MaskGITDecoder
from vqkit.shapes import Float

__all__ = ["TiTokDecoder", "TiTokEncoder", "TiTokTwoStageDecoder"]


class _Attention(nn.Module):
    """Self-attention of several heads over all tokens."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.in_proj = nn.Linear(width, 3 * width)
        self.out_proj = nn.Linear(width, width)

    def forward(
        self, x: Float[Tensor, "batch tokens width"]
    ) -> Float[Tensor, "batch tokens width"]:
        """Same shape."""
        parts = self.in_proj(x).unflatten(-1, (3, self.num_heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))


class _Layer(nn.Module):
    """Attention and a layer of four times the width, each normalised before and added."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = _Attention(width, num_heads)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = nn.ModuleDict(
            {"c_fc": nn.Linear(width, 4 * width), "c_proj": nn.Linear(4 * width, width)}
        )

    def forward(
        self, x: Float[Tensor, "batch tokens width"]
    ) -> Float[Tensor, "batch tokens width"]:
        """Same shape."""
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp["c_proj"](F.gelu(self.mlp["c_fc"](self.ln_2(x))))


class _Transformer(nn.Module):
    """What both directions share: learned places of a class token, of patches and of tokens."""

    _KIND: str

    def __init__(
        self,
        side_pixels: int,
        patch_pixels: int,
        num_tokens: int,
        width: int,
        num_layers: int,
        num_heads: int,
    ) -> None:
        super().__init__()
        if min(patch_pixels, num_tokens, width, num_layers, num_heads) < 1:
            raise ConfigError(
                f"{self._KIND}: expected sizes from 1 on, got patch_pixels {patch_pixels}, "
                f"num_tokens {num_tokens}, width {width}, num_layers {num_layers} and num_heads "
                f"{num_heads}."
            )
        if side_pixels < patch_pixels or side_pixels % patch_pixels:
            raise ConfigError(
                f"{self._KIND}: expected side_pixels that patch_pixels divides, got {side_pixels} "
                f"and {patch_pixels}."
            )
        if width % num_heads:
            raise ConfigError(
                f"{self._KIND}: expected a width that num_heads divides, got {width} and "
                f"{num_heads}."
            )
        self.side_pixels = side_pixels
        self.patch_pixels = patch_pixels
        self.num_tokens = num_tokens
        self.width = width
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.stride = (patch_pixels, patch_pixels)
        rows = side_pixels // patch_pixels
        self.grid = (rows, rows)

        self.class_embedding = _places(1, width)
        self.positional_embedding = _places(rows * rows + 1, width)
        self.latent_token_positional_embedding = _places(num_tokens, width)
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = nn.ModuleList(_Layer(width, num_heads) for _ in range(num_layers))
        self.ln_post = nn.LayerNorm(width)

    def _mixed(self, patches: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Patches and tokens ``[batch, number, width]`` after all layers, normalised."""
        start = self.class_embedding.expand(len(patches), -1, -1)
        image = torch.cat([start, patches], dim=1) + self.positional_embedding
        tokens = tokens + self.latent_token_positional_embedding
        hidden = self.ln_pre(torch.cat([image, tokens], dim=1))
        for layer in self.transformer:
            hidden = layer(hidden)
        _, patches, tokens = hidden.split([1, patches.shape[1], tokens.shape[1]], dim=1)
        return self.ln_post(patches), self.ln_post(tokens)


class TiTokEncoder(_Transformer):
    """Image to a row of latents: a vision transformer whose extra tokens are the output.

    Yu et al. 2024, "An Image is Worth 32 Tokens" (TiTok, arXiv 2406.07550); the defaults are the
    base size of TA-TiTok (arXiv 2501.07730). Small is width 512, 8 layers, 8 heads; large 1024,
    24 and 16. Every token sees the whole image.

    Args:
        in_channels: Channels of the media, in [-1, 1].
        dim: Features of one latent vector, what the quantizer takes.
        side_pixels: Height and width of the images, the only ones that it takes.
        patch_pixels: Height and width of a patch.
        num_tokens: Latent vectors of an image.
        width: Features within the transformer.
        num_layers: Its layers.
        num_heads: Heads of its attention.
        unit_range: Whether the weights are for pixels in [0, 1], as those of the authors.
        mixes_features: Whether the last layer takes tokens and features in the wrong order, as the
            authors' first models do (``is_legacy``): a feature of a latent is then made of several
            tokens.

    Attributes:
        grid: Patches along height and width, the one grid that the media must have.

    Raises:
        ConfigError: A size below 1, or sizes that do not divide each other.

    Example:
        >>> encoder = TiTokEncoder(dim=4, side_pixels=32, num_tokens=6, width=32, num_layers=1,
        ...                        num_heads=2)
        >>> encoder(torch.zeros(1, 3, 32, 32)).shape
        torch.Size([1, 4, 6])
    """

    _KIND = "TiTokEncoder"

    def __init__(
        self,
        in_channels: int = 3,
        dim: int = 64,
        side_pixels: int = 256,
        patch_pixels: int = 16,
        num_tokens: int = 64,
        width: int = 768,
        num_layers: int = 12,
        num_heads: int = 12,
        unit_range: bool = False,
        mixes_features: bool = False,
    ) -> None:
        super().__init__(side_pixels, patch_pixels, num_tokens, width, num_layers, num_heads)
        self.in_channels = in_channels
        self.dim = dim
        self.unit_range = unit_range
        self.mixes_features = mixes_features
        self.patch_embed = nn.Conv2d(in_channels, width, patch_pixels, stride=patch_pixels)
        self.latent_tokens = _places(num_tokens, width)
        self.conv_out = nn.Conv2d(width, dim, 1)
        self.apply(_initialise)

    def forward(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch dim tokens"]:
        """Latents of images in [-1, 1].

        Raises:
            ShapeError: On other channels or another size.
        """
        wanted = (self.in_channels, self.side_pixels, self.side_pixels)
        if x.ndim != 4 or tuple(x.shape[1:]) != wanted:
            raise ShapeError(
                f"TiTokEncoder: expected [batch, {', '.join(map(str, wanted))}], got "
                f"{list(x.shape)}. Its positions are learned for this size: resize the images."
            )
        if self.unit_range:
            x = (x + 1.0) / 2.0
        patches = self.patch_embed(x).flatten(2).mT
        _, tokens = self._mixed(patches, self.latent_tokens.expand(len(x), -1, -1))
        if self.mixes_features:
            columns = tokens.reshape(len(x), self.width, self.num_tokens, 1)
        else:
            columns = tokens.mT[..., None]
        return self.conv_out(columns)[..., 0]


class _TokenDecoder(_Transformer):
    """Latents in a row to features of patches: mask tokens, one per patch, become those."""

    def __init__(
        self,
        out_channels: int,
        dim: int,
        side_pixels: int,
        patch_pixels: int,
        num_tokens: int,
        width: int,
        num_layers: int,
        num_heads: int,
    ) -> None:
        super().__init__(side_pixels, patch_pixels, num_tokens, width, num_layers, num_heads)
        self.out_channels = out_channels
        self.dim = dim
        self.decoder_embed = nn.Linear(dim, width)
        self.mask_token = nn.Parameter(width**-0.5 * torch.randn(1, 1, width))

    def _features(self, latent: Tensor) -> Tensor:
        """Features ``[batch, width, rows, columns]`` of latents ``[batch, dim, tokens]``."""
        if latent.ndim != 3 or tuple(latent.shape[1:]) != (self.dim, self.num_tokens):
            raise ShapeError(
                f"{self._KIND}: expected [batch, {self.dim}, {self.num_tokens}], got "
                f"{list(latent.shape)}."
            )
        rows, columns = self.grid
        masks = self.mask_token.expand(len(latent), rows * columns, -1)
        patches, _ = self._mixed(masks, self.decoder_embed(latent.mT))
        return patches.mT.unflatten(2, self.grid)


class TiTokDecoder(_TokenDecoder):
    """A row of latents to an image, whose pixels a linear layer gives, patch by patch.

    arXiv 2406.07550, with a last 3x3 convolution as in arXiv 2501.07730. The text that TA-TiTok's
    decoder reads beside the tokens is left out. The output is not bounded to [-1, 1].

    Args:
        out_channels: Channels of the media.
        dim: Features of one latent vector, what the quantizer gives.
        side_pixels: Height and width of the images.
        patch_pixels: As in the encoder.
        num_tokens: Latent vectors of an image.
        width: Features within the transformer.
        num_layers: Its layers.
        num_heads: Heads of its attention.
        unit_range: As in the encoder.

    Raises:
        ConfigError: A size below 1, or sizes that do not divide each other.

    Example:
        >>> decoder = TiTokDecoder(dim=4, side_pixels=32, num_tokens=6, width=32, num_layers=1,
        ...                        num_heads=2)
        >>> decoder(torch.zeros(1, 4, 6)).shape
        torch.Size([1, 3, 32, 32])
    """

    _KIND = "TiTokDecoder"

    def __init__(
        self,
        out_channels: int = 3,
        dim: int = 64,
        side_pixels: int = 256,
        patch_pixels: int = 16,
        num_tokens: int = 64,
        width: int = 1024,
        num_layers: int = 24,
        num_heads: int = 16,
        unit_range: bool = False,
    ) -> None:
        super().__init__(
            out_channels, dim, side_pixels, patch_pixels, num_tokens, width, num_layers, num_heads
        )
        self.unit_range = unit_range
        self.ffn = nn.Conv2d(width, patch_pixels * patch_pixels * out_channels, 1)
        self.conv_out = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.apply(_initialise)

    @property
    def last_layer(self) -> Tensor:
        """Weight of the last convolution, where the adaptive adversarial weight is measured."""
        return self.conv_out.weight

    def forward(
        self, latent: Float[Tensor, "batch dim tokens"]
    ) -> Float[Tensor, "batch channels height width"]:
        """Images, nominally in [-1, 1].

        Raises:
            ShapeError: On another number of features or tokens.
        """
        pixels = self.ffn(self._features(latent))
        # Features are rows, columns, channels of a patch here; a pixel shuffle has channels first.
        by_pixel = pixels.unflatten(1, (-1, self.out_channels)).transpose(1, 2).flatten(1, 2)
        image = self.conv_out(F.pixel_shuffle(by_pixel, self.patch_pixels))
        return 2.0 * image - 1.0 if self.unit_range else image


class TiTokTwoStageDecoder(_TokenDecoder):
    """A row of latents to an image by way of another tokenizer's codes (arXiv 2406.07550).

    The transformer gives each patch a distribution over the codes of MaskGIT's VQGAN, whose decoder
    makes the image of the mean code. TiTok's models of 4,096 codes are such.

    Args:
        pixel_decoder: That decoder, of pixels in [0, 1]; its factor is the side of a patch.
        num_pixel_codes: Codes of the other tokenizer.
        dim: Features of one latent vector, what the quantizer gives.
        side_pixels: Height and width of the images.
        patch_pixels: As in the encoder.
        num_tokens: Latent vectors of an image.
        width: Features within the transformer.
        num_layers: Its layers.
        num_heads: Heads of its attention.

    Raises:
        ConfigError: A size below 1, sizes that do not divide each other, or another factor.

    Example:
        >>> pixels = MaskGITDecoder(dim=8, base_width=32, multipliers=(1, 1, 1), num_res_blocks=1)
        >>> decoder = TiTokTwoStageDecoder(pixels, 16, dim=4, side_pixels=16, patch_pixels=4,
        ...                                num_tokens=6, width=32, num_layers=1, num_heads=2)
        >>> decoder(torch.zeros(1, 4, 6)).shape
        torch.Size([1, 3, 16, 16])
    """

    _KIND = "TiTokTwoStageDecoder"

    def __init__(
        self,
        pixel_decoder: MaskGITDecoder,
        num_pixel_codes: int = 1024,
        dim: int = 12,
        side_pixels: int = 256,
        patch_pixels: int = 16,
        num_tokens: int = 32,
        width: int = 1024,
        num_layers: int = 24,
        num_heads: int = 16,
    ) -> None:
        channels = pixel_decoder.out_channels
        super().__init__(
            channels, dim, side_pixels, patch_pixels, num_tokens, width, num_layers, num_heads
        )
        if pixel_decoder.stride != self.stride:
            raise ConfigError(
                f"TiTokTwoStageDecoder: expected a pixel_decoder of factor {patch_pixels}, got "
                f"{pixel_decoder.stride}."
            )
        self.num_pixel_codes = num_pixel_codes
        self.ffn = nn.Sequential(
            nn.Conv2d(width, 2 * width, 1), nn.Tanh(), nn.Conv2d(2 * width, num_pixel_codes, 1)
        )
        self.apply(_initialise)
        self.pixel_quantize = nn.Embedding(num_pixel_codes, pixel_decoder.dim)
        self.pixel_decoder = pixel_decoder

    @property
    def last_layer(self) -> Tensor:
        """Weight of the last convolution, where the adaptive adversarial weight is measured."""
        return self.pixel_decoder.last_layer

    def forward(
        self, latent: Float[Tensor, "batch dim tokens"]
    ) -> Float[Tensor, "batch channels height width"]:
        """Images, nominally in [-1, 1].

        Raises:
            ShapeError: On another number of features or tokens.
        """
        shares = self.ffn(self._features(latent)).softmax(dim=1)
        mean_codes = torch.einsum("bkhw,kd->bdhw", shares, self.pixel_quantize.weight)
        return 2.0 * self.pixel_decoder(mean_codes) - 1.0


def _places(count: int, width: int) -> nn.Parameter:
    return nn.Parameter(width**-0.5 * torch.randn(count, width))


def _initialise(module: nn.Module) -> None:
    """As the authors: normal of deviation 0.02 (cut at 100 of these, which is nowhere), no bias."""
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
