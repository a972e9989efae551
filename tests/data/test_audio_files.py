import logging

import numpy as np
import pytest
import torch

from tests.media.audio_files import by_soundfile, written
from vqkit.data import (
    AudioFileList,
    AudioFiles,
    AudioFolder,
    Chain,
    RandomGain,
    RandomSegment,
    SampleStream,
    SegmentToMultiple,
)
from vqkit.errors import ConfigError, MediaError
from vqkit.media import read_audio
from vqkit.ops import resample

RATES = [16_000, 24_000, 44_100]


def expected_sound(path, rate: int, channels: int) -> torch.Tensor:
    audio = read_audio(path)
    samples = audio.samples
    if samples.shape[0] != channels:
        samples = samples.mean(0, keepdim=True).expand(channels, -1)
    return resample(samples, audio.sample_rate_hz, rate).clamp(-1, 1)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("channels", [1, 2])
def test_all_formats_come_at_one_rate_and_number_of_channels(sounds, rate, channels):
    source = AudioFolder(sounds, sample_rate_hz=rate, channels=channels)
    items = dict(source.items())
    assert [name.rsplit("/")[-1] for name in items] == sorted(p.name for p in sounds.iterdir())
    for name, sound in items.items():
        assert sound.dtype == torch.float32
        torch.testing.assert_close(sound, expected_sound(name, rate, channels), atol=1e-6, rtol=0)
    assert source.num_skipped == 0


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("cache_size_bytes", [0, 1 << 30])
def test_segments_are_slices_of_the_whole_bit_for_bit(sounds, rate, cache_size_bytes):
    plain = AudioFolder(sounds, sample_rate_hz=rate)
    source = AudioFolder(sounds, sample_rate_hz=rate, cache_size_bytes=cache_size_bytes)
    generator = torch.Generator().manual_seed(rate)
    for index in range(len(source)):
        whole = plain[index]
        length = whole.shape[1]
        places = torch.randint(length + 1, (4, 2), generator=generator).sort(1).values.tolist()
        for start, end in [*places, (0, length), (length, length), (0, 1), (length - 1, length)]:
            assert torch.equal(source.segment(index, start, end - start), whole[:, start:end])
        for start, num_samples in ((-1, 2), (0, length + 1), (length, 1), (0, -1)):
            with pytest.raises(ConfigError, match="Part of a sound: expected it within"):
                source.segment(index, start, num_samples)


def test_no_more_is_decoded_than_is_wanted(tmp_path, monkeypatch):
    """Of a long file, when a segment, the segment to validate on, or a chain of them is read."""
    from vqkit.media import AudioReader

    path = tmp_path / "long.wav"
    path.write_bytes(written(torch.rand(1, 2_000_000) - 0.5, 48_000))
    num_read = []
    read = AudioReader.read

    def counted(reader, num_samples):
        num_read.append(num_samples)
        return read(reader, num_samples)

    monkeypatch.setattr(AudioReader, "read", counted)
    # The cache is too small for the whole.
    source = AudioFiles([path], sample_rate_hz=24_000, cache_size_bytes=1_000_000)
    for transform in (
        RandomSegment(24_000, min_rms=0.1),
        SegmentToMultiple(320, max_samples=24_000),
        Chain({"outer": Chain({"cut": RandomSegment(24_000), "gain": RandomGain(-3, 3)})}),
    ):
        num_read.clear()
        assert source.sample(0, transform, torch.Generator()).shape == (1, 24_000)
        assert sum(num_read) < 50_000


def test_transforms_of_files_are_transforms_of_their_sounds(sounds):
    source = AudioFolder(sounds)
    transform = Chain({"cut": RandomSegment(2000, min_rms=0.1), "gain": RandomGain(-20, 20)})
    for index in range(len(source)):
        of_file, of_sound = (torch.Generator().manual_seed(index) for _ in range(2))
        expected = transform(source[index], of_sound)
        assert torch.equal(source.sample(index, transform, of_file), expected)
        assert torch.equal(of_file.get_state(), of_sound.get_state())


def test_broken_files_are_skipped_with_a_line_each(damaged_sounds, caplog):
    source = AudioFolder(damaged_sounds)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            names = [name.rsplit("/")[-1] for name, _ in source.items()]
            assert names == ["0.wav", "3.flac", "4.ogg", "7.wav", "8.opus", "9.m4a"]
    assert source.num_skipped == 4
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 4
    for line, name in zip(lines, ["1.wav", "2.flac", "5.mp3", "6.webm"], strict=True):
        assert line.startswith("Skipped ")
        assert name in line
    assert torch.equal(source[1], source[3])


