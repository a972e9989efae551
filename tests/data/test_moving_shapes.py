import math

import pytest
import torch

from vqkit.data import MovingShapes
from vqkit.data.moving_shapes import _Scene
from vqkit.data.outlines import box, ellipse, full_colour, triangle
from vqkit.data.stream import generator_of
from vqkit.errors import ConfigError


def test_a_clip_is_a_function_of_seed_and_number():
    clips = MovingShapes(6, num_frames=5, side=24, seed=3)
    expected = list(clips)
    again = MovingShapes(6, num_frames=5, side=24, seed=3)
    assert all(torch.equal(again[i], expected[i]) for i in reversed(range(6)))
    assert len({frames.numpy().tobytes() for frames in expected}) == 6
    other = MovingShapes(6, num_frames=5, side=24, seed=4)
    assert not any(torch.equal(a, b) for a, b in zip(other, expected, strict=True))
    assert clips.name(2) == "moving_shapes/3/2"


def test_any_part_is_a_part_of_the_whole():
    clips = MovingShapes(2, num_frames=9, side=16)
    with clips.open(1) as part:
        assert torch.equal(part.read(4, 3), clips[1][:, 4:7])


def test_they_move_a_little_from_frame_to_frame_and_far_in_all():
    for frames in MovingShapes(3, num_frames=40, side=24):
        assert frames.shape == (3, 40, 24, 24)
        assert frames.min() >= -1
        assert frames.max() <= 1
        steps = (frames[:, 1:] - frames[:, :-1]).abs().mean((0, 2, 3))
        assert (steps > 0.001).all()
        assert float(steps.max()) < 0.25
        assert float((frames[:, 20] - frames[:, 0]).abs().mean()) > 2 * float(steps.mean())


def test_a_frame_is_painted_as_the_scene_says():
    """Shape by shape and pixel by pixel, and each of them in every frame."""
    side = 10
    clips = MovingShapes(2, num_frames=80, side=side, num_shapes=2)
    for index in range(2):
        scene = _Scene.drawn(generator_of(0, "shapes", index), 2)
        frames = clips[index]
        for time in (0, 79):
            covered = [0.0, 0.0]
            for row, column in ((y, x) for y in range(side) for x in range(side)):
                x, y = (2 * (column + 0.5) / side - 1, 2 * (row + 0.5) / side - 1)
                waves = scene.stripes.double().tolist()
                wave = math.cos(waves[0] * x + waves[1] * y + waves[2] + waves[3] * time)
                hues = full_colour(scene.hue, value=1.0).double()
                colour = hues[0] * (0.5 + 0.15 * wave)
                for number in range(2):
                    place = [
                        bounced(float(scene.place[number, axis] + scene.speed[number, axis] * time))
                        for axis in (0, 1)
                    ]
                    angle = float(scene.angle[number] + scene.turn[number] * time)
                    scale = float(scene.scale[number])
                    u = (
                        math.cos(angle) * (x - place[0]) + math.sin(angle) * (y - place[1])
                    ) / scale
                    v = (
                        math.cos(angle) * (y - place[1]) - math.sin(angle) * (x - place[0])
                    ) / scale
                    outline = (ellipse, box, triangle)[int(scene.kind[number])]
                    distance = float(outline(torch.tensor(u), torch.tensor(v))) * scale
                    cover = min(max(0.5 - distance * side / 2, 0.0), 1.0)
                    covered[number] += cover
                    colour = colour + cover * (hues[1 + number] - colour)
                expected = (colour * 2 - 1).clamp(-1, 1)
                found = frames[:, time, row, column].double()
                assert torch.allclose(found, expected, atol=2e-4)
            assert min(covered) > 1


def bounced(place: float) -> float:
    """To and fro between -0.75 and 0.75, step by step."""
    while abs(place) > 0.75:
        place = (1.5 if place > 0 else -1.5) - place
    return place


@pytest.mark.parametrize(
    "settings",
    [{"num_clips": 0}, {"num_frames": 0}, {"side": 4}, {"num_shapes": 0}, {"seed": -1}],
)
def test_what_makes_no_sense_is_refused(settings):
    with pytest.raises(ConfigError, match="MovingShapes: expected num_clips"):
        MovingShapes(**settings)
