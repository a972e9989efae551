"""What ``vqkit encode --dataset`` says of its plan and at its end."""

import argparse
from typing import TYPE_CHECKING, Any

from vqkit.cli.console import Console, named_reason, printable
from vqkit.cli.exit_status import ExitStatus
from vqkit.cli.rates import duration_words, rate_words, speed_words

if TYPE_CHECKING:
    from vqkit.pipeline import EncodingJob, JobReport

__all__ = ["list_planned_shards", "report_dataset"]

_MOST_FAILURES_NAMED = 20


def list_planned_shards(job: "EncodingJob", arguments: argparse.Namespace, console: Console) -> int:
    """Say what would be encoded, without writing anything; return the exit status."""
    plan, inputs = job.plan()
    shards = [
        {
            "number": number,
            "num_inputs": plan.size(number),
            "first": inputs.item(plan.bounds(number)[0]).key,
        }
        for number in job.shard_range.numbers(plan.num_shards)
    ]
    facts = {
        "plan_id": plan.plan_id,
        "num_inputs": plan.inputs.count,
        "size_bytes": plan.inputs.size_bytes,
        "num_shards": plan.num_shards,
    }
    if arguments.json:
        console.document({"command": "encode", "dry_run": True, **facts, "shards": shards})
        return ExitStatus.DONE
    for shard in shards:
        console.data(
            f"shard {shard['number']}: {shard['num_inputs']:,} inputs from "
            f"{printable(str(shard['first']))} on"
        )
    console.note(
        f"{plan.inputs.count:,} inputs, {plan.inputs.size_bytes:,} bytes, in "
        f"{plan.num_shards:,} shards."
    )
    return ExitStatus.DONE


def report_dataset(
    report: "JobReport", job: "EncodingJob", arguments: argparse.Namespace, console: Console
) -> int:
    """Sum up a run; return the exit status."""
    progress = report.progress
    if arguments.json:
        head: dict[str, Any] = {
            "command": "encode",
            "dataset": job.output,
            "model": report.plan.tokenizer.to_dict(),
            "device": job.options.device,
        }
        console.document({**head, **report.to_dict()})
    num_done = progress.num_done_inputs - progress.num_failed
    files = "1 file" if progress.num_inputs == 1 else f"{progress.num_inputs:,} files"
    count = files if num_done == progress.num_inputs else f"{num_done:,} of {files}"
    console.note(
        f"Encoded {count} with {printable(report.plan.tokenizer.name)} on {job.options.device} in "
        f"{report.seconds:.1f} s: {progress.num_tokens:,} tokens, {progress.size_bytes:,} bytes, "
        f"{progress.num_done_shards:,} shards"
        + (
            f", {progress.num_earlier_shards:,} of them before"
            if progress.num_earlier_shards
            else ""
        )
        + _rates(report)
        + "."
    )
    stages = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in progress.seconds.items())
    console.detail(f"Time of all workers together: {stages}.")
    _name_failures(report, job, console)
    if report.manifest is None:
        console.note("Shards of other tasks are missing; the last task to end writes the manifest.")
    return ExitStatus.DONE if report.is_all_well else ExitStatus.SOME_FAILED


def _rates(report: "JobReport") -> str:
    """Of sounds and clips, the duration and what it comes to; of images, nothing."""
    rates = report.rates()
    if not (seconds := rates.get("media_seconds")):
        return ""
    text = f"; {duration_words(seconds)} of {report.progress.medium}, {rate_words(rates)}"
    speed = rates["times_real_time"]
    return text if speed is None else f"{text}, {speed_words(speed)}"


def _name_failures(report: "JobReport", job: "EncodingJob", console: Console) -> None:
    progress = report.progress
    if progress.num_failed:
        console.error(f"{progress.num_failed:,} of {progress.num_inputs:,} inputs failed:")
        named = progress.failed[:_MOST_FAILURES_NAMED]
        for key, reason in named:
            console.error(f"  {named_reason(printable(key), printable(reason))}")
        if len(named) < progress.num_failed:
            more = progress.num_failed - len(named)
            console.error(f"  and {more:,} more, in manifest.json of {printable(job.output)}.")
    for shard in progress.quarantined:
        num_inputs = report.plan.size(shard.number)
        console.error(
            f"shard {shard.number} with {num_inputs:,} inputs was given up: {shard.reason}."
        )