def test_damage_within_costs_the_samples_that_meet_it_alone(damaged_sounds):
    """Whether it was met before changes nothing, nor does a cache: so a resumed run is the same."""
    transform = RandomSegment(2000)

    def samples(source, seeds):
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        return [source.sample(2, transform, generator) for generator in generators]

    source = AudioFolder(damaged_sounds)
    forwards = samples(source, range(20))
    backwards = samples(AudioFolder(damaged_sounds), reversed(range(20)))[::-1]
    cached = samples(AudioFolder(damaged_sounds, cache_size_bytes=1 << 30), range(20))
    for other in (backwards, cached):
        assert all(torch.equal(a, b) for a, b in zip(forwards, other, strict=True))
    assert source.num_skipped == 1
    following = AudioFolder(damaged_sounds)[3]
    replaced = sum(any_slice(following, sample) for sample in forwards)
    assert 0 < replaced < 20


def any_slice(whole: torch.Tensor, part: torch.Tensor) -> bool:
    starts = (whole[0, : whole.shape[1] - part.shape[1] + 1] == part[0, 0]).nonzero()[:, 0]
    return any(torch.equal(whole[:, s : s + part.shape[1]], part) for s in starts.tolist())


def test_rates_that_cannot_be_resampled_break_a_file_and_not_the_run(sounds):
    path = sounds / "0.wav"
    path.write_bytes(written(torch.zeros(1, 100), 50))
    source = AudioFolder(sounds)
    assert torch.equal(source[0], source[1])
    with pytest.raises(MediaError, match=r"Cannot read .*0\.wav.*ratio of at most 256"):
        source.load(0)


def test_the_cache_keeps_what_fits_and_changes_nothing(sounds):
    plain = AudioFolder(sounds)
    expected = list(plain)
    size_bytes = sum(sound.nbytes for sound in expected[:3])
    cached = AudioFolder(sounds, cache_size_bytes=size_bytes)
    for _ in range(2):
        assert all(torch.equal(a, b) for a, b in zip(cached, expected, strict=True))
    (sounds / "0.wav").unlink()
    (sounds / "9.m4a").unlink()
    assert torch.equal(cached.load(0), expected[0])
    assert torch.equal(cached.segment(2, 100, 50), expected[2][:, 100:150])
    with pytest.raises(MediaError):
        cached.load(9)


def test_clipping_is_logged_once_for_a_file(tmp_path, caplog):
    path = tmp_path / "loud.wav"
    path.write_bytes(by_soundfile(np.full((3000, 1), 1.5, np.float32), "WAV", "FLOAT"))
    source = AudioFiles([path], sample_rate_hz=16_000)
    with caplog.at_level(logging.WARNING):
        for seed in range(5):
            sample = source.sample(0, RandomSegment(100), torch.Generator().manual_seed(seed))
            assert torch.equal(sample, torch.ones(1, 100))
    lines = [record.getMessage() for record in caplog.records]
    assert lines == [f"{str(path)!r}: 100 values beyond [-1, 1] are clipped"]


def test_an_empty_sound_is_silence(tmp_path):
    (tmp_path / "0.wav").write_bytes(written(torch.zeros(2, 0)))
    source = AudioFolder(tmp_path)
    assert source[0].shape == (1, 0)
    sample = source.sample(0, RandomSegment(10, min_rms=0.5), torch.Generator())
    assert torch.equal(sample, torch.zeros(1, 10))


def test_a_file_list(sounds, tmp_path):
    listing = tmp_path / "lists" / "train.txt"
    listing.parent.mkdir()
    listing.write_text(f"# speech\n../sounds/3.flac\n\n{sounds / '1.wav'}\nabsent.wav\n")
    source = AudioFileList(listing, sample_rate_hz=16_000, channels=2)
    assert [name.rsplit("/")[-1] for name, _ in source.items()] == ["3.flac", "1.wav"]
    assert source.num_skipped == 1
    assert source[1].shape == (2, 16_000)
    with pytest.raises(ConfigError, match=r"list of sounds .*absent\.txt.*No such file"):
        AudioFileList(tmp_path / "absent.txt")


def test_sets_that_cannot_be(tmp_path, sounds):
    (tmp_path / "empty").mkdir()
    with pytest.raises(MediaError, match="No sounds in"):
        AudioFolder(tmp_path / "empty")
    with pytest.raises(MediaError, match="A set of sounds needs at least one file"):
        AudioFiles([])
    for settings in ({"sample_rate_hz": 0}, {"channels": 0}):
        with pytest.raises(ConfigError, match="rate and channels of at least 1"):
            AudioFolder(sounds, **settings)
    assert len(AudioFolder([sounds, sounds / "0.wav"])) == 11
    (sounds / "deep").mkdir()
    (sounds / "0.wav").rename(sounds / "deep" / "0.wav")
    assert len(AudioFolder(sounds, recursive=False)) == 9


def test_real_speech(development_media):
    source = AudioFolder(development_media / "audio" / "speech" / "ljspeech")
    stream = SampleStream(source, RandomSegment(24_000, min_rms=0.003), seed=0)
    samples = torch.stack([stream[position] for position in range(40)])
    assert samples.shape == (40, 1, 24_000)
    assert samples.square().mean((1, 2)).sqrt().min() >= 0.003
