from pathlib import Path

import pytest
import torch

from tests.media.audio_files import by_ffmpeg, written
from vqkit.media import write_image


@pytest.fixture
def folder(tmp_path) -> Path:
    """Ten small images of different sizes; the first pixel of image i has level 10 i."""
    images = tmp_path / "images"
    images.mkdir()
    generator = torch.Generator().manual_seed(1)
    for i in range(10):
        image = torch.rand(3, 20 + i, 30 - i, generator=generator) * 2 - 1
        image[:, 0, 0] = 10 * i / 127.5 - 1
        write_image(image, images / f"{i}.png")
    return images


@pytest.fixture
def damaged_folder(folder) -> Path:
    """The same with images 2, 3 and 9 broken."""
    (folder / "2.png").write_bytes(b"")
    (folder / "3.png").write_bytes((folder / "3.png").read_bytes()[:100])
    (folder / "9.png").write_bytes(b"hello")
    return folder


def sweep(number: int, channels: int, num_samples: int) -> torch.Tensor:
    """A sound of its own for each number; the mean of its channels is not silent."""
    generator = torch.Generator().manual_seed(number)
    time = torch.arange(num_samples) / 16000
    tone = 0.4 * torch.sin(2 * torch.pi * (200 + 50 * number) * time)
    return tone + 0.2 * torch.rand(channels, num_samples, generator=generator) - 0.1


@pytest.fixture(scope="session")
def sound_files() -> dict[str, bytes]:
    """Of many formats, rates, channels and lengths, all of 0.1 to 1.5 s."""
    return {
        "0.wav": written(sweep(0, 1, 16_000)),
        "1.wav": written(sweep(1, 2, 44_100), 44_100, format="wav", bit_depth=24),
        "2.flac": written(sweep(2, 1, 33_333), 22_050, format="flac"),
        "3.flac": written(sweep(3, 6, 24_000), 24_000, format="flac"),
        "4.ogg": written(sweep(4, 2, 30_000), 32_000, format="ogg"),
        "5.mp3": written(sweep(5, 1, 40_000), 44_100, format="mp3"),
        "6.webm": by_ffmpeg(sweep(6, 2, 48_000), container="webm", encoding="libopus"),
        "7.wav": written(sweep(7, 1, 800), 8_000),
        "8.opus": written(sweep(8, 1, 48_000), 48_000, format="opus"),
        "9.m4a": written(sweep(9, 1, 24_000), 16_000, format="m4a"),
    }


@pytest.fixture
def sounds(tmp_path, sound_files) -> Path:
    """A folder of them."""
    folder = tmp_path / "sounds"
    folder.mkdir()
    for name, content in sound_files.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def damaged_sounds(sounds) -> Path:
    """The same; 1 and 5 cannot be opened, 2 is damaged in its second half, 6 is no sound."""
    (sounds / "1.wav").write_bytes(b"")
    (sounds / "5.mp3").write_bytes(b"hello")
    flac = bytearray((sounds / "2.flac").read_bytes())
    flac[len(flac) * 2 // 3 :] = bytes(len(flac) - len(flac) * 2 // 3)
    (sounds / "2.flac").write_bytes(flac)
    (sounds / "6.webm").write_bytes((sounds / "6.webm").read_bytes()[:200])
    return sounds
