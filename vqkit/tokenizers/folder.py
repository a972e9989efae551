"""A model as a folder of plain files: ``config.json``, ``model.safetensors``, ``README.md``."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.tokenizers.spec import TokenizerSpec

__all__ = [
    "CARD_FILE",
    "CODING_FILES",
    "CONFIG_FILE",
    "WEIGHTS_FILE",
    "StoredModel",
    "check_shapes",
    "read",
    "read_spec",
    "replace_file",
    "write",
]

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
CARD_FILE = "README.md"
CODING_FILES = ("tables.safetensors", "prior.safetensors")
"""What may lie beside them: others read and write these, for smaller token files."""
FORMAT_VERSION = 1
_MAX_CONFIG_BYTES = 1 << 20


@dataclass(frozen=True)
class StoredModel:
    """Contents of a model folder.

    Attributes:
        path: The folder.
        config: Configuration of the tokenizer.
        spec: Its description.
        state: Its weights.
    """

    path: Path
    config: dict[str, Any]
    spec: TokenizerSpec
    state: dict[str, Tensor]


def write(
    path: Path,
    config: Mapping[str, Any],
    spec: TokenizerSpec,
    state: Mapping[str, Tensor],
    *,
    card: str = "",
) -> None:
    """Write a model folder; each file appears whole or not at all, the configuration last."""
    path.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    replace_file(path / WEIGHTS_FILE, save_safetensors(tensors, metadata={"format": "pt"}))
    replace_file(path / CARD_FILE, _card(spec, card).encode())
    document = {
        "format_version": FORMAT_VERSION,
        "vqkit_version": version("vqkit"),
        "spec": spec.to_dict(),
        "tokenizer": config,
    }
    replace_file(path / CONFIG_FILE, (json.dumps(document, indent=2) + "\n").encode())


def read(path: Path) -> StoredModel:
    """Read a model folder; builds nothing.

    Raises:
        ConfigError: A file is missing, damaged or of a newer format.
    """
    document = _read_config(path)
    weights = path / WEIGHTS_FILE
    try:
        state = load_safetensors(weights.read_bytes())
    except FileNotFoundError as error:
        raise ConfigError(f"Model {path}: expected {WEIGHTS_FILE} in it, found none.") from error
    except SafetensorError as error:
        raise ConfigError(f"Model {path}: {WEIGHTS_FILE} is damaged ({error}).") from error
    return StoredModel(
        path, document["tokenizer"], TokenizerSpec.from_dict(document["spec"]), state
    )


def read_spec(path: Path) -> TokenizerSpec:
    """Read the description alone.

    Raises:
        ConfigError: No model folder, or a damaged one.
    """
    return TokenizerSpec.from_dict(_read_config(path)["spec"])


def check_shapes(stored: StoredModel, expected: Mapping[str, Tensor]) -> None:
    """Compare names and shapes of the weights with those of the configured model.

    Raises:
        ConfigError: Names what is missing, superfluous or of another shape.
    """
    problems = [f"{name} is missing" for name in expected.keys() - stored.state.keys()]
    problems += [f"{name} is not of this model" for name in stored.state.keys() - expected.keys()]
    problems += [
        f"{name} is {list(stored.state[name].shape)}, not {list(tensor.shape)}"
        for name, tensor in expected.items()
        # Collected samples of an unfinished initialisation are as many as they are.
        if name in stored.state
        and stored.state[name].shape != tensor.shape
        and not name.endswith(".pending")
    ]
    if problems:
        shown = "; ".join(sorted(problems)[:5])
        raise ConfigError(
            f"Model {stored.path}: weights and configuration do not fit: {shown}"
            f"{' ...' if len(problems) > 5 else ''}."
        )


def _read_config(path: Path) -> dict[str, Any]:
    file = path / CONFIG_FILE
    if not file.is_file():
        raise ConfigError(f"Model {path}: expected a folder with {CONFIG_FILE}, found none.")
    if file.stat().st_size > _MAX_CONFIG_BYTES:
        raise ConfigError(f"Model {path}: {CONFIG_FILE} is larger than {_MAX_CONFIG_BYTES} bytes.")
    try:
        document = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"Model {path}: {CONFIG_FILE} is no JSON ({error}).") from error
    if not isinstance(document, dict) or document.get("format_version") != FORMAT_VERSION:
        found = document.get("format_version") if isinstance(document, dict) else document
        raise ConfigError(
            f"Model {path}: expected format version {FORMAT_VERSION}, got {found!r}. A newer vqkit "
            "may read it."
        )
    for key in ("spec", "tokenizer"):
        if not isinstance(document.get(key), dict):
            raise ConfigError(f"Model {path}: expected an object {key!r} in {CONFIG_FILE}.")
    return document


def replace_file(path: Path, data: bytes) -> None:
    """Write a file of the folder, whole or not at all, over the one that is there."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _card(spec: TokenizerSpec, text: str) -> str:
    sizes = ", ".join(str(size) for size in spec.codebook_sizes)
    strides = " x ".join(str(stride) for stride in spec.strides)
    return (
        f"""---
library_name: vqkit
tags: [vqkit, tokenizer, {spec.modality}]
---

# {spec.name}

A tokenizer of {spec.modality}s, made with vqkit.

| | |
|---|---|
| modality | {spec.modality}, {spec.channels} channels |
| stride ({", ".join(spec.axes)}) | {strides} |
| codebook sizes | {sizes} |
| bits per position | {spec.bits_per_position:.3f} |
| bits per pixel, nominal | {spec.bits_per_pixel:.4f} |
| fingerprint | `{spec.fingerprint}` |

```python
import vqkit

tokenizer = vqkit.Tokenizer.from_pretrained("this folder")
tokens = tokenizer.encode([vqkit.media.read_image("photo.jpg")])
```

{text}
""".rstrip()
        + "\n"
    )
