"""What encoders and decoders of audio ask of their input."""

from torch import Tensor

from vqkit.errors import ShapeError

__all__ = ["require_frames", "require_waveform"]


def require_waveform(x: Tensor, in_channels: int) -> None:
    """Check ``[batch, in_channels, samples]`` with at least one sample.

    Raises:
        ShapeError: Another rank or channel count, or an empty axis.
    """
    if x.ndim != 3 or x.shape[1] != in_channels or 0 in x.shape:
        raise ShapeError(
            f"Encoder input: expected [batch, {in_channels}, samples] with at least one sample, "
            f"got {list(x.shape)}."
        )


def require_frames(latent: Tensor, dim: int) -> None:
    """Check ``[batch, dim, frames]`` with at least one frame.

    Raises:
        ShapeError: Another rank or channel count, or an empty axis.
    """
    if latent.ndim != 3 or latent.shape[1] != dim or 0 in latent.shape:
        raise ShapeError(
            f"Decoder input: expected [batch, {dim}, frames] with at least one frame, got "
            f"{list(latent.shape)}. Latents are channels first here; quantizers put them last."
        )
