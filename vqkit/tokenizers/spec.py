"""What a tokenizer does, in numbers, without its weights."""

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vqkit.errors import ConfigError, ShapeError

__all__ = ["TokenizerSpec"]


@dataclass(frozen=True)
class TokenizerSpec:
    """Description of a tokenizer, as JSON in model folders and reports.

    Attributes:
        name: Id of the model.
        modality: "image".
        channels: Channels of the media.
        axes: Names of the grid's axes.
        strides: Media samples per token along each axis.
        codebook_sizes: One per entry of the indices' last axis.
        fingerprint: 32 hex digits over configuration and weights.
        latent_grid: The one grid of latents that the quantizer takes; None takes any.
        num_positions: Positions of the indices of that grid, on one axis; None as well.
    """

    name: str
    modality: str
    channels: int
    axes: tuple[str, ...]
    strides: tuple[int, ...]
    codebook_sizes: tuple[int, ...]
    fingerprint: str
    latent_grid: tuple[int, ...] | None = None
    num_positions: int | None = None

    @property
    def bits_per_position(self) -> float:
        """Nominal bits of one grid position."""
        return math.fsum(math.log2(size) for size in self.codebook_sizes)

    @property
    def bits_per_pixel(self) -> float:
        """Nominal bits per pixel of media whose sides the stride divides."""
        positions = 1.0
        if self.latent_grid is not None and self.num_positions is not None:
            positions = self.num_positions / math.prod(self.latent_grid)
        return self.bits_per_position * positions / math.prod(self.strides)

    def grid(self, size: Mapping[str, int]) -> tuple[int, ...]:
        """Grid of the tokens of media of a size: each axis over its stride, rounded up.

        Where the quantizer takes one grid of latents alone, its positions on one axis.

        Raises:
            ShapeError: The media have another grid than the one.

        >>> spec = TokenizerSpec("t", "image", 3, ("height", "width"), (8, 8), (512,), "0" * 32)
        >>> spec.grid({"height": 300, "width": 451}), round(spec.bits_per_pixel, 4)
        ((38, 57), 0.1406)
        """
        latents = tuple(
            -(-size[axis] // stride) for axis, stride in zip(self.axes, self.strides, strict=True)
        )
        if self.latent_grid is None or self.num_positions is None:
            return latents
        if latents != self.latent_grid:
            largest = [n * step for n, step in zip(self.latent_grid, self.strides, strict=True)]
            raise ShapeError(
                f"Media of {dict(size)}: expected latents of {list(self.latent_grid)}, the grid of "
                f"this model's quantizer, got {list(latents)}. Resize the media to {largest}."
            )
        return (self.num_positions,)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; without what is None."""
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in dataclasses.asdict(self).items()
            if value is not None
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "TokenizerSpec":
        """Inverse of :meth:`to_dict`.

        Raises:
            ConfigError: Missing or unknown keys.
        """
        fields = dataclasses.fields(cls)
        names = {field.name for field in fields}
        required = {field.name for field in fields if field.default is dataclasses.MISSING}
        if not required <= set(data) <= names:
            raise ConfigError(f"TokenizerSpec: expected keys {sorted(names)}, got {sorted(data)}.")
        plain: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in data.items()
        }
        return cls(**plain)

    def to_json(self) -> str:
        """Canonical JSON: sorted keys."""
        return json.dumps(self.to_dict(), sort_keys=True)
