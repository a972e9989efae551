"""Memory that a call needs, on a CPU or a GPU."""

from collections.abc import Callable
from pathlib import Path

import torch

__all__ = ["extra_memory_bytes"]


def extra_memory_bytes(run: Callable[[], object], device: torch.device | str = "cpu") -> int:
    """Growth of the memory in use at its peak during a call.

    On a CPU this is the resident memory, so call it in a process of its own in which freed memory
    goes back to the system, after a small call that loads code and starts threads.

    Raises:
        OSError: The system does not tell: on a CPU, Linux alone does.
    """
    if torch.device(device).type != "cpu":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = _resident_bytes("VmRSS")
    run()
    # The peak is read from counters that lag behind by some pages.
    return max(0, _resident_bytes("VmHWM") - before)


def _resident_bytes(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"no {field} in /proc/self/status")
