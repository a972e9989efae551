"""What a quantizer costs: time and memory, on vectors of one size."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Generator, Tensor

from vqkit.evaluation.cards.contestants import CONTESTANTS
from vqkit.evaluation.cards.measure import train, training_step
from vqkit.evaluation.cards.sources import DIM
from vqkit.evaluation.memory import extra_memory_bytes
from vqkit.quantizers import Quantizer

__all__ = ["NUM_MEMORY_VECTORS", "NUM_VECTORS", "Cost", "measure_costs", "print_memory"]

NUM_VECTORS = 16384
# More for the memory: the system counts some hundred KiB too late.
NUM_MEMORY_VECTORS = 65536
_ROUNDS = 5
_WARMING_STEPS = 3


@dataclass(frozen=True)
class Cost:
    """Time and memory of one quantizer."""

    quantizer: str
    encode_vectors_per_second: float
    training_vectors_per_second: float
    """Forward, backward and the optimizer's step."""
    training_memory_bytes: int | None
    """Growth of memory at the peak of a step of ``NUM_MEMORY_VECTORS`` vectors; None where the
    system does not tell."""


def measure_costs(
    names: Sequence[str],
    device: torch.device | str = "cpu",
    on_cost: Callable[[Cost], None] | None = None,
) -> tuple[Cost, ...]:
    """Measure the median of some rounds of ``NUM_VECTORS`` vectors, one quantizer at a time.

    Args:
        names: Keys of :data:`~vqkit.evaluation.cards.contestants.CONTESTANTS`.
        device: Where they compute.
        on_cost: Called with each result.
    """
    memory = _memory_bytes(names, device)
    costs = []
    for name in names:
        quantizer, rows = _prepared(name, device), _draw(NUM_VECTORS, Generator()).to(device)
        step = _step(quantizer, rows)
        training_seconds = _median_seconds(step, device)
        quantizer.eval()
        encode_seconds = _median_seconds(partial(quantizer.encode, rows[None]), device)
        cost = Cost(
            name,
            encode_vectors_per_second=NUM_VECTORS / encode_seconds,
            training_vectors_per_second=NUM_VECTORS / training_seconds,
            training_memory_bytes=memory.get(name),
        )
        costs.append(cost)
        if on_cost is not None:
            on_cost(cost)
    return tuple(costs)


def print_memory(names: Iterable[str]) -> None:
    """Print the memory of a training step as JSON, in a process made for it."""
    print(json.dumps({name: _training_memory_bytes(name, "cpu") for name in names}))


def _memory_bytes(names: Sequence[str], device: torch.device | str) -> dict[str, int]:
    if torch.device(device).type != "cpu":
        return {name: _training_memory_bytes(name, device) for name in names}
    program = (
        "import sys; from vqkit.evaluation.cards.costs import print_memory; "
        "print_memory(sys.argv[1:])"
    )
    # Freed memory goes back to the system there; one thread, so that no other starts meanwhile.
    settings = {
        "MALLOC_MMAP_THRESHOLD_": str(2**17),
        "MALLOC_TRIM_THRESHOLD_": "0",
        "OMP_NUM_THREADS": "1",
        "NUMBA_NUM_THREADS": "1",
    }
    result = subprocess.run(
        [sys.executable, "-c", program, *names],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | settings,
    )
    if result.returncode != 0:  # a system that does not tell
        return {}
    found: dict[str, int] = json.loads(result.stdout)
    return found


def _training_memory_bytes(name: str, device: torch.device | str) -> int:
    quantizer, rows = _prepared(name, device), _draw(NUM_MEMORY_VECTORS, Generator()).to(device)
    return extra_memory_bytes(_step(quantizer, rows), device)


def _prepared(name: str, device: torch.device | str) -> Quantizer:
    """Initialised by a few small steps, which load code and start threads as well."""
    return train(CONTESTANTS[name], _draw, _WARMING_STEPS, device=device, batch_size=512).train()


def _draw(num_vectors: int, generator: Generator) -> Tensor:
    return torch.randn(num_vectors, DIM, generator=generator)


def _step(quantizer: Quantizer, rows: Tensor) -> Callable[[], None]:
    parameters = [p for p in quantizer.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters) if parameters else None
    return lambda: training_step(quantizer, optimizer, rows)


def _median_seconds(run: Callable[[], object], device: torch.device | str) -> float:
    waits = torch.device(device).type == "cuda"
    taken = []
    for _ in range(_ROUNDS + 1):  # the first warms up
        begin = time.perf_counter()
        run()
        if waits:
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken[1:])
