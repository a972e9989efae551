"""Networks of images written once more from their description, by plain functions of weights."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Weights = dict[str, Tensor]


def conv(weights: Weights, name: str, x: Tensor, **options: int) -> Tensor:
    return F.conv2d(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"), **options)


def norm(weights: Weights, name: str, x: Tensor) -> Tensor:
    normalised = centred(x)
    scale, shift = weights[f"{name}.weight"], weights[f"{name}.bias"]
    return normalised * scale[:, None, None] + shift[:, None, None]


def centred(x: Tensor) -> Tensor:
    groups = x.reshape(len(x), 32, -1)
    groups = groups - groups.mean(-1, keepdim=True)
    return (groups / (groups.square().mean(-1, keepdim=True) + 1e-6).sqrt()).reshape(x.shape)


def swish(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x)


def residual(weights: Weights, name: str, x: Tensor) -> Tensor:
    hidden = conv(weights, f"{name}.conv1", swish(norm(weights, f"{name}.norm1", x)), padding=1)
    hidden = conv(
        weights, f"{name}.conv2", swish(norm(weights, f"{name}.norm2", hidden)), padding=1
    )
    if f"{name}.nin_shortcut.weight" in weights:
        x = conv(weights, f"{name}.nin_shortcut", x)
    return x + hidden


def attention(weights: Weights, name: str, x: Tensor) -> Tensor:
    hidden = norm(weights, f"{name}.norm", x)
    query, key, value = (conv(weights, f"{name}.{part}", hidden).flatten(2) for part in "qkv")
    scores = torch.einsum("bci,bcj->bij", query, key) / x.shape[1] ** 0.5
    mixed = torch.einsum("bij,bcj->bci", scores.softmax(dim=-1), value)
    return x + conv(weights, f"{name}.proj_out", mixed.reshape(x.shape))


def middle(weights: Weights, x: Tensor) -> Tensor:
    x = residual(weights, "mid.block_1", x)
    if "mid.attn_1.q.weight" in weights:
        x = attention(weights, "mid.attn_1", x)
    return residual(weights, "mid.block_2", x)


def blocks(weights: Weights, level: str, num_blocks: int, x: Tensor) -> Tensor:
    for index in range(num_blocks):
        x = residual(weights, f"{level}.block.{index}", x)
        if f"{level}.attn.{index}.q.weight" in weights:
            x = attention(weights, f"{level}.attn.{index}", x)
    return x


def vqgan_encoder(weights: Weights, x: Tensor, num_levels: int, num_blocks: int) -> Tensor:
    """``quant_conv`` beside the encoder's own layers."""
    x = conv(weights, "conv_in", x, padding=1)
    for level in range(num_levels):
        x = blocks(weights, f"down.{level}", num_blocks, x)
        if level < num_levels - 1:
            batch, channels, height, width = x.shape
            padded = x.new_zeros(batch, channels, height + 1, width + 1)
            padded[..., :height, :width] = x
            x = conv(weights, f"down.{level}.downsample.conv", padded, stride=2)
    x = swish(norm(weights, "norm_out", middle(weights, x)))
    return conv(weights, "quant_conv", conv(weights, "conv_out", x, padding=1))


def vqgan_decoder(weights: Weights, x: Tensor, num_levels: int, num_blocks: int) -> Tensor:
    """``post_quant_conv`` beside the decoder's own layers."""
    x = conv(weights, "conv_in", conv(weights, "post_quant_conv", x), padding=1)
    x = middle(weights, x)
    for level in reversed(range(num_levels)):
        x = blocks(weights, f"up.{level}", num_blocks + 1, x)
        if level > 0:
            x = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
            x = conv(weights, f"up.{level}.upsample.conv", x, padding=1)
    return conv(weights, "conv_out", swish(norm(weights, "norm_out", x)), padding=1)


