"""Audio files written block by block."""

import io
from pathlib import Path

import pytest
import torch

from vqkit.errors import MediaError, ShapeError
from vqkit.media import AudioWriter, read_audio, write_audio

FORMATS = ("wav", "flac", "ogg", "opus", "mp3", "m4a")
RATE = 16_000


def _sound(num_samples: int = 5_000) -> torch.Tensor:
    time = torch.arange(num_samples) / RATE
    return torch.stack([(2 * torch.pi * hz * time).sin() / 2 for hz in (220, 330)])


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("block", [1, 999, 5_000])
def test_blocks_make_the_same_sound_as_the_whole(format: str, block: int, tmp_path: Path) -> None:
    sound = _sound(500 if block == 1 else 5_000)
    write_audio(sound, tmp_path / f"whole.{format}", RATE)
    with AudioWriter(tmp_path / f"blocks.{format}", RATE, channels=2) as writer:
        for part in sound.split(block, dim=1):
            writer.write(part)

    whole, blocks = (read_audio(tmp_path / f"{name}.{format}") for name in ("whole", "blocks"))
    assert torch.equal(whole.samples, blocks.samples)


def test_nothing_is_left_of_what_failed(tmp_path: Path) -> None:
    def fail(target: Path | io.BytesIO, format: str) -> None:
        with AudioWriter(target, RATE, channels=2, format=format) as writer:
            writer.write(_sound())
            writer.write(_sound()[:1])

    stream = io.BytesIO()
    for format in FORMATS:
        for target in (tmp_path / f"a.{format}", stream):
            with pytest.raises(ShapeError, match="2 channels"):
                fail(target, format)
    assert not stream.getvalue()
    assert not list(tmp_path.iterdir())


def test_the_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    with AudioWriter(path, RATE, channels=2) as writer:
        writer.write(_sound())
        assert not path.exists()
    assert read_audio(path).samples.shape == (2, 5_000)
    with pytest.raises(MediaError, match="exists"):
        AudioWriter(path, RATE, channels=2)


def test_no_block_at_all(tmp_path: Path) -> None:
    with AudioWriter(tmp_path / "a.wav", RATE, channels=1):
        pass
    assert read_audio(tmp_path / "a.wav").samples.shape == (1, 0)
    with (
        pytest.raises(MediaError, match="0 samples as flac"),
        AudioWriter(tmp_path / "a.flac", RATE, channels=1),
    ):
        pass
    assert not (tmp_path / "a.flac").exists()
