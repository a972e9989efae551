"""``vqkit encode --dataset``: any number of media -> shards of tokens."""

import argparse
import os
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from vqkit.cli.codebooks import num_codebooks
from vqkit.cli.console import Console
from vqkit.cli.dataset_progress import dataset_progress
from vqkit.cli.encode_dataset_report import list_planned_shards, report_dataset
from vqkit.cli.exit_status import ExitStatus
from vqkit.cli.models import ModelLoader, find_device, resolve
from vqkit.cli.options import Parser, positive
from vqkit.cli.usage_error import UsageError

if TYPE_CHECKING:
    from vqkit.pipeline import EncodingJob, Executor

__all__ = ["add_dataset_options", "refuse_dataset_options", "run_dataset"]

_MOST_READERS, _READERS_FOR_A_GPU = 8, 4
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def add_dataset_options(parser: Parser) -> None:
    group = parser.add_argument_group(
        "data set", "One data set of tokens in place of token files, by several workers."
    )
    group.add_argument(
        "--dataset",
        metavar="DATASET",
        help="folder or URL (s3://bucket/prefix) of the data set, for one INPUTS: a folder of "
        "media, a list (.txt .csv .jsonl), a Parquet or a tar file, here or in an object store",
    )
    group.add_argument(
        "--engine",
        choices=("inline", "process", "ray"),
        help="what runs the workers: this process, processes of this machine, Ray "
        "(default: process)",
    )
    group.add_argument(
        "--workers",
        type=positive,
        metavar="N",
        help="number of workers (default: one for each GPU, without any one for each core)",
    )
    group.add_argument("--address", metavar="ADDRESS", help="of a Ray cluster (default: here)")
    group.add_argument(
        "--shard-range",
        metavar="K/N",
        help="encode every N-th shard from the K-th on, in a task of an array; K from 1 to N",
    )
    group.add_argument(
        "--shard-size",
        type=_size,
        metavar="SIZE",
        help="media in a shard, such as 64M (default: about 64 shards of 16M to 256M)",
    )
    group.add_argument(
        "--batch-size",
        type=positive,
        metavar="N",
        help="encode so many images of equal size, or sounds, together: faster for short sounds "
        "and on a GPU; with 1, tokens do not depend on other media (default: 1)",
    )
    group.add_argument(
        "--on-error",
        metavar="POLICY",
        help="on media that fail: fail, skip, or skip:P%%, up to a share of all (default: skip)",
    )
    group.add_argument(
        "--timeout-seconds",
        type=float,
        metavar="S",
        help="give up an item whose reading takes longer; of a clip, a block of frames "
        "(default: 120)",
    )
    group.add_argument(
        "--plan-only", action="store_true", default=None, help="write the plan and stop"
    )


_OPTIONS = (
    "engine",
    "workers",
    "address",
    "shard_range",
    "shard_size",
    "batch_size",
    "on_error",
    "timeout_seconds",
    "plan_only",
)
_FILE_OPTIONS = ("output", "output_dir", "force")


def refuse_dataset_options(arguments: argparse.Namespace) -> None:
    """Refuse options of a data set where token files are asked for.

    Raises:
        UsageError: There is one.
    """
    for name in _OPTIONS:
        if getattr(arguments, name) is not None:
            raise UsageError(f"{_flag(name)}: expected --dataset with it. Say where the data go.")


def run_dataset(arguments: argparse.Namespace, console: Console) -> int:
    for name in _FILE_OPTIONS:
        if getattr(arguments, name):
            raise UsageError(
                f"{_flag(name)}: a data set goes where --dataset says, never over one."
            )
    if arguments.audio_track is not None:
        raise UsageError("--audio-track: a data set is made of the first track of every file.")
    for name in ("audio", "start", "end"):
        if getattr(arguments, name) is not None:
            raise UsageError(
                f"{_flag(name)}: a data set is made of whole files, and of the frames of videos."
            )
    if len(arguments.media) != 1:
        raise UsageError(
            "--dataset: expected one folder, list, Parquet or tar file, got "
            f"{len(arguments.media)}. Put what is in several places into a list."
        )
    if arguments.engine != "ray" and arguments.address is not None:
        raise UsageError("--address: expected --engine ray with it.")
    kind, devices = _devices(arguments)
    num_workers = arguments.workers or len(devices) or _num_cores()
    job = _job(arguments, console, kind, _num_readers(arguments, kind, num_workers))
    if arguments.dry_run:
        return list_planned_shards(job, arguments, console)
    if arguments.plan_only:
        plan = job.stored_plan()
        console.note(f"Planned {plan.inputs.count:,} inputs in {plan.num_shards:,} shards.")
        return ExitStatus.DONE
    from vqkit.pipeline import encode_dataset

    wanted = not arguments.no_progress and not arguments.verbosity
    try:
        with _termination_interrupts(), dataset_progress(console, wanted=wanted) as show:
            report = encode_dataset(job, _executor(arguments, kind, num_workers, devices), show)
    except KeyboardInterrupt:
        console.error("interrupted; the same command again goes on.")
        return ExitStatus.INTERRUPTED
    return report_dataset(report, job, arguments, console)


