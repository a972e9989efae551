"""TiTok of 1d-tokenizer <-> a tokenizer of vqkit: a row of tokens, and pixels in [0, 1]."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.nets import MaskGITDecoder, TiTokDecoder, TiTokEncoder, TiTokTwoStageDecoder
from vqkit.quantizers import Cosine, Euclidean, VectorQuantizer, from_titok
from vqkit.tokenizers.converters.checkpoint import unwrapped
from vqkit.tokenizers.converters.state import State, below, load, multipliers_of, renamed
from vqkit.tokenizers.frontend import ImageFrontend
from vqkit.tokenizers.tokenizer import Tokenizer

__all__ = ["titok_from_original", "titok_to_original"]

MARKS = ("encoder.latent_token_positional_embedding",)

_SECOND_STAGE = ("pixel_quantize.", "pixel_decoder.")
_PARTS = ("encoder.", "decoder.", "quantize.", "latent_tokens", *_SECOND_STAGE)
# All sizes have heads of so many features.
_HEAD_DIM = 64
# What the library has as parameters of attention are linear layers here, and its sequences are not.
_THEIRS_TO_OURS = (
    (r"\.attn\.in_proj_(weight|bias)$", r".attn.in_proj.\1"),
    (r"^ffn\.0\.", "ffn."),
)
_OURS_TO_THEIRS = (
    (r"\.attn\.in_proj\.(weight|bias)$", r".attn.in_proj_\1"),
    (r"^ffn\.(weight|bias)$", r"ffn.0.\1"),
)
_PIXELS_TO_OURS = ((r"^pixel_quantize\.embedding\.", "pixel_quantize."),)
_PIXELS_TO_THEIRS = (
    (r"^decoder\.pixel_quantize\.", "pixel_quantize.embedding."),
    (r"^decoder\.pixel_decoder\.", "pixel_decoder."),
)


def titok_from_original(config: Mapping[str, Any], state: State) -> Tokenizer:
    """The tokenizer of a TiTok (arXiv 2406.07550).

    Of the models of 8,192 codes, whose decoder gives pixels, and of those of 4,096, which decode
    through a second network. Those of TA-TiTok read a text beside the tokens and cannot be read,
    nor can first stages, which know no pixels.

    Args:
        config: What stands in ``config.json``, below ``model.vq_model`` what weights do not tell.
        state: The state dict.

    Raises:
        ConfigError: Such a model, or weights of others.
    """
    settings = config.get("model", {}).get("vq_model", {})
    state = unwrapped(state, MARKS)
    two_stages = "pixel_quantize.embedding.weight" in state
    for is_so, what in (
        ("decoder.text_guidance_proj.weight" in state, "reads a text beside the tokens"),
        (
            "decoder.ffn.2.weight" in state and not two_stages,
            "predicts the tokens of another tokenizer, as a first stage does",
        ),
    ):
        if is_so:
            raise ConfigError(
                f"TiTok: expected a decoder from tokens to pixels, got one that {what}."
            )
    if settings.get("quantize_mode", "vq") != "vq":
        raise ConfigError(f"TiTok: expected a codebook, got {settings['quantize_mode']!r}.")
    rest = [key for key in state if not key.startswith(_PARTS)]
    if rest:
        raise ConfigError(
            f"TiTok weights: expected {', '.join(_PARTS)}, got {sorted(rest)[:8]} besides."
        )
    encoder_state = renamed(below(state, "encoder."), _THEIRS_TO_OURS)
    encoder_state["latent_tokens"] = _entry(state, "latent_tokens")
    decoder_state = renamed(below(state, "decoder."), _THEIRS_TO_OURS[: 1 if two_stages else None])
    codes = below(state, "quantize.")
    channels, patch_pixels = _entry(encoder_state, "patch_embed.weight").shape[1:3]
    encoder = TiTokEncoder(
        channels,
        len(_entry(encoder_state, "conv_out.weight")),
        unit_range=True,
        mixes_features=settings.get("is_legacy", True),
        **_sizes(encoder_state, patch_pixels),
    )
    dim = _entry(decoder_state, "decoder_embed.weight").shape[1]
    decoder: TiTokDecoder | TiTokTwoStageDecoder
    if two_stages:
        decoder_state |= renamed(_below_any(state, _SECOND_STAGE), _PIXELS_TO_OURS)
        pixels = _pixel_decoder(below(state, "pixel_decoder."))
        num_codes = len(state["pixel_quantize.embedding.weight"])
        sizes = _sizes(decoder_state, pixels.stride[0])
        decoder = TiTokTwoStageDecoder(pixels, num_codes, dim, **sizes)
    else:
        channels = len(_entry(decoder_state, "conv_out.weight"))
        patch_pixels = round((len(_entry(decoder_state, "ffn.weight")) / channels) ** 0.5)
        sizes = _sizes(decoder_state, patch_pixels)
        decoder = TiTokDecoder(channels, dim, unit_range=True, **sizes)
    load(encoder, encoder_state, "TiTok's encoder")
    load(decoder, decoder_state, "TiTok's decoder")
    quantizer = from_titok(codes, cosine=settings.get("use_l2_norm", False))
    frontend = ImageFrontend(channels)
    return Tokenizer(frontend, encoder, quantizer, decoder, name="image/titok").eval()


def titok_to_original(tokenizer: Tokenizer) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """``config.json`` and state dict of a ``TiTok``.

    Raises:
        ConfigError: Other networks, pixels in [-1, 1], sizes that the library has not, or another
            quantizer than a codebook.
    """
    encoder, decoder, quantizer = tokenizer.encoder, tokenizer.decoder, tokenizer.quantizer
    if not (
        isinstance(encoder, TiTokEncoder)
        and isinstance(decoder, TiTokDecoder | TiTokTwoStageDecoder)
        and isinstance(quantizer, VectorQuantizer)
        and quantizer.metric in (Cosine(), Euclidean())
    ):
        raise ConfigError(
            f"TiTok: expected its networks and one codebook, got {type(encoder).__name__}, "
            f"{type(decoder).__name__} and {type(quantizer).__name__}."
        )
    two_stages = isinstance(decoder, TiTokTwoStageDecoder)
    if not encoder.unit_range or not (two_stages or decoder.unit_range):
        raise ConfigError("TiTok: expected networks of pixels in [0, 1], got those of [-1, 1].")
    config = {
        "model": {
            "vq_model": {
                "quantize_mode": "vq",
                "codebook_size": quantizer.codebook_size,
                "token_size": quantizer.dim,
                "use_l2_norm": quantizer.metric == Cosine(),
                "commitment_cost": quantizer.loss.commitment,
                "vit_enc_model_size": _size_name(encoder),
                "vit_dec_model_size": _size_name(decoder),
                "vit_enc_patch_size": encoder.patch_pixels,
                "vit_dec_patch_size": decoder.patch_pixels,
                "num_latent_tokens": encoder.num_tokens,
                "finetune_decoder": two_stages,
                "is_legacy": encoder.mixes_features,
            }
        },
        "dataset": {"preprocessing": {"crop_size": encoder.side_pixels}},
    }
    state = {
        f"{part}.{name}": value.detach()
        for part, network in (("encoder", encoder), ("decoder", decoder))
        for name, value in renamed(network.state_dict(), _OURS_TO_THEIRS).items()
    }
    state = renamed(state, _PIXELS_TO_THEIRS)
    state["latent_tokens"] = state.pop("encoder.latent_tokens")
    state["quantize.embedding.weight"] = quantizer.codebook.detach()
    return config, state


_SIZES = {(512, 8): "small", (768, 12): "base", (1024, 24): "large"}


def _size_name(network: TiTokEncoder | TiTokDecoder | TiTokTwoStageDecoder) -> str:
    """The library's word for width and layers."""
    found = _SIZES.get((network.width, network.num_layers))
    if found is None or network.num_heads * _HEAD_DIM != network.width:
        raise ConfigError(
            f"TiTok: expected width and layers of {sorted(_SIZES)} with heads of {_HEAD_DIM}, got "
            f"{network.width}, {network.num_layers} and {network.num_heads} heads."
        )
    return found


