"""EnCodec as audiocraft trains it -> a tokenizer of vqkit."""

import re
from collections.abc import Mapping
from typing import Any

from vqkit.errors import ConfigError
from vqkit.nets import ConvStyle
from vqkit.tokenizers.audio_frontend import AudioFrontend
from vqkit.tokenizers.chunking import Chunking
from vqkit.tokenizers.converters.encodec import WHOLE_SOUND, assembled_encodec, padding_of
from vqkit.tokenizers.converters.seanet import ORIGINAL_SEANET
from vqkit.tokenizers.converters.state import State, fold_weight_norm, renamed
from vqkit.tokenizers.tokenizer import Tokenizer

__all__ = ["audiocraft_from_original"]

_REFERENCE = re.compile(r"\$\{([\w.]+)\}")
_MAX_REFERENCES = 16
# What SEANet has here in one way alone, and what may be said of one of its networks.
_FIXED = {"activation": "ELU", "dilation_base": 2, "disable_norm_outer_blocks": 0}
_FIXED_DECODER = {
    "trim_right_ratio": 1.0,
    "final_activation": None,
    "final_activation_params": None,
}
_NORMS = {"weight_norm": "none", "none": "none", "time_group_norm": "group"}


def audiocraft_from_original(config: str, state: State) -> Tokenizer:
    """The tokenizer of a codec that audiocraft trained and exported.

    Padding, causality and the kind of shortcut are in the text of its configuration alone.

    Args:
        config: ``xp.cfg`` of the checkpoint, YAML.
        state: Its ``best_state``.

    Raises:
        ConfigError: A configuration of no such codec, a language model's say, or weights that are
            not the configured one's.
    """
    settings = _Settings.parse(config)
    if settings.get("compression_model", None) != "encodec":
        raise ConfigError(
            "audiocraft: expected the configuration of a codec (compression_model: encodec), got "
            f"no codec: solver {settings.get('solver', None)!r}."
        )
    for name, value in _FIXED.items():
        settings.require(f"seanet.{name}", value)
    for name in settings.get("seanet.encoder", {}):
        settings.require(f"seanet.encoder.{name}", settings.get(f"seanet.{name}", None))
    for name in settings.get("seanet.decoder", {}):
        common = settings.get(f"seanet.{name}", None)
        settings.require(f"seanet.decoder.{name}", _FIXED_DECODER.get(name, common))
    style = ConvStyle(
        causal=settings["seanet.causal"],
        padding=padding_of(settings["seanet.pad_mode"]),
        norm=_NORMS.get(settings["seanet.norm"], settings["seanet.norm"]),
    )
    kernels = ("kernel_size", "residual_kernel_size", "last_kernel_size")
    sizes = {
        "dim": settings["seanet.dimension"],
        "num_filters": settings["seanet.n_filters"],
        "strides": tuple(reversed(settings["seanet.ratios"])),
        "kernels": tuple(settings[f"seanet.{name}"] for name in kernels),
        "num_blocks": settings["seanet.n_residual_layers"],
        "compress": settings["seanet.compress"],
        "learned_shortcut": not settings["seanet.true_skip"],
        "num_lstm_layers": settings["seanet.lstm"],
        "style": style,
    }
    frontend = AudioFrontend(settings["encodec.sample_rate"], settings["encodec.channels"])
    normalises = settings.get("encodec.renormalize", False)
    return assembled_encodec(
        sizes,
        renamed(fold_weight_norm(state), ORIGINAL_SEANET),
        state,
        frontend,
        Chunking(WHOLE_SOUND, WHOLE_SOUND) if normalises else None,
    )


class _Settings:
    """The configuration by dotted names, with its references to others looked up."""

    def __init__(self, tree: Mapping[str, Any]) -> None:
        self._tree = tree

    @staticmethod
    def parse(text: str) -> "_Settings":
        """Read YAML of plain values; nothing in it can name a class."""
        import yaml

        try:
            tree = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ConfigError(f"audiocraft: its configuration is no YAML ({reason}).") from error
        if not isinstance(tree, Mapping):
            raise ConfigError(
                f"audiocraft: expected a mapping as configuration, got {type(tree).__name__}."
            )
        return _Settings(tree)

    def __getitem__(self, name: str) -> Any:
        missing = object()
        value = self.get(name, missing)
        if value is missing:
            raise ConfigError(f"audiocraft: expected {name!r} in its configuration, found none.")
        return value

    def get(self, name: str, default: Any) -> Any:
        """The value of a name, through references such as ``${encodec.causal}``."""
        for _ in range(_MAX_REFERENCES):
            value: Any = self._tree
            for part in name.split("."):
                if not isinstance(value, Mapping) or part not in value:
                    return default
                value = value[part]
            match = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
            if match is None:
                return value
            name = match[1]
        raise ConfigError(f"audiocraft: {name!r} of its configuration refers to itself.")

    def require(self, name: str, expected: Any) -> None:
        """Refuse a value that networks here cannot have."""
        value = self.get(name, expected)
        if value != expected:
            raise ConfigError(
                f"audiocraft: expected {name} {expected!r}, which is what SEANet has here, got "
                f"{value!r}."
            )
