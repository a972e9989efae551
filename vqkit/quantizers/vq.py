"""Vector quantization with a learned codebook."""

from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from vqkit.errors import ConfigError
from vqkit.ops.collectives import all_sum, broadcast_first, gather_rows, rank
from vqkit.ops.select_code import select_code
from vqkit.ops.statistics import code_statistics
from vqkit.quantizers.base import (
    NO_TOKEN,
    Assignment,
    Quantizer,
    in_backward,
    squares_are_finite,
)
from vqkit.quantizers.codebook import (
    EMA,
    CodebookInit,
    CodebookUpdate,
    FromData,
    GradientUpdate,
    KMeans,
    RandomInit,
    collect,
)
from vqkit.quantizers.gradient import GradientEstimator, GumbelSoftmax, StraightThrough
from vqkit.quantizers.loss import VQLoss
from vqkit.quantizers.metric import CosineSearch, Euclidean, Metric
from vqkit.quantizers.regularizer import CodebookRegularizer
from vqkit.quantizers.revival import Revival
from vqkit.quantizers.selection import (
    Choice,
    CodeSelection,
    NearestCode,
    distance_scores,
    draw_keys,
)

__all__ = ["VectorQuantizer"]


@final
class VectorQuantizer(Quantizer):
    """Nearest code of a learned codebook (VQ-VAE, arXiv 1711.00937).

    Args:
        dim: Features of an input vector.
        codebook_size: Number of codes K, at least 2.
        metric: How inputs and codes are compared.
        update: Who moves the codes: a moving average or the optimizer.
        init: First values of the codes.
        revive: Replaces codes that go unused; None leaves them.
        gradient: How the gradient passes.
        loss: Weights of commitment and codebook term.
        selection: How a training pass chooses among the codes; evaluation takes the nearest.
        regularizers: Further terms of the loss, for codes that the optimizer moves.

    Raises:
        ConfigError: ``dim < 1`` or ``codebook_size < 2``; ``GumbelSoftmax`` without ``Sampled``;
            regularizers with an EMA; an estimator of all codes with ``CosineSearch``.

    In training, each forward pass searches, computes the loss, and then moves the codes; the ranks
    of a job move them by the vectors of all. A batch with a NaN, an infinity or a vector whose
    square overflows moves nothing on any rank and is counted in ``skipped_batches``. Under
    activation checkpointing (``use_reentrant=False``) the recomputed pass sees the codes of the
    first and updates nothing.

    >>> quantizer = VectorQuantizer(dim=8, codebook_size=16)
    >>> output = quantizer(torch.randn(2, 10, 10, 8))
    >>> output.quantized.shape, output.indices.shape
    (torch.Size([2, 10, 10, 8]), torch.Size([2, 10, 10, 1]))
    """

    codebook: Tensor
    cluster_size: Tensor
    share: Tensor
    pending: Tensor
    num_collected: Tensor
    num_revived: Tensor
    num_steps: Tensor
    skipped_batches: Tensor

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        *,
        metric: Metric | None = None,
        update: CodebookUpdate | None = None,
        init: CodebookInit | None = None,
        revive: Revival | None = None,
        gradient: GradientEstimator | None = None,
        loss: VQLoss | None = None,
        selection: CodeSelection | None = None,
        regularizers: Sequence[CodebookRegularizer] = (),
    ) -> None:
        super().__init__()
        if dim < 1 or codebook_size < 2:
            raise ConfigError(
                f"VectorQuantizer: expected dim >= 1 and codebook_size >= 2, got {dim} and "
                f"{codebook_size}."
            )
        self.dim = dim
        self.codebook_size = codebook_size
        self.codebook_sizes = (codebook_size,)
        self.metric = metric or Euclidean()
        self.update = update or EMA()
        self.init = init or KMeans()
        self.revive = revive
        self.gradient = gradient or StraightThrough()
        self.loss = loss or VQLoss()
        self.selection = selection or NearestCode()
        self.regularizers = tuple(regularizers)
        if self.regularizers and not self.trains_codebook:
            raise ConfigError(
                f"VectorQuantizer regularizers: expected update=GradientUpdate(), got "
                f"{self.update}. A codebook that follows an average has no gradient."
            )
        if isinstance(self.gradient, GumbelSoftmax) and not self.selection.samples:
            raise ConfigError(
                f"VectorQuantizer gradient {self.gradient}: expected selection=Sampled(...), got "
                f"{self.selection}. IndexBackpropagation is the same for the nearest code."
            )
        if self.gradient.needs_codebook and isinstance(self.metric, CosineSearch):
            raise ConfigError(
                f"VectorQuantizer gradient {self.gradient}: expected a metric whose output is what "
                "it compares, got CosineSearch. Use Cosine, or StraightThrough or RotationTrick."
            )
        table = torch.empty(codebook_size, dim)
        if self.trains_codebook:
            self.codebook = nn.Parameter(table)
        else:
            self.register_buffer("codebook", table)
        self.register_buffer("cluster_size", torch.empty(codebook_size))
        self.register_buffer("share", torch.empty(codebook_size))
        self.register_buffer("pending", torch.empty(0, dim))
        for counter in ("num_collected", "num_revived", "num_steps", "skipped_batches"):
            self.register_buffer(counter, torch.zeros((), dtype=torch.int64))
        # The codes that the last training pass searched, for its recomputation in backward; and its
        # number.
        self._searched: Tensor | None = None
        self._step = torch.zeros((), dtype=torch.int64)
        self.reset_parameters()

    @property
    def trains_codebook(self) -> bool:
        """Whether the optimizer moves the codes."""
        return isinstance(self.update, GradientUpdate)

    @property
    def adds_noise(self) -> bool:
        """Whether the gradient estimator does."""
        return self.gradient.adds_noise

    @property
    def initialized(self) -> bool:
        """Whether the batches that initialise the codebook have been seen."""
        return self.init.batches == 0 or int(self.num_collected) >= self.init.batches

    @property
    def _moves_codes(self) -> bool:
        """Whether a training pass changes the codes after it has searched them."""
        return isinstance(self.update, EMA) or self.revive is not None

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw random codes; data-dependent initialisation begins anew with the next batches."""
        # Until the data decide, the codes are spread like unit-variance latents.
        first = self.init if self.init.batches == 0 else RandomInit(scale=1.0)
        codes, _ = first(self.codebook.new_empty(0, self.dim), self.codebook_size)
        self.codebook.copy_(self.metric.place(codes))
        self.cluster_size.fill_(1.0)
        self.share.fill_(1.0)
        self.pending = self.pending.new_empty(0, self.dim)
        for counter in (
            self.num_collected,
            self.num_revived,
            self.num_steps,
            self.skipped_batches,
        ):
            counter.zero_()
        self._searched = None

    def extra_repr(self) -> str:
        """Arguments, for ``print(module)``."""
        return (
            f"dim={self.dim}, codebook_size={self.codebook_size}, metric={self.metric}, "
            f"update={self.update}, revive={self.revive}, gradient={self.gradient}, "
            f"selection={self.selection}"
        )

    def _assign(self, z: Tensor, valid: Tensor | None) -> Assignment:
        z = self.metric.place(z)
        trains = self.training and torch.is_grad_enabled()
        recomputes = trains and in_backward()
        # Drawn before anything else is, for the recomputed pass initialises nothing.
        noisy = trains and (self.adds_noise or self.selection.samples)
        keys = draw_keys(z, valid) if noisy else None
        if trains and not recomputes:
            self._step = self.num_steps.clone()
        learns = trains and not recomputes and self._prepare(z.detach(), valid)
        codebook = self.codebook.float()
        if recomputes and self._moves_codes:
            # Values of the first pass, gradient to the parameter if there is one.
            codebook = self._first_pass_codes() + (codebook - codebook.detach())
        elif trains and self._moves_codes:
            self._searched = codebook.detach().clone()
        step = self._step if trains else self.num_steps
        temperature = self.selection.temperature_at(step) if trains else None
        indices = self._select(z.detach(), codebook.detach(), keys, temperature)
        codes = self._placed(codebook[indices].reshape(z.shape))
        loss, terms = self.loss(z, codes, valid, self.trains_codebook)
        for regularizer in self.regularizers if self.training else ():
            penalty = regularizer(
                self.metric.compared(_rows(z, valid)),
                self.metric.compared(self.metric.place(codebook)),
            )
            loss = loss + regularizer.weight * penalty
            terms[regularizer.name] = penalty.detach()
        if learns:
            self._learn(z.detach(), indices, valid)
        choice = Choice(keys, step, self._placed(codebook), indices, temperature)
        codes = codes if self.gradient.trains_codes else codes.detach()
        return Assignment(codes, indices.reshape(*z.shape[:-1], 1), loss, terms, choice)

    def _index(self, z: Tensor) -> Tensor:
        z = self.metric.place(z)
        nearest = self.metric.nearest(z.reshape(-1, self.dim), self.codebook.detach().float())
        return nearest.reshape(*z.shape[:-1], 1)

    def _select(
        self, z: Tensor, codebook: Tensor, keys: Tensor | None, temperature: Tensor | None
    ) -> Tensor:
        tokens = z.reshape(-1, self.dim)
        if temperature is None:
            return self.metric.nearest(tokens, codebook)
        tokens = self.metric.compared(tokens)
        codes = self.metric.compared(self._placed(codebook))
        return select_code(*distance_scores(tokens, codes, temperature), keys)

    def _placed(self, codes: Tensor) -> Tensor:
        # Those that an average moves are placed by its update.
        return self.metric.place(codes) if self.trains_codebook else codes

    def _estimate(self, z: Tensor, assignment: Assignment) -> Tensor:
        trains = self.training and torch.is_grad_enabled()
        estimator = self.gradient if trains else self.gradient.without_noise
        return estimator(self.metric.place(z), assignment.codes, assignment.choice)

    def _lookup(self, indices: Tensor) -> Tensor:
        index = indices[..., 0]
        codes = self._placed(self.codebook.float()[index.clamp_min(0)])
        return torch.where((index == NO_TOKEN)[..., None], 0.0, codes)

    def _first_pass_codes(self) -> Tensor:
        if self._searched is None:
            raise ConfigError(
                "VectorQuantizer under activation checkpointing: expected a first pass with "
                "gradient, got one without. Call checkpoint(..., use_reentrant=False)."
            )
        return self._searched

    @torch.no_grad()
    def _prepare(self, z: Tensor, valid: Tensor | None) -> bool:
        """Initialise where that is due; say whether this batch may move the codes."""
        num_tokens = z[..., 0].numel() if valid is None else valid.sum()
        num_bad, num_tokens = all_sum(
            torch.stack([(~squares_are_finite(z)).sum(), torch.as_tensor(num_tokens).to(z.device)])
        )
        if self.init.batches == 0 and not self._moves_codes:
            # Nothing here depends on the data: counted without a look, which would stall a GPU and
            # break the graph of torch.compile.
            self.skipped_batches += num_bad > 0
            self.num_steps += (num_bad == 0) & (num_tokens > 0)
            return False
        if bool(num_bad):
            self.skipped_batches += 1
            return False
        if self.initialized:
            self.num_steps += num_tokens > 0
            return self._moves_codes
        samples = gather_rows(_rows(z, valid))
        if len(samples) == 0:
            return False
        if self.init.batches > 1:
            most = max(self.init.max_samples, self.codebook_size)
            num_batches = int(self.num_collected) + 1
            self.pending = collect(self.pending, samples, num_batches, most)
            samples = self.pending
        is_first = int(self.num_collected) == 0
        self.num_collected += 1
        if self.initialized:
            self._set_codes(*self._on_first_rank(self.init, samples))
            self.pending = self.pending.new_empty(0, self.dim)
        elif is_first:
            self._set_codes(*self._on_first_rank(FromData(), samples))
        self.num_steps += self.initialized
        return self.initialized and self._moves_codes

    def _on_first_rank(self, init: CodebookInit, samples: Tensor) -> tuple[Tensor, Tensor]:
        codes = samples.new_empty(self.codebook_size, self.dim)
        counts = samples.new_empty(self.codebook_size)
        if rank() == 0:
            codes, counts = init(samples, self.codebook_size)
        return broadcast_first(codes.contiguous()), broadcast_first(counts.contiguous())

    def _set_codes(self, codes: Tensor, counts: Tensor) -> None:
        self.codebook.copy_(self.metric.place(codes))
        self.cluster_size.copy_(counts)
        self.share.fill_(1.0)

    @torch.no_grad()
    def _learn(self, z: Tensor, indices: Tensor, valid: Tensor | None) -> None:
        samples = _rows(z, valid)
        assigned = indices if valid is None else indices[valid.flatten()]
        # Only the moving average asks for sums. One collective for these and the counts.
        summed = samples if isinstance(self.update, EMA) else samples[:, :0]
        counts, sums, memory = code_statistics(summed, assigned, self.codebook_size)
        all_sum(memory)
        if not bool(counts.any()):
            return
        if isinstance(self.update, EMA):
            codes, cluster_size = self.update.step(
                self.codebook.float(), self.cluster_size, counts, sums
            )
            self.codebook.copy_(self.metric.place(codes))
            self.cluster_size.copy_(cluster_size)
        if self.revive is not None:
            self._revive(self.revive, counts, samples)

    def _revive(self, policy: Revival, counts: Tensor, samples: Tensor) -> None:
        """Move codes that go unused, with their counts, after the update that moved the others."""
        self.share.copy_(policy.update_share(self.share, counts))
        codes = self.metric.place(self.codebook.float())
        index, vectors, weight, share = policy.choose(self.share, codes, samples)
        moved = self.metric.place(torch.lerp(codes[index], vectors, weight[:, None]))
        # A vector that replaces a code is taken bit for bit.
        moved = torch.where(weight[:, None] == 1.0, vectors, moved)
        self.codebook[index] = moved.to(self.codebook.dtype)
        mean_size = self.cluster_size.mean()
        self.cluster_size[index] = torch.lerp(self.cluster_size[index], mean_size, weight)
        self.share[index] = share
        self.num_revived += (weight > 0.5).sum()

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        # The vectors collected so far are as many as they are.
        pending = state_dict.get(prefix + "pending")
        if pending is not None and pending.ndim == 2 and pending.shape[1] == self.dim:
            self.pending = self.pending.new_empty(pending.shape)
        self._searched = None
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def _rows(z: Tensor, valid: Tensor | None) -> Tensor:
    return z.reshape(-1, z.shape[-1]) if valid is None else z[valid]
