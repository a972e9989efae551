"""What encoders and decoders ask of their input."""

from torch import Tensor

from vqkit.errors import ShapeError

__all__ = ["require_image", "require_latent"]


def require_image(x: Tensor, in_channels: int, stride: tuple[int, ...]) -> None:
    """Check ``[batch, in_channels, height, width]`` with sides that are multiples of the stride.

    Raises:
        ShapeError: On another rank or channel count, on an empty axis, on a side that the stride
            does not divide (the decoder would silently return another size).
    """
    good = x.ndim == 4 and x.shape[1] == in_channels
    if not good or any(n == 0 or n % s for n, s in zip(x.shape[2:], stride, strict=True)):
        multiples = " x ".join(map(str, stride))
        raise ShapeError(
            f"Encoder input: expected [batch, {in_channels}, height, width] with sides that are "
            f"positive multiples of {multiples}, got {list(x.shape)}. "
            f"Pad the image; Tokenizer.encode does it."
        )


def require_latent(latent: Tensor, dim: int) -> None:
    """Check ``[batch, dim, height, width]``, no axis of the grid empty.

    Raises:
        ShapeError: On another rank or channel count, or on an empty grid.
    """
    if latent.ndim != 4 or latent.shape[1] != dim or 0 in latent.shape[2:]:
        raise ShapeError(
            f"Decoder input: expected [batch, {dim}, height, width], got {list(latent.shape)}. "
            f"Latents are channels first here; quantizers put the channels last."
        )
