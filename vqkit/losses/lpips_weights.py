"""Where the weights of LPIPS come from; nothing is fetched unless the caller allows it."""

import math
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from vqkit.errors import ConfigError, MissingExtraError

__all__ = ["STAGES", "STAGE_WIDTHS", "load_weights"]

# Layers of torchvision's vgg16().features that hold convolutions; a stage ends before a pooling.
STAGES = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))
STAGE_WIDTHS = (64, 128, 256, 512, 512)

_VGG16_URL = "https://download.pytorch.org/models/vgg16-397923af.pth"
_HEADS_URL = (
    "https://github.com/richzhang/PerceptualSimilarity/raw/master/lpips/weights/v0.1/vgg.pth"
)
_HEADS_IN_TORCHMETRICS = Path("functional", "image", "lpips_models", "vgg.pth")


def load_weights(backbone: str, heads: str, download: bool, seed: int) -> dict[str, Tensor]:
    """Read, or draw from ``seed``, VGG16's convolutions and the five linear heads.

    Args:
        backbone: "pretrained" (torchvision's file in torch's hub folder), "random", or a file.
        heads: "pretrained" (the copy that torchmetrics installs), "random", or a file.
        download: Whether torchvision may fetch its file.
        seed: Of the random weights; the global generator is left alone.

    Returns:
        ``features.{layer}.weight``, ``features.{layer}.bias`` and ``lin{stage}.model.1.weight``
        of :data:`STAGES`, fp32.

    Raises:
        MissingExtraError: If a file is absent; names all that are, and what to do.
        ConfigError: If a file cannot be read, lacks a tensor or holds a negative head.
    """
    missing = []
    backbone_file = _backbone_file(backbone)
    if backbone_file and not backbone_file.is_file():
        if backbone == "pretrained" and download:
            _download_backbone()
        else:
            missing.append(
                f"VGG16 at {backbone_file}: fetch {_VGG16_URL} to that path, or pass "
                f"backbone=FILE, or download=True (528 MB)"
            )
    heads_file = _heads_file(heads)
    if heads_file and not heads_file.is_file():
        missing.append(f"linear heads at {heads_file}: fetch {_HEADS_URL} and pass heads=FILE")
    if missing:
        raise MissingExtraError(
            f"LPIPS weights: expected {len(missing)} more file(s), which are absent. "
            f"{'. '.join(missing)}. Nothing is downloaded unless download=True."
        )

    weights: dict[str, Tensor] = {}
    sources = ((backbone_file, _backbone_shapes()), (heads_file, _head_shapes()))
    for file, shapes in sources:
        weights |= _read(file, shapes) if file else _draw(shapes, seed)
    return weights


def _backbone_file(backbone: str) -> Path | None:
    if backbone == "random":
        return None
    if backbone == "pretrained":
        return Path(torch.hub.get_dir(), "checkpoints", Path(_VGG16_URL).name)
    return Path(backbone)


def _heads_file(heads: str) -> Path | None:
    if heads == "random":
        return None
    if heads == "pretrained":
        # find_spec locates the package without the seconds that importing it takes.
        package = find_spec("torchmetrics")
        folder = Path(package.origin).parent if package and package.origin else Path()
        return folder / _HEADS_IN_TORCHMETRICS
    return Path(heads)


def _download_backbone() -> None:
    from torchvision.models import VGG16_Weights

    VGG16_Weights.IMAGENET1K_V1.get_state_dict(check_hash=True, weights_only=True)


def _backbone_shapes() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    in_width = 3
    for layers, width in zip(STAGES, STAGE_WIDTHS, strict=True):
        for layer in layers:
            shapes[f"features.{layer}.weight"] = (width, in_width, 3, 3)
            shapes[f"features.{layer}.bias"] = (width,)
            in_width = width
    return shapes


def _head_shapes() -> dict[str, tuple[int, ...]]:
    return {
        f"lin{stage}.model.1.weight": (1, width, 1, 1) for stage, width in enumerate(STAGE_WIDTHS)
    }


def _draw(shapes: dict[str, tuple[int, ...]], seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in shapes.items():
        if name.startswith("lin"):
            weights[name] = torch.rand(shape, generator=generator)
            continue
        # He initialisation keeps thirteen ReLU layers at one scale.
        scale = math.sqrt(2.0 / math.prod(shape[1:])) if len(shape) > 1 else 0.1
        weights[name] = scale * torch.randn(shape, generator=generator)
    return weights


def _read(file: Path, shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            found = load_file(file)
        else:
            found = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # the readers raise a dozen kinds, none of them documented
        raise ConfigError(
            f"LPIPS weights: expected a PyTorch or safetensors file, got an unreadable one "
            f"({file}: {error}). Fetch it again."
        ) from error
    weights = {}
    for name, shape in shapes.items():
        tensor = found.get(name) if isinstance(found, dict) else None
        if not isinstance(tensor, Tensor) or tuple(tensor.shape) != shape:
            got = list(tensor.shape) if isinstance(tensor, Tensor) else "nothing"
            raise ConfigError(
                f"LPIPS weights: expected {name!r} of shape {list(shape)}, got {got} ({file}). "
                f"Use the VGG16 variant of the file."
            )
        weights[name] = tensor.float()
        if name.startswith("lin") and not bool((weights[name] >= 0).all()):
            raise ConfigError(
                f"LPIPS weights: expected {name!r} without negative or NaN entries (a distance "
                f"would fall as images part), got {float(weights[name].min())} ({file})."
            )
    return weights
