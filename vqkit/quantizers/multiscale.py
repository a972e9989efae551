"""Residual quantization over a pyramid: each scale quantizes what coarser grids left over."""

import math
from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqkit.errors import ConfigError, ShapeError
from vqkit.ops.gradient import straight_through
from vqkit.quantizers.base import NO_TOKEN, Assignment, Quantizer, in_backward, refuse_grid
from vqkit.quantizers.gradient import (
    GradientEstimator,
    StraightThrough,
    check_works_on_vectors,
    estimate,
)
from vqkit.shapes import Float, Int

__all__ = ["MultiScaleResidual"]


@final
class MultiScaleResidual(Quantizer):
    """Token maps from coarse to fine, each of the residual (VAR, arXiv 2404.02905, alg. 1 and 2).

    With ``f_0 = 0``, scale k quantizes ``r_k = down_k(z - sg[f_(k-1)])`` and adds
    ``f_k = f_(k-1) + phi_k(up(q_k))``; the output is the last f. Down averages areas, up is cubic
    in two dimensions and linear in others. ``phi(x) = (1 - ratio) x + ratio conv(x)``.

    Args:
        inner: The one quantizer of all scales.
        scales: Grids, coarse to fine, as ``[[1, 1], [2, 2], [4, 4]]``; the last is the input's.
            One, two or three axes.
        num_convolutions: Convolutions phi of width 3 without bias, shared by neighbouring scales;
            0 leaves phi out. VAR has 4 for 10 scales.
        convolution_ratio: Share of the convolution in phi.
        gradient: How the gradient passes the sum.

    The scales are searched one after the other with the codes held fixed, and then the quantizer
    learns once from the vectors of all of them. Its loss is the mean over all tokens; convolutions
    add ``mean_k |f_k - sg[z]|^2``. A quantizer that the data initialise sees the first batches at
    the finest scale alone; the others have index -1 until then.

    Indices are ``[batch, tokens, inner codebooks]``, scale by scale, rows first. Positions have no
    token of their own: masks are refused.

    Raises:
        ConfigError: Scales that do not grow to the last, a number of convolutions that is negative
            or above that of the scales, a ratio outside [0, 1], an inner quantizer of whole grids.

    >>> from vqkit.quantizers import VectorQuantizer
    >>> quantizer = MultiScaleResidual(VectorQuantizer(8, 16), scales=[[1, 1], [2, 2], [4, 4]])
    >>> indices = quantizer.encode(torch.randn(2, 4, 4, 8))
    >>> indices.shape, quantizer.decode(indices).shape
    (torch.Size([2, 21, 1]), torch.Size([2, 4, 4, 8]))
    """

    def __init__(
        self,
        inner: Quantizer,
        scales: Sequence[Sequence[int]],
        *,
        num_convolutions: int = 0,
        convolution_ratio: float = 0.5,
        gradient: GradientEstimator | None = None,
    ) -> None:
        super().__init__()
        self.scales = tuple(tuple(scale) for scale in scales)
        self._check_scales()
        if not 0 <= num_convolutions <= len(self.scales) or not 0.0 <= convolution_ratio <= 1.0:
            raise ConfigError(
                f"MultiScaleResidual: expected 0 to {len(self.scales)} convolutions and a ratio in "
                f"[0, 1], got {num_convolutions} and {convolution_ratio}."
            )
        refuse_grid(inner, "MultiScaleResidual")
        self.inner = inner
        self.num_convolutions = num_convolutions
        self.convolution_ratio = convolution_ratio
        self.gradient = gradient or StraightThrough()
        check_works_on_vectors(self.gradient, "MultiScaleResidual")
        self.dim = inner.dim
        self.codebook_sizes = inner.codebook_sizes
        kind = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[len(self.scales[-1]) - 1]
        # Without bias, so that no token stays a contribution of zero.
        self.convolutions = nn.ModuleList(
            kind(self.dim, self.dim, 3, padding=1, bias=False) for _ in range(num_convolutions)
        )
        up_mode = "bicubic" if len(self.scales[-1]) == 2 else "linear"
        for k, scale in enumerate(self.scales):
            for axis, (size, full) in enumerate(zip(scale, self.scales[-1], strict=True)):
                down, up = _resize(full, size, "area"), _resize(size, full, up_mode)
                self.register_buffer(f"_down_{k}_{axis}", down, persistent=False)
                self.register_buffer(f"_up_{k}_{axis}", up, persistent=False)
        # Of the last training pass, for its recomputation in backward: the inputs of all scales.
        self._searched: Tensor | None = None
        self._was_ready = True

    @property
    def grid(self) -> tuple[int, ...]:
        """The last scale."""
        return self.scales[-1]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of tokens of each scale."""
        return tuple(math.prod(scale) for scale in self.scales)

    @property
    def initialized(self) -> bool:
        """Whether the inner quantizer is initialised."""
        return self.inner.initialized

    def index_positions(self, positions: tuple[int, ...]) -> tuple[int, ...]:
        """One axis: the tokens of all scales."""
        return (sum(self.sizes),)

    def reset_parameters(self) -> None:
        """Draw the inner state and the convolutions anew."""
        self.inner.reset_parameters()
        for convolution in self.convolutions:
            convolution.reset_parameters()  # type: ignore[operator]
        self._searched = None

    @property
    def adds_noise(self) -> bool:
        """Whether the estimator does."""
        return self.gradient.adds_noise

    def extra_repr(self) -> str:
        """Arguments, for ``print(module)``."""
        return (
            f"scales={self.scales}, num_convolutions={self.num_convolutions}, "
            f"convolution_ratio={self.convolution_ratio}, gradient={self.gradient}"
        )

    def split_scales(self, indices: Int[Tensor, "batch tokens codebooks"]) -> list[Tensor]:
        """Token maps ``[batch, *scale, codebooks]``, coarse to fine.

        Raises:
            ShapeError: Not the indices of all scales.
        """
        self._check_indices(indices)
        parts = indices.split(self.sizes, dim=1)
        return [
            part.reshape(len(part), *scale, part.shape[-1])
            for part, scale in zip(parts, self.scales, strict=True)
        ]

    def decode_scales(
        self, indices: Int[Tensor, "batch tokens codebooks"], num_scales: int
    ) -> Float[Tensor, "batch *grid dim"]:
        """Decode the first scales alone: a coarser latent on the whole grid.

        Args:
            indices: At least the tokens of these scales, the rest is ignored.
            num_scales: 1 to all.

        Raises:
            ShapeError: No such number of scales, or too few tokens.
        """
        if not 1 <= num_scales <= len(self.scales):
            raise ShapeError(
                f"MultiScaleResidual num_scales: expected 1 to {len(self.scales)}, got "
                f"{num_scales}."
            )
        used, total = sum(self.sizes[:num_scales]), sum(self.sizes)
        if indices.ndim != 3 or not used <= indices.shape[1] <= total:
            raise ShapeError(
                f"MultiScaleResidual indices: expected [batch, {used} to {total}, codebooks] for "
                f"{num_scales} scales, got {list(indices.shape)}."
            )
        return self.decode(F.pad(indices[:, :used], (0, 0, 0, total - used), value=NO_TOKEN))

    def _assign(self, z: Tensor, valid: Tensor | None) -> Assignment:
        assert valid is None, "forward refuses masks"
        noise = self._noise(z, None)
        return self._assign_scales(z)._replace(choice=noise)

    def _assign_scales(self, z: Tensor) -> Assignment:
        if not (self.training and torch.is_grad_enabled()):
            _, results = self._search(z)
            return self._join(z, results)
        if not in_backward():
            self._was_ready = self.inner.initialized
            self._searched = z.detach()
            if self._was_ready:
                with torch.no_grad():
                    self._searched = torch.cat(self._search(z.detach())[0], dim=1)
        assert self._searched is not None
        if not self._was_ready:
            result = self.inner._assign(z, None)
            missing = sum(self.sizes[:-1])
            return self._join(
                z,
                [
                    Assignment(
                        F.pad(result.codes, (0, 0, missing, 0)),
                        F.pad(result.indices, (0, 0, missing, 0), value=NO_TOKEN),
                        result.loss,
                        result.terms,
                    )
                ],
            )
        means = torch.cat([self._down(z, k) for k in range(len(self.scales))], dim=1)
        # The residuals' values as they were searched, with the gradient to the input.
        return self._join(z, [self.inner._assign(straight_through(means, self._searched), None)])

    def _estimate(self, z: Tensor, assignment: Assignment) -> Tensor:
        return estimate(self.gradient, z, assignment.codes, assignment.choice)

    def _lookup(self, indices: Tensor) -> Tensor:
        return self._sums(self.inner._lookup(indices))[-1]

    def _check_indices(self, indices: Tensor) -> None:
        super()._check_indices(indices)
        expected = self.index_positions(self.grid)
        if tuple(indices.shape[1:-1]) != expected:
            raise ShapeError(
                f"MultiScaleResidual indices: expected [batch, {expected[0]}, codebooks], the "
                f"tokens of all scales, got {list(indices.shape)}. decode_scales takes fewer."
            )

    def _search(self, z: Tensor) -> tuple[list[Tensor], list[Assignment]]:
        """Inputs and results of all scales, one after the other."""
        total = torch.zeros_like(z)
        inputs, results = [], []
        for k in range(len(self.scales)):
            inputs.append(self._down(z - total.detach(), k))
            results.append(self.inner._assign(inputs[-1], None))
            total = total + self._up(results[-1].codes, k)
        return inputs, results

    def _join(self, z: Tensor, results: list[Assignment]) -> Assignment:
        """One assignment of all tokens, with the mean over them."""
        sums = self._sums(torch.cat([result.codes for result in results], dim=1))
        shares = [result.codes.shape[1] / sum(self.sizes) for result in results]
        loss = _total([s * result.loss for s, result in zip(shares, results, strict=True)])
        terms = {
            name: _total([s * r.terms[name] for s, r in zip(shares, results, strict=True)])
            for name in results[0].terms
        }
        if self.num_convolutions and z.numel():
            target = z.detach()
            errors = [(partial - target).square().mean() for partial in sums]
            refinement = torch.stack(errors).mean()
            terms["refinement"] = refinement.detach()
            loss = loss + refinement
        indices = torch.cat([result.indices for result in results], dim=1)
        return Assignment(sums[-1], indices, loss, terms)

    def _sums(self, codes: Tensor) -> list[Tensor]:
        """``f_1 ... f_K`` of the codes of all scales ``[batch, tokens, dim]``."""
        total = torch.zeros(len(codes), self.sizes[-1], self.dim, device=codes.device)
        sums = []
        for k, part in enumerate(codes.split(self.sizes, dim=1)):
            total = total + self._up(part, k)
            sums.append(total)
        return sums

    def _down(self, z: Tensor, k: int) -> Tensor:
        return self._resized(z, "_down", k, self.grid)

    def _up(self, codes: Tensor, k: int) -> Tensor:
        x = self._resized(codes, "_up", k, self.scales[k])
        if not self.num_convolutions:
            return x
        convolution = self.convolutions[k * self.num_convolutions // len(self.scales)]
        maps = x.reshape(len(x), *self.grid, self.dim).movedim(-1, 1).contiguous()
        assert isinstance(convolution.weight, Tensor)
        convolve = (F.conv1d, F.conv2d, F.conv3d)[len(self.grid) - 1]
        convolved = (
            convolve(maps, convolution.weight.float(), padding=1).movedim(1, -1).reshape(x.shape)
        )
        return (1.0 - self.convolution_ratio) * x + self.convolution_ratio * convolved

    def _resized(self, x: Tensor, kind: str, k: int, size: tuple[int, ...]) -> Tensor:
        """``x [batch, prod(size), dim]`` on another grid, axis by axis."""
        x = x.reshape(len(x), *size, self.dim)
        for axis in range(len(size)):
            matrix: Tensor = getattr(self, f"{kind}_{k}_{axis}")
            rows = x.movedim(axis + 1, 1)
            rest = rows.shape[2:]
            # One product per item, so that an item's bits do not depend on its company.
            flat = rows.reshape(len(x), rows.shape[1], math.prod(rest))
            flat = torch.bmm(matrix.float().expand(len(x), -1, -1), flat)
            x = flat.reshape(len(x), len(matrix), *rest).movedim(1, axis + 1)
        return x.reshape(len(x), math.prod(x.shape[1:-1]), self.dim)

    def _check_scales(self) -> None:
        last = self.scales[-1] if self.scales else ()
        if (
            not 1 <= len(last) <= 3
            or any(len(scale) != len(last) for scale in self.scales)
            or any(min(scale) < 1 for scale in self.scales)
            or any(size > full for s in self.scales for size, full in zip(s, last, strict=True))
            or any(a == b for a, b in zip(self.scales, self.scales[1:], strict=False))
        ):
            raise ConfigError(
                "MultiScaleResidual scales: expected different grids of 1 to 3 axes, coarse to "
                f"fine, none larger than the last, got {[list(scale) for scale in self.scales]}."
            )


def _total(tensors: list[Tensor]) -> Tensor:
    """Sum in order."""
    return torch.stack(tensors).sum()


def _resize(old: int, new: int, mode: str) -> Tensor:
    """Matrix ``[new, old]`` that resamples one axis; nothing depends on the device's kernels."""
    identity = torch.eye(old)[:, None]
    if mode == "bicubic":
        # Along one axis of two; the other is constant.
        image = identity[..., None, :].expand(-1, -1, 2, -1)
        resized = F.interpolate(image, (2, new), mode="bicubic", align_corners=False)[:, 0, 0]
    elif mode == "linear":
        resized = F.interpolate(identity, new, mode="linear", align_corners=False)[:, 0]
    else:
        resized = F.interpolate(identity, new, mode="area")[:, 0]
    return resized.T.contiguous()
