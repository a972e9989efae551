"""The kinds of media that an evaluation knows: their names, and what their rates refer to."""

from collections.abc import Mapping
from dataclasses import dataclass

from vqkit.errors import ConfigError
from vqkit.tokenizers.spec import seconds_of

__all__ = ["IMAGES", "SOUNDS", "MediaKind", "kind_of"]


@dataclass(frozen=True)
class MediaKind:
    """Words and units of one modality.

    Attributes:
        modality: As tokenizers call it.
        item: One of them, in words.
        unit: What bits are counted per: ``"pixel"`` or ``"second"``.

    >>> SOUNDS.extent({"samples": 12_000, "sample_rate_hz": 24_000, "channels": 1})
    0.5
    """

    modality: str
    item: str
    unit: str

    @property
    def items(self) -> str:
        """Several of them, in words."""
        return f"{self.item}s"

    def extent(self, size: Mapping[str, int]) -> float:
        """Pixels of a picture, seconds of a sound; channels do not count.

        Raises:
            ConfigError: The size is one of another kind.
        """
        extent = seconds_of(size) if self.unit == "second" else _pixels_of(size)
        if extent is None:
            raise ConfigError(f"Size of {self.items}: expected its {self.unit}s, got {dict(size)}.")
        return extent


IMAGES = MediaKind("image", "image", "pixel")
SOUNDS = MediaKind("audio", "sound", "second")


def kind_of(modality: str) -> MediaKind:
    """The kind of a modality.

    Raises:
        ConfigError: There is none.
    """
    for kind in (IMAGES, SOUNDS):
        if kind.modality == modality:
            return kind
    raise ConfigError(f"Evaluating: expected a tokenizer of image or audio, got one of {modality}.")


def _pixels_of(size: Mapping[str, int]) -> float | None:
    if not {"height", "width"} <= set(size):
        return None
    return size["height"] * size["width"]
