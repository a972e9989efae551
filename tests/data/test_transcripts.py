"""Transcribed sounds: where the texts come from, batches, and chance that follows the seed."""

import json

import pytest
import torch

from vqkit.data import (
    Chain,
    RandomGain,
    RandomNoise,
    RandomSilence,
    RandomSpeed,
    TranscribedBatch,
    TranscribedDataModule,
    TranscribedFiles,
    TranscribedFolder,
    TranscribedManifest,
)
from vqkit.errors import ConfigError, MediaError
from vqkit.media import write_audio

RATE = 8000


@pytest.fixture
def digits(tmp_path):
    """Tones whose length says which digit they are, of two speakers."""
    folder = tmp_path / "digits"
    folder.mkdir()
    for digit in range(3):
        for speaker in ("ann", "bob"):
            tone = 0.5 * torch.sin(torch.arange(1000 + 500 * digit) / 3)[None]
            write_audio(tone, folder / f"{digit}_{speaker}_0.wav", RATE)
    return folder


def data(source: TranscribedFiles, **options) -> TranscribedDataModule:
    chain = Chain({"gain": RandomGain(-6, 0), "silence": RandomSilence(100)})
    return TranscribedDataModule(source, chain, validation=source, batch_size=4, **options)


def test_names_say_what_is_said(digits):
    words = {"0": "Zero!", "1": "one"}
    source = TranscribedFolder(digits, r"(?P<text>\d)_ann", words=words, sample_rate_hz=RATE)
    assert len(source) == 3
    assert [source.transcript(i) for i in range(3)] == ["zero", "one", "2"]
    raw = TranscribedFolder(digits, words={"0": "Zero!"}, normalise=False, sample_rate_hz=RATE)
    assert [raw.transcript(i) for i in (0, 1)] == ["Zero!"] * 2


@pytest.mark.parametrize(
    ("pattern", "message"),
    [("(", "regular expression"), (r"\d", "group"), ("(?P<text>x)", "0_ann")],
)
def test_patterns_that_find_nothing_are_refused(digits, pattern, message):
    with pytest.raises(ConfigError, match=message):
        TranscribedFolder(digits, pattern)


def test_manifests_of_both_kinds(digits, tmp_path):
    tab = tmp_path / "set.tsv"
    tab.write_text("digits/0_ann_0.wav\tZero, please\n\ndigits/1_bob_0.wav\tone\n")
    lines = [
        {"audio": "digits/0_ann_0.wav", "text": "Zero, please", "speaker": 3},
        {"audio_filepath": str(digits / "1_bob_0.wav"), "text": "one"},
    ]
    json_lines = tmp_path / "set.jsonl"
    json_lines.write_text("\n".join(map(json.dumps, lines)))
    for manifest in (tab, json_lines):
        source = TranscribedManifest(manifest, sample_rate_hz=RATE)
        assert [source.transcript(i) for i in range(2)] == ["zero please", "one"]
        assert source.load(1).shape == (1, 1500)


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("a.tsv", "sound.wav", "line 2: expected path<TAB>text"),
        ("a.jsonl", "{", "line 2: expected a JSON object"),
        ("a.jsonl", "[]", "line 2"),
        ("a.jsonl", '{"audio": 3, "text": "x"}', "line 2"),
        ("a.jsonl", '{"audio": "x"}', "line 2"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, name, line, message):
    (tmp_path / name).write_text(f"\n{line}\n")
    with pytest.raises(ConfigError, match=message):
        TranscribedManifest(tmp_path / name)


def test_manifests_that_are_not_there_or_empty(tmp_path):
    with pytest.raises(ConfigError, match="Cannot read the transcripts"):
        TranscribedManifest(tmp_path / "none.tsv")
    (tmp_path / "empty.tsv").write_text("")
    with pytest.raises(MediaError, match="at least one"):
        TranscribedManifest(tmp_path / "empty.tsv")
    with pytest.raises(ConfigError, match="one for each of 1"):
        TranscribedFiles(["a.wav"], [])


def test_batches_keep_sounds_and_texts_together(digits):
    source = TranscribedFolder(digits, sample_rate_hz=RATE)
    module = data(source)
    batch = next(iter(module.train_dataloader()))
    assert isinstance(batch, TranscribedBatch)
    for row, samples, text in zip(*batch, strict=True):
        assert 1000 + 500 * int(text) <= samples <= 1200 + 500 * int(text)
        assert not row[:, samples:].any()
    assert batch.waveforms.shape[-1] == batch.num_samples.max()
    whole = list(module.val_dataloader())
    assert [len(b.transcripts) for b in whole] == [1] * 6
    assert [int(b.num_samples) for b in whole] == [1000, 1000, 1500, 1500, 2000, 2000]


def test_samples_follow_the_seed_and_the_position(digits):
    source = TranscribedFolder(digits, sample_rate_hz=RATE)
    module, other = data(source), data(source)
    batches = iter(module.train_dataloader())
    first, second = next(batches), next(batches)
    other.advance(4)
    resumed = next(iter(other.train_dataloader()))
    assert torch.equal(resumed.waveforms, second.waveforms)
    assert resumed.transcripts == second.transcripts
    assert first.transcripts != second.transcripts


def test_a_broken_file_is_left_out_and_the_next_brings_its_own_text(digits):
    (digits / "1_bob_0.wav").write_bytes(b"nothing")
    source = TranscribedFolder(digits, sample_rate_hz=RATE)
    module = data(source)
    batches = iter(module.train_dataloader())
    for batch in (next(batches) for _ in range(4)):
        for samples, text in zip(batch.num_samples, batch.transcripts, strict=True):
            assert 1000 + 500 * int(text) <= samples <= 1200 + 500 * int(text)
    assert source.num_skipped == 1
    assert len(list(module.val_dataloader())) == 5


def test_speed_changes_length_and_pitch():
    tone = 0.5 * torch.sin(torch.arange(8000) * 2 * torch.pi * 440 / RATE)[None]
    fast = RandomSpeed(200, 200)(tone, torch.Generator())
    assert fast.shape == (1, 4000)
    assert int(torch.fft.rfft(fast[0]).abs().argmax()) == 440
    lengths = {
        RandomSpeed(90, 110)(tone, torch.Generator().manual_seed(i)).shape[1] for i in range(40)
    }
    assert lengths == {8889, 8422, 8000, 7620, 7273}


def test_noise_is_as_far_below_the_sound_as_asked():
    tone = 0.1 * torch.sin(torch.arange(80_000) / 3)[None]
    noisy = RandomNoise(20, 20, 1.0)(tone, torch.Generator())
    ratio = tone.square().mean() / (noisy - tone).square().mean()
    assert 10 * float(ratio.log10()) == pytest.approx(20, abs=0.1)
    assert torch.equal(RandomNoise(20, 20, 0.0)(tone, torch.Generator()), tone)
    assert RandomNoise(20, 20, 1.0)(tone[:, :0], torch.Generator()).shape == (1, 0)


def test_silence_is_put_around():
    sound = torch.ones(2, 10)
    padded = RandomSilence(50)(sound, torch.Generator().manual_seed(1))
    assert padded.sum() == sound.sum()
    assert 10 < padded.shape[1] <= 110


@pytest.mark.parametrize(
    "make",
    [
        lambda: RandomSpeed(49, 100),
        lambda: RandomSpeed(step_percent=0),
        lambda: RandomNoise(30, 10),
        lambda: RandomNoise(probability=1.5),
        lambda: RandomSilence(-1),
    ],
)
def test_settings_out_of_range_are_refused(make):
    with pytest.raises(ConfigError, match="expected"):
        make()
