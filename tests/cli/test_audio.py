"""The verbs on sounds: files of any format in, tokens, and the same length and channels back."""

import json
import math
from pathlib import Path

import pytest
import torch

from tests.cli.conftest import Pipe, Run
from vqkit.files import read_info, read_tokens
from vqkit.media import audio_info, read_audio, write_audio
from vqkit.nets import SEANetDecoder, SEANetEncoder
from vqkit.quantizers import FSQ, Residual
from vqkit.tokenizers import AudioFrontend, Tokenizer

RATE_HZ = 8000
LEVEL_BITS = math.log2(5**4)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """50 frames per second, three levels."""
    torch.manual_seed(0)
    sizes = {"dim": 4, "num_filters": 2, "strides": (4, 5, 8), "num_lstm_layers": 0}
    quantizer = Residual(FSQ([5] * 4, symmetric=True, bound="clamp"), 3, level_scale=0.25)
    tokenizer = Tokenizer(
        AudioFrontend(RATE_HZ), SEANetEncoder(**sizes), quantizer, SEANetDecoder(**sizes), "audio/x"
    )
    folder = tmp_path_factory.mktemp("models") / "sound"
    tokenizer.save_pretrained(folder)
    return folder


def tone(seconds: float, rate_hz: int, channels: int = 1) -> torch.Tensor:
    time = torch.arange(round(seconds * rate_hz)) / rate_hz
    pitches = 220.0 * torch.arange(1, channels + 1)[:, None]
    return 0.5 * torch.sin(2 * torch.pi * pitches * time)


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    folder = tmp_path / "sounds"
    (folder / "inner").mkdir(parents=True)
    write_audio(tone(1.0, 16_000), folder / "talk.flac", 16_000)
    write_audio(tone(0.5, 44_100, 2), folder / "inner" / "song.mp3", 44_100)
    write_audio(tone(0.3, 8000, 6), folder / "six.wav", 8000, bit_depth=24)
    write_audio(torch.zeros(1, 0), folder / "nothing.wav", 8000)
    (folder / "broken.flac").write_bytes((folder / "talk.flac").read_bytes()[:500])
    (folder / "notes.txt").write_text("no sound")
    return folder


