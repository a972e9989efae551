"""Random weights under the names of the libraries that published tokenizers of images.

Names and shapes are written from the description of the layouts, not read from our networks.
"""

import re

import torch

CHANNELS, CODES = 3, 40


class Weights:
    """A state dict that grows: convolutions, norms and linear layers of random values."""

    def __init__(self, seed=0):
        self.generator = torch.Generator().manual_seed(seed)
        self.state = {}

    def draw(self, *shape, scale=1.0):
        return scale * torch.randn(*shape, generator=self.generator)

    def conv(self, name, in_width, out_width, kernel, *, bias=True):
        self.state[f"{name}.weight"] = self.draw(
            out_width, in_width, kernel, kernel, scale=1.2 / (in_width * kernel**2) ** 0.5
        )
        if bias:
            self.state[f"{name}.bias"] = self.draw(out_width, scale=0.2)

    def linear(self, name, in_width, out_width):
        self.state[f"{name}.weight"] = self.draw(out_width, in_width, scale=in_width**-0.5)
        self.state[f"{name}.bias"] = self.draw(out_width, scale=0.2)

    def norm(self, name, width):
        self.state[f"{name}.weight"] = 1 + self.draw(width, scale=0.3)
        self.state[f"{name}.bias"] = self.draw(width, scale=0.3)

    def block(self, name, in_width, out_width, *, bias=True):
        self.norm(f"{name}.norm1", in_width)
        self.conv(f"{name}.conv1", in_width, out_width, 3, bias=bias)
        self.norm(f"{name}.norm2", out_width)
        self.conv(f"{name}.conv2", out_width, out_width, 3, bias=bias)
        if in_width != out_width:
            self.conv(f"{name}.nin_shortcut", in_width, out_width, 1, bias=bias)

    def attention(self, name, width):
        self.norm(f"{name}.norm", width)
        for part in ("q", "k", "v", "proj_out"):
            self.conv(f"{name}.{part}", width, width, 1)


def taming(
    widths=(32, 64), *, base=32, blocks=1, attention=(1,), middle=True, latent=7, dim=5, codes=CODES
):
    """VQGAN of taming-transformers, without its losses."""
    weights = Weights()
    last = len(widths) - 1
    weights.conv("encoder.conv_in", CHANNELS, base, 3)
    before = base
    for level, width in enumerate(widths):
        for number in range(blocks):
            weights.block(f"encoder.down.{level}.block.{number}", before, width)
            before = width
            if level in attention:
                weights.attention(f"encoder.down.{level}.attn.{number}", width)
        if level < last:
            weights.conv(f"encoder.down.{level}.downsample.conv", width, width, 3)
    weights.conv("decoder.conv_in", latent, widths[-1], 3)
    for network in ("encoder", "decoder"):
        weights.block(f"{network}.mid.block_1", widths[-1], widths[-1])
        if middle:
            weights.attention(f"{network}.mid.attn_1", widths[-1])
        weights.block(f"{network}.mid.block_2", widths[-1], widths[-1])
    for level in reversed(range(len(widths))):
        width = widths[level]
        for number in range(blocks + 1):
            weights.block(f"decoder.up.{level}.block.{number}", before, width)
            before = width
            if level in attention:
                weights.attention(f"decoder.up.{level}.attn.{number}", width)
        if level > 0:
            weights.conv(f"decoder.up.{level}.upsample.conv", width, width, 3)
    weights.norm("encoder.norm_out", widths[-1])
    weights.conv("encoder.conv_out", widths[-1], latent, 3)
    weights.norm("decoder.norm_out", widths[0])
    weights.conv("decoder.conv_out", widths[0], CHANNELS, 3)
    weights.conv("quant_conv", latent, dim, 1)
    weights.conv("post_quant_conv", dim, latent, 1)
    weights.state["quantize.embedding.weight"] = weights.draw(codes, dim)
    return weights.state


def losses():
    """What the Lightning checkpoints of the family hold besides."""
    return {
        "loss.discriminator.main.0.weight": torch.ones(4, 3, 4, 4),
        "loss.perceptual_loss.lin0.model.1.weight": torch.ones(1, 64, 1, 1),
    }


def llamagen(state):
    """The same networks under LlamaGen's names: decoder levels in the order of execution."""
    last = max(int(m[1]) for m in (re.match(r"decoder\.up\.(\d+)", n) for n in state) if m)
    named = {}
    for name, value in state.items():
        name = re.sub(
            r"^decoder\.up\.(\d+)", lambda m: f"decoder.conv_blocks.{last - int(m[1])}", name
        )
        name = re.sub(r"^encoder\.down\.", "encoder.conv_blocks.", name)
        name = re.sub(r"\.block\.(\d+)\.", r".res.\1.", name)
        for ours, theirs in (("block_1", "0"), ("attn_1", "1"), ("block_2", "2")):
            name = name.replace(f".mid.{ours}.", f".mid.{theirs}.")
        named[name] = value
    return named


