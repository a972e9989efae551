"""Videos written: whole or not at all, in the size, the times and the colours that were given."""

import io
from fractions import Fraction
from pathlib import Path

import av
import pytest
import torch

from tests.media.audio_files import by_ffmpeg as sound_file
from tests.media.audio_files import sound
from tests.media.video_files import clip, psnr, written
from vqkit.errors import ConfigError, MediaError, ShapeError
from vqkit.media import (
    Audio,
    AudioTrack,
    FrameTimes,
    Video,
    VideoEncoding,
    VideoWriter,
    from_levels,
    read_audio,
    read_video,
    to_levels,
    video_info,
    write_video,
)

CLIP = clip(10, 48, 64)
FFV1 = VideoEncoding("ffv1")
# Format, settings, and the quality that must come back.
FORMATS = {
    "mp4": ({}, 36),
    "mov": ({}, 36),
    "mkv": ({}, 36),
    "mkv ffv1": ({"encoding": FFV1}, 120),
    "mkv vp9": ({"encoding": VideoEncoding("vp9")}, 34),
    "webm": ({}, 34),
    "mp4 of all colours": ({"encoding": VideoEncoding(subsampling="4:4:4")}, 37),
    "gif": ({}, 25),
    "y4m": ({}, 38),
    "y4m of all colours": ({"encoding": VideoEncoding(subsampling="4:4:4")}, 44),
}


QUICK = ("mp4", "mkv ffv1", "y4m")
ALL_FORMATS = [
    pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in FORMATS
]


@pytest.mark.parametrize("name", ALL_FORMATS)
def test_what_is_written_is_read(name):
    settings, least = FORMATS[name]
    file = written(CLIP, 30000 / 1001 if name != "gif" else 20, format=name.split()[0], **settings)
    video = read_video(file)
    assert video.frames.shape == CLIP.shape
    assert psnr(video.frames, CLIP) > least
    rate = Fraction(30000, 1001) if name != "gif" else 20
    assert video.frame_rate == rate
    assert abs(video.times.seconds - 10 / rate) <= Fraction(1, 1000)
    # The mean level of each channel: no range or matrix is mistaken.
    bias = (video.frames - CLIP).mean((1, 2, 3)).abs()
    assert float(bias.max()) < 0.02


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n == "mp4" else pytest.mark.slow) for n in FORMATS]
)
def test_blocks_make_the_same_file_as_the_whole(name):
    settings, _ = FORMATS[name]
    settings = {"format": name.split()[0], **settings}
    file = io.BytesIO()
    with VideoWriter(file, 25, 48, 64, **settings) as writer:
        for block in to_levels(CLIP).split(3, 1):
            writer.write(block)
    assert torch.equal(
        read_video(file.getvalue()).frames, read_video(written(CLIP, **settings)).frames
    )


@pytest.mark.slow
def test_colours_are_tagged():
    for settings in ({"format": "mp4"}, {"format": "webm"}, {"format": "mkv"}):
        info = video_info(written(CLIP, **settings))
        assert (info.colour_matrix, info.colour_range) == ("bt709", "limited")
        assert not info.has_assumed_matrix
    large = video_info(written(torch.zeros(3, 1, 720, 1280), format="y4m"))
    assert large.colour_matrix == "bt709"
    for frames in (torch.zeros(3, 1, 720, 1280), torch.zeros(3, 1, 48, 64)):
        frames[0] = 0.5
        frames[2] = -0.5
        video = read_video(written(frames, format="y4m"))
        # Half a step of luma, and half a step of the greatest weight of a colour difference.
        assert float((video.frames - frames).abs().max()) < 1 / 219 + 1.86 / 224


def test_levels_survive_without_loss():
    levels = torch.randint(0, 256, (3, 4, 31, 47), dtype=torch.uint8)
    file = written(levels, format="mkv", encoding=FFV1)
    assert torch.equal(read_video(file, dtype=torch.uint8).frames, levels)
    assert torch.equal(read_video(written(from_levels(levels), format="mkv", encoding=FFV1)).frames,
                       from_levels(levels))  # fmt: skip
    grey = read_video(
        written(levels[:1], format="mkv", encoding=FFV1), channels=1, dtype=torch.uint8
    )
    assert torch.equal(grey.frames, levels[:1])


@pytest.mark.slow
def test_a_gif_of_few_colours_loses_nothing():
    colours = torch.tensor(
        [[0, 0, 0], [255, 0, 10], [7, 200, 255], [90, 90, 91]], dtype=torch.uint8
    )
    frames = colours[torch.randint(0, 4, (5, 9, 13))].permute(3, 0, 1, 2)
    frames[:, 3] = frames[:, 2]  # a frame like its predecessor stays a frame
    assert torch.equal(
        read_video(written(frames, 10, format="gif"), dtype=torch.uint8).frames, frames
    )


