"""The first codebooks of a residual quantizer: fewer bits for coarser media."""

import argparse
import math
from typing import TYPE_CHECKING

from vqkit.cli.usage_error import UsageError
from vqkit.errors import ShapeError

if TYPE_CHECKING:
    from vqkit.tokenizers import Tokenizer

__all__ = ["check_codebooks", "num_codebooks"]


def num_codebooks(tokenizer: "Tokenizer", arguments: argparse.Namespace) -> int | None:
    """The number of codebooks that ``--codebooks`` or ``--bitrate`` asks for; None for all.

    Raises:
        UsageError: The tokenizer cannot decode from so many, or has no rate, or not so low a one.
    """
    count: int | None = arguments.codebooks
    if arguments.bitrate is not None:
        count = _within(tokenizer, arguments.bitrate)
    check_codebooks(tokenizer, count)
    return count


def _within(tokenizer: "Tokenizer", kilobits_per_second: float) -> int:
    spec = tokenizer.spec
    if spec.sample_rate_hz is None:
        raise UsageError(f"--bitrate: {tokenizer.name} has no rate. Use --codebooks.")
    frame_rate_hz = spec.sample_rate_hz / math.prod(spec.strides)
    rates = [
        math.fsum(map(math.log2, spec.codebook_sizes[: count + 1])) * frame_rate_hz / 1000
        for count in range(len(spec.codebook_sizes))
    ]
    # A thousandth of tolerance: what is called 1.5 kbit/s may be 1.5001.
    count = sum(rate <= kilobits_per_second * 1.001 for rate in rates)
    if count == 0:
        raise UsageError(
            f"--bitrate {kilobits_per_second:g}: {tokenizer.name} has at least {rates[0]:.3f} "
            "kbit/s."
        )
    return count


def check_codebooks(tokenizer: "Tokenizer", count: int | None, option: str = "--codebooks") -> None:
    """Refuse a number of codebooks, of an option, that the tokenizer cannot decode from.

    Raises:
        UsageError: There are not as many, or the quantizer needs all of its codebooks.
    """
    if count is None:
        return
    import torch

    positions = (1,) * len(tokenizer.stride)
    try:
        tokenizer.quantizer.decode(
            torch.zeros(1, *positions, count, dtype=torch.int64, device=tokenizer.device)
        )
    except ShapeError as error:
        sizes = tokenizer.quantizer.codebook_sizes
        raise UsageError(
            f"{option} {count}: {tokenizer.name} has {len(sizes)} codebook(s) and cannot decode "
            f"from the first {count}."
        ) from error
