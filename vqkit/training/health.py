"""The state of the codebooks as numbers for the log."""

import torch
from torch import Tensor

from vqkit.metrics import CodebookUsage, distinct_vectors
from vqkit.quantizers import Quantizer

__all__ = ["codebook_health"]

_FIELDS = ("usage", "uniform_usage", "perplexity", "num_tokens")


def codebook_health(
    usage: CodebookUsage, quantizer: Quantizer | None, prefix: str
) -> dict[str, Tensor]:
    """Usage with its token count and the uniform baseline, perplexity; of tables also the vectors.

    Args:
        usage: What was counted, on this rank; the ranks sum up here, so all must call.
        quantizer: Its learned codebooks are looked into; None leaves that out.
        prefix: First part of the names.
    """
    result = usage.compute()
    logs = {}
    for field in _FIELDS:
        values = result[field].reshape(-1)
        for level, value in enumerate(values):
            suffix = f"_{level}" if len(values) > 1 else ""
            logs[f"{prefix}/{field}{suffix}"] = value
    if quantizer is not None:
        tables = quantizer.tables()
        for level, codebook in enumerate(tables.values()):
            suffix = f"_{level}" if len(tables) > 1 else ""
            logs[f"{prefix}/distinct_vectors{suffix}"] = torch.tensor(distinct_vectors(codebook))
        for counter, name in (("num_revived", "revived"), ("skipped_batches", "skipped_batches")):
            counts = [b for n, b in quantizer.named_buffers() if n.rpartition(".")[2] == counter]
            for level, count in enumerate(counts):
                suffix = f"_{level}" if len(counts) > 1 else ""
                logs[f"{prefix}/{name}{suffix}"] = count
    return logs
