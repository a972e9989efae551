"""Weights under the names of the libraries that published the codecs."""

import re

import torch
from torch import nn

from tests.tokenizers.converters import peers
from vqkit.tokenizers.converters.state import fold_weight_norm

DAC_STRIDES = (2, 5)


def split_norm(name, weight):
    """Length and direction of a weight, the direction of any length."""
    norms = weight.flatten(1).norm(dim=1).view(-1, *[1] * (weight.ndim - 1))
    return {f"{name}.weight_g": norms, f"{name}.weight_v": 3 * weight}


def encodec(model):
    """State of ``encodec`` for an ``EncodecModel``."""
    state = {}
    for name, value in fold_weight_norm(model.state_dict()).items():
        path = name.replace(".layers.", ".model.", 1)
        if name.startswith("quantizer."):
            path = name.replace("quantizer.", "quantizer.vq.").replace(".codebook.", "._codebook.")
        elif ".norm." in name:
            kind = "convtr" if is_transposed(model, name.replace(".norm.", ".conv.")) else "conv"
            path = path.replace(".norm.", f".{kind}.norm.")
        elif is_transposed(model, name):
            path = path.replace(".conv.", ".convtr.convtr.")
        else:
            path = path.replace(".conv.", ".conv.conv.")
        has_weight_norm = model.config.norm_type == "weight_norm"
        if has_weight_norm and path.endswith(("conv.conv.weight", "convtr.convtr.weight")):
            state |= split_norm(path.removesuffix(".weight"), value)
        else:
            state[path] = value
    return state


def is_transposed(model, name):
    module = model.get_submodule(name.rpartition(".")[0])
    return isinstance(module, nn.ConvTranspose1d)


def mimi(model):
    """State of ``moshi`` for a ``MimiModel``: rotary pairs of neighbours, one projection in."""
    heads = model.config.num_attention_heads
    flat = {}
    for name, value in model.state_dict().items():
        for pattern, replacement in (
            (r"^(en|de)coder\.\1coder_seanet\.layers\.", r"\1coder.model."),
            (
                r"^(en|de)coder\.\1coder_transformer\.",
                r"\1coder_transformer.transformer.",
            ),
            (r"^encoder\.downsample\.conv\.", "downsample.conv.conv.conv."),
            (r"^decoder\.upsample\.conv\.", "upsample.convtr.convtr.convtr."),
            (r"\.o_proj\.", ".out_proj."),
            (r"\.mlp\.fc([12])\.", r".linear\1."),
            (r"\.input_layernorm\.", ".norm1."),
            (r"\.post_attention_layernorm\.", ".norm2."),
            (r"\.self_attn_layer_scale\.", ".layer_scale_1."),
            (r"\.mlp_layer_scale\.", ".layer_scale_2."),
            (r"semantic_residual_vector_quantizer\.layers", "rvq_first.vq.layers"),
            (r"acoustic_residual_vector_quantizer\.layers", "rvq_rest.vq.layers"),
            (r"semantic_residual_vector_quantizer", "rvq_first"),
            (r"acoustic_residual_vector_quantizer", "rvq_rest"),
            (r"\.codebook\.embed_sum", "._codebook.embedding_sum"),
            (r"\.codebook\.initialized", "._codebook._initialized"),
            (r"\.codebook\.", "._codebook."),
        ):
            path = re.sub(pattern, replacement, name)
            name = path if path != name else name
        if ".model." in name and is_transposed_step(name, value, model):
            name = name.replace(".conv.", ".convtr.convtr.")
        elif ".model." in name:
            name = name.replace(".conv.", ".conv.conv.")
        flat[name] = value
    for name in [name for name in flat if name.endswith("q_proj.weight")]:
        q, k, v = (flat.pop(name.replace("q_proj", f"{part}_proj")) for part in "qkv")
        neighbours = [
            rows.unflatten(0, (heads, 2, -1)).transpose(1, 2).flatten(0, 2) for rows in (q, k)
        ]
        joined = name.replace("q_proj.weight", "in_proj_weight")
        flat[joined] = torch.cat([*neighbours, v])
    return flat


