"""VidTok, of its release and of diffusers <-> tokenizers of vqkit.

Both name the layers alike and differ from vqkit in shapes: there, convolutions over a frame and
over a pixel's course have two and one axes, and a causal one stands inside of a layer that pads.
"""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from vqkit.errors import ConfigError
from vqkit.nets import VidTokDecoder, VidTokEncoder
from vqkit.quantizers import FSQ
from vqkit.tokenizers.converters.state import State, below, load, renamed
from vqkit.tokenizers.tokenizer import Tokenizer
from vqkit.tokenizers.video_frontend import VideoFrontend

__all__ = ["vidtok_from_diffusers", "vidtok_from_original", "vidtok_to_diffusers"]

# All releases with tokens round every dimension to eight levels.
_LEVELS = 8
_NAME = "video/vidtok"
_CONSTANTS = {"_levels", "_basis", "implicit_codebook", "zero"}
_RULES = (
    (r"\.(norm\w*)\.norm\.(weight|bias)$", r".\1.\2"),
    (r"(_temporal\.\d+\.(?:down|up)sample)(?:\.conv)+\.(weight|bias)$", r"\1.\2"),
    (r"\.(conv_in|conv_out|conv1|conv2|q|k|v|proj_out)\.conv\.(weight|bias)$", r".\1.\2"),
)
_WRAPPERS = r"^(module\.|_orig_mod\.|model\.)+"
_NORM = re.compile(r"(norm\w*)\.(weight|bias)$")
_OF_FRAMES = re.compile(r"^(down|up)\.")
_OF_COURSES = re.compile(r"_temporal\.\d+\.block\.")
_STEP_IN_TIME = re.compile(r"(_temporal\.\d+\.(?:down|up)sample)\.(weight|bias)$")


def vidtok_from_diffusers(config: Mapping[str, Any], state: State) -> Tokenizer:
    """The tokenizer of an ``AutoencoderVidTok``.

    Args:
        config: What stands in its ``config.json``.
        state: Its state dict.

    Raises:
        ConfigError: A model without tokens, or weights that are no such model's.
    """
    if config.get("regularizer") != "fsq":
        raise ConfigError(
            f"VidTok: expected regularizer 'fsq', which makes tokens, got "
            f"{config.get('regularizer')!r}."
        )
    tokenizer = vidtok_from_original(state)
    if tokenizer.frontend.first_frame_alone != config.get("is_causal", True):
        raise ConfigError(
            f"VidTok: expected weights that agree with is_causal {config.get('is_causal', True)}, "
            "got those of the other kind."
        )
    return tokenizer


def vidtok_from_original(state: State) -> Tokenizer:
    """The tokenizer of the weights of VidTok's release, a file of Lightning.

    Sizes are those of the weights. Losses and discriminators that stand beside are left out.

    Args:
        state: What stands under ``state_dict`` in its file.

    Raises:
        ConfigError: Weights that are no such model's.
    """
    flat = renamed(state, [(_WRAPPERS, "")])
    unknown = {name for name in below(flat, "regularization.") if name not in _CONSTANTS}
    if unknown:
        raise ConfigError(
            f"VidTok: expected a quantizer without weights, got {sorted(unknown)}: one with a "
            "projection."
        )
    causal = "encoder.conv_in.conv.weight" in flat
    flat = renamed(flat, _RULES)
    encoder_state, decoder_state = below(flat, "encoder."), below(flat, "decoder.")
    for half in (encoder_state, decoder_state):
        if not {"conv_in.weight", "conv_out.weight"} <= half.keys():
            raise ConfigError(
                "VidTok: expected the weights of an encoder and of a decoder, got names below "
                f"{sorted({name.split('.')[0] for name in flat})[:8]}."
            )
    base_width = len(encoder_state["conv_in.weight"])
    encoder = VidTokEncoder(**_encoder_sizes(encoder_state, base_width), causal=causal)
    decoder = VidTokDecoder(**_decoder_sizes(decoder_state, base_width), causal=causal)
    if encoder.dim != decoder.dim:
        raise ConfigError(
            f"VidTok: expected as many latent features in as out, got {encoder.dim} and "
            f"{decoder.dim}: a model without tokens, which has a mean and a variance of each."
        )
    load(encoder, _in_shape(encoder_state, encoder), "VidTok's encoder")
    load(decoder, _in_shape(decoder_state, decoder), "VidTok's decoder")
    frontend = VideoFrontend(encoder.in_channels, first_frame_alone=causal)
    return Tokenizer(frontend, encoder, FSQ([_LEVELS] * encoder.dim), decoder, _NAME).eval()