def _job(
    arguments: argparse.Namespace, console: Console, kind: str, num_readers: int
) -> "EncodingJob":
    from vqkit.pipeline import (
        EncodingJob,
        EncodingOptions,
        FailurePolicy,
        ModelReference,
        ReadingLimits,
        ShardRange,
    )

    codebooks = None
    if arguments.codebooks is not None or arguments.bitrate is not None:
        codebooks = num_codebooks(ModelLoader(arguments, console).named(), arguments)
    path = resolve(arguments.model)
    # Workers may have another working folder.
    path = str(Path(path).absolute()) if Path(path).is_dir() else path
    return EncodingJob(
        inputs=arguments.media[0],
        output=arguments.dataset,
        model=ModelReference(path, arguments.revision, tuple(arguments.trust)),
        options=EncodingOptions(
            device=kind,
            alpha=arguments.alpha,
            num_codebooks=codebooks,
            batch_size=arguments.batch_size or 1,
            shard_bytes=arguments.shard_size,
        ),
        policy=FailurePolicy.parse(arguments.on_error or "skip"),
        limits=ReadingLimits(
            num_readers,
            120.0 if arguments.timeout_seconds is None else arguments.timeout_seconds,
        ),
        shard_range=ShardRange.parse(arguments.shard_range or "1/1"),
    )


def _devices(arguments: argparse.Namespace) -> tuple[str, list[str]]:
    """The kind of device, and for GPUs of this machine what ``CUDA_VISIBLE_DEVICES`` names them."""
    import torch

    if arguments.engine == "ray" and arguments.device != "auto":
        try:  # without looking for it: this machine may lack what workers have
            return torch.device(arguments.device).type, []
        except RuntimeError as error:
            raise UsageError(
                f"--device {arguments.device}: expected cpu, cuda, ..., got something else."
            ) from error
    device = find_device(arguments.device)
    if device.type != "cuda":
        return device.type, []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [*map(str, range(torch.cuda.device_count()))]
    return "cuda", names if device.index is None else [names[device.index]]


def _num_readers(arguments: argparse.Namespace, kind: str, num_workers: int) -> int:
    """Processes that read ahead of each worker: the cores that are left, if it is on a GPU."""
    if arguments.engine == "ray":
        return 1 if kind == "cpu" else _READERS_FOR_A_GPU
    if arguments.engine == "inline":
        num_workers = 1
    return max(1, min(_MOST_READERS, _num_cores() // num_workers))


def _executor(
    arguments: argparse.Namespace, kind: str, num_workers: int, devices: list[str]
) -> "Executor":
    from vqkit.pipeline import InlineExecutor, ProcessExecutor, RayExecutor

    if arguments.engine == "inline":
        return InlineExecutor()
    if arguments.engine == "ray":
        num_gpus = int(kind == "cuda")
        return RayExecutor(arguments.workers, address=arguments.address, num_gpus=num_gpus)
    return ProcessExecutor(num_workers, tuple(devices))


@contextmanager
def _termination_interrupts() -> Iterator[None]:
    """Take a request to end (SIGTERM, as schedulers send it) like Ctrl-C."""

    def interrupt(number: int, frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _num_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _size(text: str) -> int:
    """Bytes from ``64M`` and the like, for ``add_argument(type=...)``."""
    match = re.fullmatch(r"(\d+)([KMG]?)(?:i?B)?", text, re.ASCII)
    size = int(match[1]) * _UNITS[match[2]] if match else 0
    if size < 1:
        raise argparse.ArgumentTypeError(f"expected a size such as 64M, got {text!r}")
    return size


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