def open_magvit2(widths=(32, 64), *, base=32, blocks=2, bits=5):
    """Encoder and decoder of Open-MAGVIT2; LFQ has no weights."""
    weights = Weights()
    last = len(widths) - 1
    weights.conv("encoder.conv_in", CHANNELS, base, 3, bias=False)
    before = base
    for level, width in enumerate(widths):
        for number in range(blocks):
            weights.block(f"encoder.down.{level}.block.{number}", before, width, bias=False)
            before = width
        if level < last:
            weights.conv(f"encoder.down.{level}.downsample", width, width, 3)
    weights.norm("encoder.norm_out", widths[-1])
    weights.conv("encoder.conv_out", widths[-1], bits, 1)
    weights.conv("decoder.conv_in", bits, widths[-1], 3)
    for network in ("encoder", "decoder"):
        for number in range(blocks):
            weights.block(f"{network}.mid_block.{number}", widths[-1], widths[-1], bias=False)
    for level in reversed(range(len(widths))):
        width = widths[level]
        for part in ("gamma", "beta"):
            weights.linear(f"decoder.adaptive.{level}.{part}", bits, before)
        for number in range(blocks):
            weights.block(f"decoder.up.{level}.block.{number}", before, width, bias=False)
            before = width
        if level > 0:
            weights.conv(f"decoder.up.{level}.upsample.conv1", width, 4 * width, 3)
    weights.norm("decoder.norm_out", widths[0])
    weights.conv("decoder.conv_out", widths[0], CHANNELS, 3)
    return weights.state


def average_names(state):
    """Under the names of a moving average: dots are lost."""
    return {f"model_ema.{name.replace('.', '')}": value for name, value in state.items()}


TITOK = {"side": 32, "patch": 16, "tokens": 6, "width": 64, "layers": 2, "dim": 4}


PIXEL_WIDTHS, PIXEL_CODES, PIXEL_DIM = (32, 32, 64, 64, 32), 12, 6


def maskgit(weights, blocks=1):
    """The second network of TiTok's first models, below ``pixel_decoder``, and its codes."""
    last = PIXEL_WIDTHS[-1]

    def block(name, in_width, out_width):
        weights.block(name, in_width, out_width, bias=False)
        if in_width != out_width:  # a convolution of the result, not of the input
            weights.conv(f"{name}.nin_shortcut", out_width, out_width, 1, bias=False)

    weights.conv("pixel_decoder.conv_in", PIXEL_DIM, last, 3)
    for number in range(blocks):
        block(f"pixel_decoder.mid.{number}", last, last)
    before = last
    for level in reversed(range(len(PIXEL_WIDTHS))):
        width = PIXEL_WIDTHS[level]
        for number in range(blocks):
            block(f"pixel_decoder.up.{level}.block.{number}", before, width)
            before = width
        if level > 0:
            weights.conv(f"pixel_decoder.up.{level}.upsample_conv", width, width, 3)
    weights.norm("pixel_decoder.norm_out", PIXEL_WIDTHS[0])
    weights.conv("pixel_decoder.conv_out", PIXEL_WIDTHS[0], CHANNELS, 3)
    weights.state["pixel_quantize.embedding.weight"] = weights.draw(PIXEL_CODES, PIXEL_DIM)


def titok(*, legacy=False, cosine=False, two_stages=False):
    """``config.json`` and weights of a TiTok."""
    weights = Weights()
    side, width, dim = TITOK["side"] // TITOK["patch"], TITOK["width"], TITOK["dim"]
    state = weights.state
    for network in ("encoder", "decoder"):
        state[f"{network}.class_embedding"] = weights.draw(1, width)
        state[f"{network}.positional_embedding"] = weights.draw(side**2 + 1, width)
        name = f"{network}.latent_token_positional_embedding"
        state[name] = weights.draw(TITOK["tokens"], width)
        for end in ("ln_pre", "ln_post"):
            weights.norm(f"{network}.{end}", width)
        for layer in range(TITOK["layers"]):
            path = f"{network}.transformer.{layer}"
            weights.norm(f"{path}.ln_1", width)
            weights.norm(f"{path}.ln_2", width)
            weights.linear(f"{path}.attn.out_proj", width, width)
            state[f"{path}.attn.in_proj_weight"] = weights.draw(3 * width, width, scale=0.2)
            state[f"{path}.attn.in_proj_bias"] = weights.draw(3 * width, scale=0.2)
            weights.linear(f"{path}.mlp.c_fc", width, 4 * width)
            weights.linear(f"{path}.mlp.c_proj", 4 * width, width)
    weights.conv("encoder.patch_embed", CHANNELS, width, TITOK["patch"])
    weights.conv("encoder.conv_out", width, dim, 1)
    state["latent_tokens"] = weights.draw(TITOK["tokens"], width)
    weights.linear("decoder.decoder_embed", dim, width)
    state["decoder.mask_token"] = weights.draw(1, 1, width)
    if two_stages:
        weights.conv("decoder.ffn.0", width, 2 * width, 1)
        weights.conv("decoder.ffn.2", 2 * width, PIXEL_CODES, 1)
        maskgit(weights)
    else:
        weights.conv("decoder.ffn.0", width, CHANNELS * TITOK["patch"] ** 2, 1)
        weights.conv("decoder.conv_out", CHANNELS, CHANNELS, 3)
    state["quantize.embedding.weight"] = weights.draw(CODES, dim)
    config = {"model": {"vq_model": {"use_l2_norm": cosine, "is_legacy": legacy}}}
    return config, state
