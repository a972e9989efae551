"""Jobs that encode a data set, killed at random moments and resumed until they are done.

``python -m benchmarks.kill_and_resume`` runs a job of 40 shards a hundred times. Each run is killed
with SIGKILL, driver, workers and readers in one blow, and started again on an executor drawn anew,
until it ends by itself; every tenth run has its turn on Ray. Then nothing may be missing and
nothing there twice: every key once, every token and every hash as in a run that nobody disturbed.
``--output benchmarks/results`` keeps the tables.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.environment import as_markdown, describe_environment, write_results
from vqkit.files.dataset import Manifest, read_shard, verify_dataset
from vqkit.files.storage import Storage
from vqkit.media import read_image, write_image
from vqkit.nets import FastDecoder, FastEncoder
from vqkit.pipeline import (
    EncodingJob,
    EncodingOptions,
    Executor,
    InlineExecutor,
    ModelReference,
    ProcessExecutor,
    RayExecutor,
    encode_dataset,
)
from vqkit.quantizers import FSQ, Factorized
from vqkit.tokenizers import ImageFrontend, Tokenizer

NUM_SHARDS = 40
NUM_INPUTS = 200
NUM_BROKEN = 4
EXECUTORS = {"inline": InlineExecutor, "process": ProcessExecutor, "ray": RayExecutor}
# Of the moments that are drawn, so many lie where shards are written, not where programs start.
SHARE_AT_WORK = 0.8
MOST_ATTEMPTS = 50


@dataclass(frozen=True)
class Reference:
    """What every run must come to.

    Attributes:
        tokens: By key; None where there is an error.
        hashes: Of the parts, by name.
        boot_seconds: Of an undisturbed run until the first shard is done, by executor.
        seconds: Of an undisturbed run, by executor.
    """

    tokens: dict[str, torch.Tensor | None]
    hashes: dict[str, str]
    boot_seconds: dict[str, float]
    seconds: dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--ray-every", type=int, default=10, help="0 for never")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="folder for kill-and-resume.json and .md")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    environment = describe_environment("pyarrow", "ray")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        prepare(root)
        names = ["inline", "process", *(["ray"] if arguments.ray_every else [])]
        reference = undisturbed(root, names)
        rng = random.Random(arguments.seed)
        runs = []
        for number in range(arguments.runs):
            has_ray = bool(arguments.ray_every) and number % arguments.ray_every == 0
            runs.append(one_run(root, number, reference, rng, has_ray))
            print(number, runs[-1], file=sys.stderr, flush=True)
    results = {"environment": environment, **summed_up(runs, reference), "runs": runs}
    report = as_report(results)
    print(report)
    if arguments.output:
        write_results(arguments.output, "kill-and-resume", results, report)
    if any(run["problems"] for run in runs):
        sys.exit(1)


def prepare(root: Path) -> None:
    """A model and inputs, some of which are no images."""
    torch.manual_seed(0)
    Tokenizer(
        ImageFrontend(),
        FastEncoder(dim=4, widths=(32, 48), num_blocks=(1, 1)),
        Factorized(FSQ([8, 8, 8]), dim=4),
        FastDecoder(dim=4, widths=(32, 48), num_blocks=(1, 1)),
        name="kill-and-resume",
    ).save_pretrained(root / "model")
    inputs = root / "inputs"
    inputs.mkdir()
    for number in range(NUM_INPUTS):
        path = inputs / f"{number:04d}.png"
        if number % (NUM_INPUTS // NUM_BROKEN) == 7:
            path.write_bytes(b"no picture")
        else:
            height, width = 128 + 16 * (number % 5), 224
            write_image(torch.rand(3, height, width) * 2 - 1, path)


def undisturbed(root: Path, names: list[str]) -> Reference:
    """Run the job on every executor in peace; all must write the same parts."""
    boot_seconds, seconds, hashes = {}, {}, {}
    for name in names:
        begin = time.monotonic()
        output = root / f"undisturbed-{name}"
        process = start(root, output, name)
        while not num_done(output):
            time.sleep(0.01)
        boot_seconds[name] = time.monotonic() - begin
        assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
        seconds[name] = time.monotonic() - begin
        manifest = Manifest.read(Storage.at(output))
        assert manifest.num_shards == NUM_SHARDS, manifest.num_shards
        hashes[name] = {shard.name: shard.sha256 for shard in manifest.shards}
        assert hashes[name] == hashes["inline"], f"{name} writes other parts"
    tokenizer = Tokenizer.from_pretrained(root / "model")
    tokens: dict[str, torch.Tensor | None] = {}
    for path in sorted((root / "inputs").iterdir()):
        is_picture = path.read_bytes() != b"no picture"
        tokens[path.name] = tokenizer.encode([read_image(path)]).indices if is_picture else None
    return Reference(tokens, hashes["inline"], boot_seconds, seconds)


def one_run(
    root: Path, number: int, reference: Reference, rng: random.Random, has_ray: bool
) -> dict[str, Any]:
    """Kill and resume until an attempt ends by itself; then look at what is there."""
    output = root / f"run-{number}"
    kills: list[dict[str, Any]] = []
    for attempt in range(MOST_ATTEMPTS):
        name = rng.choices(["inline", "process"], [3, 1])[0]  # processes take longest to start
        if has_ray and attempt == number // 10 % 2:  # killed on Ray, or resumed on it
            name = "ray"
        process = start(root, output, name)
        # The first kill is certain; others are as chance will have it.
        if not kills or rng.random() < 0.5:
            if not ended(process, moment(output, name, reference, rng)):
                os.killpg(process, signal.SIGKILL)
                os.waitpid(process, 0)
                kills.append({"executor": name, "num_done": num_done(output)})
                continue
        else:
            os.waitpid(process, 0)
        if kills:
            break
        # It was faster than its killer, and counts for nothing.
        for path in output.iterdir():
            path.unlink()
    return {"kills": kills, "last": name, "problems": problems_of(output, reference)}


def moment(
    output: Path, name: str, reference: Reference, rng: random.Random
) -> Callable[[float], bool]:
    """What tells, by the seconds since the start of an attempt, that it is to be killed."""
    boot = reference.boot_seconds[name]
    if rng.random() > SHARE_AT_WORK:
        limit = rng.uniform(0, boot)
        return lambda seconds: seconds > limit
    before, begun = num_done(output), 0.0
    span = rng.uniform(0, reference.seconds[name] - boot)

    def is_over(seconds: float) -> bool:
        nonlocal begun
        if not begun and num_done(output) > before:
            begun = seconds
        return bool(begun) and seconds > begun + span

    return is_over


def num_done(output: Path) -> int:
    """Shards with a commit record."""
    return len(list(output.glob("part-*.json")))


def start(root: Path, output: Path, name: str) -> int:
    """Run the job in a process group of its own; gives its id."""
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        os.setsid()
        executor: Executor = EXECUTORS[name]() if name == "inline" else EXECUTORS[name](2)
        encode_dataset(job_in(root, output), executor)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def job_in(root: Path, output: Path) -> EncodingJob:
    """The job, in the wanted number of shards."""
    total = sum(path.stat().st_size for path in (root / "inputs").iterdir())
    # A plan counts 32 KiB of work for each item beside its bytes.
    shard_bytes = (total + NUM_INPUTS * (1 << 15)) // NUM_SHARDS
    return EncodingJob(
        inputs=str(root / "inputs"),
        output=str(output),
        model=ModelReference(str(root / "model")),
        options=EncodingOptions(shard_bytes=shard_bytes),
    )


def ended(process: int, is_over: Callable[[float], bool]) -> bool:
    """Wait for a process until it ends or its time is over."""
    begin = time.monotonic()
    while not is_over(time.monotonic() - begin):
        if os.waitpid(process, os.WNOHANG)[0]:
            return True
        time.sleep(0.002)
    return False


def problems_of(output: Path, reference: Reference) -> list[str]:
    """Whatever differs from an undisturbed run."""
    storage = Storage.at(output)
    problems = [*verify_dataset(storage).problems]
    manifest = Manifest.read(storage)
    if manifest.quarantined:
        problems.append(f"quarantined: {manifest.quarantined}")
    if {shard.name: shard.sha256 for shard in manifest.shards} != reference.hashes:
        problems.append("other hashes")
    seen: Counter[str] = Counter()
    for shard in manifest.shards:
        for sample in read_shard(storage, shard.name):
            seen[sample.key] += 1
            expected = reference.tokens[sample.key]
            got = None if sample.tokens is None else sample.tokens.indices
            same = (
                got is expected if got is None or expected is None else torch.equal(got, expected)
            )
            if not same:
                problems.append(f"other tokens: {sample.key}")
    problems += [f"lost: {key}" for key in reference.tokens if not seen[key]]
    problems += [f"doubled: {key}" for key, count in seen.items() if count > 1]
    return problems


def summed_up(runs: list[dict[str, Any]], reference: Reference) -> dict[str, Any]:
    kills = [kill for run in runs for kill in run["kills"]]
    problems = [problem for run in runs for problem in run["problems"]]
    kinds = Counter(problem.split(":")[0] for problem in problems)
    return {
        "num_runs": len(runs),
        "num_kills": len(kills),
        "kills_by_executor": Counter(kill["executor"] for kill in kills),
        "kills_between_first_and_last_shard": sum(0 < k["num_done"] < NUM_SHARDS for k in kills),
        "ended_on": Counter(run["last"] for run in runs),
        "num_samples": len(runs) * len(reference.tokens),
        "num_lost": kinds["lost"],
        "num_doubled": kinds["doubled"],
        "num_other_problems": len(problems) - kinds["lost"] - kinds["doubled"],
        "undisturbed_seconds": reference.seconds,
        "boot_seconds": reference.boot_seconds,
    }


def as_report(results: dict[str, Any]) -> str:
    lines = ["# Killed and resumed", "", as_markdown(results["environment"]), ""]
    lines += [
        f"A job of {NUM_SHARDS} shards and {NUM_INPUTS} inputs, {NUM_BROKEN} of them broken, "
        f"{results['num_runs']} times. Each run was killed (SIGKILL of the whole process group) at "
        "a random moment and started again on an executor drawn at random, killed again or not, "
        "until it ended. *Other problems* are hashes, tokens, error rows, records or files that "
        "differ from those of an undisturbed run.",
        "",
        "| what | count |",
        "|---|---:|",
    ]
    names = (
        "num_runs", "num_kills", "kills_between_first_and_last_shard", "num_samples", "num_lost",
        "num_doubled", "num_other_problems",
    )  # fmt: skip
    lines += [
        f"| {name.removeprefix('num_').replace('_', ' ')} | {results[name]:,} |" for name in names
    ]
    lines += ["", "| executor | kills | ended on | undisturbed, s | until the first shard, s |"]
    lines += ["|---|---:|---:|---:|---:|"]
    for name, seconds in results["undisturbed_seconds"].items():
        lines.append(
            f"| {name} | {results['kills_by_executor'][name]} | {results['ended_on'][name]} | "
            f"{seconds:.1f} | {results['boot_seconds'][name]:.1f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