def magvit2_encoder(weights: Weights, x: Tensor, num_levels: int, num_blocks: int) -> Tensor:
    x = conv(weights, "conv_in", x, padding=1)
    for level in range(num_levels):
        x = blocks(weights, f"down.{level}", num_blocks, x)
        if level < num_levels - 1:
            x = conv(weights, f"down.{level}.downsample", x, stride=2, padding=1)
    for index in range(num_blocks):
        x = residual(weights, f"mid_block.{index}", x)
    return conv(weights, "conv_out", swish(norm(weights, "norm_out", x)))


def magvit2_decoder(weights: Weights, z: Tensor, num_levels: int, num_blocks: int) -> Tensor:
    positions = z.flatten(2)
    mean = positions.mean(-1)
    squares = (positions - mean[..., None]).square().sum(-1) / max(positions.shape[-1] - 1, 1)
    deviation = (squares + 1e-6).sqrt()
    x = conv(weights, "conv_in", z, padding=1)
    for index in range(num_blocks):
        x = residual(weights, f"mid_block.{index}", x)
    for level in reversed(range(num_levels)):
        scale = linear(weights, f"adaptive.{level}.gamma", deviation)[:, :, None, None]
        shift = linear(weights, f"adaptive.{level}.beta", mean)[:, :, None, None]
        x = blocks(weights, f"up.{level}", num_blocks, scale * centred(x) + shift)
        if level > 0:
            x = depth_to_space(conv(weights, f"up.{level}.upsample.conv1", x, padding=1))
    return conv(weights, "conv_out", swish(norm(weights, "norm_out", x)), padding=1)


def depth_to_space(x: Tensor) -> Tensor:
    """Position by position: the first quarter of the channels is the upper left one."""
    width = x.shape[1] // 4
    y = x.new_zeros(len(x), width, 2 * x.shape[2], 2 * x.shape[3])
    for row in range(2):
        for column in range(2):
            start = (2 * row + column) * width
            y[:, :, row::2, column::2] = x[:, start : start + width]
    return y


def linear(weights: Weights, name: str, x: Tensor) -> Tensor:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def layer_norm(weights: Weights, name: str, x: Tensor) -> Tensor:
    x = x - x.mean(-1, keepdim=True)
    x = x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    return x * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def titok_layers(weights: Weights, x: Tensor, num_heads: int) -> Tensor:
    """Attention by torch's own layer, weights under the names of that layer."""
    x = layer_norm(weights, "ln_pre", x)
    num_layers = sum(name.endswith(".ln_1.weight") for name in weights)
    for index in range(num_layers):
        path = f"transformer.{index}"
        attend = nn.MultiheadAttention(x.shape[-1], num_heads, batch_first=True, dtype=x.dtype)
        prefix = f"{path}.attn."
        own = {n.removeprefix(prefix): w for n, w in weights.items() if n.startswith(prefix)}
        hidden = layer_norm(weights, f"{path}.ln_1", x)
        mixed = torch.func.functional_call(attend.train(), own, (hidden, hidden, hidden))[0]
        x = x + mixed
        hidden = linear(weights, f"{path}.mlp.c_fc", layer_norm(weights, f"{path}.ln_2", x))
        x = x + linear(weights, f"{path}.mlp.c_proj", F.gelu(hidden))
    return layer_norm(weights, "ln_post", x)


def titok_encoder(
    weights: Weights, tokens: Tensor, x: Tensor, num_heads: int, *, legacy: bool = False
) -> Tensor:
    """Latents ``[batch, dim, tokens]`` of pixels in [0, 1]."""
    patch = weights["patch_embed.weight"].shape[-1]
    patches = conv(weights, "patch_embed", x, stride=patch).flatten(2).transpose(1, 2)
    start = weights["class_embedding"].expand(len(x), 1, -1)
    image = torch.cat([start, patches], dim=1) + weights["positional_embedding"]
    extra = (tokens + weights["latent_token_positional_embedding"]).expand(len(x), -1, -1)
    hidden = titok_layers(weights, torch.cat([image, extra], dim=1), num_heads)
    latents = hidden[:, image.shape[1] :]
    if legacy:
        latents = latents.reshape(len(x), latents.shape[2], latents.shape[1])
    else:
        latents = latents.transpose(1, 2)
    return conv(weights, "conv_out", latents[..., None])[..., 0]


