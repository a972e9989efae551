"""What a job does with its inputs, and what it does when one fails."""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vqkit.errors import ConfigError
from vqkit.media import Alpha

__all__ = ["EncodingOptions", "FailurePolicy", "ReadingLimits", "ShardRange"]


_MAX_TIMEOUT_SECONDS = 1_000_000  # what operating systems can wait for


@dataclass(frozen=True)
class EncodingOptions:
    """Whatever the tokens and the shards depend on; part of the plan's identity.

    Args:
        device: Kind of device, "cpu" or "cuda": tokens of another kind may differ where two codes
            are equally near.
        alpha: What transparent pixels are laid over.
        num_codebooks: Keep the first so many codebooks; None for all.
        batch_size: Images of equal size, or sounds of any length, that are encoded together. With 1
            an item's tokens depend on the item alone; more are faster, of short sounds and on a
            GPU, and kernels that are chosen by the shape may move a latent by a rounding error and
            its token to a neighbour.
        shard_bytes: Media in each shard; None for about 64 shards of 16 to 256 MiB.
    """

    device: str = "cpu"
    alpha: Alpha = "white"
    num_codebooks: int | None = None
    batch_size: int = 1
    shard_bytes: int | None = None

    def __post_init__(self) -> None:
        for name in ("num_codebooks", "batch_size", "shard_bytes"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"Encoding: expected {name} from 1 on, got {value}.")

    def to_dict(self) -> dict[str, Any]:
        """JSON types."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "EncodingOptions":
        """Inverse of :meth:`to_dict`.

        Raises:
            ConfigError: Missing or unknown keys.
        """
        names = {field.name for field in dataclasses.fields(cls)}
        if set(data) != names:
            raise ConfigError(f"Encoding: expected options {sorted(names)}, got {sorted(data)}.")
        return cls(**data)


@dataclass(frozen=True)
class FailurePolicy:
    """How many items may fail before the job stops.

    An item that fails has a row with the reason in the data set; the job's exit status tells.

    Args:
        max_share: Of all inputs; 0 stops at the first one, 1 never.

    >>> FailurePolicy.parse("skip:2%").allows(num_failed=20, num_inputs=1000)
    True
    >>> FailurePolicy.parse("fail").allows(num_failed=1, num_inputs=1000)
    False
    """

    max_share: float = 1.0

    @staticmethod
    def parse(text: str) -> "FailurePolicy":
        """From ``fail``, ``skip`` or ``skip:P%``.

        Raises:
            ConfigError: It is none of them.
        """
        if text == "fail":
            return FailurePolicy(0.0)
        if text == "skip":
            return FailurePolicy(1.0)
        match = re.fullmatch(r"skip:(\d+(?:\.\d+)?)%", text, re.ASCII)
        if match is None or float(match[1]) > 100:
            raise ConfigError(f"On errors: expected fail, skip or skip:2%, got {text!r}.")
        return FailurePolicy(float(match[1]) / 100)

    def allows(self, num_failed: int, num_inputs: int) -> bool:
        """Whether the job may go on."""
        return num_failed <= self.max_share * num_inputs

    def __str__(self) -> str:
        if self.max_share in (0.0, 1.0):
            return "skip" if self.max_share else "fail"
        return f"skip:{100 * self.max_share:g}%"


@dataclass(frozen=True)
class ReadingLimits:
    """How a worker reads media.

    Args:
        num_readers: Processes that fetch and decode ahead of each worker.
        timeout_seconds: For fetching and decoding one item; its process is killed after that.
    """

    num_readers: int = 1
    timeout_seconds: float = 120.0

    def __post_init__(self) -> None:
        if self.num_readers < 1 or not 0 < self.timeout_seconds <= _MAX_TIMEOUT_SECONDS:
            raise ConfigError(
                "Reading: expected at least one reader and a time limit above 0 s and up to "
                f"{_MAX_TIMEOUT_SECONDS:,} s, got {self.num_readers} and {self.timeout_seconds}."
            )


@dataclass(frozen=True)
class ShardRange:
    """Every n-th shard, for tasks of an array that share a job.

    Args:
        task: From 1 on.
        num_tasks: Of the array.

    >>> ShardRange.parse("2/3").numbers(8)
    [1, 4, 7]
    """

    task: int = 1
    num_tasks: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.task <= self.num_tasks:
            raise ConfigError(
                f"Shard range: expected a task from 1 to {self.num_tasks}, got {self.task}."
            )

    @staticmethod
    def parse(text: str) -> "ShardRange":
        """From ``k/n``, k from 1 to n.

        Raises:
            ConfigError: It is none.
        """
        match = re.fullmatch(r"(\d+)/(\d+)", text, re.ASCII)
        if match is None:
            raise ConfigError(f"Shard range: expected k/n such as 3/16, got {text!r}.")
        return ShardRange(int(match[1]), int(match[2]))

    @property
    def is_all(self) -> bool:
        """Whether there are no other tasks."""
        return self.num_tasks == 1

    def numbers(self, num_shards: int) -> list[int]:
        """The shards of this task."""
        return [*range(self.task - 1, num_shards, self.num_tasks)]
