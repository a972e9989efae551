"""Pyramid vector quantization: error on a Laplacian source against theory and publications, speed.

``python -m benchmarks.pyramid`` prints the tables, ``--output benchmarks/results`` keeps them with
a plot. Rates are those of fixed-width packing, measured in packed bytes. Pulses, gain levels and
their range are chosen on one sample and measured on another.
"""

import argparse
import itertools
import math
import time
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.environment import as_markdown, describe_environment, write_results
from benchmarks.laplacian import (
    entropy_coded_db,
    lloyd_max_db,
    rate_distortion_db,
    shannon_bound_db,
)
from vqkit.coding import pack
from vqkit.ops.pyramid import project_to_pyramid
from vqkit.ops.pyramid_index import index_to_pyramid, pyramid_to_index
from vqkit.ops.pyramid_table import pyramid_size, pyramid_table
from vqkit.quantizers import LogUniformGain, PyramidVQ, UnitGain

DIMS = (16, 32, 64)
RATES = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0)
SPEED_CASE = (65_536, 16, 16)
# Fischer's PVQ on a Laplacian source, as reported by Sayood, Introduction to Data Compression,
# section 10.6.1: {(dim, bits per sample): dB}.
PUBLISHED = {(16, 3.0): 16.32, (64, 3.0): 17.03}
BACKENDS = ("torch", "compiled")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=200_000, help="numbers to measure on")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, help="folder for pyramid-cpu.json, .md and .png")
    arguments = parser.parse_args()

    torch.manual_seed(0)
    results = {
        "environment": describe_environment("numba"),
        "num_samples": arguments.samples,
        "theory": [
            {
                "rate": rate,
                "shannon_bound": shannon_bound_db(rate),
                "rate_distortion": rate_distortion_db(rate),
                "entropy_coded": entropy_coded_db(rate),
                "lloyd_max": lloyd_max_db(round(2**rate)) if rate == int(rate) else None,
            }
            for rate in RATES
        ],
        "pyramid": [measure(dim, rate, arguments.samples) for dim in DIMS for rate in RATES],
        "misses": [count_misses(dim, pulses) for dim, pulses in ((4, 6), (5, 9), (6, 10), (8, 7))],
        "times": time_backends(*SPEED_CASE, rounds=arguments.rounds),
        "table_bytes": {
            f"({dim}, {pulses})": pyramid_table(dim, pulses, torch.device("cpu")).size_bytes
            for dim, pulses in ((16, 16), (128, 16), (256, 64))
        },
    }
    report = as_report(results)
    print(report)
    if arguments.output:
        path = write_results(arguments.output, "pyramid-cpu", results, report)
        plot(results, path.with_suffix(".png"))


