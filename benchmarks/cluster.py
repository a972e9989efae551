"""Encoding on a Ray cluster of two nodes, simulated on this machine.

``python -m benchmarks.cluster`` runs, on nodes of one CPU each,

- a job of 40 shards in the middle of which one node is removed and a worker is killed: everything
  must be there, as in a run that nobody disturbed;
- shards that sleep, and shards that are encoded, on one node and on two: how much faster are two?

``--output benchmarks/results`` keeps the tables.
"""

import argparse
import logging
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
import torch
from ray.cluster_utils import Cluster

from benchmarks.environment import as_markdown, describe_environment, write_results
from benchmarks.kill_and_resume import (
    NUM_SHARDS,
    Reference,
    job_in,
    num_done,
    prepare,
    problems_of,
    undisturbed,
)
from vqkit.media import write_image
from vqkit.pipeline import EncodingOptions, Progress, RayExecutor, encode_dataset
from vqkit.pipeline.executors import RunShard, Summary

SLEEPING_SHARDS = 60
SLEEP_SECONDS = 0.5
NUM_PHOTOS, PHOTOS_PER_SHARD = 120, 3
PHOTO_SIZE = (3, 384, 512)


@dataclass(frozen=True)
class Sleep:
    """Work that takes time and no processor, as waiting for a GPU does."""

    seconds: float

    @contextmanager
    def start(self) -> Iterator[RunShard]:
        def run(number: int) -> Summary:
            time.sleep(self.seconds)
            return {"node": ray.get_runtime_context().get_node_id()}

        yield run


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sleeping-shards", type=int, default=SLEEPING_SHARDS)
    parser.add_argument("--output", type=Path, help="folder for cluster.json and cluster.md")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results: dict[str, Any] = {"environment": describe_environment("ray", "pyarrow")}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        prepare(root)
        reference = undisturbed(root, ["inline"])
        results["disturbed"] = disturbed(root, reference)
        make_photos(root)
        speeds: dict[str, list[float]] = {"sleeping": [], "encoding": []}
        for num_nodes in (1, 2):
            with cluster_of(num_nodes):
                speeds["sleeping"].append(sleeping_speed(arguments.sleeping_shards))
                speeds["encoding"].append(encoding_speed(root, num_nodes))
        results["shards_per_second"] = speeds
        results["ratio"] = {name: two / one for name, (one, two) in speeds.items()}
    report = as_report(results)
    print(report)
    if arguments.output:
        write_results(arguments.output, "cluster", results, report)
    if results["disturbed"]["problems"]:
        sys.exit(1)


@contextmanager
def cluster_of(num_nodes: int) -> Iterator[Cluster]:
    """A cluster that this program is connected to, of nodes with one CPU each."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    for _ in range(num_nodes - 1):
        cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
    try:
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


def disturbed(root: Path, reference: Reference) -> dict[str, Any]:
    """Remove a node after a quarter of the shards and kill a worker after a half."""
    output = root / "disturbed"
    happened: list[str] = []
    with cluster_of(1) as cluster:
        node = cluster.add_node(num_cpus=1)

        def disturb(progress: Progress) -> None:
            if progress.num_done_shards >= NUM_SHARDS // 4 and not happened:
                cluster.remove_node(node, allow_graceful=False)
                happened.append(f"node removed after {progress.num_done_shards} shards")
            if progress.num_done_shards >= NUM_SHARDS // 2 and len(happened) == 1:
                os.kill(workers()[0], signal.SIGKILL)
                happened.append(f"worker killed after {progress.num_done_shards} shards")

        begin = time.monotonic()
        encode_dataset(job_in(root, output), RayExecutor(), disturb)
        seconds = time.monotonic() - begin
    return {
        "happened": happened,
        "num_shards": num_done(output),
        "seconds": seconds,
        "problems": problems_of(output, reference),
    }


def workers() -> list[int]:
    """Processes of the actors that encode; Ray names its processes after what they run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            name = path.read_bytes()
        except OSError:  # it has just ended
            continue
        if name.startswith(b"ray::") and b"MapWorker" in name:
            found.append(int(path.parent.name))
    return found


def sleeping_speed(num_shards: int) -> float:
    """Shards per second."""
    nodes, times = set(), []
    for outcome in RayExecutor().map_shards(Sleep(SLEEP_SECONDS), range(num_shards)):
        assert outcome.summary is not None
        nodes.add(outcome.summary["node"])
        times.append(time.monotonic())
    assert len(nodes) == sum(node["Alive"] for node in ray.nodes()), "a node had nothing to do"
    return speed_of(times)


def encoding_speed(root: Path, num_nodes: int) -> float:
    """The same for shards of photos."""
    size_bytes = sum(path.stat().st_size for path in (root / "photos").iterdir())
    options = EncodingOptions(shard_bytes=size_bytes * PHOTOS_PER_SHARD // NUM_PHOTOS)
    job = replace(
        job_in(root, root / f"nodes-{num_nodes}"), inputs=str(root / "photos"), options=options
    )
    times: list[float] = []
    encode_dataset(job, RayExecutor(), lambda progress: times.append(time.monotonic()))
    return speed_of(times)


def speed_of(times: list[float]) -> float:
    """Over the second half, when all workers have begun."""
    half = len(times) // 2
    return (len(times) - 1 - half) / (times[-1] - times[half])


def make_photos(root: Path) -> None:
    """Larger pictures than those of the job that is disturbed."""
    (root / "photos").mkdir()
    for number in range(NUM_PHOTOS):
        write_image(torch.rand(PHOTO_SIZE) * 2 - 1, root / "photos" / f"{number:04d}.png")


def as_report(results: dict[str, Any]) -> str:
    disturbed, speeds = results["disturbed"], results["shards_per_second"]
    lines = ["# A cluster of two nodes", "", as_markdown(results["environment"]), ""]
    lines += [
        f"Simulated (`ray.cluster_utils.Cluster`), each node with one CPU. A job of {NUM_SHARDS} "
        f"shards: {', '.join(disturbed['happened'])}; {disturbed['num_shards']} shards done in "
        f"{disturbed['seconds']:.0f} s, {len(disturbed['problems'])} problems (samples lost or "
        "doubled, other tokens, other hashes than in an undisturbed run).",
        "",
        "Shards per second over the second half of the shards, when all workers have begun:",
        "",
        "| work | one node, shards/s | two nodes | ratio |",
        "|---|---:|---:|---:|",
    ]
    names = {
        "sleeping": f"sleeps {SLEEP_SECONDS:g} s for each shard",
        "encoding": f"encodes {PHOTOS_PER_SHARD} photos of {PHOTO_SIZE[1]} x {PHOTO_SIZE[2]} for "
        f"each shard, both nodes and all else on {results['environment']['cores']} cores",
    }
    for name, what in names.items():
        one, two = speeds[name]
        lines.append(f"| {what} | {one:.2f} | {two:.2f} | {results['ratio'][name]:.2f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
