"""Sound beside the tokens of a clip, and parts of clips by their times."""

import io
from fractions import Fraction

import av
import pytest
import torch

from tests.cli.tiny_clips import TONE_HZ, fading, tiny_video_tokenizer, toned
from tests.cli.tiny_sounds import tiny_sound_tokenizer
from vqkit.clip_sound import (
    SOUND_STREAM,
    CopiedSound,
    TokenizedSound,
    describe_sound,
    sound_of,
    soundtrack,
    with_sound,
)
from vqkit.clips import WholeClip, encode_clip, frame_times_of, write_clip
from vqkit.errors import MediaError, ModelMismatchError, ShapeError, TokenFileError
from vqkit.files import dumps, loads, read_info
from vqkit.media import (
    AudioBlocks,
    AudioTrack,
    VideoReader,
    VideoWriter,
    read_audio,
    read_video,
    sound_file,
)
from vqkit.tokenizers import Tokenizer, Tokens


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return tiny_video_tokenizer()


@pytest.fixture(scope="module")
def film() -> bytes:
    return toned(11, 1.5)


def packets(file: bytes) -> list[bytes]:
    with av.open(io.BytesIO(file)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


def played(tokens: Tokens, tokenizer: Tokenizer, sounds: Tokenizer, format: str = "mp4") -> bytes:
    file = io.BytesIO()
    sound = sound_of(tokens)
    assert sound is not None
    audio = soundtrack(sound, lambda _: sounds)
    write_clip(tokenizer.decode_pieces(tokens), tokens, file, format=format, audio=audio)
    return file.getvalue()


def begin(file: bytes) -> Fraction:
    """Seconds from the first frame to the first sample."""
    with av.open(io.BytesIO(file)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        return Fraction(audio.start_time * audio.time_base - video.start_time * video.time_base)


def onset(file: bytes) -> float:
    """Seconds from the first frame to the first loud sample."""
    samples = read_audio(file).samples[0].abs()
    return float(begin(file)) + int((samples > 0.2).nonzero()[0]) / TONE_HZ


def test_packets_are_copied_there_and_back(tokenizer: Tokenizer, film: bytes) -> None:
    """The sound goes on after the last frame, and is kept all the same."""
    with VideoReader(film) as reader:
        tokens = encode_clip(reader, tokenizer, sound=CopiedSound(film))
    with VideoReader(film) as reader:
        alone = encode_clip(reader, tokenizer)
    data = dumps(tokens)
    read = loads(data)
    sound = sound_of(read)
    assert sound is not None
    assert sound in data, "as it is, for whoever looks for it"
    facts = describe_sound(sound)
    assert (facts.encoding, facts.model, facts.channels) == ("aac", None, 1)
    assert facts.seconds == pytest.approx(1.5, abs=0.05)
    back = played(read, tokenizer, tokenizer)
    assert packets(back) == packets(sound) == packets(film)
    assert torch.equal(read_audio(back).samples, read_audio(film).samples)
    # Nothing else is changed by it, nor cut with the rows of tokens.
    streams = {name: s for name, s in read.streams.items() if name != SOUND_STREAM}
    assert streams.keys() == alone.streams.keys()
    assert torch.equal(read.indices, alone.indices)
    by_row = read_info(dumps(read, chunk_rows=1)).streams
    assert {s.name: s.num_chunks for s in by_row} == {SOUND_STREAM: 1, "tokens": 4}


@pytest.mark.parametrize("kind", ["copied", "tokens"])
def test_a_sound_that_begins_later_does_so_again(kind: str, tokenizer: Tokenizer) -> None:
    film, sounds = toned(8, 0.5, begins_at=0.3), tiny_sound_tokenizer()
    assert onset(film) == pytest.approx(0.3, abs=0.005)
    sound = CopiedSound(film) if kind == "copied" else TokenizedSound(film, sounds)
    with VideoReader(film) as reader:
        tokens = encode_clip(reader, tokenizer, sound=sound)
    if kind == "copied":
        assert onset(played(tokens, tokenizer, sounds)) == pytest.approx(0.3, abs=0.005)
        return
    file = sound_of(tokens)
    assert file is not None
    # A naive reference: silence, then what the file holds.
    heard = read_audio(film).samples
    whole = torch.cat([torch.zeros(1, round(begin(film) * TONE_HZ)), heard], 1)
    assert loads(file).same_as(sounds.encode([whole], sample_rate_hz=TONE_HZ))


def test_a_sound_of_tokens(tokenizer: Tokenizer, film: bytes) -> None:
    sounds = tiny_sound_tokenizer()
    with VideoReader(film) as reader:
        tokens = encode_clip(reader, tokenizer, sound=TokenizedSound(film, sounds, num_codebooks=2))
    file = sound_of(loads(dumps(tokens)))
    assert file is not None
    facts = describe_sound(file)
    assert (facts.model, facts.fingerprint) == (sounds.name, sounds.fingerprint)
    assert facts.seconds == pytest.approx(1.5, abs=0.05)
    heard = read_audio(film)
    expected = sounds.encode([heard.samples], sample_rate_hz=TONE_HZ).first_codebooks(2)
    assert loads(file).same_as(expected)
    track = soundtrack(file, lambda _: sounds)
    assert isinstance(track, AudioBlocks)
    assert torch.equal(torch.cat([*track.blocks], 1), sounds.decode(expected)[0])
    back = read_audio(played(tokens, tokenizer, sounds))
    assert back.samples.shape[1] / back.sample_rate_hz == pytest.approx(1.5, abs=0.08)
    other = tiny_sound_tokenizer("audio/other")
    with pytest.raises(ModelMismatchError, match="audio/tiny"):
        played(tokens, tokenizer, other)


@pytest.mark.parametrize(("start", "stop"), [(0.25, 0.8), (0.3, None), (0, 0.05)])
def test_a_part_by_its_times(
    tokenizer: Tokenizer, film: bytes, start: float, stop: float | None
) -> None:
    sound = CopiedSound(film, stop_seconds=stop)
    with VideoReader(film, start_seconds=start, stop_seconds=stop) as reader:
        tokens = encode_clip(reader, tokenizer, sound=sound)
    frames = [
        number
        for number in range(11)
        if start <= number / 10 and (stop is None or number / 10 < stop)
    ]
    whole = read_video(film).frames
    expected = tokenizer.encode([whole[:, frames]], frame_rate=Fraction(10))
    assert torch.equal(tokens.indices, expected.indices)
    assert tokens.media == expected.media
    file = sound_of(tokens)
    assert file is not None
    seconds = (1.5 if stop is None else stop) - frames[0] / 10
    assert abs(read_audio(file).samples.shape[1] / TONE_HZ - seconds) < 3 * 1024 / TONE_HZ
    part = read_video(film, start_seconds=start, stop_seconds=stop)
    assert encode_clip(WholeClip(part, is_part=True), tokenizer).same_as(expected)


def test_a_part_where_nothing_is(tokenizer: Tokenizer, film: bytes) -> None:
    with (
        VideoReader(film, start_seconds=9) as reader,
        pytest.raises(ShapeError, match="at least one frame in the time that was asked for"),
    ):
        encode_clip(reader, tokenizer)
    assert sound_file(AudioTrack(film, start_seconds=9)) is None
    assert TokenizedSound(film, tiny_sound_tokenizer()).file(Fraction(9)) is None
    with pytest.raises(MediaError, match="expected audio_stream below 1, got 1"):
        CopiedSound(film, audio_track=1).file(Fraction(0))


def test_a_part_of_one_rate_in_a_file_of_several(tokenizer: Tokenizer) -> None:
    """20 frames a second, then 5."""
    file = io.BytesIO()
    ticks = [*range(0, 400, 50), *range(400, 2000, 200)]
    with VideoWriter(file, 10, 24, 40, format="mkv", time_base=Fraction(1, 1000)) as writer:
        writer.write(fading(len(ticks)), ticks, last_duration=200)
    for start, stop, rate in ((0, 0.4, 20), (0.4, None, 5)):
        with VideoReader(file.getvalue(), start_seconds=start, stop_seconds=stop) as reader:
            tokens = encode_clip(reader, tokenizer)
        assert frame_times_of(tokens) is None
        size = tokens.media[0]
        assert (size["frames"], size["frame_rate_numerator"]) == (8, rate)
    with VideoReader(file.getvalue(), start_seconds=0.3, stop_seconds=0.8) as reader:
        times = frame_times_of(encode_clip(reader, tokenizer))
    assert times is not None
    assert times.durations == (50, 50, 200, 200)


def test_the_same_file_at_every_call(film: bytes) -> None:
    """Matroska has random numbers in it, if it is not asked to have none."""
    webm = toned(3, 0.2, format="webm")
    assert CopiedSound(webm).file(Fraction(0)) == CopiedSound(webm).file(Fraction(0))
    assert CopiedSound(film).file(Fraction(0)) == CopiedSound(film).file(Fraction(0))


def test_a_sound_that_is_damaged(tokenizer: Tokenizer, film: bytes) -> None:
    clip = tokenizer.encode([fading(3)])
    tokens = with_sound(clip, film)
    indices = tokens.streams[SOUND_STREAM].indices.clone()
    indices[0, 7] = -1
    with pytest.raises(ShapeError, match=r"got 1 that are lost. Decode without it"):
        sound_of(tokens.with_indices(SOUND_STREAM, indices))
    nested = dumps(clip)
    with pytest.raises(TokenFileError, match="the tokens of a sound, got those of video"):
        soundtrack(nested, lambda _: tokenizer)
    with pytest.raises(MediaError):
        describe_sound(b"no sound")
    with pytest.raises(TokenFileError):
        describe_sound(nested[:40])
