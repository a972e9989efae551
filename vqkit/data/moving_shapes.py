"""Clips of shapes that move, drawn on the spot; no files."""

import math
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor

from vqkit.data.clips import Clip
from vqkit.data.outlines import box, ellipse, full_colour, triangle
from vqkit.data.stream import generator_of
from vqkit.data.video_source import VideoSource
from vqkit.errors import ConfigError
from vqkit.shapes import Float

__all__ = ["MovingShapes"]

# Of a picture that spans 2 in each direction.
_REACH = 0.75
_GREATEST_SPEED = 0.08
_GREATEST_TURN = 0.15
_STRIPES = 0.15


class MovingShapes(VideoSource):
    """Ellipses, boxes and triangles that turn, move and bounce off the edges, on drifting stripes.

    For training and tests without any file: speed, turn, size and colour of each shape are drawn
    anew for each clip, and a shape that comes later covers those before it. Clip ``i`` is a
    function of the seed and ``i``; other seeds are other clips, to be held out.

    Args:
        num_clips: how many there are.
        num_frames: length of each.
        side: height and width in pixels, 8 or more.
        num_shapes: shapes in a clip.
        seed: of everything.

    Raises:
        ConfigError: a number is out of range.

    Example:
        >>> clips = MovingShapes(2, num_frames=5, side=16)
        >>> [(name, tuple(clip.shape)) for name, clip in clips.items()]
        [('moving_shapes/0/0', (3, 5, 16, 16)), ('moving_shapes/0/1', (3, 5, 16, 16))]
    """

    def __init__(
        self,
        num_clips: int = 1000,
        *,
        num_frames: int = 17,
        side: int = 64,
        num_shapes: int = 2,
        seed: int = 0,
    ) -> None:
        if num_clips < 1 or num_frames < 1 or side < 8 or num_shapes < 1 or seed < 0:
            raise ConfigError(
                "MovingShapes: expected num_clips, num_frames and num_shapes >= 1, side >= 8 and "
                f"seed >= 0, got {num_clips}, {num_frames}, {num_shapes}, {side} and {seed}."
            )
        super().__init__(num_clips)
        self.num_clips = num_clips
        self.num_frames = num_frames
        self.side = side
        self.num_shapes = num_shapes
        self.seed = seed

    def name(self, index: int) -> str:
        """``moving_shapes/``, the seed and the number."""
        return f"moving_shapes/{self.seed}/{index}"

    def open(self, index: int) -> AbstractContextManager[Clip]:
        """Draw the chances of one clip; its frames are drawn when they are read."""
        scene = _Scene.drawn(generator_of(self.seed, "shapes", index), self.num_shapes)
        return nullcontext(_DrawnClip(scene, self.num_frames, self.side))


class _Scene(NamedTuple):
    """What does not change in a clip; lengths in half sides, times in frames.

    Attributes:
        kind: [shapes] which outline.
        place: [shapes, 2] at frame 0, before it is folded into the picture.
        speed: [shapes, 2] per frame.
        angle: [shapes] at frame 0.
        turn: [shapes] per frame.
        scale: [shapes]
        hue: [1 + shapes] of the background and of the shapes.
        stripes: [4] waves to the right and down, phase, and phase per frame.
    """

    kind: Tensor
    place: Tensor
    speed: Tensor
    angle: Tensor
    turn: Tensor
    scale: Tensor
    hue: Tensor
    stripes: Tensor

    @classmethod
    def drawn(cls, generator: torch.Generator, num_shapes: int) -> "_Scene":
        def uniform(least: float, greatest: float, *size: int) -> Tensor:
            return least + (greatest - least) * torch.rand(*size, generator=generator)

        return cls(
            kind=torch.randint(3, (num_shapes,), generator=generator),
            place=uniform(-2 * _REACH, 2 * _REACH, num_shapes, 2),
            speed=uniform(-_GREATEST_SPEED, _GREATEST_SPEED, num_shapes, 2),
            angle=uniform(0, 2 * math.pi, num_shapes),
            turn=uniform(-_GREATEST_TURN, _GREATEST_TURN, num_shapes),
            scale=uniform(0.5, 1.2, num_shapes),
            hue=uniform(0, 1, 1 + num_shapes),
            stripes=uniform(-1, 1, 4) * torch.tensor([6.0, 6.0, math.pi, 0.3]),
        )


class _DrawnClip(Clip):
    """A clip of which each frame is drawn for itself.

    Args:
        scene: what is in it.
        num_frames: its length.
        side: height and width.
    """

    def __init__(self, scene: _Scene, num_frames: int, side: int) -> None:
        super().__init__(num_frames)
        self._scene = scene
        self._pixels = (torch.arange(side) + 0.5) * (2 / side) - 1

    def _read(self, start: int, num_frames: int) -> Tensor:
        return torch.stack([self._frame(float(start + i)) for i in range(num_frames)], 1)

    def _frame(self, time: float) -> Float[Tensor, "3 side side"]:
        scene, side = self._scene, len(self._pixels)
        right, down = self._pixels[None, :], self._pixels[:, None]
        waves_right, waves_down, phase, drift = scene.stripes.tolist()
        stripes = torch.cos(waves_right * right + waves_down * down + phase + drift * time)
        colours = full_colour(scene.hue, value=1.0)[:, :, None, None]
        picture = (0.5 + _STRIPES * stripes) * colours[0]
        places = _folded(scene.place + scene.speed * time)
        for number, outline in enumerate(scene.kind.tolist()):
            x, y = places[number]
            angle = scene.angle[number] + scene.turn[number] * time
            scale = scene.scale[number]
            u = (torch.cos(angle) * (right - x) + torch.sin(angle) * (down - y)) / scale
            v = (torch.cos(angle) * (down - y) - torch.sin(angle) * (right - x)) / scale
            distance = (ellipse, box, triangle)[outline](u, v) * scale
            # An edge one pixel wide.
            cover = (0.5 - distance * (side / 2)).clamp(0, 1)
            picture = picture + cover * (colours[1 + number] - picture)
        return (picture * 2 - 1).clamp(-1, 1)


def _folded(place: Tensor) -> Tensor:
    """Where something is that runs straight on and is thrown back at both ends of its reach."""
    return _REACH - (torch.remainder(place + _REACH, 4 * _REACH) - 2 * _REACH).abs()
