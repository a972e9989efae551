"""Train a quantizer on a source, and measure distortion and codebook use."""

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from vqkit.errors import ConfigError
from vqkit.evaluation.cards.contestants import Contestant, Fit
from vqkit.evaluation.cards.sources import Draw, Source
from vqkit.metrics.codebook import CodeHistogram, codebook_level, flatten_indices, sparse_counts
from vqkit.quantizers import Factorized, Quantizer

__all__ = ["BATCH_SIZE", "NUM_TEST_VECTORS", "Quality", "measure", "train", "training_step"]

BATCH_SIZE = 2048
NUM_TEST_VECTORS = 16384
_NUM_FIT_VECTORS = 4096


@dataclass(frozen=True)
class Quality:
    """One quantizer on one source."""

    source: str
    quantizer: str
    is_projected: bool
    """Whether it, or what is inside, stands between two trained linear layers."""
    bits: float
    """Per vector, at uniform use."""
    snr_db: float
    """Variance over squared error."""
    bound_snr_db: float
    """The same at the bound of the source at this number of bits."""
    gap_db: float
    """``bound_snr_db - snr_db``: what is lost; negative is better than an upper bound."""
    num_tokens: int
    """Vectors measured."""
    usage: float
    """Share of the codes seen, mean over the codebooks."""
    uniform_usage: float
    """The usage to expect of a uniform source over as many vectors."""
    relative_usage: float
    """``usage / uniform_usage`` of each codebook, mean over them."""
    entropy_bits: float
    """Of the indices, sum over the codebooks."""
    perplexity: float
    """``2 ** entropy_bits``."""


def measure(
    source: Source,
    contestant: Contestant,
    num_steps: int,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> Quality:
    """Train a quantizer and measure it on vectors it has not seen; the same for the same seed.

    Args:
        source: Where the vectors come from.
        contestant: The quantizer.
        num_steps: Training steps of ``BATCH_SIZE`` vectors.
        seed: Of the vectors and of all that the quantizer draws.
        device: Where it computes.
    """
    quantizer = train(contestant, source.draw, num_steps, seed, device)
    test = source.draw_test(NUM_TEST_VECTORS, Generator().manual_seed(seed + 1)).to(device)
    with torch.no_grad():
        output = quantizer(test[None])
    error = _mean_square(output.quantized[0] - test)
    variance = _mean_square(test - test.mean(0))
    rows = flatten_indices(output.indices.cpu(), quantizer.codebook_sizes)
    levels = [
        codebook_level(CodeHistogram.from_rows(size, sparse_counts(rows[:, number])))
        for number, size in enumerate(quantizer.codebook_sizes)
    ]
    bits = quantizer.bits_per_position
    snr_db = 10.0 * math.log10(variance / error)
    bound_snr_db = 10.0 * math.log10(source.variance / source.distortion(bits))
    entropy_bits = math.fsum(level.entropy_bits for level in levels)
    return Quality(
        source=source.name,
        quantizer=contestant.name,
        is_projected=any(isinstance(module, Factorized) for module in quantizer.modules()),
        bits=bits,
        snr_db=snr_db,
        bound_snr_db=bound_snr_db,
        gap_db=bound_snr_db - snr_db,
        num_tokens=len(test),
        usage=_mean([level.usage for level in levels]),
        uniform_usage=_mean([level.uniform_usage for level in levels]),
        relative_usage=_mean([level.relative_usage for level in levels]),
        entropy_bits=entropy_bits,
        perplexity=2.0**entropy_bits,
    )


def train(
    contestant: Contestant,
    draw: Draw,
    num_steps: int,
    seed: int = 0,
    device: torch.device | str = "cpu",
    batch_size: int = BATCH_SIZE,
) -> Quantizer:
    """Train with Adam to the least squared error, the learning rate falling to 0; in eval mode.

    The caller's random state is left as it was.

    Raises:
        ConfigError: No step.
    """
    if num_steps < 1:
        raise ConfigError(f"Training a quantizer: expected one step or more, got {num_steps}.")
    generator = Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        fit = Fit(draw(_NUM_FIT_VECTORS, generator), num_steps)
        quantizer = contestant.build(fit).to(device).train()
        parameters = [p for p in quantizer.parameters() if p.requires_grad]
        optimizer = torch.optim.Adam(parameters, contestant.learning_rate) if parameters else None
        for step in range(num_steps):
            if optimizer is not None:
                share = 0.5 * (1.0 + math.cos(math.pi * step / num_steps))
                optimizer.param_groups[0]["lr"] = contestant.learning_rate * share
            training_step(quantizer, optimizer, draw(batch_size, generator).to(device))
    return quantizer.eval()


def training_step(
    quantizer: Quantizer, optimizer: torch.optim.Optimizer | None, rows: Tensor
) -> None:
    """Forward, backward to the vectors as for an encoder before it, and the optimizer's step."""
    z = rows[None].requires_grad_()
    output = quantizer(z)
    loss = (output.quantized - rows).square().mean() + output.loss
    if optimizer is None:
        loss.backward()
        return
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


def _mean_square(rows: Tensor) -> float:
    return float(rows.double().square().mean())


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)
