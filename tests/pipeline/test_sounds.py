"""Jobs on sounds: any format, rate and number of channels, in batches and out of Parquet files."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor

from tests.cli.tiny_sounds import BROKEN, SOUNDS, chirp, tiny_sound_tokenizer, write_sounds
from tests.pipeline.test_job import samples_in
from vqkit.errors import ConfigError
from vqkit.media import read_audio
from vqkit.pipeline import (
    EncodingJob,
    EncodingOptions,
    InlineExecutor,
    JobReport,
    ModelReference,
    encode_dataset,
    list_inputs,
)
from vqkit.pipeline.encoder import ItemEncoder
from vqkit.pipeline.reader_pool import ReaderPool
from vqkit.pipeline.reading import MediaReader, MediaRequest, ReadMedia
from vqkit.tokenizers import Tokenizer, Tokens


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sounds(tmp_path_factory.mktemp("sounds"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "sound"
    tiny_sound_tokenizer().save_pretrained(folder)
    return folder


def expected_tokens(path: Path) -> Tokens:
    sound = read_audio(path)
    return tiny_sound_tokenizer().encode([sound.samples], sample_rate_hz=sound.sample_rate_hz)


def encode(inputs: Path, model: Path, output: Path, **options: Any) -> JobReport:
    job = EncodingJob(
        str(inputs), str(output), ModelReference(str(model)), EncodingOptions(**options)
    )
    return encode_dataset(job, InlineExecutor())


@pytest.mark.parametrize("batch_size", [1, 4])
def test_tokens_are_those_of_each_sound_alone(
    sounds: Path, model: Path, tmp_path: Path, batch_size: int
) -> None:
    report = encode(sounds, model, tmp_path / "tokens", batch_size=batch_size)
    samples = samples_in(tmp_path / "tokens")
    assert sorted(samples) == sorted([*SOUNDS, *BROKEN])
    for key, sample in samples.items():
        if key in BROKEN:
            assert BROKEN[key] in sample.error
            assert repr(key) in sample.error
            continue
        assert sample.tokens is not None
        assert sample.tokens.same_as(expected_tokens(sounds / key))
        seconds, rate_hz, channels = SOUNDS[key]
        size = sample.tokens.media[0]
        assert (size["sample_rate_hz"], size["channels"]) == (rate_hz, channels)
        # The end of AAC may be followed by padding.
        slack = 1024 if key.endswith(".m4a") else 0
        assert 0 <= size["samples"] - round(seconds * rate_hz) <= slack
    manifest = report.manifest
    assert manifest is not None
    assert manifest.header.media == ("samples", "sample_rate_hz", "channels")
    assert manifest.header.rates == {"sample_rate_hz": 8000}
    assert manifest.header.provenance.preprocessing == {"batch_size": batch_size}


def test_the_report_tells_duration_and_speed(sounds: Path, model: Path, tmp_path: Path) -> None:
    first = encode(sounds, model, tmp_path / "tokens")
    sizes = [s.tokens.media[0] for s in samples_in(tmp_path / "tokens").values() if s.tokens]
    seconds = sum(size["samples"] / size["sample_rate_hz"] for size in sizes)
    document = first.to_dict()
    assert json.loads(json.dumps(document)) == document
    assert document["media_seconds"] == pytest.approx(seconds)
    assert document["bits_per_second"] == pytest.approx(8 * document["size_bytes"] / seconds)
    assert document["times_real_time"] == pytest.approx(seconds / first.seconds)
    assert first.manifest is not None
    assert first.manifest.media_seconds == pytest.approx(seconds)
    again = encode(sounds, model, tmp_path / "tokens").to_dict()
    assert again["media_seconds"] == document["media_seconds"], "what was done before counts"
    assert again["times_real_time"] is None, "but nothing was done now"


def test_sounds_in_parquet(sounds: Path, model: Path, tmp_path: Path) -> None:
    """As Hugging Face writes them, beside pictures, which a model of sounds does not take."""
    names = ["talk.flac", "inner/song.mp3", "text.wav"]
    rows = [{"bytes": (sounds / name).read_bytes(), "path": name} for name in names]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    path = tmp_path / "sounds.parquet"
    columns = {"image": [b"no sound"] * 3, "audio": pa.array(rows, kind), "label": [1, 2, 3]}
    pq.write_table(pa.table(columns), path)
    assert list_inputs(path).column == "image"
    assert list_inputs(path, "audio").column == "audio.bytes"
    encode(path, model, tmp_path / "tokens")
    samples = samples_in(tmp_path / "tokens")
    for number, name in enumerate(names):
        sample = samples[f"sounds.parquet#{number:010d}"]
        assert sample.label == number + 1
        if name in BROKEN:
            assert BROKEN[name] in sample.error
            continue
        assert sample.tokens is not None
        assert sample.tokens.same_as(expected_tokens(sounds / name))


def test_a_list_of_sounds(sounds: Path, model: Path, tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text(f"path,key,label\n{sounds / 'six.wav'},six,7\n{sounds / 'gone.wav'},gone,8\n")
    report = encode(path, model, tmp_path / "tokens")
    assert report.progress.failed == [("gone", "No such file or directory")]
    sample = samples_in(tmp_path / "tokens")["six"]
    assert sample.tokens is not None
    assert sample.tokens.same_as(expected_tokens(sounds / "six.wav"))
    assert sample.label == 7


def test_a_folder_without_sounds(tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(b"x")
    assert len(list_inputs(tmp_path, "image")) == 1
    with pytest.raises(ConfigError, match="expected sounds, found none"):
        list_inputs(tmp_path, "audio")
    with pytest.raises(ConfigError, match="expected a tokenizer of images, sounds or videos"):
        list_inputs(tmp_path, "text")


def test_readers_tell_the_rate_and_read_sounds_of_no_length(sounds: Path) -> None:
    requests = [MediaRequest(str(sounds / name), name) for name in ("nothing.wav", "six.wav")]
    with ReaderPool(MediaReader("audio", 1), 2, 30.0) as pool:
        nothing, six = pool.read(requests)
    assert isinstance(nothing, ReadMedia)
    assert (nothing.media.shape, nothing.sample_rate_hz) == ((1, 0), 8000)
    assert isinstance(six, ReadMedia)
    assert six.sample_rate_hz == 8000
    assert torch.equal(six.media, read_audio(sounds / "six.wav").samples)


def test_batches_hold_sounds_of_one_rate_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal lengths in samples are no equal lengths; answers stay in their places."""
    real, batches = Tokenizer.encode, []

    def encode(self: Tokenizer, media: list[Tensor], **words: Any) -> Tokens:
        batches.append((words["sample_rate_hz"], len(media), words.get("batched", False)))
        return real(self, media, **words)

    rates = [16_000, 8000, 16_000, 8000, 16_000]
    items = [
        ReadMedia(chirp(4000 / rate, rate, pitch_hz=200.0 + 50 * n), 1, "", {}, rate)
        for n, rate in enumerate(rates)
    ]
    tokenizer = tiny_sound_tokenizer()
    alone = [tokenizer.encode([x.media], sample_rate_hz=x.sample_rate_hz) for x in items]
    monkeypatch.setattr(Tokenizer, "encode", encode)
    answers = ItemEncoder(tokenizer, batch_size=5).encode(items)
    assert batches == [(16_000, 3, True), (8000, 2, True)]
    for answer, expected in zip(answers, alone, strict=True):
        assert isinstance(answer, Tokens)
        assert answer.same_as(expected)
