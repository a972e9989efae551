"""What an evaluation needs of a codec of others, to show it beside a model."""

from abc import ABC, abstractmethod
from typing import NamedTuple

from vqkit.evaluation.media_kind import MediaKind
from vqkit.evaluation.quality import Medium, Reconstruction

__all__ = ["CodedItem", "ReferenceCodec"]


class CodedItem(NamedTuple):
    """What a codec makes of an item."""

    size_bytes: int
    """Of the file."""
    decoded: Reconstruction
    """In the shape of the original."""
    payload_bytes: int | None = None
    """Of what is coded, without the container around it; None where that is not told apart."""


class ReferenceCodec(ABC):
    """A codec with one setting between small files and good ones."""

    name: str
    title: str
    """For a reader."""
    kind: MediaKind
    default_settings: tuple[int, ...]
    settings_range: tuple[int, int]
    """The least and the largest setting."""
    larger_is_better: bool = True
    """Whether a larger setting is a better and larger file."""

    @abstractmethod
    def label(self, setting: int) -> str:
        """The setting in words."""

    @abstractmethod
    def round_trip(self, name: str, medium: Medium, setting: int) -> CodedItem:
        """Bytes of the file, and what is decoded from it.

        Raises:
            MediaError: The codec cannot hold the item.
            MissingExtraError: The encoder is not here.
        """
