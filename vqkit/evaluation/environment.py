"""Where and with what an evaluation ran."""

import importlib.metadata
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch

__all__ = ["Environment"]

_PACKAGES = ("vqkit", "torch", "numpy")


@dataclass(frozen=True)
class Environment:
    """Software and hardware of an evaluation; numbers change with both."""

    date: str
    """Start, ISO 8601 in UTC."""
    device: str
    cpu: str
    num_threads: int
    """Threads that torch computes with, in each process."""
    num_processes: int
    system: str
    versions: Mapping[str, str | None]
    """Python and the packages that numbers depend on; None where one is not installed."""

    @classmethod
    def current(cls, device: torch.device, packages: Sequence[str] = ()) -> "Environment":
        """Describe this process, and the versions of packages beside the usual ones."""
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
        return cls(
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            device=f"{device} ({name})" if name else str(device),
            cpu=_cpu_name(),
            num_threads=torch.get_num_threads(),
            num_processes=1,
            system=platform.platform(),
            versions={
                "python": platform.python_version(),
                **{package: _version(package) for package in (*_PACKAGES, *packages)},
            },
        )


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # e.g. vqkit in a bare checkout
        return None


def _cpu_name() -> str:
    """The processor's name; Python knows it on few systems, Linux tells it in a file."""
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return f"{line.partition(':')[2].strip()} ({os.cpu_count()} cores)"
    return f"{platform.processor() or platform.machine()} ({os.cpu_count()} cores)"
