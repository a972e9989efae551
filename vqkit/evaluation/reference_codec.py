"""What an evaluation needs of a codec of others, to show it beside a model."""

from abc import ABC, abstractmethod

from torch import Tensor

from vqkit.evaluation.media_kind import MediaKind
from vqkit.evaluation.quality import Medium

__all__ = ["ReferenceCodec"]


class ReferenceCodec(ABC):
    """A codec with one setting between small files and good ones."""

    name: str
    title: str
    """For a reader."""
    kind: MediaKind
    default_settings: tuple[int, ...]
    settings_range: tuple[int, int]
    """The least and the largest setting."""

    @abstractmethod
    def label(self, setting: int) -> str:
        """The setting in words."""

    @abstractmethod
    def round_trip(self, name: str, medium: Medium, setting: int) -> tuple[int, Tensor]:
        """Bytes of the file, and what is decoded from it, in the shape of the original.

        Raises:
            MediaError: The codec cannot hold the item.
            MissingExtraError: The encoder is not here.
        """
