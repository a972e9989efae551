"""A tokenizer of sounds that nothing needs to train, and sounds of every kind for it."""

from pathlib import Path

import torch
from torch import Tensor

from vqkit.media import write_audio
from vqkit.nets import SEANetDecoder, SEANetEncoder
from vqkit.quantizers import FSQ, Residual
from vqkit.tokenizers import AudioFrontend, Tokenizer

RATE_HZ = 8000

SOUNDS = {  # seconds, rate, channels
    "inner/song.mp3": (0.5, 44_100, 2),
    "inner/twin.flac": (0.7, 16_000, 1),
    "nothing.wav": (0.0, 8000, 1),
    "six.wav": (0.3, 8000, 6),
    "talk.flac": (0.7, 16_000, 1),
    "voice.ogg": (0.4, 22_050, 1),
    "voice.m4a": (0.4, 48_000, 2),
}
BROKEN = {"cut.flac": "damaged or cut short", "text.wav": "got something else"}


def tiny_sound_tokenizer(name: str = "audio/tiny") -> Tokenizer:
    """50 positions a second of three levels, each of 5^4 codes."""
    torch.manual_seed(0)
    sizes = {"dim": 4, "num_filters": 2, "strides": (4, 5, 8), "num_lstm_layers": 0}
    quantizer = Residual(FSQ([5] * 4, symmetric=True, bound="clamp"), 3, level_scale=0.25)
    encoder, decoder = SEANetEncoder(**sizes), SEANetDecoder(**sizes)
    return Tokenizer(AudioFrontend(RATE_HZ), encoder, quantizer, decoder, name).eval()


def chirp(seconds: float, rate_hz: int, channels: int = 1, pitch_hz: float = 220.0) -> Tensor:
    """A tone that rises, another one in each channel."""
    time = torch.arange(round(seconds * rate_hz)) / rate_hz
    pitches = pitch_hz * torch.arange(1, channels + 1)[:, None]
    return 0.5 * torch.sin(2 * torch.pi * pitches * time * (1 + time))


def write_sounds(folder: Path) -> Path:
    """Sounds of different formats, rates and channels, two files that are none, and a text."""
    for number, (name, (seconds, rate_hz, channels)) in enumerate(SOUNDS.items()):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        sound = chirp(seconds, rate_hz, channels, pitch_hz=150.0 + 40 * number)
        write_audio(sound, folder / name, rate_hz)
    (folder / "cut.flac").write_bytes((folder / "talk.flac").read_bytes()[:-2000])
    (folder / "text.wav").write_text("no sound")
    (folder / "notes.txt").write_text("not looked at")
    return folder
