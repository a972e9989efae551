import math

import pytest
import torch
from torch import Generator

from vqkit.data import RandomGain, RandomSegment, SegmentToMultiple, TensorSound, Transform
from vqkit.errors import ConfigError


def seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


RAMP = torch.arange(1000.0)[None] / 1000


def test_a_segment_is_a_slice_at_any_place_alike():
    transform = RandomSegment(997)
    generator = seeded()
    starts = [round(transform(RAMP, generator)[0, 0].item() * 1000) for _ in range(800)]
    counts = torch.bincount(torch.tensor(starts), minlength=4)
    assert counts.shape == (4,)
    assert counts.min() > 150
    segment = RandomSegment(100)(RAMP, seeded())
    start = round(segment[0, 0].item() * 1000)
    assert torch.equal(segment, RAMP[:, start : start + 100])
    assert torch.equal(RandomSegment(100)(RAMP, seeded()), segment)


@pytest.mark.parametrize("num_samples", [0, 1, 99, 100])
def test_short_sounds_are_followed_by_silence(num_samples):
    segment = RandomSegment(100, min_rms=0.9)(torch.full((2, num_samples), 0.5), seeded())
    assert segment.shape == (2, 100)
    assert torch.equal(segment[:, :num_samples], torch.full((2, num_samples), 0.5))
    assert not segment[:, num_samples:].any()


def test_silent_places_are_drawn_again():
    sound = torch.zeros(1, 10_000)
    sound[:, 8000:] = 0.5
    rms = [
        RandomSegment(1000, min_rms=0.2, max_draws=50)(sound, seeded(i)).square().mean().sqrt()
        for i in range(20)
    ]
    assert min(rms) >= 0.2
    plain = [RandomSegment(1000)(sound, seeded(i)).any() for i in range(20)]
    assert sum(map(bool, plain)) < 10


def test_draws_end_and_the_loudest_part_is_taken():
    class Counted(TensorSound):
        reads = 0

        def _read(self, start, num_samples):
            self.reads += 1
            return super()._read(start, num_samples)

    sound = Counted(RAMP / 100)
    segment = RandomSegment(10, min_rms=0.5, max_draws=6).cut(sound, seeded())
    assert sound.reads == 6
    generator = seeded()
    starts = [int(torch.randint(991, (), generator=generator)) for _ in range(6)]
    assert torch.equal(segment, RAMP[:, max(starts) : max(starts) + 10] / 100)


@pytest.mark.parametrize(
    ("transform", "start", "length"),
    [
        (SegmentToMultiple(320), 20, 960),
        (SegmentToMultiple(320, max_samples=700), 180, 640),
        (SegmentToMultiple(1000), 0, 1000),
        (SegmentToMultiple(1), 0, 1000),
    ],
)
def test_the_middle_to_a_multiple(transform, start, length):
    assert torch.equal(transform(RAMP, seeded()), RAMP[:, start : start + length])


def test_less_than_a_multiple_is_filled_up():
    filled = SegmentToMultiple(1920)(RAMP, seeded())
    assert torch.equal(filled, torch.cat([RAMP, torch.zeros(1, 920)], 1))
    assert SegmentToMultiple(8)(torch.zeros(2, 0), seeded()).shape == (2, 8)


def test_gains_are_uniform_in_decibels():
    sound = 0.01 * RAMP
    generator = seeded()
    gains = torch.tensor(
        [
            20 * math.log10(RandomGain(-10, 6)(sound, generator)[0, -1] / sound[0, -1])
            for _ in range(2000)
        ]
    )
    assert -10 <= gains.min() < -9.9
    assert 5.9 < gains.max() <= 6
    assert abs(gains.mean() + 2) < 0.3
    assert torch.equal(RandomGain(0, 0)(sound, seeded()), sound)


def test_no_gain_clips():
    for peak in torch.rand(200, generator=seeded()).tolist():
        sound = (RAMP - 0.7) * (0.1 + peak)
        loud = RandomGain(30, 60)(sound, seeded())
        assert 1 - 1e-6 < loud.abs().max().item() <= 1
        torch.testing.assert_close(loud, sound / sound.abs().max())
    assert not RandomGain(30, 60)(torch.zeros(1, 5), seeded()).any()
    assert RandomGain(30, 60)(torch.zeros(1, 0), seeded()).shape == (1, 0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandomSegment(0), "num_samples of a segment: expected at least 1, got 0"),
        (lambda: RandomSegment(5, max_draws=0), "max_draws of a segment"),
        (lambda: RandomSegment(5, min_rms=1.5), "min_rms of RandomSegment: expected 0 to 1"),
        (lambda: SegmentToMultiple(0), "multiple of a segment"),
        (lambda: SegmentToMultiple(10, max_samples=9), "expected at least the multiple 10, got 9"),
        (lambda: RandomGain(3, -3), "RandomGain: expected -120 <= min_db <= max_db"),
        (lambda: RandomGain(math.nan, 0), "RandomGain: expected"),
    ],
)
def test_what_makes_no_sense_is_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


@pytest.mark.parametrize(
    "transform", [RandomSegment(10), SegmentToMultiple(7), RandomGain(-3, 3)], ids=repr
)
def test_transforms_are_values_and_leave_their_input(transform):
    sound = RAMP.clone()
    transform(sound, seeded())
    assert torch.equal(sound, RAMP)
    assert isinstance(transform, Transform)
    assert hash(transform) == hash(type(transform)(**vars(transform)))
    with pytest.raises(AttributeError):
        transform.multiple = 3
