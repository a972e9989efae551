"""The identity of a model: a hash over its configuration and its weights."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from vqkit.tokenizers.evaluating import modules_of

__all__ = ["fingerprint", "weights_key"]


def fingerprint(config: Mapping[str, Any], state: Mapping[str, Tensor]) -> str:
    """32 hex digits of BLAKE2b over canonical configuration and tensors, equal on every machine.

    Args:
        config: JSON types; the order of keys does not matter.
        state: Tensors by name; the order does not matter, the device neither, dtype and values do.
    """
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps(config, sort_keys=True, separators=(",", ":")).encode())
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"\n{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def weights_key(module: nn.Module) -> list[Any]:
    """What is another list after every change of a parameter or buffer; cheap to make.

    Versions count changes in place, addresses show tensors that were replaced.
    """
    return [
        (tensor.data_ptr(), tensor._version, tensor.dtype)
        for part in modules_of(module)
        for tensors in (part._parameters, part._buffers)
        for tensor in tensors.values()
        if tensor is not None
    ]