def test_there_and_back(run: Run, model: Path, sounds: Path, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    ran = run("encode", sounds, "-r", "-m", model, "--output-dir", tokens, "--json")
    assert ran.status == 1
    assert "broken.flac" in ran.err
    items = {Path(item["input"]).name: item for item in ran.document["items"]}
    assert sorted(items) == ["broken.flac", "nothing.wav", "six.wav", "song.mp3", "talk.flac"]
    assert items["talk.flac"]["media_seconds"] == 1.0
    assert items["talk.flac"]["bits_per_second"] == 8 * items["talk.flac"]["size_bytes"]
    assert items["talk.flac"]["num_tokens"] == 50 * 3
    assert items["nothing.wav"]["num_tokens"] == 0
    assert ran.document["times_real_time"] > 0

    ran = run("decode", tokens, "-r", "-m", model, "--output-dir", tmp_path / "back")
    assert ran.status == 0
    assert "kbit/s" in ran.err
    assert "times real time" in ran.err
    for name in ("talk.flac", "inner/song.mp3", "six.wav", "nothing.wav"):
        was = read_audio(sounds / name)
        now = read_audio((tmp_path / "back" / name).with_suffix(".wav"))
        assert now.sample_rate_hz == was.sample_rate_hz
        assert now.samples.shape == was.samples.shape


def test_formats_of_what_is_decoded(run: Run, model: Path, sounds: Path, tmp_path: Path) -> None:
    run("encode", sounds / "talk.flac", "-m", model, "-o", tmp_path / "talk.vqt")
    for name in ("a.wav", "a.flac", "a.ogg", "a.opus", "a.mp3", "a.m4a"):
        ran = run("decode", tmp_path / "talk.vqt", "-m", model, "-o", tmp_path / name)
        assert ran.status == 0, ran.err
        assert audio_info(tmp_path / name).sample_rate_hz in (16_000, 48_000)
    ran = run("decode", tmp_path / "talk.vqt", "-m", model, "-o", tmp_path / "a.png")
    assert ran.status == 1
    assert "expected a format of a sound (wav, flac, ogg, opus, mp3, m4a), got png" in ran.err


def test_streams(pipe: Pipe, model: Path, sounds: Path) -> None:
    sound = (sounds / "talk.flac").read_bytes()
    status, tokens, _ = pipe("encode", "-", "-m", model, "-o", "-", data=sound)
    assert status == 0
    for options, head in (((), b"RIFF"), (("--format", "flac"), b"fLaC")):
        status, decoded, _ = pipe("decode", "-", "-m", model, "-o", "-", *options, data=tokens)
        assert status == 0
        assert decoded[:4] == head
        assert read_audio(decoded).samples.shape == (1, 16_000)


@pytest.mark.parametrize(("bitrate", "levels"), [(0.5, 1), (0.93, 2), (100, 3)])
def test_bitrate_is_the_number_of_codebooks(
    bitrate: float, levels: int, run: Run, model: Path, sounds: Path, tmp_path: Path
) -> None:
    assert (levels + 1) * LEVEL_BITS * 50 / 1000 > bitrate or levels == 3
    output = tmp_path / "x.vqt"
    ran = run("encode", sounds / "talk.flac", "-m", model, "-o", output, "--bitrate", bitrate)
    assert ran.status == 0
    assert read_tokens(output).codebook_sizes == (625,) * levels


def test_bitrates_that_there_are_none(run: Run, model: Path, sounds: Path, tmp_path: Path) -> None:
    command = ("encode", sounds / "talk.flac", "-m", model, "-o", tmp_path / "x.vqt")
    ran = run(*command, "--bitrate", 0.3)
    assert ran.status == 2
    assert "audio/x has at least 0.464 kbit/s" in ran.err
    for wrong in ("-1", "0", "nan", "many"):
        assert run(*command, f"--bitrate={wrong}").status == 2


def test_reconstruct_tells_quality_and_rate(
    run: Run, model: Path, sounds: Path, tmp_path: Path
) -> None:
    names = [sounds / "talk.flac", sounds / "inner" / "song.mp3"]
    write_audio(torch.zeros(1, 800), tmp_path / "silence.wav", 8000)
    ran = run(
        "reconstruct",
        *names,
        tmp_path / "silence.wav",
        "-m",
        model,
        "--output-dir",
        tmp_path / "out",
    )
    assert ran.status == 0
    first, second, silent, mean = ran.out.splitlines()
    assert "talk.flac: " in first
    assert " dB, mel distance " in second
    assert silent.startswith(f"{tmp_path / 'silence.wav'}: silent, mel distance ")
    assert mean.endswith("kbit/s")
    assert (tmp_path / "out" / "song.wav").exists()


def test_info(run: Run, model: Path, sounds: Path, tmp_path: Path) -> None:
    run("encode", sounds / "talk.flac", "-m", model, "-o", tmp_path / "x.vqt")
    ran = run("info", tmp_path / "x.vqt")
    size = read_info(tmp_path / "x.vqt").size_bytes
    assert (
        f"rate: {8 * size / 1000:.3f} kbit/s ({150 * LEVEL_BITS / 1000:.3f} kbit/s nominal)"
        in ran.out
    )
    ran = run("info", model)
    assert "audio, 1 channels, 8000 Hz" in ran.out
    assert f"{3 * LEVEL_BITS * 50 / 1000:.3f} kbit/s" in ran.out


def test_a_part_is_that_of_the_whole(run: Run, model: Path, sounds: Path, tmp_path: Path) -> None:
    run("encode", sounds / "talk.flac", "-m", model, "-o", tmp_path / "x.vqt")
    part = tmp_path / "part.wav"
    ran = run("decode", tmp_path / "x.vqt", "-m", model, "-o", part, "--part", "time=3000:4000")
    assert ran.status == 0, ran.err
    found = read_audio(part)
    assert found.sample_rate_hz == RATE_HZ
    tokenizer = Tokenizer.from_pretrained(model)
    tokens = read_tokens(tmp_path / "x.vqt")
    whole = tokenizer.decoder(tokenizer.quantizer.decode(tokens.indices).movedim(-1, 1))
    expected = whole[0, :, 3000:4000].detach().clamp(-1, 1)
    torch.testing.assert_close(found.samples, expected, rtol=0, atol=2**-15)
    ran = run("decode", tmp_path / "x.vqt", "-m", model, "-o", part, "-f", "--part", "time=0:9000")
    assert ran.status == 1
    assert "within 0 to 8000" in ran.err


def test_pictures_and_sounds_do_not_mix(
    run: Run, model: Path, sounds: Path, tmp_path: Path
) -> None:
    (tmp_path / "picture.ppm").write_bytes(b"P6 1 1 255 abc")
    ran = run("encode", tmp_path / "picture.ppm", "-m", model, "-o", tmp_path / "x.vqt")
    assert ran.status == 1
    assert "picture.ppm" in ran.err
    ran = run("encode", sounds / "talk.flac", "-m", model, "-o", tmp_path / "talk.wav")
    assert ran.status == 2
    assert "got a sound's" in ran.err


def test_convert(run: Run, tmp_path: Path) -> None:
    from tests.tokenizers.converters import peers

    peer = peers.encodec(codebook_size=64)
    peer.save_pretrained(tmp_path / "theirs")
    ran = run("convert", tmp_path / "theirs", tmp_path / "ours", "--name", "audio/mine", "--json")
    assert ran.status == 0
    assert ran.document["model"]["name"] == "audio/mine"
    assert Tokenizer.from_pretrained(tmp_path / "ours").name == "audio/mine"
    ran = run("convert", tmp_path / "theirs", tmp_path / "ours")
    assert ran.status == 2
    assert "-f" in ran.err
    ran = run("convert", tmp_path / "ours", tmp_path / "back", "--to", "transformers")
    assert ran.status == 0
    assert json.loads((tmp_path / "back" / "config.json").read_text())["model_type"] == "encodec"
    assert run("convert", tmp_path / "absent.th", tmp_path / "new").status != 0
    assert run("convert", tmp_path / "theirs").status == 2


def test_chunks_have_the_tokens_of_the_whole(model: Path, tmp_path: Path, run: Run) -> None:
    write_audio(tone(3.0, 16_000, channels=2), tmp_path / "a.flac", 16_000)
    options = [str(tmp_path / "a.flac"), "-m", str(model), "-f"]
    assert run("encode", *options, "--chunk-seconds", "inf").status == 0
    whole = read_tokens(tmp_path / "a.flac.vqt")
    for seconds in ("0.1", "0.83"):
        assert run("encode", *options, "--chunk-seconds", seconds).status == 0
        assert read_tokens(tmp_path / "a.flac.vqt").same_as(whole)
        decoding = [str(tmp_path / "a.flac.vqt"), "-m", str(model), "--chunk-seconds", seconds]
        assert run("decode", *decoding, "-o", str(tmp_path / f"{seconds}.wav")).status == 0
        assert audio_info(tmp_path / f"{seconds}.wav").num_samples == 48_000
    first, second = (read_audio(tmp_path / f"{s}.wav").samples for s in ("0.1", "0.83"))
    # One step of 16 bits, where rounding differs.
    torch.testing.assert_close(first, second, atol=2**-15 + 1e-9, rtol=0)


def test_a_length_of_chunks_that_is_none(model: Path, tmp_path: Path, run: Run) -> None:
    result = run("encode", str(tmp_path), "-m", str(model), "--chunk-seconds", "0")
    assert result.status == 2
    assert "more than 0 seconds" in result.err