@pytest.mark.slow
def test_grey():
    for name in ("mp4", "webm", "y4m", "gif"):
        video = read_video(written(CLIP[:1], format=name))
        assert psnr(video.frames, CLIP[:1].expand(3, -1, -1, -1)) > 30


@pytest.mark.parametrize(
    "name",
    ["mp4", *(pytest.param(n, marks=pytest.mark.slow) for n in ("gif", "mov", "mkv", "webm"))],
)
def test_times_that_vary(name):
    ticks = (0, 3, 4, 9, 10, 17, 30, 31, 50, 52)
    times = FrameTimes(ticks, 40, Fraction(1, 100))
    file = io.BytesIO()
    write_video(Video(CLIP, times, times.frame_rate), file, format=name)
    found = read_video(file.getvalue()).times
    assert found.in_ticks_of(Fraction(1, 100)).ticks == ticks
    if name in ("mp4", "mov", "gif"):
        assert found.in_ticks_of(Fraction(1, 100)) == times


@pytest.mark.slow
def test_times_of_a_part_begin_anew():
    times = FrameTimes(tuple(range(50, 60)), 1, Fraction(1, 25))
    file = io.BytesIO()
    write_video(Video(CLIP, times, Fraction(25)), file, format="mp4")
    found = read_video(file.getvalue()).times
    assert [tick * found.time_base for tick in found.ticks] == [Fraction(i, 25) for i in range(10)]


@pytest.mark.slow
def test_a_rate_that_is_no_whole_number_of_ticks_does_not_drift():
    file = io.BytesIO()
    with VideoWriter(file, 30, 48, 64, format="mp4", time_base=Fraction(1, 1000)) as writer:
        for block in CLIP.split(3, 1):
            writer.write(block)
    times = read_video(file.getvalue()).times
    assert [round(t * times.time_base * 1000) for t in times.ticks] == [
        round(i * 1000 / 30) for i in range(10)
    ]


def test_pixels_that_are_not_square():
    file = written(CLIP, format="mp4")
    assert video_info(file).pixel_aspect == 1
    video = read_video(file)
    wide = Video(video.frames, video.times, video.frame_rate, Fraction(4, 3))
    for name in ("mp4", "mkv", "y4m"):
        again = io.BytesIO()
        write_video(wide, again, format=name)
        assert video_info(again.getvalue()).pixel_aspect == Fraction(4, 3), name


def test_metadata():
    for name in ("mp4", "mkv"):
        file = written(CLIP, format=name, metadata={"title": "A clip", "nonsense": "x"})
        assert video_info(file).metadata["title"] == "A clip"


@pytest.mark.slow
def test_rate_and_quality_are_obeyed():
    frames = (torch.rand(3, 40, 96, 96) * 2 - 1).mul(0.5).add(clip(40, 96, 96).mul(0.5))
    fine = len(written(frames, format="mp4", encoding=VideoEncoding(crf=10)))
    coarse = len(written(frames, format="mp4", encoding=VideoEncoding(crf=45)))
    assert fine > 3 * coarse
    bits = 8 * len(written(frames, format="mp4", encoding=VideoEncoding(bitrate_bps=400_000)))
    assert 0.5 < bits / (400_000 * 40 / 25) < 1.6


def test_a_folder_of_pictures(tmp_path: Path):
    write_video(CLIP, tmp_path / "a", 25, format="png")
    assert sorted(file.name for file in (tmp_path / "a").iterdir())[:2] == [
        "frame_000000.png", "frame_000001.png",
    ]  # fmt: skip
    assert torch.equal(read_video(tmp_path / "a").frames, CLIP)
    (tmp_path / "b").mkdir()
    write_video(CLIP[:, :3], tmp_path / "b" / "%03d.png", 25)
    assert torch.equal(read_video(tmp_path / "b" / "%03d.png").frames, CLIP[:, :3])
    with pytest.raises(MediaError, match="the folder holds files"):
        write_video(CLIP, tmp_path / "a", 25, format="png")
    write_video(CLIP[:, :2], tmp_path / "a", 25, format="png", overwrite=True)
    assert read_video(tmp_path / "a").frames.shape[1] == 2
    (tmp_path / "a" / "mine.txt").touch()
    with pytest.raises(MediaError, match="the folder holds files"):
        write_video(CLIP, tmp_path / "a", 25, format="png", overwrite=True)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a", "b"]
    with pytest.raises(ConfigError, match="expected a folder, got a stream"):
        write_video(CLIP, io.BytesIO(), 25, format="png")


