"""Work for executors that needs no model: errands that leave marks, die, hang or raise."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vqkit.errors import ConfigError, MediaError
from vqkit.pipeline.executors import RunShard, Summary, WorkerLostError


@dataclass(frozen=True)
class Errands:
    """Squares numbers; ``kinds`` says what else happens at some of them."""

    folder: Path
    kinds: tuple[tuple[int, str], ...] = ()
    trouble_at_start: str = ""
    seconds: float = 0.0

    @contextmanager
    def start(self) -> Iterator[RunShard]:
        if self.trouble_at_start == "raises":
            raise ConfigError("no such model")
        if self.trouble_at_start == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        with (self.folder / "starts").open("a") as file:
            file.write(f"{os.getpid()}\n")
        yield self._run

    def pids(self, number: int) -> list[int]:
        """The processes that began a shard, one for each attempt."""
        return [int(line) for line in (self.folder / f"{number}").read_text().split()]

    def _run(self, number: int) -> Summary:
        mark = self.folder / f"{number}"
        with mark.open("a") as file:
            file.write(f"{os.getpid()}\n")
        time.sleep(self.seconds)
        kind = dict(self.kinds).get(number, "")
        is_first = len(mark.read_text().split()) == 1
        if kind == "poison" or (kind == "dies once" and is_first):
            os.kill(os.getpid(), signal.SIGKILL)
        if kind == "lost once" and is_first:
            raise WorkerLostError("the device is gone")
        if kind == "bad file":
            raise MediaError("a bad file")
        if kind == "bug":
            raise KeyError("a bug")
        return {"square": number * number}
