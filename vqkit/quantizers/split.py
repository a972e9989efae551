"""Two quantizers of one input whose outputs add up."""

from collections.abc import Callable, Sequence
from typing import final

import torch
from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.quantizers.base import Assignment, Quantizer, refuse_grid, spread_bad_values

__all__ = ["Split"]


@final
class Split(Quantizer):
    """A semantic and an acoustic quantizer side by side (Mimi; Moshi, arXiv 2410.00037).

    Both quantize the input itself, not one the residual of the other, and ``q = q_s + q_a``: the
    semantic token may follow a teacher without leaving its error to the acoustic levels. Each
    usually is a ``Factorized`` with projections of its own; without, each aims at the whole input
    and their sum at twice that.

    Args:
        semantic: Its codebooks come first.
        acoustic: Usually residual.

    The semantic codebooks alone decode, and so do they with any prefix that ``acoustic`` decodes.
    The loss is the mean over all codebooks: a part weighs as many times as it has.

    Raises:
        ConfigError: Different ``dim``, or an inner quantizer of whole grids.

    >>> from vqkit.quantizers import Factorized, Residual, VectorQuantizer
    >>> quantizer = Split(
    ...     semantic=Factorized(VectorQuantizer(dim=4, codebook_size=16), dim=8),
    ...     acoustic=Factorized(Residual(VectorQuantizer(dim=4, codebook_size=16), depth=3), dim=8),
    ... )
    >>> indices = quantizer.encode(torch.randn(2, 10, 8))
    >>> indices.shape, quantizer.decode(indices[..., :1]).shape
    (torch.Size([2, 10, 4]), torch.Size([2, 10, 8]))
    """

    def __init__(self, semantic: Quantizer, acoustic: Quantizer) -> None:
        super().__init__()
        if semantic.dim != acoustic.dim:
            raise ConfigError(
                f"Split: expected parts of one dim, got {semantic.dim} and {acoustic.dim}. Wrap "
                "them in Factorized."
            )
        for part in (semantic, acoustic):
            refuse_grid(part, "Split")
        self.semantic = semantic
        self.acoustic = acoustic
        self.dim = semantic.dim
        self.codebook_sizes = semantic.codebook_sizes + acoustic.codebook_sizes

    @property
    def initialized(self) -> bool:
        """Whether both parts are initialised."""
        return self.semantic.initialized and self.acoustic.initialized

    @property
    def adds_noise(self) -> bool:
        """Whether a part does."""
        return self.semantic.adds_noise or self.acoustic.adds_noise

    def reset_parameters(self) -> None:
        """Draw both parts anew."""
        self.semantic.reset_parameters()
        self.acoustic.reset_parameters()

    def _quantize(self, z: Tensor, valid: Tensor | None) -> Assignment:
        return self._both(z, lambda part, x: part._quantize(x, valid))

    def _assign(self, z: Tensor, valid: Tensor | None) -> Assignment:
        return self._both(z, lambda part, x: part._assign(x, valid))

    def _both(self, z: Tensor, quantize: Callable[[Quantizer, Tensor], Assignment]) -> Assignment:
        if self.training and torch.is_grad_enabled():
            z = spread_bad_values(z)
        semantic, acoustic = quantize(self.semantic, z), quantize(self.acoustic, z)
        share = self.semantic.num_codebooks / self.num_codebooks
        terms = {f"semantic_{name}": term for name, term in semantic.terms.items()}
        terms |= {f"acoustic_{name}": term for name, term in acoustic.terms.items()}
        return Assignment(
            codes=semantic.codes + acoustic.codes,
            indices=torch.cat([semantic.indices, acoustic.indices], dim=-1),
            loss=share * semantic.loss + (1.0 - share) * acoustic.loss,
            terms=terms,
            first=semantic.codes if semantic.first is None else semantic.first,
        )

    def _index(self, z: Tensor) -> Tensor:
        return torch.cat([self.semantic._index(z), self.acoustic._index(z)], dim=-1)

    def _lookup(self, indices: Tensor) -> Tensor:
        num_semantic = self.semantic.num_codebooks
        codes = self.semantic._lookup(indices[..., :num_semantic])
        if indices.shape[-1] == num_semantic:
            return codes
        return codes + self.acoustic._lookup(indices[..., num_semantic:])

    @property
    def _decodable(self) -> Sequence[int]:
        first = self.semantic.num_codebooks
        return [first, *(first + num for num in self.acoustic._decodable)]
