"""``vqkit codebook build``: clusters the features of a folder of images."""

import argparse
import importlib
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vqkit.cli.console import Console, printable
from vqkit.cli.models import ModelLoader
from vqkit.cli.targets import Target
from vqkit.cli.usage import UsageError
from vqkit.data import ClassFolder, ImageFeatures, Patches, class_folders
from vqkit.errors import MediaError
from vqkit.files import write_codebook
from vqkit.quantizers import minibatch_kmeans

__all__ = ["build"]


def build(source: str, arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Write a codebook file; give the facts."""
    if (arguments.size is None) == (arguments.per_class is None):
        raise UsageError("vqkit codebook build: expected one of --size and --per-class.")
    makers = (arguments.patches, arguments.module, arguments.model)
    if sum(maker is not None for maker in makers) != 1:
        raise UsageError("vqkit codebook build: expected one of --patches, --module and --model.")
    Target(Path(arguments.output), arguments.force).refuse_existing()
    loader = ModelLoader(arguments, console)
    module, channels, made_by = _module(arguments, loader)
    features = ImageFeatures(
        module,
        size=arguments.image_size or 256,
        batch_size=arguments.batch_size or 16,
        pool=arguments.pool,
        seed=arguments.seed or 0,
        device=loader.device,
    )
    folders = class_folders(source, channels=channels)
    if arguments.per_class is None:
        # One random order over all folders, so that no class comes last.
        everything = [path for folder in folders for path in folder.images.paths]
        folders = [ClassFolder("", type(folders[0].images)(everything, channels=channels))]
    num_features, parts = 0, []

    def counted(batches: Iterator[Tensor]) -> Iterator[Tensor]:
        nonlocal num_features
        for batch in batches:
            num_features += len(batch)
            yield batch

    for folder in folders:
        size = arguments.size or arguments.per_class
        batches = counted(features(folder.images))
        first = next(batches, None)
        if first is None:
            raise MediaError(
                f"None of the {len(folder.images)} images of {folder.name or source!r} can be "
                "read. The log says why for each."
            )
        codes, _ = minibatch_kmeans(_chain(first, batches), size)
        parts.append(codes)
        name = folder.name or source
        console.detail(f"{printable(name)}: {len(folder.images):,} images, {size:,} codes")
    codebook = torch.cat(parts)
    described = f"{made_by} of {Path(source).name}, images of {features.size}"
    write_codebook(codebook, arguments.output, source=described, overwrite=arguments.force)
    return {
        "size": len(codebook),
        "dim": codebook.shape[1],
        "num_classes": len(folders),
        "num_images": sum(len(f.images) - f.images.num_skipped for f in folders),
        "num_skipped": sum(f.images.num_skipped for f in folders),
        "num_features": num_features,
    }


def _chain(first: Tensor, rest: Iterator[Tensor]) -> Iterator[Tensor]:
    yield first
    yield from rest


def _module(
    arguments: argparse.Namespace, loader: ModelLoader
) -> tuple[Callable[[Tensor], Tensor], int, str]:
    """What makes features, the channels that it takes, and its name."""
    if arguments.patches is not None:
        return Patches(arguments.patches), 3, f"patches of {arguments.patches} pixels"
    if arguments.model is not None:
        tokenizer = loader.named()
        return tokenizer.encoder, tokenizer.frontend.channels, f"encoder of {tokenizer.name}"
    package, _, name = arguments.module.partition(":")
    try:
        found = getattr(importlib.import_module(package), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(
            f"--module {arguments.module}: expected PACKAGE:NAME that can be imported ({error})."
        ) from error
    if inspect.isclass(found):
        found = found()
    if not callable(found):
        raise UsageError(f"--module {arguments.module}: expected a function or a module.")
    if isinstance(found, nn.Module):
        found = found.to(loader.device).eval()
    return found, 3, arguments.module
