"""Sets of images, transforms and the data module that trains on them.

Example:
    >>> source = Photos(["chelsea"])
    >>> stream = SampleStream(source, training_chain(32), seed=0)
    >>> stream[1_000_000].shape
    torch.Size([3, 32, 32])
"""

from typing import TYPE_CHECKING, Any

from vqkit.data.features import ClassFolder, ImageFeatures, Patches, class_folders
from vqkit.data.files import ImageFileList, ImageFiles, ImageFolder
from vqkit.data.photos import HELD_OUT_PHOTOS, TRAINING_PHOTOS, Photos
from vqkit.data.shapes import FACTORS, FactorShapes
from vqkit.data.source import ImageSource
from vqkit.data.stream import PositionSampler, SampleStream
from vqkit.data.token_crops import MaskedCrop, TokenCrops
from vqkit.data.torchvision_images import TorchvisionImages
from vqkit.data.transforms import (
    CenterCrop,
    Chain,
    CropToMultiple,
    RandomCrop,
    RandomFlip,
    ResizeShortSide,
    Transform,
    training_chain,
)

if TYPE_CHECKING:
    from vqkit.data.module import ImageDataModule

__all__ = [
    "FACTORS",
    "HELD_OUT_PHOTOS",
    "TRAINING_PHOTOS",
    "CenterCrop",
    "Chain",
    "ClassFolder",
    "CropToMultiple",
    "FactorShapes",
    "ImageDataModule",
    "ImageFeatures",
    "ImageFileList",
    "ImageFiles",
    "ImageFolder",
    "ImageSource",
    "MaskedCrop",
    "Patches",
    "Photos",
    "PositionSampler",
    "RandomCrop",
    "RandomFlip",
    "ResizeShortSide",
    "SampleStream",
    "TokenCrops",
    "TorchvisionImages",
    "Transform",
    "class_folders",
    "training_chain",
]


def __getattr__(name: str) -> Any:
    # Evaluation and worker processes read images without Lightning: it is imported when asked for.
    if name == "ImageDataModule":
        from vqkit.data.module import ImageDataModule

        return ImageDataModule
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
