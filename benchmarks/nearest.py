"""Nearest-code search against its peers: time, share of the matrix product's rate, errors, memory.

``python -m benchmarks.nearest`` prints the tables, ``--output benchmarks/results`` keeps them. All
contestants of a case run in turn, round after round, so that a busy machine is busy for all.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from benchmarks import measuring
from benchmarks.environment import as_markdown, describe_environment, write_results
from benchmarks.measuring import in_own_process, product_gflops, take_turns
from vqkit.ops import nearest_code

CASES = ((16_384, 8_192, 8), (8_192, 65_536, 8), (16_384, 1_024, 256))
OFFSETS = (0, 10, 100, 1000)
LARGE = (65_536, 262_144, 8)
BACKENDS = {"cpu": ("compiled", "tiled"), "cuda": ("triton", "tiled")}
PRODUCT = "matrix product alone"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--device", default="cpu", choices=tuple(BACKENDS))
    parser.add_argument(
        "--output", type=Path, help="folder for nearest-DEVICE.json and nearest-DEVICE.md"
    )
    parser.add_argument("--extra-memory", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    device = arguments.device
    if arguments.extra_memory:
        backend, *sizes = arguments.extra_memory
        print(_extra_memory_bytes_here(device, backend, *map(int, sizes)))
        return

    torch.manual_seed(0)
    results = {
        "environment": describe_environment(
            "vector-quantize-pytorch", "faiss-cpu", "numba", "triton"
        ),
        "device": device,
        "rounds": arguments.rounds,
        "product_gflops": round(product_gflops(device)),
        "times": [time_case(*case, rounds=arguments.rounds, device=device) for case in CASES],
        "wrong_codes": [count_wrong_codes(offset, device) for offset in OFFSETS],
        "extra_memory_mib": {
            f"vqkit {backend}": round(extra_memory_bytes(backend, *LARGE, device) / 2**20, 1)
            for backend in BACKENDS[device]
        },
    }
    report = as_report(results)
    print(report)
    if arguments.output:
        write_results(arguments.output, f"nearest-{device}", results, report)


def contestants(z: Tensor, codebook: Tensor) -> dict[str, Callable[[], Tensor]]:
    """Everything that finds the nearest codes, ready to run on this input."""
    found: dict[str, Callable[[], Tensor]] = {
        f"vqkit {name}": lambda name=name: nearest_code(z, codebook, backend=name)
        for name in BACKENDS[z.device.type]
    }
    found["torch.cdist + argmin"] = lambda: torch.cdist(z, codebook).argmin(-1)
    found["vector-quantize-pytorch"] = _vector_quantize_pytorch(z, codebook)
    try:
        import faiss
    except ImportError:
        return found
    if z.device.type != "cpu":
        return found
    index = faiss.IndexFlatL2(z.shape[1])
    index.add(codebook.numpy())
    found["faiss flat"] = lambda: torch.from_numpy(index.search(z.numpy(), 1)[1][:, 0])
    return found


def _vector_quantize_pytorch(z: Tensor, codebook: Tensor) -> Callable[[], Tensor]:
    from vector_quantize_pytorch import VectorQuantize

    quantizer = VectorQuantize(dim=z.shape[1], codebook_size=len(codebook)).eval().to(z.device)
    quantizer.codebook = codebook

    def indices() -> Tensor:
        with torch.inference_mode():
            return quantizer(z[None])[1][0]

    return indices


def time_case(
    num_tokens: int, num_codes: int, dim: int, rounds: int, device: str
) -> dict[str, object]:
    """Milliseconds of every contestant: the fastest round and the median."""
    z, codebook = torch.randn(num_tokens, dim).to(device), torch.randn(num_codes, dim).to(device)
    runs = contestants(z, codebook)
    scores = torch.empty(num_tokens, num_codes, device=device)
    runs[PRODUCT] = lambda: torch.mm(z, codebook.T, out=scores)
    return {
        "num_tokens": num_tokens,
        "num_codes": num_codes,
        "dim": dim,
        "milliseconds": take_turns(runs, rounds, device),
    }


def count_wrong_codes(offset: float, device: str, num_tokens: int = 4096) -> dict[str, object]:
    """Tokens with another code than a float64 brute force finds, for data of spread 0.1."""
    z = torch.randn(num_tokens, 8).to(device) * 0.1 + offset
    codebook = torch.randn(1024, 8).to(device) * 0.1 + offset
    truth = torch.cat(
        [
            (rows[:, None].double() - codebook.double()).square().sum(2).argmin(1)
            for rows in z.split(256)
        ]
    )
    wrong = {name: int((run() != truth).sum()) for name, run in contestants(z, codebook).items()}
    return {"offset": offset, "num_tokens": num_tokens, "wrong": wrong}


def extra_memory_bytes(
    backend: str, num_tokens: int, num_codes: int, dim: int, device: str = "cpu"
) -> int:
    """Growth of the memory in use at its peak during a search, in a process of its own."""
    sizes = [str(size) for size in (num_tokens, num_codes, dim)]
    arguments = ("--device", device, "--extra-memory", backend, *sizes)
    return int(in_own_process("benchmarks.nearest", *arguments))


def _extra_memory_bytes_here(
    device: str, backend: str, num_tokens: int, num_codes: int, dim: int
) -> int:
    z, codebook = torch.randn(num_tokens, dim).to(device), torch.randn(num_codes, dim).to(device)
    # Code and thread pools are loaded once; what a search needs shows on top of them.
    nearest_code(z[:2048], codebook[:2048], backend=backend)
    return measuring.extra_memory_bytes(lambda: nearest_code(z, codebook, backend=backend), device)


def as_report(results: dict) -> str:  # type: ignore[type-arg]
    fastest = f"vqkit {BACKENDS[results['device']][0]}"
    lines = ["# Nearest-code search", "", as_markdown(results["environment"]), ""]
    lines += [
        f"Milliseconds, fastest and median of {results['rounds']} rounds in which all take turns. "
        f"*Slower* is the median over that of {fastest}. *Share* is the rate of multiplications "
        "and additions at the fastest over that of a large square matrix product in torch, "
        f"measured as {results['product_gflops']} GFLOP/s.",
    ]
    for case in results["times"]:
        flops = 2 * case["num_tokens"] * case["num_codes"] * case["dim"]
        ours = case["milliseconds"][fastest]["median"]
        lines += [
            "",
            f"## {case['num_tokens']:,} tokens, {case['num_codes']:,} codes, {case['dim']} dims",
            "",
            "| search | fastest | median | slower | share |",
            "|---|---:|---:|---:|---:|",
        ]
        for name, taken in case["milliseconds"].items():
            share = flops / taken["fastest"] / 1e6 / results["product_gflops"]
            lines.append(
                f"| {name} | {taken['fastest']:.1f} | {taken['median']:.1f} "
                f"| {taken['median'] / ours:.1f} x | {share:.0%} |"
            )
    names = list(results["wrong_codes"][0]["wrong"])
    lines += ["", "## Wrong codes", "", "Of 4,096 tokens, 1,024 codes, 8 dims, spread 0.1.", ""]
    lines += [f"| offset | {' | '.join(names)} |", "|---:" * (len(names) + 1) + "|"]
    for row in results["wrong_codes"]:
        counts = " | ".join(str(row["wrong"][name]) for name in names)
        lines.append(f"| {row['offset']} | {counts} |")
    sizes = " x ".join(f"{size:,}" for size in LARGE)
    lines += ["", "## Memory", "", f"Peak above the resident memory before the call, {sizes}:", ""]
    for name, mebibytes in results["extra_memory_mib"].items():
        lines.append(f"- {name}: {mebibytes} MiB")
    full = LARGE[0] * LARGE[1] * 4 / 2**30
    lines.append(f"- a matrix of tokens x codes in float32 would take {full:.0f} GiB")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
