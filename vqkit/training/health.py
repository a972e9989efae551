"""The state of the codebooks as numbers for the log."""

import torch
from torch import Tensor

from vqkit.metrics import CodebookUsage, distinct_vectors
from vqkit.quantizers import Quantizer, VectorQuantizer

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
        tables = [m for m in quantizer.modules() if isinstance(m, VectorQuantizer)]
        for level, table in enumerate(tables):
            suffix = f"_{level}" if len(tables) > 1 else ""
            distinct = distinct_vectors(table.codebook.detach().float())
            logs[f"{prefix}/distinct_vectors{suffix}"] = torch.tensor(distinct)
            logs[f"{prefix}/revived{suffix}"] = table.num_revived
            logs[f"{prefix}/skipped_batches{suffix}"] = table.skipped_batches
    return logs
