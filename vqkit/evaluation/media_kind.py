"""The kinds of media that an evaluation knows: their names, and what their rates refer to."""

from collections.abc import Mapping
from dataclasses import dataclass

from vqkit.errors import ConfigError
from vqkit.tokenizers.spec import seconds_of

__all__ = ["CLIPS", "IMAGES", "SOUNDS", "MediaKind", "kind_of"]


@dataclass(frozen=True)
class MediaKind:
    """Words and units of one modality.

    Attributes:
        modality: As tokenizers call it.
        item: One of them, in words.
        unit: What bits are counted per: ``"pixel"`` or ``"second"``.

    >>> SOUNDS.extent({"samples": 12_000, "sample_rate_hz": 24_000, "channels": 1})
    0.5
    >>> CLIPS.extent({"frames": 10, "height": 4, "width": 8})
    320
    """

    modality: str
    item: str
    unit: str

    @property
    def items(self) -> str:
        """Several of them, in words."""
        return f"{self.item}s"

    @property
    def has_seconds(self) -> bool:
        """Whether items last for a time, so that bits per second mean something."""
        return self.modality != "image"

    def extent(self, size: Mapping[str, int]) -> float:
        """Pixels of a picture or of all frames, seconds of a sound; channels do not count.

        Raises:
            ConfigError: The size is one of another kind.
        """
        extent = seconds_of(size) if self.unit == "second" else self._pixels(size)
        if extent is None:
            raise ConfigError(f"Size of {self.items}: expected its {self.unit}s, got {dict(size)}.")
        return extent

    def _pixels(self, size: Mapping[str, int]) -> float | None:
        sides = ["height", "width", *(["frames"] if self.has_seconds else [])]
        if not set(sides) <= set(size):
            return None
        pixels = 1
        for side in sides:
            pixels *= size[side]
        return pixels


IMAGES = MediaKind("image", "image", "pixel")
SOUNDS = MediaKind("audio", "sound", "second")
CLIPS = MediaKind("video", "clip", "pixel")

_KINDS = (IMAGES, SOUNDS, CLIPS)


def kind_of(modality: str) -> MediaKind:
    """The kind of a modality.

    Raises:
        ConfigError: There is none.
    """
    for kind in _KINDS:
        if kind.modality == modality:
            return kind
    known = ", ".join(kind.modality for kind in _KINDS)
    raise ConfigError(f"Evaluating: expected a tokenizer of {known}, got one of {modality}.")