@pytest.mark.parametrize(
    "name",
    [
        "mp4",
        "png",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("mkv", "webm", "gif")),
    ],
)
def test_nothing_is_left_of_what_failed(name, tmp_path: Path):
    target = tmp_path / ("frames" if name == "png" else f"a.{name}")

    def fail() -> None:
        with VideoWriter(target, 25, 48, 64, format=name) as writer:
            writer.write(CLIP)
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        fail()
    assert not list(tmp_path.iterdir())


def test_the_file_appears_when_it_is_complete(tmp_path: Path):
    path = tmp_path / "a.mp4"
    with VideoWriter(path, 25, 48, 64) as writer:
        writer.write(CLIP)
        assert not path.exists()
    assert read_video(path).frames.shape == CLIP.shape
    with pytest.raises(MediaError, match="exists"):
        VideoWriter(path, 25, 48, 64)
    write_video(CLIP[:, :3], path, 25, overwrite=True)
    assert read_video(path).frames.shape[1] == 3


@pytest.mark.slow
def test_no_frame_at_all(tmp_path: Path):
    for name in ("mp4", "webm", "gif"):
        with (
            pytest.raises(MediaError, match=f"0 frames as {name}"),
            VideoWriter(tmp_path / f"a.{name}", 25, 48, 64),
        ):
            pass
    assert not list(tmp_path.iterdir())


def test_the_caller_may_use_its_memory_again():
    file, frames = io.BytesIO(), CLIP.clone()
    with VideoWriter(file, 25, 48, 64, format="mkv", encoding=FFV1) as writer:
        writer.write(frames)
        frames.zero_()
    assert torch.equal(read_video(file.getvalue()).frames, CLIP)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"format": "mpeg"}, "format of a video file: expected one of mp4, mov"),
        ({"format": "mp4", "encoding": FFV1}, "expected one of h264, got 'ffv1'"),
        ({"format": "webm", "encoding": VideoEncoding(crf=64)}, "expected 0 to 63, got 64"),
        ({"format": "gif", "encoding": VideoEncoding(crf=4)}, "gif has none to set"),
        ({"format": "mp4", "encoding": VideoEncoding(crf=4, bitrate_bps=9)}, "got both"),
        ({"format": "mp4", "encoding": VideoEncoding(bitrate_bps=0)}, "1 or more, got 0"),
        ({"format": "mp4", "encoding": VideoEncoding(preset="hasty")}, "got 'hasty' for h264"),
        ({"format": "webm", "encoding": VideoEncoding(preset="fast")}, "got 'fast' for vp9"),
        ({"format": "mkv", "encoding": VideoEncoding("ffv1", subsampling="4:2:0")}, "none to set"),
        ({"format": "y4m", "audio": Audio(torch.zeros(1, 9), 8000)}, "y4m holds no sound"),
        ({"format": "png", "audio": Audio(torch.zeros(1, 9), 8000)}, "png holds no sound"),
    ],
)
def test_settings_that_make_no_sense(settings, reason):
    with pytest.raises(ConfigError, match=reason):
        written(CLIP, **settings)


def test_other_things_that_make_no_sense(unchecked_shapes):
    with pytest.raises(ConfigError, match="4:2:0 for even sides alone, got 31 x 48"):
        written(CLIP[..., :31], format="mp4", encoding=VideoEncoding(subsampling="4:2:0"))
    with pytest.raises(ConfigError, match="expected frames per second, got none"):
        write_video(CLIP, io.BytesIO())
    for frames in (CLIP[0], CLIP[:2], CLIP[:, :, :0], CLIP.long(), CLIP / 0):
        with pytest.raises(ShapeError, match="video to write"):
            written(frames)
    with VideoWriter(io.BytesIO(), 25, 48, 64) as writer:
        writer.write(CLIP)
        for frames in (CLIP[:1], CLIP[..., :32]):
            with pytest.raises(
                ShapeError, match=r"expected 3 channels of 48 x 64 \(height x width\)"
            ):
                writer.write(frames)
        for timestamps in ([5, 4], [9, 10]):
            with pytest.raises(ConfigError, match="each above the one before it"):
                writer.write(CLIP[:, :2], timestamps)
        with pytest.raises(ShapeError, match="timestamps: expected 2, got 1"):
            writer.write(CLIP[:, :2], [50])
        with pytest.raises(ConfigError, match="last_duration"):
            writer.write(CLIP[:, :2], last_duration=0)
    with (
        pytest.raises(ConfigError, match="one frame rate and no times"),
        VideoWriter(io.BytesIO(), 25, 48, 64, format="y4m") as writer,
    ):
        writer.write(CLIP[:, :2], [0, 2])
    for size in ((0, 4), (4, 99_999)):
        with pytest.raises(ConfigError, match="of a video: expected 1 to 16384"):
            VideoWriter(io.BytesIO(), 25, *size)


