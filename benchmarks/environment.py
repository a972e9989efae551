"""What a benchmark ran on, and the files that keep its results."""

import json
import os
import platform
import shlex
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

__all__ = ["as_markdown", "describe_environment", "write_results"]


def describe_environment(*packages: str) -> dict[str, object]:
    """Hardware, load, versions and command; ``packages`` are distributions to list if installed."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "command": _command(),
        "processor": _processor(),
        "cores": cores,
        "torch_threads": torch.get_num_threads(),
        "torch_cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "memory_gib": _memory_gib(),
        "load_average_at_start": round(os.getloadavg()[0], 1)
        if hasattr(os, "getloadavg")
        else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in ("torch", *packages)},
    }


def as_markdown(environment: dict[str, object]) -> str:
    """The same as a list."""
    lines = []
    for key, value in environment.items():
        if isinstance(value, dict):
            value = ", ".join(f"{name} {version}" for name, version in value.items())
        name = key.replace("_", " ")
        lines.append(f"- {name}: `{value}`" if key == "command" else f"- {name}: {value}")
    return "\n".join(lines)


def write_results(folder: Path, name: str, results: dict[str, Any], report: str) -> Path:
    """Keep results as ``name.json``, the report as ``name.md``; returns the path of the first."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(results, indent=2) + "\n")
    path.with_suffix(".md").write_text(report)
    return path


def _command() -> str:
    program = Path(sys.argv[0])
    return shlex.join(["python", "-m", f"{program.parent.name}.{program.stem}", *sys.argv[1:]])


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"


def _memory_gib() -> int | None:
    if "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