def vidtok_to_diffusers(tokenizer: Tokenizer) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The inverse: ``config.json`` and the state dict of an ``AutoencoderVidTok``.

    Raises:
        ConfigError: Networks or levels that it does not have.
    """
    encoder, quantizer, decoder = tokenizer.encoder, tokenizer.quantizer, tokenizer.decoder
    if not (isinstance(encoder, VidTokEncoder) and isinstance(decoder, VidTokDecoder)):
        raise ConfigError(
            f"VidTok for diffusers: expected its networks, got {type(encoder).__name__} and "
            f"{type(decoder).__name__}."
        )
    alike = ("dim", "base_width", "multipliers", "num_res_blocks", "causal", "dropout")
    different = [name for name in alike if getattr(encoder, name) != getattr(decoder, name)]
    if different or {encoder.norm, decoder.norm} != {"layer"}:
        raise ConfigError(
            "VidTok for diffusers: expected layer norms and two networks of the same sizes, got "
            f"norms {encoder.norm!r} and {decoder.norm!r}, others in {different}."
        )
    if quantizer.levels != (_LEVELS,) * encoder.dim or quantizer.symmetric:
        raise ConfigError(
            f"VidTok for diffusers: expected FSQ of {encoder.dim} times {_LEVELS} levels that are "
            f"not symmetric, got {quantizer}."
        )
    config = {
        "_class_name": "AutoencoderVidTok",
        "in_channels": encoder.in_channels,
        "out_channels": decoder.out_channels,
        "ch": encoder.base_width,
        "ch_mult": list(encoder.multipliers),
        "z_channels": encoder.dim,
        "double_z": False,
        "num_res_blocks": encoder.num_res_blocks,
        "spatial_ds": list(encoder.space_levels),
        "spatial_us": list(decoder.space_levels),
        "tempo_ds": list(encoder.time_levels),
        "tempo_us": list(decoder.time_levels),
        "dropout": encoder.dropout,
        "regularizer": "fsq",
        "codebook_size": _LEVELS**encoder.dim,
        "is_causal": encoder.causal,
    }
    state = _foreign_state("encoder", encoder) | _foreign_state("decoder", decoder)
    return config, state


def _encoder_sizes(state: State, base_width: int) -> dict[str, Any]:
    return _sizes(state, "down", base_width) | {
        "in_channels": state["conv_in.weight"].shape[1],
        "dim": state["conv_out.weight"].shape[0],
        "space_levels": _levels_with(state, r"down\.(\d+)\.downsample\."),
        "time_levels": _levels_with(state, r"down_temporal\.(\d+)\.downsample\."),
    }


def _decoder_sizes(state: State, base_width: int) -> dict[str, Any]:
    sizes = _sizes(state, "up", base_width)
    return sizes | {
        "out_channels": state["conv_out.weight"].shape[0],
        "dim": state["conv_in.weight"].shape[1],
        "num_res_blocks": sizes["num_res_blocks"] - 1,
        "space_levels": _levels_with(state, r"up\.(\d+)\.upsample\."),
        "time_levels": _levels_with(state, r"up_temporal\.(\d+)\.upsample\."),
    }


def _sizes(state: State, way: str, base_width: int) -> dict[str, Any]:
    """Widths of the levels in multiples of the first layer's, and blocks per level."""
    widths = [
        len(state[f"{way}.{level}.block.0.conv1.weight"])
        for level in _levels_with(state, rf"{way}\.(\d+)\.")
    ]
    return {
        "base_width": base_width,
        "multipliers": [width // base_width for width in widths],
        "num_res_blocks": len(_levels_with(state, rf"{way}\.0\.block\.(\d+)\.")),
    }


def _levels_with(state: State, pattern: str) -> list[int]:
    found = (re.match(pattern, name) for name in state)
    return sorted({int(match[1]) for match in found if match})


def _in_shape(state: State, network: nn.Module) -> dict[str, Tensor]:
    """Weights of convolutions with the axes that they are without there."""
    shaped = dict(state)
    for name, value in state.items():
        if name.endswith(".weight") and value.ndim == 4 and _OF_FRAMES.match(name):
            shaped[name] = value[:, :, None]
        elif name.endswith(".weight") and value.ndim == 3:
            shaped[name] = value[..., None, None]
    return shaped


def _foreign_state(half: str, network: VidTokEncoder | VidTokDecoder) -> dict[str, Tensor]:
    """With the names and shapes of diffusers."""
    inside = ".conv" if network.causal else ""
    state = {}
    for name, value in network.state_dict().items():
        if _NORM.search(name):
            new = _NORM.sub(r"\1.norm.\2", name)
        elif _OF_FRAMES.match(name):
            new, value = name, value.squeeze(2) if value.ndim == 5 else value
        elif name.endswith("mix_factor"):
            new = name
        else:
            step = _STEP_IN_TIME.sub(r"\1.conv.\2", name)
            new = re.sub(r"\.(weight|bias)$", rf"{inside}.\1", step)
            if _OF_COURSES.search(name) and value.ndim == 5:
                value = value[..., 0, 0]
        state[f"{half}.{new}"] = value.detach().clone()
    return state
