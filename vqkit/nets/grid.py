"""What encoders and decoders ask of their input."""

from torch import Tensor

from vqkit.errors import ShapeError

__all__ = ["require_clip", "require_clip_latent", "require_image", "require_latent"]


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


def require_clip(
    x: Tensor, in_channels: int, stride: tuple[int, ...], first_frame_alone: bool
) -> None:
    """Check ``[batch, in_channels, frames, height, width]`` of sizes that the stride divides.

    Where the first frame stands alone, it divides the frames after it.

    Raises:
        ShapeError: On another rank or channel count, on an empty axis, on a size that the stride
            does not divide.
    """
    good = x.ndim == 5 and x.shape[1] == in_channels and 0 not in x.shape[2:]
    alone = int(first_frame_alone)
    if not good or any(
        n % s for n, s in zip((x.shape[2] - alone, *x.shape[3:]), stride, strict=True)
    ):
        frames = f"1 + {stride[0]} * n" if alone else f"{stride[0]} * n"
        raise ShapeError(
            f"Encoder input: expected [batch, {in_channels}, frames, height, width] with {frames} "
            f"frames and sides that are positive multiples of {stride[1]} x {stride[2]}, got "
            f"{list(x.shape)}. Pad the clip; Tokenizer.encode does it."
        )


def require_clip_latent(latent: Tensor, dim: int) -> None:
    """Check ``[batch, dim, frames, height, width]``, no axis of the grid empty.

    Raises:
        ShapeError: On another rank or channel count, or on an empty grid.
    """
    if latent.ndim != 5 or latent.shape[1] != dim or 0 in latent.shape[2:]:
        raise ShapeError(
            f"Decoder input: expected [batch, {dim}, frames, height, width], got "
            f"{list(latent.shape)}. Latents are channels first here; quantizers put the channels "
            f"last."
        )
