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
from vqkit.media.finding import (
    find_audio,
    find_images,
    find_videos,
    walk_audio,
    walk_images,
    walk_videos,
)
from vqkit.media.formats import IMAGE_SUFFIXES, has_image_suffix
from vqkit.media.image_reader import ImageReader
from vqkit.media.image_writer import ImageWriter
from vqkit.media.pixels import Alpha, from_levels, tensor_from_pillow, to_levels
from vqkit.media.reading import MAX_PIXELS, image_size, is_image, read_image
from vqkit.media.sources import MediaSource
from vqkit.media.targets import MediaTarget
from vqkit.media.video_decoder import VideoInfo
from vqkit.media.video_encoder import VideoEncoding
from vqkit.media.video_formats import VIDEO_SUFFIXES, has_video_suffix
from vqkit.media.video_reader import VideoReader
from vqkit.media.video_reading import MAX_VIDEO_VALUES, Video, is_video, read_video, video_info
from vqkit.media.video_sound import AudioBlocks, AudioTrack, sound_file, track_samples
from vqkit.media.video_times import FrameTimes, exact_rate
from vqkit.media.video_writing import VideoWriter, write_video
from vqkit.media.writing import write_image

__all__ = [
    "AUDIO_SUFFIXES",
    "IMAGE_SUFFIXES",
    "MAX_AUDIO_VALUES",
    "MAX_PIXELS",
    "MAX_VIDEO_VALUES",
    "METADATA_KEYS",
    "VIDEO_SUFFIXES",
    "Alpha",
    "Audio",
    "AudioBlocks",
    "AudioInfo",
    "AudioReader",
    "AudioTrack",
    "AudioWriter",
    "BitDepth",
    "FrameTimes",
    "ImageReader",
    "ImageWriter",
    "MediaSource",
    "MediaTarget",
    "Video",
    "VideoEncoding",
    "VideoInfo",
    "VideoReader",
    "VideoWriter",
    "audio_info",
    "exact_rate",
    "find_audio",
    "find_images",
    "find_videos",
    "from_levels",
    "has_audio_suffix",
    "has_image_suffix",
    "has_video_suffix",
    "image_size",
    "is_audio",
    "is_image",
    "is_video",
    "read_audio",
    "read_image",
    "read_video",
    "sound_file",
    "tensor_from_pillow",
    "to_levels",
    "track_samples",
    "video_info",
    "walk_audio",
    "walk_images",
    "walk_videos",
    "write_audio",
    "write_image",
    "write_video",
]
