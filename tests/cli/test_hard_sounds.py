"""Files that published codecs fail on: through the command line, the right result or an error.

24 bits, 6 channels, 8 kHz, 192 kHz, no samples at all, an MP3 cut short, a video with two sounds.
"""

from pathlib import Path

import pytest
import torch

from tests.cli.conftest import Run
from tests.cli.tiny_sounds import RATE_HZ, chirp, tiny_sound_tokenizer
from tests.media.audio_files import by_ffmpeg, written
from vqkit.files import read_tokens
from vqkit.media import audio_info, read_audio, write_audio
from vqkit.tokenizers import Tokenizer


@pytest.fixture(scope="module")
def sound_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "sound"
    tiny_sound_tokenizer().save_pretrained(folder)
    return folder


def there_and_back(run: Run, model: Path, file: Path) -> torch.Tensor:
    """What a file decodes to, which is what its samples do without files in between."""
    tokens, back = file.with_suffix(".vqt"), file.with_suffix(".back.wav")
    ran = run("encode", file, "-m", model, "-o", tokens, "-f")
    assert ran.status == 0, ran.err
    ran = run("decode", tokens, "-m", model, "-o", back, "-f")
    assert ran.status == 0, ran.err
    original, decoded = read_audio(file), read_audio(back)
    assert decoded.sample_rate_hz == original.sample_rate_hz
    assert decoded.samples.shape == original.samples.shape
    tokenizer = Tokenizer.from_pretrained(model)
    encoded = tokenizer.encode([original.samples], sample_rate_hz=original.sample_rate_hz)
    assert read_tokens(tokens).same_as(encoded)
    (expected,) = tokenizer.decode(encoded)
    torch.testing.assert_close(decoded.samples, expected, rtol=0, atol=2**-15)
    return decoded.samples


@pytest.mark.parametrize("bit_depth", [16, 24])
def test_24_bits(run: Run, sound_model: Path, tmp_path: Path, bit_depth: int) -> None:
    """Bits that 16 would lose are in the tokens: a tone 100 dB down is not silence."""
    quiet = 1e-5 * chirp(0.3, RATE_HZ)
    for name in ("a.wav", "a.flac"):
        file = tmp_path / name
        write_audio(quiet, file, RATE_HZ, bit_depth=bit_depth)
        samples = read_audio(file).samples
        # With 16 bits 1e-5 is less than half a step.
        assert bool(samples.any()) == (bit_depth == 24)
        there_and_back(run, sound_model, file)


def test_6_channels(run: Run, sound_model: Path, tmp_path: Path) -> None:
    write_audio(chirp(0.3, RATE_HZ, 6), tmp_path / "six.wav", RATE_HZ)
    mixed = there_and_back(run, sound_model, tmp_path / "six.wav")
    assert torch.equal(mixed, mixed[:1].expand(6, -1)), "a mix has one sound in every channel"
    split = tmp_path / "split"
    ran = run("convert", sound_model, split, "--channels", "split", "--name", "audio/split")
    assert ran.status == 0, ran.err
    alone = there_and_back(run, split, tmp_path / "six.wav")
    assert len({tuple(channel[:200].tolist()) for channel in alone}) == 6


@pytest.mark.parametrize("rate_hz", [8000, 192_000])
def test_8_and_192_khz(run: Run, sound_model: Path, tmp_path: Path, rate_hz: int) -> None:
    write_audio(chirp(0.25, rate_hz, 2), tmp_path / "a.flac", rate_hz)
    there_and_back(run, sound_model, tmp_path / "a.flac")
    assert read_tokens(tmp_path / "a.vqt").indices.shape[1] == 0.25 * RATE_HZ / 160 + 0.5


def test_no_samples_at_all(run: Run, sound_model: Path, tmp_path: Path) -> None:
    write_audio(torch.zeros(2, 0), tmp_path / "a.wav", RATE_HZ)
    assert there_and_back(run, sound_model, tmp_path / "a.wav").shape == (2, 0)
    (tmp_path / "empty.wav").write_bytes(b"")
    ran = run("encode", tmp_path / "empty.wav", "-m", sound_model, "-o", tmp_path / "b.vqt")
    assert ran.status == 1
    assert "empty" in ran.err
    assert not (tmp_path / "b.vqt").exists()


def test_an_mp3_that_was_cut(run: Run, sound_model: Path, tmp_path: Path) -> None:
    whole = written(chirp(2.0, 44_100, 2), 44_100, format="mp3")
    file, tokens = tmp_path / "cut.mp3", tmp_path / "cut.vqt"
    file.write_bytes(whole[: len(whole) // 2])
    ran = run("encode", file, "-m", sound_model, "-o", tokens)
    assert ran.status == 1
    assert "cut.mp3" in ran.err
    assert "cut short" in ran.err
    assert not tokens.exists()


def test_a_video_with_two_sounds(run: Run, sound_model: Path, tmp_path: Path) -> None:
    tracks = chirp(0.4, 48_000), chirp(0.4, 48_000, pitch_hz=700.0)
    file = tmp_path / "film.mp4"
    file.write_bytes(by_ffmpeg(*tracks, container="mp4", encoding="aac", with_video=True))
    assert audio_info(file).num_streams == 2
    made = []
    for number, options in enumerate(((), ("--audio-track", 0), ("--audio-track", 1))):
        tokens = tmp_path / f"{number}.vqt"
        ran = run("encode", file, "-m", sound_model, "-o", tokens, *options)
        assert ran.status == 0, ran.err
        assert ("2 audio tracks, and track 0 is taken" in ran.err) == (not options)
        made.append(read_tokens(tokens))
    assert made[0].same_as(made[1])
    assert not made[0].same_as(made[2])
    sound = read_audio(file, audio_stream=1)
    encoded = tiny_sound_tokenizer().encode([sound.samples], sample_rate_hz=48_000)
    assert torch.equal(made[2].indices, encoded.indices)
    ran = run("encode", file, "-m", sound_model, "-o", tmp_path / "x.vqt", "--audio-track", 2)
    assert ran.status == 1
    assert "below 2, got 2" in ran.err
    assert run("encode", file, "-m", sound_model, "--audio-track", "-1").status == 2
    ran = run("encode", tmp_path, "-m", sound_model, "--dataset", "d", "--audio-track", 1)
    assert ran.status == 2
