"""Index backpropagation quantization: a codebook that the encoder scores by dot products."""

from typing import final

import torch
from torch import Tensor, nn

from vqkit.errors import ConfigError
from vqkit.ops.assignment_entropy import assignment_entropy
from vqkit.ops.collectives import all_sum
from vqkit.ops.select_code import select_code
from vqkit.ops.soft_code import soft_code
from vqkit.quantizers.base import (
    NO_TOKEN,
    Assignment,
    Quantizer,
    in_backward,
    squares_are_finite,
)
from vqkit.quantizers.codebook import RandomInit
from vqkit.quantizers.entropy_penalty import AssignmentEntropy
from vqkit.quantizers.loss import VQLoss

__all__ = ["IBQ"]


@final
class IBQ(Quantizer):
    """Index backpropagation (IBQ, arXiv 2412.02692): the gradient passes the choice of the index.

    The scores are ``z . e_k``, the index is that of the largest, and the output is the code q_h
    with the gradient of ``a @ E``, ``a = onehot + p - sg[p]``, ``p = softmax(scores)``: all codes
    get a gradient at every step. The loss is ``joint |q - z|^2``, with q the output, plus the two
    terms of ``loss`` on q_h, plus the entropy penalty.

    Args:
        dim: Features of an input vector.
        codebook_size: Number of codes K, at least 2.
        loss: Weights of the terms ``|sg[z] - q_h|^2`` and ``|z - sg[q_h]|^2``. The paper has beta
            on the second: ``VQLoss.paper()``; its source on the first: ``VQLoss.taming()``.
        joint: Weight of ``|q - z|^2``.
        entropy: Penalty on unsure tokens and unevenly used codes; None for no penalty.
        temperature: That of p, above 0. The paper has 1.
        init: First codes.

    All passes go through the codebook in tiles: nothing of size tokens x codes is kept or built,
    so that 262,144 codes train in the memory of the codebook. A batch with a NaN or an infinity on
    any rank is counted in ``skipped_batches``.

    Raises:
        ConfigError: ``dim < 1``, ``codebook_size < 2``, a temperature that is not positive or a
            negative weight.

    >>> quantizer = IBQ(dim=8, codebook_size=64)
    >>> output = quantizer(torch.randn(2, 5, 8))
    >>> output.quantized.sum().backward()
    >>> bool((quantizer.codebook.grad != 0).all())
    True
    """

    codebook: nn.Parameter
    skipped_batches: Tensor

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        *,
        loss: VQLoss | None = None,
        joint: float = 1.0,
        entropy: AssignmentEntropy | None = None,
        temperature: float = 1.0,
        init: RandomInit | None = None,
    ) -> None:
        super().__init__()
        if dim < 1 or codebook_size < 2:
            raise ConfigError(
                f"IBQ: expected dim >= 1 and codebook_size >= 2, got {dim} and {codebook_size}."
            )
        if not temperature > 0 or not joint >= 0:
            raise ConfigError(
                f"IBQ: expected temperature > 0 and joint >= 0, got {temperature} and {joint}."
            )
        self.dim = dim
        self.codebook_size = codebook_size
        self.codebook_sizes = (codebook_size,)
        self.loss = loss or VQLoss()
        self.joint = joint
        self.entropy = entropy
        self.temperature = temperature
        self.init = init or RandomInit()
        self.codebook = nn.Parameter(torch.empty(codebook_size, dim))
        self.register_buffer("skipped_batches", torch.zeros((), dtype=torch.int64))
        # Sums over all ranks of the last training pass, for its recomputation in backward.
        self._statistics: Tensor | None = None
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw new codes."""
        codes, _ = self.init(self.codebook.new_empty(0, self.dim), self.codebook_size)
        self.codebook.copy_(codes)
        self.skipped_batches.zero_()
        self._statistics = None

    def extra_repr(self) -> str:
        """Arguments, for ``print(module)``."""
        return (
            f"dim={self.dim}, codebook_size={self.codebook_size}, temperature={self.temperature}, "
            f"loss={self.loss}, joint={self.joint}, entropy={self.entropy}"
        )

    def _index(self, z: Tensor) -> Tensor:
        indices = select_code(z.reshape(-1, self.dim), self.codebook.float())
        return indices.reshape(*z.shape[:-1], 1)

    def _quantize(self, z: Tensor, valid: Tensor | None) -> Assignment:
        # Output and loss share one soft code, and with it one pass backward.
        result, quantized = self._choose(z, valid)
        return result._replace(codes=quantized)

    def _assign(self, z: Tensor, valid: Tensor | None) -> Assignment:
        return self._choose(z, valid)[0]

    def _estimate(self, z: Tensor, assignment: Assignment) -> Tensor:
        codebook = self.codebook.float()
        soft = soft_code(
            z.reshape(-1, self.dim),
            codebook,
            None,
            codebook,
            assignment.indices.flatten(),
            self.temperature,
        )
        return soft.reshape(z.shape)

    def _lookup(self, indices: Tensor) -> Tensor:
        index = indices[..., 0]
        codes = self.codebook.float()[index.clamp_min(0)]
        return torch.where((index == NO_TOKEN)[..., None], 0.0, codes)

    def _choose(self, z: Tensor, valid: Tensor | None) -> tuple[Assignment, Tensor]:
        codebook = self.codebook.float()
        indices = self._index(z.detach())
        codes = codebook[indices[..., 0]]
        result = Assignment(codes.detach(), indices, z.new_zeros(()), {})
        quantized = self._estimate(z, result)
        loss, terms = self.loss(z, codes, valid, trains_codebook=True)
        joint = self.loss.square(z, quantized, valid)
        loss = loss + self.joint * joint
        terms["joint"] = joint.detach()
        trains = self.training and torch.is_grad_enabled()
        recomputes = trains and in_backward()
        if trains and not recomputes:
            self.skipped_batches += all_sum((~squares_are_finite(z.detach())).sum()) > 0
        if self.entropy is not None and self.training:
            entropies = assignment_entropy(
                z.reshape(-1, self.dim),
                codebook,
                None,
                self.entropy.temperature,
                None if valid is None else valid.flatten(),
                across_ranks=trains,
                statistics=self._statistics if recomputes else None,
            )
            if trains:
                self._statistics = entropies.statistics
            penalty, entropy_terms = self.entropy(entropies, self.codebook_size)
            loss, terms = loss + penalty, terms | entropy_terms
        return result._replace(loss=loss, terms=terms), quantized
