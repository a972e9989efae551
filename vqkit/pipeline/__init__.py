"""Encoding a data set: millions of files into shards of tokens, none lost and none twice.

``vqkit encode INPUTS --dataset OUTPUT`` is this on the command line; ``docs/encoding_data_sets.md``
says what is guaranteed.
"""

from vqkit.pipeline.executors import (
    Executor,
    InlineExecutor,
    ProcessExecutor,
    RayExecutor,
    ShardOutcome,
)
from vqkit.pipeline.inputs import Input, Inputs, list_inputs
from vqkit.pipeline.job import EncodingJob, JobReport, Progress, encode_dataset
from vqkit.pipeline.model import ModelReference
from vqkit.pipeline.options import EncodingOptions, FailurePolicy, ReadingLimits, ShardRange
from vqkit.pipeline.plan import Plan, make_plan

__all__ = [
    "EncodingJob",
    "EncodingOptions",
    "Executor",
    "FailurePolicy",
    "InlineExecutor",
    "Input",
    "Inputs",
    "JobReport",
    "ModelReference",
    "Plan",
    "ProcessExecutor",
    "Progress",
    "RayExecutor",
    "ReadingLimits",
    "ShardOutcome",
    "ShardRange",
    "encode_dataset",
    "list_inputs",
    "make_plan",
]