def laplacian(num_samples: int, dim: int) -> Tensor:
    """Independent numbers of variance 1."""
    source = torch.distributions.Laplace(0.0, math.sqrt(0.5))
    return source.sample((num_samples // dim, dim))


def measure(dim: int, rate: float, num_samples: int) -> dict[str, object]:
    """The best layer that fits, and the one that ``for_bits`` makes."""
    budget = int(rate * dim)
    best, scale = choose(laplacian(num_samples // 2, dim), budget)
    x = laplacian(num_samples, dim)
    automatic = PyramidVQ.for_bits(dim, budget, LogUniformGain(low=0.4, high=1.8))
    return {
        "dim": dim,
        "rate": rate,
        "snr": snr_db(best, x, scale),
        "pulses": best.pulses,
        "gain": describe_gain(best),
        "packed_rate": packed_bits(best, x) / dim,
        "information_rate": best.bits_per_position / dim,
        "for_bits": snr_db(automatic, x, 1.0),
        "for_bits_pulses": automatic.pulses,
        "for_bits_gain_levels": automatic.gain.num_levels,
    }


def describe_gain(layer: PyramidVQ) -> str:
    gain = layer.gain
    if isinstance(gain, LogUniformGain):
        return f"{gain.num_levels} levels, {gain.low:.2f} to {gain.high:.2f}"
    return "constant"


def choose(x: Tensor, budget: int) -> tuple[PyramidVQ, float]:
    """Layer with the least error in so many bits, and the length of its code if that is fixed."""
    dim = x.shape[-1]
    unit = math.sqrt(dim)
    found = []
    for gain_bits in range(min(8, budget - 1)):
        pulses = most_pulses(dim, budget - gain_bits)
        if pulses == 0:
            break
        y = project_to_pyramid(x, pulses).double()
        length = (x * y).sum(1) / y.norm(dim=1)
        lost = (x.double().square().sum(1) - length.square()).mean()
        if gain_bits == 0:
            mean = length.mean()
            error = lost + (length - mean).square().mean()
            found.append((float(error), PyramidVQ(dim, pulses, UnitGain()), float(mean)))
            continue
        for lowest, highest in itertools.product((5e-4, 5e-3, 0.02, 0.05, 0.1), repeat=2):
            low, high = length.quantile(lowest), length.quantile(1 - highest)
            gain = LogUniformGain(2**gain_bits, float(low) / unit, float(high) / unit)
            levels = torch.tensor(gain.levels(dim, dim))
            level = levels[torch.bucketize(length, (levels[1:] + levels[:-1]).double() / 2)]
            error = lost + (length - level).square().mean()
            found.append((float(error), PyramidVQ(dim, pulses, gain), 1.0))
    _, layer, scale = min(found, key=lambda entry: entry[0])
    return layer, scale


def most_pulses(dim: int, num_bits: int) -> int:
    """Most pulses whose shapes fit."""
    pulses = 0
    while (pyramid_size(dim, pulses + 1) - 1).bit_length() <= num_bits:
        pulses += 1
    return pulses


def snr_db(layer: PyramidVQ, x: Tensor, scale: float) -> float:
    """Signal over error of what decodes from the indices."""
    decoded = layer.decode(layer.encode(x[None]))[0] * scale
    return float(10 * torch.log10(x.square().sum() / (x - decoded).square().sum()))


def packed_bits(layer: PyramidVQ, x: Tensor) -> float:
    """Bits per vector, of the bytes that packing gives."""
    indices = layer.encode(x[None])[0].numpy()
    num_bytes = sum(
        len(pack(indices[:, i].copy(), (size - 1).bit_length()))
        for i, size in enumerate(layer.codebook_sizes)
    )
    return round(8 * num_bytes / len(indices), 3)


def count_misses(dim: int, pulses: int, num_vectors: int = 5000) -> dict[str, object]:
    """How often and by how much of the cosine the projection misses the best direction."""
    size = pyramid_size(dim, pulses)
    codes = index_to_pyramid(torch.arange(size)[:, None], dim, pulses).double()
    codes /= codes.norm(dim=1, keepdim=True)
    row: dict[str, object] = {"dim": dim, "pulses": pulses}
    x = torch.randn(num_vectors, dim, dtype=torch.float64)
    x /= x.norm(dim=1, keepdim=True)
    best = torch.cat([(rows @ codes.T).amax(1) for rows in x.split(64)])
    for name, exchange in (("greedy", False), ("exchange", True)):
        y = project_to_pyramid(x, pulses, exchange=exchange).double()
        gap = best - (x * y).sum(1) / y.norm(dim=1)
        row[name] = {"missed": float((gap > 1e-9).double().mean()), "largest": float(gap.max())}
    return row


def time_backends(num_vectors: int, dim: int, pulses: int, rounds: int) -> dict[str, object]:
    """Milliseconds, fastest and median, of each step and backend; backends take turns."""
    x = torch.randn(num_vectors, dim)
    y = project_to_pyramid(x, pulses)
    index = pyramid_to_index(y, pulses)
    steps = {
        "project": lambda backend: project_to_pyramid(x, pulses, backend=backend),
        "project, greedy only": lambda backend: project_to_pyramid(
            x, pulses, exchange=False, backend=backend
        ),
        "index": lambda backend: pyramid_to_index(y, pulses, backend=backend),
        "vector of an index": lambda backend: index_to_pyramid(index, dim, pulses, backend=backend),
    }
    times: dict[str, dict[str, list[float]]] = {s: {b: [] for b in BACKENDS} for s in steps}
    for round_number in range(rounds + 1):  # the first one warms up
        for (name, step), backend in itertools.product(steps.items(), BACKENDS):
            start = time.perf_counter()
            step(backend)
            if round_number:
                times[name][backend].append((time.perf_counter() - start) * 1e3)
    return {
        name: {
            backend: {"fastest": min(taken), "median": sorted(taken)[len(taken) // 2]}
            for backend, taken in row.items()
        }
        for name, row in times.items()
    }


def as_report(results: dict) -> str:  # type: ignore[type-arg]
    lines = ["# Pyramid vector quantization", "", as_markdown(results["environment"]), ""]
    lines += [
        "## Laplacian source, SNR in dB",
        "",
        f"Independent samples of variance 1, {results['num_samples']:,} per cell. *R(D)* is the "
        "rate-distortion function (Blahut-Arimoto), *bound* Shannon's lower bound of it. *ECSQ* is "
        "a uniform scalar quantizer with centroids at its entropy (a variable rate), *Lloyd-Max* "
        "the best scalar quantizer of a fixed rate. *PVQ* is `PyramidVQ` at a fixed rate; the "
        "pulses and the range and number of gain levels were chosen on another sample.",
        "",
        "| bits per sample | bound | R(D) | ECSQ | Lloyd-Max | "
        + " | ".join(f"PVQ {dim}" for dim in DIMS)
        + " |",
        "|---:" * (5 + len(DIMS)) + "|",
    ]
    cells = {(row["dim"], row["rate"]): row for row in results["pyramid"]}
    for row in results["theory"]:
        numbers = [row[key] for key in ("shannon_bound", "rate_distortion", "entropy_coded")]
        numbers += [row["lloyd_max"], *(cells[dim, row["rate"]]["snr"] for dim in DIMS)]
        shown = " | ".join("" if number is None else f"{number:.2f}" for number in numbers)
        lines.append(f"| {row['rate']} | {shown} |")
    lines += [
        "",
        "Published for Fischer's PVQ (Sayood, Introduction to Data Compression, section 10.6.1):",
        "",
        "| dim | bits per sample | published | here | difference |",
        "|---:|---:|---:|---:|---:|",
    ]
    for (dim, rate), published in PUBLISHED.items():
        here = cells[dim, rate]["snr"]
        lines.append(f"| {dim} | {rate} | {published} | {here:.2f} | {here - published:+.2f} |")
    lines += [
        "",
        "No other published figure was found for this source and these dimensions; elsewhere the "
        "measure is R(D).",
        "",
        "## What was chosen",
        "",
        "*Packed* is the measured rate of fixed-width packing, *information* the sum of log2 of "
        "the codebook sizes, both in bits per sample. *for_bits* is the layer of "
        "`PyramidVQ.for_bits` with gains from 0.4 to 1.8, which has not seen the data.",
        "",
        "| dim | rate | pulses | gain | packed | information | SNR | for_bits | pulses, levels |",
        "|---:|---:|---:|---|---:|---:|---:|---:|---|",
    ]
    for row in results["pyramid"]:
        lines.append(
            f"| {row['dim']} | {row['rate']} | {row['pulses']} | {row['gain']} "
            f"| {row['packed_rate']:.3f} | {row['information_rate']:.3f} | {row['snr']:.2f} "
            f"| {row['for_bits']:.2f} | {row['for_bits_pulses']}, {row['for_bits_gain_levels']} |"
        )
    lines += [
        "",
        "## Projection against all vectors of the pyramid",
        "",
        "5,000 Gaussian vectors: share that misses the best direction, largest loss of cosine.",
        "",
        "| dim | pulses | greedy | largest | with exchange | largest |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    for row in results["misses"]:
        greedy, exchange = row["greedy"], row["exchange"]
        lines.append(
            f"| {row['dim']} | {row['pulses']} | {greedy['missed']:.2%} | {greedy['largest']:.4f} "
            f"| {exchange['missed']:.2%} | {exchange['largest']:.4f} |"
        )
    num_vectors, dim, pulses = SPEED_CASE
    lines += [
        "",
        f"## Speed: {num_vectors:,} vectors of {dim} dims, {pulses} pulses",
        "",
        "| step | backend | fastest, ms | median, ms | vectors per second at the median |",
        "|---|---|---:|---:|---:|",
    ]
    for name, backends in results["times"].items():
        for backend, taken in backends.items():
            lines.append(
                f"| {name} | {backend} | {taken['fastest']:.1f} | {taken['median']:.1f} "
                f"| {num_vectors / taken['median'] * 1e3:,.0f} |"
            )
    lines += ["", "Tables for the index, in memory once per pyramid and device:", ""]
    lines += [f"- {name}: {size:,} bytes" for name, size in results["table_bytes"].items()]
    return "\n".join(lines) + "\n"


def plot(results: dict, path: Path) -> None:  # type: ignore[type-arg]
    """SNR below the rate-distortion function, over the rate."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    bound = {row["rate"]: row["rate_distortion"] for row in results["theory"]}
    for key, label, style in (
        ("entropy_coded", "ECSQ (variable rate)", "k--"),
        ("lloyd_max", "Lloyd-Max scalar", "k:o"),
    ):
        rows = [row for row in results["theory"] if row[key] is not None]
        axes.plot(
            [row["rate"] for row in rows],
            [row[key] - bound[row["rate"]] for row in rows],
            style,
            label=label,
        )
    for dim in DIMS:
        rows = [row for row in results["pyramid"] if row["dim"] == dim]
        gaps = [row["snr"] - bound[row["rate"]] for row in rows]
        axes.plot([row["rate"] for row in rows], gaps, "-s", label=f"PVQ, {dim} dims")
    for (dim, rate), published in PUBLISHED.items():
        axes.plot(rate, published - bound[rate], "r*", markersize=11)
        axes.annotate(
            f"Fischer, {dim}",
            (rate, published - bound[rate]),
            (5, -10),
            textcoords="offset points",
            fontsize=8,
        )
    axes.axhline(0, color="gray", label="R(D)")
    axes.set(xlabel="bits per sample", ylabel="SNR minus that of R(D), dB")
    axes.set_title("Laplacian source, fixed rate")
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    main()
