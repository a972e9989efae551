"""The two terms that tie codes and inputs together, and the conventions of their weights."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from vqkit.errors import ConfigError

__all__ = ["VQLoss"]


@dataclass(frozen=True)
class VQLoss:
    """``codebook * |sg[z] - q|^2 + commitment * |z - sg[q]|^2`` (VQ-VAE, arXiv 1711.00937, eq. 3).

    The paper puts beta = 0.25 on the commitment term; taming-transformers and what descends from it
    put it on the codebook term. Papers differ as well in whether the square is summed or averaged
    over the features, a factor of ``dim``.

    Attributes:
        commitment: Weight of the term that pulls the input to its code.
        codebook: Weight of the term that pulls the code to its inputs. Codebooks updated by EMA
            have no such gradient; the term is then left out.
        reduction: "mean" or "sum" over the features; the mean over the positions always.
    """

    commitment: float = 0.25
    codebook: float = 1.0
    reduction: Literal["mean", "sum"] = "mean"

    def __post_init__(self) -> None:
        """Refuse negative weights and unknown reductions."""
        if self.commitment < 0 or self.codebook < 0:
            raise ConfigError(
                f"VQLoss weights: expected >= 0, got commitment {self.commitment}, codebook "
                f"{self.codebook}."
            )
        if self.reduction not in ("mean", "sum"):
            raise ConfigError(
                f"VQLoss reduction: expected 'mean' or 'sum', got {self.reduction!r}."
            )

    @classmethod
    def paper(cls, beta: float = 0.25) -> "VQLoss":
        """VQ-VAE: beta on the commitment term."""
        return cls(commitment=beta, codebook=1.0)

    @classmethod
    def taming(cls, beta: float = 0.25) -> "VQLoss":
        """taming-transformers (``legacy=True``, its default), diffusers, SimVQ: beta swapped."""
        return cls(commitment=1.0, codebook=beta)

    @classmethod
    def dac(cls) -> "VQLoss":
        """Descript Audio Codec: commitment 0.25, codebook 1."""
        return cls(commitment=0.25, codebook=1.0)

    @classmethod
    def encodec(cls) -> "VQLoss":
        """EnCodec: commitment 1, no codebook term (EMA)."""
        return cls(commitment=1.0, codebook=0.0)

    @classmethod
    def vqgan_lc(cls) -> "VQLoss":
        """VQGAN-LC: commitment 1, codebook 0.33."""
        return cls(commitment=1.0, codebook=0.33)

    def __call__(
        self, z: Tensor, codes: Tensor, valid: Tensor | None, trains_codebook: bool
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Weighted loss and unweighted terms.

        Args:
            z: Inputs ``[..., dim]``, fp32, zero where not valid.
            codes: Their codes ``[..., dim]``, with gradient to the codebook if that is trained.
            valid: Boolean ``[...]`` or None.
            trains_codebook: Whether the codebook term counts.
        """
        commitment = self.square(z, codes.detach(), valid)
        terms = {"commitment": commitment.detach()}
        loss = self.commitment * commitment
        if trains_codebook:
            codebook = self.square(z.detach(), codes, valid)
            terms["codebook"] = codebook.detach()
            loss = loss + self.codebook * codebook
        return loss, terms

    def square(self, a: Tensor, b: Tensor, valid: Tensor | None) -> Tensor:
        """``|a - b|^2`` of ``[..., dim]``, reduced over features and valid positions."""
        num_valid: Tensor | int = max(a.shape[:-1].numel(), 1)
        if valid is not None:
            b = torch.where(valid[..., None], b, a.detach())
            num_valid = valid.sum().clamp_min(1).to(a.dtype)
        # Keeps a and b alone for backward: no difference, no square.
        total = F.mse_loss(a, b, reduction="sum") / num_valid
        return total / a.shape[-1] if self.reduction == "mean" else total
