"""Media files <-> plain tensors in [-1, 1].

Example:
    >>> import io, torch
    >>> file = io.BytesIO()
    >>> write_image(torch.ones(3, 4, 5), file)
    >>> read_image(file.getvalue()).shape
    torch.Size([3, 4, 5])
"""

from vqkit.media.audio_decoder import METADATA_KEYS, AudioInfo
from vqkit.media.audio_formats import AUDIO_SUFFIXES, has_audio_suffix
from vqkit.media.audio_reader import AudioReader
from vqkit.media.audio_reading import MAX_AUDIO_VALUES, Audio, audio_info, is_audio, read_audio
from vqkit.media.audio_writing import AudioWriter, BitDepth, write_audio
from vqkit.media.finding import find_audio, find_images, walk_audio, walk_images
from vqkit.media.formats import IMAGE_SUFFIXES, has_image_suffix
from vqkit.media.pixels import Alpha, tensor_from_pillow
from vqkit.media.reading import MAX_PIXELS, image_size, is_image, read_image
from vqkit.media.sources import MediaSource
from vqkit.media.targets import MediaTarget
from vqkit.media.writing import write_image

__all__ = [
    "AUDIO_SUFFIXES",
    "IMAGE_SUFFIXES",
    "MAX_AUDIO_VALUES",
    "MAX_PIXELS",
    "METADATA_KEYS",
    "Alpha",
    "Audio",
    "AudioInfo",
    "AudioReader",
    "AudioWriter",
    "BitDepth",
    "MediaSource",
    "MediaTarget",
    "audio_info",
    "find_audio",
    "find_images",
    "has_audio_suffix",
    "has_image_suffix",
    "image_size",
    "is_audio",
    "is_image",
    "read_audio",
    "read_image",
    "tensor_from_pillow",
    "walk_audio",
    "walk_images",
    "write_audio",
    "write_image",
]