def titok_decoder(weights: Weights, z: Tensor, num_heads: int, side: int) -> Tensor:
    """Pixels in [0, 1]."""
    tokens = linear(weights, "decoder_embed", z.transpose(1, 2))
    pixels = linear_of_conv(weights, "ffn.0", titok_patches(weights, tokens, num_heads, side))
    channels = len(weights["conv_out.weight"])
    patch = round((pixels.shape[-1] / channels) ** 0.5)
    grid = pixels.reshape(len(z), side, side, patch, patch, channels)
    image = grid.permute(0, 5, 1, 3, 2, 4).reshape(len(z), channels, side * patch, side * patch)
    return conv(weights, "conv_out", image, padding=1)


def titok_patches(weights: Weights, tokens: Tensor, num_heads: int, side: int) -> Tensor:
    """Features of the patches, which mask tokens become beside the tokens."""
    tokens = tokens + weights["latent_token_positional_embedding"]
    masks = weights["mask_token"].expand(len(tokens), side * side, -1)
    start = weights["class_embedding"].expand(len(tokens), 1, -1)
    image = torch.cat([start, masks], dim=1) + weights["positional_embedding"]
    hidden = titok_layers(weights, torch.cat([image, tokens], dim=1), num_heads)
    return hidden[:, 1 : 1 + side * side]


def titok_two_stage_decoder(weights: Weights, pixels: Weights, codes: Tensor, z: Tensor,
                            num_heads: int, side: int) -> Tensor:  # fmt: skip
    """Pixels in [0, 1], by way of a distribution over codes."""
    tokens = linear(weights, "decoder_embed", z.transpose(1, 2))
    hidden = titok_patches(weights, tokens, num_heads, side)
    hidden = torch.tanh(linear_of_conv(weights, "ffn.0", hidden))
    shares = linear_of_conv(weights, "ffn.2", hidden).softmax(-1)
    latent = (shares @ codes).transpose(1, 2).reshape(len(z), -1, side, side)
    num_levels = len({name.split(".")[1] for name in pixels if name.startswith("up.")})
    num_blocks = len({name.split(".")[1] for name in pixels if name.startswith("mid.")})
    return maskgit_decoder(pixels, latent, num_levels, num_blocks)


def maskgit_decoder(weights: Weights, x: Tensor, num_levels: int, num_blocks: int) -> Tensor:
    """With the shortcut of the published network, of the result in place of the input."""

    def block(name: str, x: Tensor) -> Tensor:
        y = conv(weights, f"{name}.conv1", swish(norm(weights, f"{name}.norm1", x)), padding=1)
        y = conv(weights, f"{name}.conv2", swish(norm(weights, f"{name}.norm2", y)), padding=1)
        if f"{name}.nin_shortcut.weight" in weights:
            return y + conv(weights, f"{name}.nin_shortcut", y)
        return y + x

    x = conv(weights, "conv_in", x, padding=1)
    for index in range(num_blocks):
        x = block(f"mid.{index}", x)
    for level in reversed(range(num_levels)):
        for index in range(num_blocks):
            x = block(f"up.{level}.block.{index}", x)
        if level > 0:
            x = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
            x = conv(weights, f"up.{level}.upsample_conv", x, padding=1)
    return conv(weights, "conv_out", swish(norm(weights, "norm_out", x)), padding=1)


def linear_of_conv(weights: Weights, name: str, x: Tensor) -> Tensor:
    return x @ weights[f"{name}.weight"][..., 0, 0].T + weights[f"{name}.bias"]
