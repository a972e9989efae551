"""A prior as a file of the model folder, ``prior.safetensors``: whole numbers and some JSON."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors

from vqkit.errors import ConfigError, ModelMismatchError
from vqkit.priors.integers import load_integers, to_integers
from vqkit.priors.network import PriorNetwork
from vqkit.priors.prior import Prior, PriorSpec
from vqkit.tokenizers.folder import replace_file

__all__ = ["PRIOR_FILE", "read_prior", "write_prior"]

PRIOR_FILE = "prior.safetensors"

_FORMAT = "vqkit-prior-1"
_MAX_FILE_BYTES = 1 << 28
_MAX_DEPTH = 64
_MAX_LEVELS = 64


def write_prior(prior: Prior, folder: Path) -> Path:
    """Write the file, whole or not at all, over the one that is there; return its path."""
    spec, network = prior.spec, prior.network
    description = {
        "codebook_sizes": list(spec.codebook_sizes),
        "depth": network.depth,
        "dim": network.dim,
        "fingerprint": spec.fingerprint,
        "rank": spec.rank,
        "stream": spec.stream,
    }
    metadata = {"format": _FORMAT, "prior": json.dumps(description, sort_keys=True)}
    path = folder / PRIOR_FILE
    tensors = {name: tensor.cpu() for name, tensor in to_integers(network).items()}
    replace_file(path, save_safetensors(tensors, metadata=metadata))
    return path


def read_prior(folder: Path, fingerprint: str) -> Prior | None:
    """The prior of a model folder; None if it has none.

    Args:
        folder: The model's.
        fingerprint: Of its tokenizer.

    Raises:
        ConfigError: The file is damaged or of a newer format.
        ModelMismatchError: It is a prior of another tokenizer's tokens.
    """
    path = folder / PRIOR_FILE
    if not path.is_file():
        return None
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise ConfigError(f"expected up to {_MAX_FILE_BYTES} bytes")
        with safe_open(path, framework="pt") as file:
            description = _description(file.metadata() or {})
        integers = load_safetensors(path.read_bytes())
        spec = PriorSpec(
            stream=description["stream"],
            rank=description["rank"],
            codebook_sizes=tuple(description["codebook_sizes"]),
            fingerprint=description["fingerprint"],
        )
        sizes = {"dim": description["dim"], "depth": description["depth"]}
        with torch.device("meta"):  # a hostile size must not allocate what the weights do not fill
            shapes = PriorNetwork(spec.levels.sizes, spec.rank, **sizes).state_dict()
        stored = sum(tensor.numel() for tensor in integers.values())
        if stored < sum(tensor.numel() for tensor in shapes.values()):
            raise ConfigError("expected the weights of its network, got fewer")
        network = load_integers(PriorNetwork(spec.levels.sizes, spec.rank, **sizes), integers)
    except SafetensorError as error:
        raise ConfigError(f"Cannot read {path}: it is damaged ({error}).") from None
    except ConfigError as error:
        raise ConfigError(f"Cannot read {path}: {error}") from None
    if spec.fingerprint != fingerprint:
        raise ModelMismatchError(
            f"Cannot use {path}: expected a prior for tokens of {fingerprint}, got one for "
            f"{spec.fingerprint}. Train it anew with vqkit prior."
        )
    return Prior(spec, network)


def _description(metadata: dict[str, str]) -> dict[str, Any]:
    if metadata.get("format") != _FORMAT:
        raise ConfigError(
            f"expected format {_FORMAT!r}, got {metadata.get('format')!r}; "
            "a newer vqkit may read it"
        )
    try:
        description = json.loads(metadata.get("prior", ""))
    except (ValueError, RecursionError):
        raise ConfigError("expected a description of the prior as JSON") from None
    kinds = {
        "codebook_sizes": list,
        "depth": int,
        "dim": int,
        "fingerprint": str,
        "rank": int,
        "stream": str,
    }
    if (
        not isinstance(description, dict)
        or {name: type(value) for name, value in description.items()} != kinds
    ):
        raise ConfigError(f"expected a description with {sorted(kinds)}")
    codebook_sizes = description["codebook_sizes"]
    if not 0 < description["depth"] <= _MAX_DEPTH or not 0 < len(codebook_sizes) <= _MAX_LEVELS:
        raise ConfigError(f"expected up to {_MAX_DEPTH} blocks and {_MAX_LEVELS} codebooks")
    for size in codebook_sizes:
        if type(size) is not int or not 0 < size <= 1 << 62:
            raise ConfigError(f"expected codebook sizes up to 2^62, got {size!r}")
    return description
