"""How long and large media are cut into what the networks take at once."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vqkit.errors import ConfigError
from vqkit.tokenizers.tiling import Tiling

if TYPE_CHECKING:
    from vqkit.tokenizers.tokenizer import Tokenizer

__all__ = ["Cutting", "cutting_of"]

# What a CPU's caches hold of a network's activations; a GPU has work for all of its cores.
_CHUNK_SECONDS = {"cpu": 2.0, "cuda": 60.0}
_CHUNK_FRAMES = {"cpu": 16, "cuda": 64}


@dataclass(frozen=True)
class Cutting:
    """What is cut where.

    Attributes:
        num_latents: Latent frames, of a sound or a clip, that are coded at once, 1 at least.
        tiling: How large pictures and frames are cut.
    """

    num_latents: int
    tiling: Tiling


def cutting_of(
    tokenizer: "Tokenizer",
    chunk_seconds: float | None = None,
    chunk_frames: int | None = None,
    tiling: Tiling | None = None,
) -> Cutting:
    """What was asked for, else what suits the device.

    Args:
        tokenizer: Whose media are cut.
        chunk_seconds: Length of what is coded at once of a sound.
        chunk_frames: Length of what is coded at once of a clip, in its frames.
        tiling: How large pictures and frames are cut.

    Raises:
        ConfigError: A length is not positive, or one of other media.
    """
    device = "cpu" if tokenizer.device.type == "cpu" else "cuda"
    modality, stride = tokenizer.frontend.modality, tokenizer.stride[0]
    for name, length, of in (
        ("chunk_seconds", chunk_seconds, "audio"),
        ("chunk_frames", chunk_frames, "video"),
    ):
        if length is not None and not length > 0:
            raise ConfigError(f"Length of a chunk: expected more than 0 {name}, got {length}.")
        if length is not None and modality != of:
            raise ConfigError(
                f"Length of a chunk: expected {name} for a tokenizer of {of}, got one of "
                f"{modality}. Leave it out."
            )
    num_latents = 1
    if modality == "audio":
        seconds = _CHUNK_SECONDS[device] if chunk_seconds is None else chunk_seconds
        rate_hz = tokenizer.frontend.sample_rate_hz or 1
        # An infinite length is one chunk.
        num_latents = max(1, int(min(seconds * rate_hz / stride, 1 << 40)))
    if modality == "video":
        num_latents = max(1, (chunk_frames or _CHUNK_FRAMES[device]) // stride)
    return Cutting(num_latents, tiling or Tiling())
