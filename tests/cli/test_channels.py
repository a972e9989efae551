"""Channels alone, levels and chunks on the command line: files, parts, data sets, what is told."""

from pathlib import Path

import pytest
import torch

from tests.cli.conftest import Run
from tests.cli.tiny_sounds import RATE_HZ, chirp, tiny_sound_tokenizer
from vqkit.files import read_info, read_tokens
from vqkit.files.dataset import Manifest, read_shard, verify_dataset
from vqkit.files.storage import Storage
from vqkit.media import read_audio, write_audio
from vqkit.tokenizers import Chunking, LoudnessLevel, MidSide, SplitChannels, Tokenizer

CHUNKS = Chunking(chunk_samples=800, step_samples=760)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model for one channel, as a whole and in chunks."""
    folder = tmp_path_factory.mktemp("models")
    tokenizer = tiny_sound_tokenizer()
    tokenizer.save_pretrained(folder / "mix")
    parts = tokenizer.frontend, tokenizer.encoder, tokenizer.quantizer, tokenizer.decoder
    Tokenizer(*parts, "audio/chunks", CHUNKS).save_pretrained(folder / "chunks")
    return folder


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    folder = tmp_path / "sounds"
    folder.mkdir()
    for channels in (1, 2):
        write_audio(chirp(0.5, 11_025, channels), folder / f"{channels}.flac", 11_025)
    return folder


def converted(run: Run, models: Path, tmp_path: Path, source: str, *options: object) -> Path:
    ran = run("convert", models / source, tmp_path / "model", *options)
    assert ran.status == 0, ran.err
    return tmp_path / "model"


@pytest.mark.parametrize(("source", "channels"), [("mix", "split"), ("chunks", "mid-side")])
def test_a_folder_of_mono_and_stereo(
    run: Run, models: Path, sounds: Path, tmp_path: Path, source: str, channels: str
) -> None:
    """Token files and data sets hold the same, and decode to what Python decodes."""
    model = converted(run, models, tmp_path, source, "--channels", channels, "--loudness=-24")
    tokenizer = Tokenizer.from_pretrained(model)
    policies = {"split": SplitChannels(), "mid-side": MidSide()}
    assert tokenizer.frontend.channel_policy == policies[channels]
    assert tokenizer.frontend.level == LoudnessLevel(target_lufs=-24.0)
    ran = run("encode", sounds, "-m", model, "--output-dir", tmp_path / "files")
    assert ran.status == 0, ran.err
    data = tmp_path / "data"
    ran = run("encode", sounds, "-m", model, "--dataset", data, "--engine", "inline")
    assert ran.status == 0, ran.err
    storage = Storage.at(str(data))
    assert verify_dataset(storage).problems == ()
    samples = [
        s for shard in Manifest.read(storage).shards for s in read_shard(storage, shard.name)
    ]
    assert len(samples) == 2
    for sample in samples:
        assert sample.tokens is not None
        assert sample.tokens.same_as(read_tokens(tmp_path / "files" / f"{sample.key}.vqt"))
    ran = run("decode", tmp_path / "files", "-m", model, "--output-dir", tmp_path / "back")
    assert ran.status == 0, ran.err
    for name in ("1", "2"):
        tokens = read_tokens(tmp_path / "files" / f"{name}.flac.vqt")
        assert tokens.streams["tokens"].grid[1] == int(name)
        decoded = read_audio(tmp_path / "back" / f"{name}.wav").samples
        (expected,) = tokenizer.decode(tokens)
        torch.testing.assert_close(decoded, expected, rtol=0, atol=2**-15)


def test_what_is_told(run: Run, models: Path, sounds: Path, tmp_path: Path) -> None:
    model = converted(run, models, tmp_path, "chunks", "--channels", "split", "--loudness=-24")
    output = tmp_path / "x.vqt"
    assert run("encode", sounds / "2.flac", "-m", model, "-o", output).status == 0
    ran = run("info", output, model)
    assert "channels 2, sample_rate_hz 11025, samples 5512, gain -17.47 dB" in ran.out
    assert "stream scale: 6 x 2 positions, 4 codebook(s)" in ran.out
    assert "audio, any channels, each alone, 8000 Hz" in ran.out
    assert "kbit/s for each channel" in ran.out
    assert "chunks: of 800 samples, one every 760" in ran.out
    document = run("info", model, "--json").document["items"][0]
    assert document["chunking"] == {
        "chunk_samples": 800,
        "step_samples": 760,
        "normalises": True,
    }
    info = read_info(output)
    assert info.nominal_bits == read_tokens(output).bits
    ran = run("info", models / "mix", "--json")
    assert ran.document["items"][0]["chunking"] is None


@pytest.mark.parametrize("codebooks", [2])
def test_a_part_of_a_file_in_chunks(
    run: Run, models: Path, sounds: Path, tmp_path: Path, codebooks: int
) -> None:
    """The part is that of the whole, for tokens of a chunk decode without the others."""
    model = converted(run, models, tmp_path, "chunks", "--channels", "split", "--loudness=-30")
    output, part = tmp_path / "x.vqt", tmp_path / "part.wav"
    long = tmp_path / "long.wav"
    write_audio(chirp(1.0, RATE_HZ, 2), long, RATE_HZ)
    assert run("encode", long, "-m", model, "-o", output, "--chunk-rows", 5).status == 0
    options = ("-m", model, "-o", part, "-f", "--codebooks", codebooks)
    ran = run("decode", output, *options, "--part", "time=3000:4100")
    assert ran.status == 0, ran.err
    tokenizer = Tokenizer.from_pretrained(model)
    (whole,) = tokenizer.decode(read_tokens(output).first_codebooks(codebooks))
    found = read_audio(part).samples
    torch.testing.assert_close(found, whole[:, 3000:4100], rtol=0, atol=2**-15)
    ran = run("decode", output, *options, "--part", "channel=0:1")
    assert ran.status == 1
    assert "got 'channel'" in ran.err


def test_more_channels_than_two_have_no_mid_and_side(
    run: Run, models: Path, tmp_path: Path
) -> None:
    model = converted(run, models, tmp_path, "mix", "--channels", "mid-side")
    write_audio(chirp(0.1, RATE_HZ, 6), tmp_path / "six.wav", RATE_HZ)
    ran = run("encode", tmp_path / "six.wav", "-m", model, "-o", tmp_path / "x.vqt")
    assert ran.status == 1
    assert "1 to 2 channels for MidSide" in ran.err


def test_models_that_have_no_channels(run: Run, model: Path, tmp_path: Path) -> None:
    ran = run("convert", model, tmp_path / "new", "--channels", "split", "--trust", "tests")
    assert ran.status == 2
    assert "no model of sounds" in ran.err
