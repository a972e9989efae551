"""Where shards are run: one protocol, three ways."""

from vqkit.pipeline.executors.base import (
    Executor,
    RunShard,
    ShardOutcome,
    Summary,
    Work,
    WorkerLostError,
)
from vqkit.pipeline.executors.inline import InlineExecutor
from vqkit.pipeline.executors.process import ProcessExecutor
from vqkit.pipeline.executors.ray import RayExecutor

__all__ = [
    "Executor",
    "InlineExecutor",
    "ProcessExecutor",
    "RayExecutor",
    "RunShard",
    "ShardOutcome",
    "Summary",
    "Work",
    "WorkerLostError",
]