def is_transposed_step(name, value, model):
    numbers = re.match(r"decoder\.model\.(\d+)\.conv\.", name)
    if numbers is None:
        return False
    layer = model.decoder.decoder_seanet.layers[int(numbers[1])]
    return isinstance(layer.conv, nn.ConvTranspose1d)


class Snake(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.alpha = nn.Parameter(torch.rand(1, width, 1) + 0.5)

    def forward(self, x):
        return x + torch.sin(self.alpha * x) ** 2 / self.alpha


class Unit(nn.Module):
    def __init__(self, width, dilation):
        super().__init__()
        self.block = nn.Sequential(
            Snake(width),
            nn.Conv1d(width, width, 7, dilation=dilation, padding=3 * dilation),
            Snake(width),
            nn.Conv1d(width, width, 1),
        )

    def forward(self, x):
        return x + self.block(x)


class Block(nn.Module):
    def __init__(self, *layers):
        super().__init__()
        self.block = nn.Sequential(*layers)

    def forward(self, x):
        return self.block(x)


class DACNetworks(nn.Module):
    """Encoder and decoder as the description of the library's layout has them."""

    def __init__(self):
        super().__init__()
        down, up, width = [nn.Conv1d(1, 4, 7, padding=3)], [nn.Conv1d(6, 16, 7, padding=3)], 4
        for stride in DAC_STRIDES:
            pad = -(-stride // 2)
            down.append(
                Block(
                    *(Unit(width, d) for d in (1, 3, 9)),
                    Snake(width),
                    nn.Conv1d(width, 2 * width, 2 * stride, stride=stride, padding=pad),
                )
            )
            width *= 2
        down += [Snake(width), nn.Conv1d(width, 6, 3, padding=1)]
        width = 16
        for stride in reversed(DAC_STRIDES):
            pad = -(-stride // 2)
            up.append(
                Block(
                    Snake(width),
                    nn.ConvTranspose1d(width, width // 2, 2 * stride, stride=stride, padding=pad),
                    *(Unit(width // 2, d) for d in (1, 3, 9)),
                )
            )
            width //= 2
        up += [Snake(width), nn.Conv1d(width, 1, 7, padding=3), nn.Tanh()]
        self.encoder = Block(*down)
        self.decoder = nn.Module()
        self.decoder.model = nn.Sequential(*up)


def dac():
    """Networks, and the checkpoint of ``descript-audio-codec`` for them."""
    torch.manual_seed(0)
    networks = DACNetworks().eval()
    state = {}
    for name, value in networks.state_dict().items():
        if name.endswith(".weight"):
            state |= split_norm(name.removesuffix(".weight"), value)
        else:
            state[name] = value
    for level in range(2):
        prefix = f"quantizer.quantizers.{level}"
        state[f"{prefix}.codebook.weight"] = torch.randn(32, 3)
        for projection, shape in (("in_proj", (3, 6, 1)), ("out_proj", (6, 3, 1))):
            state |= split_norm(f"{prefix}.{projection}", torch.randn(shape))
            state[f"{prefix}.{projection}.bias"] = torch.randn(shape[0])
    settings = {
        "encoder_dim": 4,
        "encoder_rates": list(DAC_STRIDES),
        "decoder_dim": 16,
        "decoder_rates": list(reversed(DAC_STRIDES)),
        "sample_rate": 16_000,
    }
    return networks, {"state_dict": state, "metadata": {"kwargs": settings}}


def wavtokenizer(decoder):
    """Checkpoint of WavTokenizer whose decoder is a ``VocosDecoder``, and its EnCodec."""
    model = peers.encodec(use_causal_conv=False, target_bandwidths=[0.45])
    state = {f"feature_extractor.encodec.{k}": v for k, v in encodec(model).items()}
    for name, value in decoder.state_dict().items():
        if name.startswith("head."):
            state[name.replace("head.linear.", "head.out.")] = value
            continue
        name = name.replace("position.", "pos_net.").replace("final_norm.", "final_layer_norm.")
        conditioned = re.fullmatch(r"(norm|convnext\.\d+\.norm)\.(weight|bias)", name)
        if conditioned:
            # Of four bandwidths the first is the one in use.
            table = torch.cat([value[None], torch.randn(3, len(value))])
            part = {"weight": "scale", "bias": "shift"}[conditioned[2]]
            state[f"backbone.{conditioned[1]}.{part}.weight"] = table
        else:
            state[f"backbone.{name}"] = value
    state["head.istft.window"] = torch.hann_window(decoder.n_fft)
    state["melspec_loss.mel_spec.spectrogram.window"] = torch.ones(4)
    return model, {"state_dict": state, "epoch": 3}


def audiocraft(model):
    """Checkpoint that ``audiocraft.utils.export.export_encodec`` writes for an ``EncodecModel``."""
    config = model.config
    text = f"""
solver: compression
sample_rate: {config.sampling_rate}
channels: {config.audio_channels}
compression_model: encodec
encodec:
  autoencoder: seanet
  quantizer: rvq
  sample_rate: ${{sample_rate}}
  channels: ${{channels}}
  causal: {str(config.use_causal_conv).lower()}
  renormalize: {str(config.normalize).lower()}
seanet:
  dimension: {config.hidden_size}
  channels: ${{channels}}
  causal: ${{encodec.causal}}
  n_filters: {config.num_filters}
  n_residual_layers: {config.num_residual_layers}
  ratios: {list(config.upsampling_ratios)}
  activation: ELU
  activation_params:
    alpha: 1.0
  norm: weight_norm
  norm_params: {{}}
  kernel_size: {config.kernel_size}
  residual_kernel_size: {config.residual_kernel_size}
  last_kernel_size: {config.last_kernel_size}
  dilation_base: 2
  pad_mode: {config.pad_mode}
  true_skip: {str(not config.use_conv_shortcut).lower()}
  compress: {config.compress}
  lstm: {config.num_lstm_layers}
  disable_norm_outer_blocks: 0
  decoder:
    trim_right_ratio: 1.0
    final_activation: null
    final_activation_params: null
  encoder: {{}}
rvq:
  n_q: {len(model.quantizer.layers)}
  bins: {config.codebook_size}
"""
    return {"best_state": encodec(model), "xp.cfg": text, "version": "1.4.0", "exported": True}


class BothWays(nn.Module):
    """The LSTM of SpeechTokenizer's encoder: the input is added to each direction."""

    def __init__(self, width, num_layers):
        super().__init__()
        self.lstm = nn.LSTM(width, width, num_layers, bidirectional=True)

    def forward(self, x):
        frames = x.permute(2, 0, 1)
        return (self.lstm(frames)[0] + frames.repeat(1, 1, 2)).permute(1, 2, 0)


def speechtokenizer():
    """An EnCodec with that encoder, and what SpeechTokenizer's files say of it."""
    model = peers.encodec(use_causal_conv=False, num_lstm_layers=2, sampling_rate=16_000)
    layers = model.encoder.layers
    conv = layers[15].conv
    width, dim, kernel = conv.in_channels, conv.out_channels, conv.kernel_size[0]
    torch.manual_seed(0)
    layers[13] = BothWays(width, 2)
    # Twice the channels come in: padding, which is the module's around it, stays.
    layers[15].conv = nn.utils.parametrizations.weight_norm(nn.Conv1d(2 * width, dim, kernel))
    state = encodec(model.eval()) | {"transform.weight": torch.ones(3, dim)}
    config = {"sample_rate": 16_000, "activation": "ELU", "dilation_base": 2, "dimension": dim}
    return model, config, state


def vocos(decoder, num_bandwidths=2, row=1):
    """State of Vocos whose decoder for one bandwidth is a ``VocosDecoder``."""
    state = {}
    for name, value in decoder.state_dict().items():
        name = name.replace("head.linear.", "head.out.").replace("final_norm.", "final_layer_norm.")
        if not name.startswith("head."):
            name = f"backbone.{name}"
        conditioned = re.fullmatch(r"(backbone\.(?:convnext\.\d+\.)?norm)\.(weight|bias)", name)
        if conditioned:
            part = {"weight": "scale", "bias": "shift"}[conditioned[2]]
            table = torch.randn(num_bandwidths, len(value))
            table[row] = value
            state[f"{conditioned[1]}.{part}.weight"] = table
        else:
            state[name] = value
    return state
