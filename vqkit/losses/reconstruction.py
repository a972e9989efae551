"""How far a reconstruction is from its target, element by element."""

from torch import Tensor, nn

from vqkit.errors import ShapeError
from vqkit.shapes import Float

__all__ = ["L1", "L2"]


def check_shapes(reconstruction: Tensor, target: Tensor) -> None:
    """Refuse broadcasting, which would turn a forgotten axis into a plausible number.

    Raises:
        ShapeError: If the shapes differ or are empty.
    """
    if reconstruction.shape != target.shape:
        raise ShapeError(
            f"Reconstruction loss: expected two tensors of one shape, got "
            f"{list(reconstruction.shape)} and {list(target.shape)}."
        )
    if not target.numel():
        raise ShapeError(f"Reconstruction loss: expected elements, got {list(target.shape)}.")


def _difference(reconstruction: Tensor, target: Tensor) -> Tensor:
    check_shapes(reconstruction, target)
    return reconstruction.float() - target.float()


class L1(nn.Module):
    """Mean absolute difference, in fp32.

    Example:
        >>> import torch
        >>> L1()(torch.tensor([1.0, 3.0]), torch.tensor([0.0, 0.0]))
        tensor(2.)
    """

    def forward(
        self, reconstruction: Float[Tensor, "*shape"], target: Float[Tensor, "*target_shape"]
    ) -> Float[Tensor, ""]:
        """Scalar over all elements.

        Raises:
            ShapeError: If the shapes differ or are empty.
        """
        return _difference(reconstruction, target).abs().mean()


class L2(nn.Module):
    """Mean squared difference, in fp32.

    Example:
        >>> import torch
        >>> L2()(torch.tensor([1.0, 3.0]), torch.tensor([0.0, 0.0]))
        tensor(5.)
    """

    def forward(
        self, reconstruction: Float[Tensor, "*shape"], target: Float[Tensor, "*target_shape"]
    ) -> Float[Tensor, ""]:
        """Scalar over all elements.

        Raises:
            ShapeError: If the shapes differ or are empty.
        """
        return _difference(reconstruction, target).square().mean()