# --- sound --------------------------------------------------------------------------------------


def packets(file: bytes) -> list[bytes]:
    with av.open(io.BytesIO(file)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


@pytest.mark.parametrize(
    ("container", "encoding", "target"),
    [
        ("mp4", "aac", "mp4"),
        pytest.param("mp4", "aac", "mkv", marks=pytest.mark.slow),
        pytest.param("mp4", "aac", "mov", marks=pytest.mark.slow),
        pytest.param("webm", "libopus", "webm", marks=pytest.mark.slow),
        pytest.param("webm", "libopus", "mkv", marks=pytest.mark.slow),
    ],
)
def test_a_track_is_copied_where_the_container_holds_it(container, encoding, target):
    source = sound_file(sound(2, 24_000), container=container, encoding=encoding, with_video=True)
    file = written(clip(15), 30, format=target, audio=AudioTrack(source))
    assert packets(file) == packets(source)
    ours, theirs = read_audio(file), read_audio(source)
    assert ours.sample_rate_hz == 48_000
    if (encoding, target) == ("aac", "mkv"):
        # Matroska has no place for AAC's run-up, which is heard before the picture begins.
        ours = Audio(ours.samples[:, 1024:], 48_000)
    length = min(ours.samples.shape[1], theirs.samples.shape[1])
    assert length > 23_000
    assert torch.equal(ours.samples[:, :length], theirs.samples[:, :length])


@pytest.mark.slow
def test_a_track_is_encoded_where_it_does_not():
    source = sound_file(sound(2, 24_000), container="mp4", encoding="aac", with_video=True)
    file = written(clip(15), 30, format="webm", audio=AudioTrack(source))
    assert video_info(file).audio[0].encoding == "opus"
    ours, theirs = read_audio(file).samples, read_audio(source).samples
    assert abs(ours.shape[1] - theirs.shape[1]) <= 2048
    assert_alike(ours[:, :20_000], theirs[:, :20_000])


def assert_alike(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    """Nearer to each other than to the same, a millisecond later."""
    error = (ours - theirs).square().mean()
    assert error < 0.3 * theirs.square().mean()
    assert error < 0.5 * (ours[:, 48:] - theirs[:, :-48]).square().mean()


@pytest.mark.slow
@pytest.mark.parametrize("target", ["mp4", "mkv", "webm"])
@pytest.mark.parametrize("rate", [48_000, 16_000, 22_050])
def test_samples_are_encoded(target, rate):
    samples = sound(1, rate // 2)
    file = written(clip(15), 30, format=target, audio=Audio(samples, rate))
    audio = read_audio(file)
    seconds = audio.samples.shape[1] / audio.sample_rate_hz
    assert 0.5 <= seconds < 0.56
    assert float(audio.samples.square().mean()) > 0.5 * float(samples.square().mean())
    assert read_video(file).frames.shape[1] == 15


@pytest.mark.slow
def test_a_part_of_a_track():
    """The sound that is heard from a second on, for a clip that is cut there."""
    quiet, loud = torch.zeros(1, 48_000), 0.5 * torch.sin(torch.arange(48_000.0) / 9)[None]
    source = written(clip(50), 25, format="mkv", audio=Audio(torch.cat([quiet, loud], 1), 48_000))
    for target in ("mp4", "webm"):
        audio = AudioTrack(source, start_seconds=1.0, stop_seconds=1.5)
        file = written(clip(12), 25, format=target, audio=audio)
        samples = read_audio(file).samples
        assert 0.45 * 48_000 < samples.shape[1] < 0.56 * 48_000
        assert float(samples[:, 4800:19_200].square().mean()) > 0.09


def test_sounds_that_are_not_there(tmp_path: Path):
    for source, reason in (
        (written(CLIP, format="mp4"), "expected audio_stream below 0, got 0"),
        (b"hello", "it is no file of sounds"),
        (tmp_path / "missing.mp4", "No such file"),
    ):
        with pytest.raises(MediaError, match=f"Cannot take over the sound of .*{reason}"):
            write_video(CLIP, tmp_path / "a.mp4", 25, audio=AudioTrack(source))
    with pytest.raises(MediaError, match="7 channels in a video"):
        written(CLIP, format="mp4", audio=Audio(torch.zeros(7, 9), 48_000))
    assert not list(tmp_path.iterdir())
