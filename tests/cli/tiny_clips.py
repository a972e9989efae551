"""A tokenizer of clips that nothing needs to train, and clips for it."""

import io

import torch

from vqkit.media import Audio, AudioTrack, write_video
from vqkit.nets import LightVideoDecoder, LightVideoEncoder
from vqkit.quantizers import FSQ
from vqkit.tokenizers import Tokenizer, VideoFrontend

TONE_HZ = 32_000
"""Rate of :func:`toned`."""


def tiny_video_tokenizer() -> Tokenizer:
    """Strides 4x8x8."""
    torch.manual_seed(0)
    sizes = {"dim": 4, "widths": [8, 8], "num_blocks": [1, 1]}
    encoder, decoder = LightVideoEncoder(**sizes), LightVideoDecoder(**sizes)
    return Tokenizer(VideoFrontend(), encoder, FSQ([5] * 4), decoder, "video/x").eval()


def fading(num_frames: int, height: int = 24, width: int = 40) -> torch.Tensor:
    """Frames that go from dark to bright."""
    level = torch.linspace(-0.9, 0.9, num_frames)[None, :, None, None]
    across = torch.linspace(-0.1, 0.1, width)
    return (level + across).expand(3, num_frames, height, width).contiguous()


def toned(num_frames: int, seconds: float, *, begins_at: float = 0.0, format: str = "mp4") -> bytes:
    """A file of 10 frames a second with a tone, which may begin after the picture."""
    frames = fading(num_frames)
    tone = 0.5 * torch.sin(torch.arange(round(seconds * TONE_HZ)) / 9)[None]
    whole = _file(frames, format, Audio(tone, TONE_HZ))
    if not begins_at:
        return whole
    return _file(frames, format, AudioTrack(whole, start_seconds=-begins_at))


def _file(frames: torch.Tensor, format: str, audio: Audio | AudioTrack) -> bytes:
    file = io.BytesIO()
    write_video(frames, file, 10, format=format, audio=audio)
    return file.getvalue()
