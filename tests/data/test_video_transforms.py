import pytest
import torch
from torch import Generator

from vqkit.data import (
    Chain,
    EveryFrame,
    FramesToMultiple,
    RandomCrop,
    RandomFlip,
    RandomFrames,
    TensorClip,
)
from vqkit.data.video_transforms import transform_clip
from vqkit.errors import ConfigError


def numbered(num_frames: int) -> torch.Tensor:
    """Frame i has the value i / 100."""
    return (torch.arange(num_frames) / 100)[None, :, None, None].expand(3, -1, 4, 6).clone()


def numbers(frames: torch.Tensor) -> list[int]:
    assert torch.equal(frames, frames[:1, :, :1, :1].expand_as(frames))
    return [round(float(value) * 100) for value in frames[0, :, 0, 0]]


def test_random_frames_follow_each_other_and_come_from_everywhere():
    generator = Generator().manual_seed(0)
    starts = set()
    for _ in range(200):
        found = numbers(RandomFrames(5)(numbered(12), generator))
        assert found == list(range(found[0], found[0] + 5))
        starts.add(found[0])
    assert starts == set(range(8))


@pytest.mark.parametrize(
    ("length", "expected"), [(1, [0] * 4), (3, [0, 1, 2, 2]), (4, [0, 1, 2, 3])]
)
def test_short_clips_stand_still_at_their_end(length, expected):
    assert numbers(RandomFrames(4)(numbered(length), Generator())) == expected


@pytest.mark.parametrize(
    ("settings", "length", "count"),
    [
        ((4, True), 13, 13), ((4, True), 12, 9), ((4, True), 1, 1), ((4, True), 4, 1),
        ((4, False), 12, 12), ((4, False), 11, 8), ((4, False), 3, 4), ((4, True, 10), 40, 9),
        ((4, False, 10), 40, 8), ((1, True), 7, 7),
    ],
)  # fmt: skip
def test_counts_that_a_network_takes(settings, length, count):
    frames = FramesToMultiple(*settings)(numbered(length), Generator())
    assert numbers(frames) == [min(i, length - 1) for i in range(count)]


@pytest.mark.parametrize("kind", [RandomFrames(5), FramesToMultiple(4)])
def test_bytes_and_floats_give_the_same(kind):
    levels = torch.randint(0, 256, (3, 9, 20, 24), dtype=torch.uint8)
    for transform in (
        kind,
        EveryFrame(RandomFlip()),
        Chain({"frames": kind, "picture": EveryFrame(RandomCrop(8, (0.5, 2)))}),
        Chain({"picture": EveryFrame(RandomCrop(8)), "frames": kind}),
        Chain({}),
    ):
        ours, theirs = (
            transform_clip(transform, TensorClip(frames), Generator().manual_seed(1))
            for frames in (levels, levels / 127.5 - 1)
        )
        assert ours.dtype is torch.float32
        assert torch.equal(ours, theirs)


def test_numbers_out_of_range():
    for make in (
        lambda: RandomFrames(0),
        lambda: FramesToMultiple(0),
        lambda: FramesToMultiple(4, False, 3),
        lambda: FramesToMultiple(4, True, 0),
    ):
        with pytest.raises(ConfigError, match="expected at least"):
            make()
