"""Two codebooks, of which a mask picks one per position."""

from collections.abc import Callable
from typing import final

import torch
from torch import Tensor

from vqkit.errors import ConfigError, ShapeError
from vqkit.quantizers.base import (
    NO_TOKEN,
    Assignment,
    Quantizer,
    QuantizerOutput,
    refuse_grid,
    spread_bad_values,
)
from vqkit.shapes import Bool, Float, Int

__all__ = ["DualCodebook"]


@final
class DualCodebook(Quantizer):
    """One codebook for visible patches, one for those with hidden pixels (PUT, arXiv 2205.05076).

    In inpainting a patch that is hidden in part looks like no whole patch. Its codes stand behind
    those of the visible ones: index ``K_visible + k`` is code k of ``hidden``, and decoding needs
    no mask. Each codebook learns from its own positions alone.

    Args:
        visible: Quantizer of the positions that are fully visible.
        hidden: Quantizer of the others.

    Raises:
        ConfigError: Different ``dim`` or number of codebooks, or an inner quantizer of whole grids.

    >>> from vqkit.quantizers import VectorQuantizer
    >>> quantizer = DualCodebook(VectorQuantizer(8, 16), VectorQuantizer(8, 4))
    >>> hidden = torch.tensor([[False, False, True]])
    >>> (quantizer.encode(torch.randn(1, 3, 8), hidden=hidden)[..., 0] >= 16).tolist()
    [[False, False, True]]
    """

    def __init__(self, visible: Quantizer, hidden: Quantizer) -> None:
        super().__init__()
        if visible.dim != hidden.dim or visible.num_codebooks != hidden.num_codebooks:
            raise ConfigError(
                f"DualCodebook: expected parts of one dim and number of codebooks, got dim "
                f"{visible.dim} and {hidden.dim}, {visible.num_codebooks} and "
                f"{hidden.num_codebooks} codebooks."
            )
        for part in (visible, hidden):
            refuse_grid(part, "DualCodebook")
        self.visible = visible
        self.hidden = hidden
        self.dim = visible.dim
        self.codebook_sizes = tuple(
            a + b for a, b in zip(visible.codebook_sizes, hidden.codebook_sizes, strict=True)
        )

    @property
    def initialized(self) -> bool:
        """Whether the visible part is; the hidden one waits for its first hidden positions."""
        return self.visible.initialized

    @property
    def adds_noise(self) -> bool:
        """Whether the visible part does."""
        return self.visible.adds_noise

    def reset_parameters(self) -> None:
        """Draw both parts anew."""
        self.visible.reset_parameters()
        self.hidden.reset_parameters()

    def forward(
        self,
        z: Float[Tensor, "batch *positions dim"],
        mask: Bool[Tensor, "batch *positions"] | None = None,
        hidden: Bool[Tensor, "batch *positions"] | None = None,
    ) -> QuantizerOutput:
        """Quantize; in training, update each codebook by its own positions.

        Args:
            z: Latent vectors, any floating dtype.
            mask: True where a position is valid.
            hidden: True where a position takes the hidden codebook; None hides nothing.

        Raises:
            ShapeError: Wrong ``dim``, dtype, ``mask`` or ``hidden``.
        """
        hides = self._check_hidden(z, hidden)
        return self._run(
            z,
            mask,
            lambda rows, valid: self._by_kind(
                rows, valid, hides, lambda part, x, used: part._quantize(x, used)
            ),
        )

    @torch.no_grad()
    def encode(
        self,
        z: Float[Tensor, "batch *positions dim"],
        hidden: Bool[Tensor, "batch *positions"] | None = None,
    ) -> Int[Tensor, "batch *positions codebooks"]:
        """Indices of the codes, from ``K_visible`` on where ``hidden``; changes no state.

        Raises:
            ShapeError: Wrong ``dim``, dtype or ``hidden``.
        """
        hides = self._check_hidden(z, hidden)
        rows, _ = self._flatten(z, None)
        with torch.autocast(z.device.type, enabled=False):
            result = self._by_kind(rows, None, hides, lambda part, x, used: part._assign(x, used))
        return result.indices.reshape(self._index_shape(z))

    def _quantize(self, z: Tensor, valid: Tensor | None) -> Assignment:
        return self._by_kind(z, valid, None, lambda part, x, used: part._quantize(x, used))

    def _assign(self, z: Tensor, valid: Tensor | None) -> Assignment:
        return self._by_kind(z, valid, None, lambda part, x, used: part._assign(x, used))

    def _by_kind(
        self,
        z: Tensor,
        valid: Tensor | None,
        hides: Tensor | None,
        quantize: Callable[[Quantizer, Tensor, Tensor | None], Assignment],
    ) -> Assignment:
        trains = self.training and torch.is_grad_enabled()
        if hides is None and not trains:
            return quantize(self.visible, z, valid)
        # In training both parts run at every step: another rank may have hidden positions.
        nothing = torch.zeros(z.shape[:2], dtype=torch.bool, device=z.device)
        hides = nothing if hides is None else hides.reshape(nothing.shape)
        everything = ~nothing if valid is None else valid
        results, weights = [], []
        for part, used in ((self.visible, everything & ~hides), (self.hidden, everything & hides)):
            own = torch.where(used[..., None], z, 0.0)
            if trains:
                # Over all positions, the part's own or not: what is bad for one is bad for both.
                own = torch.where(spread_bad_values(z).isnan(), torch.nan, own)
            results.append(quantize(part, own, used))
            weights.append(used.sum())
        visible, hidden = results
        behind = torch.where(
            hidden.indices == NO_TOKEN, NO_TOKEN, hidden.indices + self._offsets(z.device)
        )
        weight = torch.stack(weights).to(z.dtype)
        losses = torch.stack([visible.loss, hidden.loss])
        terms = {f"visible_{name}": term for name, term in visible.terms.items()}
        terms |= {f"hidden_{name}": term for name, term in hidden.terms.items()}
        return Assignment(
            codes=torch.where(hides[..., None], hidden.codes, visible.codes),
            indices=torch.where(hides[..., None], behind, visible.indices),
            loss=(losses * weight).sum() / weight.sum().clamp_min(1.0),
            terms=terms,
        )

    def _lookup(self, indices: Tensor) -> Tensor:
        offsets = self._offsets(indices.device)
        is_hidden = indices >= offsets
        visible = self.visible._lookup(torch.where(is_hidden, NO_TOKEN, indices))
        # A sum, because the part that has no token gives zero.
        return visible + self.hidden._lookup(torch.where(is_hidden, indices - offsets, NO_TOKEN))

    def _offsets(self, device: torch.device) -> Tensor:
        return torch.tensor(self.visible.codebook_sizes, device=device)

    def _check_hidden(self, z: Tensor, hidden: Tensor | None) -> Tensor | None:
        if hidden is not None and (hidden.dtype != torch.bool or hidden.shape != z.shape[:-1]):
            raise ShapeError(
                f"DualCodebook hidden: expected a boolean {list(z.shape[:-1])}, got {hidden.dtype} "
                f"{list(hidden.shape)}. True marks positions with hidden pixels."
            )
        return hidden
