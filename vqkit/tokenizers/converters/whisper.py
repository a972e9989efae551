"""Weights of Whisper's encoder, of its own library and of transformers <-> a speech recogniser."""

import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.nets import AttentionLayers, SpeechContext, SpeechEncoder
from vqkit.tokenizers.converters.state import State, load, renamed

__all__ = ["load_whisper_encoder", "read_whisper_encoder", "whisper_encoder_state"]

_TRANSFORMERS = (
    (r"^(model\.)?encoder\.", ""),
    (r"^embed_positions\.weight$", "positions"),
    (r"\.self_attn_layer_norm\.", ".norm1."),
    (r"\.final_layer_norm\.", ".norm2."),
    (r"\.self_attn\.q_proj\.", ".attention.query."),
    (r"\.self_attn\.k_proj\.", ".attention.key."),
    (r"\.self_attn\.v_proj\.", ".attention.value."),
    (r"\.self_attn\.out_proj\.", ".attention.out."),
    (r"\.fc1\.", ".perceptron.0."),
    (r"\.fc2\.", ".perceptron.2."),
    (r"^layer_norm\.", "norm."),
)
_ORIGINAL = (
    (r"^encoder\.", ""),
    (r"^positional_embedding$", "positions"),
    (r"^blocks\.", "layers."),
    (r"\.attn_ln\.", ".norm1."),
    (r"\.mlp_ln\.", ".norm2."),
    (r"\.attn\.", ".attention."),
    (r"\.mlp\.", ".perceptron."),
    (r"^ln_post\.", "norm."),
)
_OF_ENCODER = re.compile(r"^(model\.)?encoder\.")


def read_whisper_encoder(path: Path) -> dict[str, Tensor]:
    """The encoder's weights of a model that lies here, with vqkit's names; nothing else is read.

    Args:
        path: A folder of transformers (one file or several), a ``.safetensors`` file, or a ``.pt``
            file of ``openai-whisper``, of which nothing that was pickled is run.

    Raises:
        ConfigError: There is no such model, or it is damaged or another.
    """
    files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    if not files or not all(file.is_file() for file in files):
        raise ConfigError(
            f"Whisper weights {path}: expected a folder with .safetensors files, or a file, found "
            "none. A model on the hub is downloaded first."
        )
    state: dict[str, Tensor] = {}
    for file in files:
        state |= _read(file)
    return whisper_encoder_state(state)


def whisper_encoder_state(state: State) -> dict[str, Tensor]:
    """The encoder's entries of a state dict of transformers or ``openai-whisper``, in fp32.

    Raises:
        ConfigError: It holds no such encoder.
    """
    encoder = {name: value.float() for name, value in state.items() if _OF_ENCODER.match(name)}
    is_original = any(".blocks." in name for name in encoder)
    named = renamed(encoder, _ORIGINAL if is_original else _TRANSFORMERS)
    missing = {"conv1.weight", "conv2.weight", "positions", "norm.weight"} - set(named)
    if missing:
        raise ConfigError(
            f"Whisper weights: expected an encoder with {sorted(missing)}, got names below "
            f"{sorted({name.split('.')[0] for name in state})[:8]}."
        )
    return named


@torch.no_grad()
def load_whisper_encoder(encoder: SpeechEncoder, context: SpeechContext, state: State) -> None:
    """Fill both halves of a recogniser with the layers of Whisper's encoder, in their order.

    The second half's own positions are Whisper's first (arXiv 2411.17607); without a quantizer and
    pooling they would be added twice, and stay zero.

    Args:
        encoder: Up to the quantizer.
        context: From there on.
        state: What :func:`read_whisper_encoder` gives.

    Raises:
        ConfigError: Layers that are no transformers, or of other sizes or another number.
    """
    layers = encoder.layers
    if not (isinstance(layers, AttentionLayers) and isinstance(context.layers, AttentionLayers)):
        raise ConfigError(
            "Whisper weights: expected AttentionLayers in encoder and decoder, got "
            f"{type(layers).__name__} and {type(context.layers).__name__}."
        )
    first = layers.num_layers
    front: dict[str, Tensor] = {"positions": state["positions"][: encoder.max_frames]}
    back: dict[str, Tensor] = {}
    for name, value in state.items():
        match = re.fullmatch(r"layers\.(\d+)\.(.*)", name)
        if match is None:
            if name.startswith("conv"):
                front[name] = value
            elif name.startswith("norm."):
                back[name] = value
        elif int(match[1]) < first:
            front[f"layers.{name}"] = value
        else:
            back[f"layers.layers.{int(match[1]) - first}.{match[2]}"] = value
    if context.position_table is not None:
        rows = state["positions"][: context.max_frames]
        back["position_table"] = rows if encoder.pooling.kernel > 1 else torch.zeros_like(rows)
    load(encoder, front, "Whisper's encoder up to the quantizer")
    load(context, back, "Whisper's encoder after the quantizer")


def _read(file: Path) -> dict[str, Tensor]:
    if file.suffix != ".safetensors":
        return _read_original(file)
    try:
        with safe_open(file, framework="pt") as tensors:
            names = [name for name in tensors.keys() if _OF_ENCODER.match(name)]  # noqa: SIM118
            return {name: tensors.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        raise ConfigError(f"Whisper weights {file}: the file is damaged ({error}).") from error


def _read_original(file: Path) -> dict[str, Tensor]:
    try:
        loaded: Any = torch.load(file, map_location="cpu", weights_only=True)
    # What is wrong with a file shows in the reader as an error of any kind.
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise ConfigError(
            f"Whisper weights {file}: expected a file of weights ({reason})."
        ) from error
    state = loaded.get("model_state_dict", loaded) if isinstance(loaded, dict) else {}
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}
