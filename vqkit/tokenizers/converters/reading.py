"""Which library a model is of, told by what lies there; nothing in it is run."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.tokenizers.converters.audiocraft import audiocraft_from_original
from vqkit.tokenizers.converters.checkpoint import loaded_checkpoint, network_state
from vqkit.tokenizers.converters.dac import (
    dac_from_original,
    dac_from_transformers,
    dac_to_transformers,
)
from vqkit.tokenizers.converters.diffusers import vqmodel_to_diffusers
from vqkit.tokenizers.converters.encodec import (
    encodec_from_original,
    encodec_from_transformers,
    encodec_to_transformers,
)
from vqkit.tokenizers.converters.images import (
    ImageChoice,
    from_image_folder,
    from_image_state,
    is_titok,
)
from vqkit.tokenizers.converters.mimi import (
    mimi_from_original,
    mimi_from_transformers,
    mimi_to_transformers,
)
from vqkit.tokenizers.converters.speechtokenizer import speechtokenizer_from_original
from vqkit.tokenizers.converters.state import State
from vqkit.tokenizers.converters.vidtok import (
    vidtok_from_diffusers,
    vidtok_from_original,
    vidtok_to_diffusers,
)
from vqkit.tokenizers.converters.vocos import vocos_from_original
from vqkit.tokenizers.converters.wavtokenizer import wavtokenizer_from_original
from vqkit.tokenizers.converters.xcodec import xcodec_from_transformers
from vqkit.tokenizers.folder import CONFIG_FILE, WEIGHTS_FILE, replace_file
from vqkit.tokenizers.tokenizer import Tokenizer

__all__ = ["VocosChoice", "read_foreign", "write_diffusers", "write_transformers"]

_FROM_TRANSFORMERS = {
    "encodec": encodec_from_transformers,
    "dac": dac_from_transformers,
    "mimi": mimi_from_transformers,
    "xcodec": xcodec_from_transformers,
}
# Names of a file of weights in a folder, in the order of preference.
_WEIGHTS = (
    WEIGHTS_FILE,
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.bin",
    "pytorch_model.bin",
)
_OF_DIFFUSERS = ("VQModel", "AutoencoderVidTok")
_TO_TRANSFORMERS = {
    "SEANetEncoder": encodec_to_transformers,
    "DACEncoder": dac_to_transformers,
    "MimiEncoder": mimi_to_transformers,
}


@dataclass(frozen=True)
class VocosChoice:
    """What a file of Vocos leaves open.

    Args:
        encodec: The EnCodec whose tokens it makes sound of.
        bandwidth_kbps: Which of its bandwidths.
    """

    encodec: Tokenizer | None = None
    bandwidth_kbps: float = 6.0


def read_foreign(
    path: Path, vocos: VocosChoice | None = None, image: ImageChoice | None = None
) -> Tokenizer:
    """Read a model of another library.

    A folder of transformers (EnCodec, DAC, Mimi, X-Codec), or a file of weights of EnCodec or
    audiocraft (``.th``, ``.bin``), of descript-audio-codec (``.pth``), of moshi
    (``.safetensors``), of WavTokenizer (``.ckpt``), of Vocos (``.bin``) or of SpeechTokenizer
    (``.pt``, with its ``config.json`` beside it). Of images a folder of diffusers (``VQModel``) or
    of 1d-tokenizer (TiTok), or a file of taming-transformers, latent-diffusion, LlamaGen,
    Open-MAGVIT2 or IBQ (``.ckpt``, ``.pt``, ``.safetensors``). Of video a folder of diffusers
    (``AutoencoderVidTok``) or a file of VidTok (``.ckpt``). Pickled files are read by torch's
    reader of weights alone, which runs nothing.

    Args:
        path: The folder or the file.
        vocos: What is to be known of Vocos besides.
        image: What is to be known of tokenizers of images besides.

    Raises:
        ConfigError: There is no such model, or it is damaged or of no kind that is known.
    """
    try:
        if path.is_dir():
            return _from_folder(path)
        return _from_file(path, vocos or VocosChoice(), image or ImageChoice())
    except ConfigError:
        raise
    except KeyError as error:
        raise ConfigError(f"Model {path}: expected {error.args[0]!r} in it, found none.") from error
    # Settings of a wrong kind show wherever they are first used.
    except (TypeError, ValueError, AttributeError, IndexError, ArithmeticError) as error:
        raise ConfigError(
            f"Model {path}: its configuration is no such model's: {error}."
        ) from error


def write_transformers(tokenizer: Tokenizer, folder: Path) -> None:
    """Write a folder that transformers loads: ``config.json`` and ``model.safetensors``.

    Raises:
        ConfigError: A tokenizer of no kind that transformers has.
    """
    kind = type(tokenizer.encoder).__name__
    if kind not in _TO_TRANSFORMERS:
        raise ConfigError(
            f"Writing for transformers: expected an encoder of {sorted(_TO_TRANSFORMERS)}, got "
            f"{kind}."
        )
    _write(folder, WEIGHTS_FILE, *_TO_TRANSFORMERS[kind](tokenizer))


def write_diffusers(tokenizer: Tokenizer, folder: Path) -> None:
    """Write a folder that diffusers loads: a ``VQModel``, or an ``AutoencoderVidTok``.

    Raises:
        ConfigError: A tokenizer that is neither.
    """
    is_clip = tokenizer.frontend.modality == "video"
    config, state = (vidtok_to_diffusers if is_clip else vqmodel_to_diffusers)(tokenizer)
    _write(folder, "diffusion_pytorch_model.safetensors", config, state)


def _write(folder: Path, name: str, config: Mapping[str, Any], state: State) -> None:
    from safetensors.torch import save

    folder.mkdir(parents=True, exist_ok=True)
    tensors = {key: value.detach().cpu().clone().contiguous() for key, value in state.items()}
    replace_file(folder / name, save(tensors, metadata={"format": "pt"}))
    replace_file(folder / CONFIG_FILE, (json.dumps(config, indent=2) + "\n").encode())


def _from_folder(path: Path) -> Tokenizer:
    config = _config(path)
    if config is None:
        raise ConfigError(f"Model {path}: expected {CONFIG_FILE} in it, found none.")
    kind = config.get("model_type")
    if kind in _FROM_TRANSFORMERS:
        return _FROM_TRANSFORMERS[kind](config, _safetensors(path / WEIGHTS_FILE))
    kind = kind or config.get("_class_name")
    if kind in _OF_DIFFUSERS or is_titok(config):
        names = [name for name in _WEIGHTS if (path / name).exists()]
        if not names:
            raise ConfigError(f"Model {path}: expected one of {', '.join(_WEIGHTS)}, found none.")
        state = network_state(_weights(path / names[0]))
        if kind == "AutoencoderVidTok":
            return vidtok_from_diffusers(config, state)
        return from_image_folder(config, state)
    raise ConfigError(
        f"Model {path}: expected model_type {sorted(_FROM_TRANSFORMERS)} in {CONFIG_FILE}, a "
        f"{' or '.join(_OF_DIFFUSERS)} of diffusers or a TiTok, got {kind!r}."
    )


def _config(folder: Path) -> dict[str, Any] | None:
    """The configuration in a folder, if there is one."""
    try:
        config = json.loads((folder / CONFIG_FILE).read_bytes())
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"Model {folder}: {CONFIG_FILE} is no JSON ({error}).") from error
    return config if isinstance(config, dict) else {}


def _from_file(path: Path, vocos: VocosChoice, image: ImageChoice) -> Tokenizer:
    loaded = _weights(path)
    if "metadata" in loaded and "state_dict" in loaded:
        return dac_from_original(loaded["metadata"]["kwargs"], loaded["state_dict"])
    if "xp.cfg" in loaded:
        return audiocraft_from_original(loaded["xp.cfg"], loaded["best_state"])
    state = network_state(loaded, last=image.last)
    weights = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    tokenizer = from_image_state(weights, image, _config(path.parent))
    return tokenizer if tokenizer is not None else _of_state(state, path, vocos)


def _weights(path: Path) -> Mapping[str, Any]:
    """What a file of weights holds."""
    if path.suffix == ".safetensors":
        return _safetensors(path)
    try:
        loaded: Any = loaded_checkpoint(path)
    except FileNotFoundError as error:
        raise ConfigError(
            f"Model {path}: expected a folder or a file, found no such file. A model on the hub is "
            "downloaded first."
        ) from error
    # What is wrong with a file shows in the reader as an error of any kind.
    except Exception as error:
        # Not torch's advice around it, which is to run what was pickled.
        lines = [line for line in str(error).splitlines() if "weights_only" not in line]
        reason = " ".join(" ".join(lines).split())[:300]
        raise ConfigError(f"Model {path}: expected a file of weights ({reason}).") from error
    if not isinstance(loaded, Mapping):
        raise ConfigError(f"Model {path}: expected a state dict, got {type(loaded).__name__}.")
    return loaded


def _of_state(state: State, path: Path, vocos: VocosChoice) -> Tokenizer:
    """The tokenizer of weights, told by a name that no other library's have."""

    def has(pattern: str) -> bool:
        return any(re.match(pattern, name) for name in state)

    if has(r"(model\.)?encoder\.down_temporal\."):
        return vidtok_from_original(state)
    if has(r"backbone\.pos_net\."):
        return wavtokenizer_from_original(state)
    if has(r"backbone\."):
        return vocos_from_original(state, vocos.encodec, bandwidth_kbps=vocos.bandwidth_kbps)
    if has(r"encoder_transformer\."):
        return mimi_from_original(state)
    if has(r"encoder\.model\.\d+\.lstm\..*_reverse$"):
        return speechtokenizer_from_original(_config(path.parent) or {}, state)
    if has(r"encoder\.model\."):
        return encodec_from_original(state)
    raise ConfigError(
        f"Model {path}: expected weights of EnCodec, DAC, Mimi, WavTokenizer, Vocos or "
        "SpeechTokenizer, of VQGAN, LlamaGen, Open-MAGVIT2, IBQ or TiTok, or of VidTok, got names "
        "below "
        f"{sorted({name.split('.')[0] for name in state})[:8]}."
    )


def _safetensors(path: Path) -> State:
    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise ConfigError(f"Model {path.parent}: expected {path.name}, found none.") from error
    except SafetensorError as error:
        raise ConfigError(f"Model {path}: the file is damaged ({error}).") from error
