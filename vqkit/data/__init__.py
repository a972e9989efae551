"""Sets of images, sounds and clips, transforms and the data modules that train on them.

Example:
    >>> source = Photos(["chelsea"])
    >>> stream = SampleStream(source, training_chain(32), seed=0)
    >>> stream[1_000_000].shape
    torch.Size([3, 32, 32])
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from vqkit.data.audio_files import AudioFileList, AudioFiles, AudioFolder
from vqkit.data.audio_source import AudioSource
from vqkit.data.audio_transforms import (
    RandomGain,
    RandomSegment,
    SegmentToMultiple,
    SegmentTransform,
)
from vqkit.data.clips import Clip, TensorClip
from vqkit.data.features import ClassFolder, ImageFeatures, Patches, class_folders
from vqkit.data.image_files import ImageFileList, ImageFiles, ImageFolder
from vqkit.data.image_transforms import (
    CenterCrop,
    CropToMultiple,
    RandomCrop,
    RandomFlip,
    ResizeShortSide,
    training_chain,
)
from vqkit.data.moving_shapes import MovingShapes
from vqkit.data.photos import HELD_OUT_PHOTOS, TRAINING_PHOTOS, Photos
from vqkit.data.shapes import FACTORS, FactorShapes
from vqkit.data.sounds import Sound, TensorSound
from vqkit.data.source import ImageSource, MediaSet
from vqkit.data.speech_transforms import RandomNoise, RandomSilence, RandomSpeed
from vqkit.data.stream import PositionSampler, SampleStream
from vqkit.data.token_crops import MaskedCrop, TokenCrops
from vqkit.data.torchvision_images import TorchvisionImages
from vqkit.data.transcripts import TranscribedFiles, TranscribedFolder, TranscribedManifest
from vqkit.data.transforms import Chain, Transform
from vqkit.data.video_files import VideoFileList, VideoFiles, VideoFolder
from vqkit.data.video_source import JoinedVideos, StillVideos, VideoSource
from vqkit.data.video_transforms import (
    ClipTransform,
    EveryFrame,
    FramesToMultiple,
    RandomFrames,
    video_training_chain,
)
from vqkit.data.voices import Voices

if TYPE_CHECKING:
    from vqkit.data.module import (
        AudioDataModule,
        ImageDataModule,
        MediaDataModule,
        VideoDataModule,
    )
    from vqkit.data.transcribed_module import TranscribedBatch, TranscribedDataModule

__all__ = [
    "FACTORS",
    "HELD_OUT_PHOTOS",
    "TRAINING_PHOTOS",
    "AudioDataModule",
    "AudioFileList",
    "AudioFiles",
    "AudioFolder",
    "AudioSource",
    "CenterCrop",
    "Chain",
    "ClassFolder",
    "Clip",
    "ClipTransform",
    "CropToMultiple",
    "EveryFrame",
    "FactorShapes",
    "FramesToMultiple",
    "ImageDataModule",
    "ImageFeatures",
    "ImageFileList",
    "ImageFiles",
    "ImageFolder",
    "ImageSource",
    "JoinedVideos",
    "MaskedCrop",
    "MediaDataModule",
    "MediaSet",
    "MovingShapes",
    "Patches",
    "Photos",
    "PositionSampler",
    "RandomCrop",
    "RandomFlip",
    "RandomFrames",
    "RandomGain",
    "RandomNoise",
    "RandomSegment",
    "RandomSilence",
    "RandomSpeed",
    "ResizeShortSide",
    "SampleStream",
    "SegmentToMultiple",
    "SegmentTransform",
    "Sound",
    "StillVideos",
    "TensorClip",
    "TensorSound",
    "TokenCrops",
    "TorchvisionImages",
    "TranscribedBatch",
    "TranscribedDataModule",
    "TranscribedFiles",
    "TranscribedFolder",
    "TranscribedManifest",
    "Transform",
    "VideoDataModule",
    "VideoFileList",
    "VideoFiles",
    "VideoFolder",
    "VideoSource",
    "Voices",
    "class_folders",
    "training_chain",
    "video_training_chain",
]

_MODULES = {
    "AudioDataModule": "module",
    "ImageDataModule": "module",
    "MediaDataModule": "module",
    "VideoDataModule": "module",
    "TranscribedBatch": "transcribed_module",
    "TranscribedDataModule": "transcribed_module",
}


def __getattr__(name: str) -> Any:
    # Evaluation and worker processes read media without Lightning: it is imported when asked for.
    if name in _MODULES:
        return getattr(import_module(f"vqkit.data.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
