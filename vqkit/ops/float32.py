"""Matrix products with every bit of float32."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

__all__ = ["full_float32"]

_HAS_SETTINGS_PER_DEVICE = hasattr(torch.backends, "fp32_precision")  # since torch 2.9


@contextmanager
def full_float32(device: torch.device) -> Iterator[None]:
    """Let matrix products use all bits of float32, whatever the process has set, and undo it.

    TensorFloat-32 and bfloat16 products would exceed the errors that the searches allow for.
    """
    if not _HAS_SETTINGS_PER_DEVICE:
        precision = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(precision)
        return
    library: Any = torch.backends.cuda if device.type == "cuda" else torch.backends.mkldnn
    before = library.matmul.fp32_precision
    if before in ("none", "ieee"):
        yield
        return
    library.matmul.fp32_precision = "ieee"
    try:
        yield
    finally:
        library.matmul.fp32_precision = before