def _below_any(state: State, prefixes: tuple[str, ...]) -> dict[str, Tensor]:
    """The entries below any of these prefixes, with it."""
    return {name: value for name, value in state.items() if name.startswith(prefixes)}


def _pixel_decoder(state: State) -> MaskGITDecoder:
    """The second network, of the sizes of its weights."""
    num_levels = len({name.split(".")[1] for name in state if name.startswith("up.")})
    widths = [len(_entry(state, f"up.{i}.block.0.conv1.weight")) for i in range(num_levels)]
    return MaskGITDecoder(
        len(_entry(state, "conv_out.weight")),
        _entry(state, "conv_in.weight").shape[1],
        widths[0],
        multipliers_of(widths, widths[0]),
        sum(name.startswith("mid.") and name.endswith("conv1.weight") for name in state),
    )


def _sizes(state: State, patch_pixels: int) -> dict[str, int]:
    places, width = _entry(state, "positional_embedding").shape
    return {
        "side_pixels": round((places - 1) ** 0.5) * patch_pixels,
        "patch_pixels": patch_pixels,
        "num_tokens": len(_entry(state, "latent_token_positional_embedding")),
        "width": width,
        "num_layers": sum(name.endswith(".ln_1.weight") for name in state),
        "num_heads": max(width // _HEAD_DIM, 1),
    }


def _entry(state: State, name: str) -> Tensor:
    if name not in state:
        raise ConfigError(
            f"TiTok weights: expected {name!r}, got names below "
            f"{sorted({key.split('.')[0] for key in state})[:8]}."
        )
    return state[name]
