"""The sizes of a SEANet: as a configuration of transformers has them, or from weights alone."""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.nets import BidirectionalLSTM, ConvStyle, SEANetDecoder, SEANetEncoder
from vqkit.nets.padded_conv import PaddedConv, PaddedTransposedConv
from vqkit.tokenizers.converters.state import State, fold_weight_norm, split_weight_norm

__all__ = ["ORIGINAL_SEANET", "lstm_layers", "original_state", "seanet_sizes", "sizes_of_config"]

ORIGINAL_SEANET = (
    (r"^((?:.*\.)?(?:en|de)coder)\.model\.", r"\1.layers."),
    (r"\.conv\.norm\.", ".norm."),
    (r"\.convtr\.norm\.", ".norm."),
    (r"\.conv\.conv\.", ".conv."),
    (r"\.convtr\.convtr\.", ".conv."),
)
"""Names in EnCodec, audiocraft, moshi and WavTokenizer to those of vqkit and transformers."""

_NUMBERED = re.compile(r"layers\.(\d+)\.conv\.weight")


def sizes_of_config(
    config: Mapping[str, Any], style: ConvStyle, num_lstm_layers: int
) -> dict[str, Any]:
    """Arguments of ``SEANetEncoder`` and ``SEANetDecoder`` but for the channels."""
    return {
        "dim": config["hidden_size"],
        "num_filters": config["num_filters"],
        "strides": tuple(reversed(config["upsampling_ratios"])),
        "kernels": (
            config["kernel_size"],
            config["residual_kernel_size"],
            config["last_kernel_size"],
        ),
        "num_blocks": config["num_residual_layers"],
        "compress": config["compress"],
        "learned_shortcut": config["use_conv_shortcut"],
        "num_lstm_layers": num_lstm_layers,
        "style": style,
    }


def seanet_sizes(encoder: State, style: ConvStyle) -> dict[str, Any]:
    """The same from the weights of the encoder.

    Args:
        encoder: State of the encoder, weight norm multiplied out, names as vqkit has them.
        style: What the shapes do not say.

    Raises:
        ConfigError: No such encoder.
    """
    numbers = sorted(int(m[1]) for name in encoder if (m := _NUMBERED.fullmatch(name)))
    if len(numbers) < 2 or numbers[0] != 0:
        raise ConfigError(
            f"SEANet weights: expected convolutions layers.0 and more, got {sorted(encoder)[:6]}."
        )
    convolutions = [encoder[f"layers.{number}.conv.weight"] for number in numbers]
    first, *strided, last = convolutions
    blocks = [
        name for name in encoder if re.fullmatch(r"layers\.\d+\.block\.1\.conv\.weight", name)
    ]
    if not blocks or not strided:
        raise ConfigError("SEANet weights: expected residual blocks and strides, got none.")
    narrow = encoder["layers.1.block.1.conv.weight"]
    return {
        "dim": last.shape[0],
        "num_filters": first.shape[0],
        "strides": tuple(weight.shape[-1] // 2 for weight in strided),
        "kernels": (first.shape[-1], narrow.shape[-1], last.shape[-1]),
        "num_blocks": len(blocks) // len(strided),
        "compress": narrow.shape[1] // narrow.shape[0],
        "learned_shortcut": any(".shortcut." in name for name in encoder),
        "num_lstm_layers": lstm_layers(encoder),
        "style": style,
    }


def original_state(name: str, network: SEANetEncoder | SEANetDecoder) -> dict[str, Tensor]:
    """The state of a network under the names of EnCodec, audiocraft and SpeechTokenizer."""
    kinds = {
        path: "convtr" if isinstance(module, PaddedTransposedConv) else "conv"
        for path, module in network.named_modules()
        if isinstance(module, PaddedConv | PaddedTransposedConv)
    }
    flat = {}
    for key, value in fold_weight_norm(network.state_dict()).items():
        module, part, leaf = key.rsplit(".", 2)
        if module in kinds:
            kind = kinds[module]
            key = f"{module}.{kind}.{kind if part == 'conv' else part}.{leaf}"
        flat[f"{name}.{key.replace('layers.', 'model.', 1)}"] = value
    if network.style.norm == "group":
        return flat
    weights = [key for key in flat if key.endswith(("conv.conv.weight", "convtr.convtr.weight"))]
    return split_weight_norm(flat, [key.removesuffix(".weight") for key in weights])


def lstm_layers(network: State) -> int | BidirectionalLSTM:
    """The LSTM of a network, by the names of its weights."""
    names = [name for name in network if ".lstm.weight_ih_l" in name]
    count = sum(not name.endswith("_reverse") for name in names)
    return BidirectionalLSTM(count) if len(names) > count else count
