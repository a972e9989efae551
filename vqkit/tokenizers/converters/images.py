"""Which library a tokenizer of images is of, told by names that no other library's have."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from vqkit.errors import ConfigError
from vqkit.tokenizers.converters.diffusers import vqmodel_from_diffusers
from vqkit.tokenizers.converters.llamagen import llamagen_from_original
from vqkit.tokenizers.converters.open_magvit2 import open_magvit2_from_original
from vqkit.tokenizers.converters.state import State
from vqkit.tokenizers.converters.titok import titok_from_original
from vqkit.tokenizers.converters.vqgan import ibq_from_original, vqgan_from_original
from vqkit.tokenizers.tokenizer import Tokenizer

__all__ = ["ImageChoice", "from_image_folder", "from_image_state", "is_titok"]

_WRAPPED = r"(?:(?:module|model|first_stage_model|_orig_mod)\.)*"


@dataclass(frozen=True)
class ImageChoice:
    """What the weights of a tokenizer of images leave open.

    Attributes:
        codes: How codes are chosen, where weights of several libraries look alike: ``"nearest"``
            for VQGAN, ``"product"`` for IBQ, whose layout is VQGAN's. LlamaGen's have unit length
            unless this is ``"nearest"``.
        last: Take the last weights although the checkpoint has their moving average, which the
            libraries themselves evaluate.
    """

    codes: Literal["nearest", "product"] | None = None
    last: bool = False

    def __post_init__(self) -> None:
        """Refuse what there is not."""
        if self.codes not in (None, "nearest", "product"):
            raise ConfigError(f"ImageChoice codes: expected nearest or product, got {self.codes}.")


def from_image_folder(config: Mapping[str, Any], state: State) -> Tokenizer:
    """The tokenizer of a folder of diffusers or of 1d-tokenizer.

    Args:
        config: What stands in ``config.json``.
        state: Its weights.

    Raises:
        ConfigError: Weights that are no such model's.
    """
    if is_titok(config):
        return titok_from_original(config, state)
    return vqmodel_from_diffusers(config, state)


def is_titok(config: Mapping[str, Any]) -> bool:
    """Whether a configuration is one of 1d-tokenizer."""
    model = config.get("model")
    return isinstance(model, Mapping) and "vq_model" in model


def from_image_state(
    state: State, choice: ImageChoice, config: Mapping[str, Any] | None
) -> Tokenizer | None:
    """The tokenizer of weights; None if they are no images'.

    Args:
        state: Of the model, or of one that it is a part of.
        choice: What they leave open.
        config: What stands in a ``config.json`` beside them.

    Raises:
        ConfigError: Weights of a tokenizer of images that does not fit or cannot be read.
    """

    def has(pattern: str) -> bool:
        return any(re.match(_WRAPPED + pattern, name) for name in state)

    if has(r"encoder\.latent_token_positional_embedding$"):
        if config is None or not is_titok(config):
            raise ConfigError(
                "TiTok: expected its config.json beside the weights, which do not tell the order "
                "of its features. The library's YAML says what stands there."
            )
        return titok_from_original(config, state)
    if has(r"encoder\.conv_blocks\.\d+\.res\."):
        return llamagen_from_original(state, cosine=choice.codes != "nearest")
    if has(r"encoder\.mid_block\.\d+\.conv1\.weight$"):
        return open_magvit2_from_original(state, last=choice.last)
    if has(r"encoder\.down\.\d+\.block\.\d+\.conv1\.weight$"):
        if choice.codes == "product":
            return ibq_from_original(state, last=choice.last)
        return vqgan_from_original(state, last=choice.last)
    return None
