"""Media that come in pieces, as what the networks take."""

from collections.abc import Iterable
from fractions import Fraction
from typing import TYPE_CHECKING

from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.tokenizers.audio_frontend import AudioFrontend
from vqkit.tokenizers.frontend import ImageFrontend
from vqkit.tokenizers.long_pictures import Strips
from vqkit.tokenizers.long_sounds import Waveform
from vqkit.tokenizers.long_videos import Frames
from vqkit.tokenizers.video_frontend import VideoFrontend

if TYPE_CHECKING:
    from vqkit.tokenizers.tokenizer import Tokenizer

__all__ = ["Pieces", "pieces_of"]


Pieces = Frames | Strips | Waveform
"""One item in prepared pieces ``[1, channels, *size]``, and its ``size`` when all are taken."""


def pieces_of(
    tokenizer: "Tokenizer", pieces: Iterable[Tensor], rate: int | Fraction | None
) -> Pieces:
    """What the tokenizer's networks take of an item in pieces.

    Args:
        tokenizer: Of any modality.
        pieces: As :meth:`Tokenizer.encode_pieces` takes them.
        rate: Of samples or frames.

    Raises:
        ConfigError: A rate of pictures, or a frontend that takes whole media alone.
    """
    frontend, stride, device = tokenizer.frontend, tokenizer.stride, tokenizer.device
    if isinstance(frontend, VideoFrontend):
        return Frames(frontend, pieces, stride, rate, device)
    if isinstance(frontend, AudioFrontend):
        assert not isinstance(rate, Fraction), "sounds have whole rates"
        return Waveform(frontend, pieces, rate, device)
    if rate is not None:
        raise ConfigError(f"Image: expected no rate over time, got {rate} per second.")
    if isinstance(frontend, ImageFrontend):
        return Strips(frontend, pieces, stride, device)
    raise ConfigError(
        f"Encoding in pieces: expected pictures, sounds or clips, got {type(frontend).__name__}. "
        "Encode the whole."
    )
