"""Quantizers against vector-quantize-pytorch: training step, evaluation, compiled, memory.

``python -m benchmarks.quantizers`` prints the tables, ``--output benchmarks/results`` keeps them,
``--case residual --case fsq`` runs some, ``--device cuda`` runs them on a GPU. Both sides are
configured alike: the same codes, gradient estimator and decay; no k-means, no replaced codes.

A training step is forward, backward to the input and the parameters, and the moving average.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import torch
import vector_quantize_pytorch as peer
from torch import Tensor, nn

import vqkit.quantizers
from benchmarks.environment import as_markdown, describe_environment, write_results
from benchmarks.measuring import extra_memory_bytes, in_own_process, product_gflops, take_turns
from vqkit.quantizers import (
    EMA,
    FSQ,
    LFQ,
    BitEntropy,
    GradientUpdate,
    RandomInit,
    Residual,
    RotationTrick,
    SimVQ,
    VectorQuantizer,
    VQLoss,
)

OURS, COMPILED, PEER = "vqkit", "vqkit, torch.compile", "vector-quantize-pytorch"
MODES = ("training", "evaluation")
DECAY = 0.99


class AbsentError(Exception):
    """A contestant that this version does not have, or that the machine cannot hold."""


@dataclass(frozen=True)
class Case:
    """One quantizer at one size, on both sides.

    Attributes:
        title: Heading in the report.
        num_tokens: Vectors per call.
        dim: Their features.
        ours: Builds vqkit's quantizer.
        theirs: Builds the peer's; None where no machine of this size can hold its work.
        flops: Multiplications and additions of the search per token; 0 where nothing is searched.
        is_product: Whether that search should run at the rate of a matrix product.
        compiles: Whether the training step depends on no data, so that it is one graph.
    """

    title: str
    num_tokens: int
    dim: int
    ours: Callable[[], nn.Module]
    theirs: Callable[[], nn.Module] | None
    flops: int = 0
    is_product: bool = False
    compiles: bool = False


def _codes(dim: int, codebook_size: int, level: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(level)
    return torch.randn(codebook_size, dim, generator=generator) * 0.5**level


def _vq(dim: int, codebook_size: int, level: int = 0, **options: object) -> VectorQuantizer:
    settings = {"update": EMA(DECAY), "init": RandomInit(), "loss": VQLoss()} | options
    quantizer = VectorQuantizer(dim, codebook_size, **settings)  # type: ignore[arg-type]
    with torch.no_grad():
        quantizer.codebook.copy_(_codes(dim, codebook_size, level))
    return quantizer


def _peer_vq(dim: int, codebook_size: int, **options: object) -> nn.Module:
    settings = {"decay": DECAY, "commitment_weight": 0.25, "rotation_trick": False} | options
    quantizer = peer.VectorQuantize(dim=dim, codebook_size=codebook_size, **settings)
    _set_codes(quantizer, dim, codebook_size, 0)
    return quantizer


def _set_codes(quantizer: nn.Module, dim: int, codebook_size: int, level: int) -> None:
    codebook = quantizer._codebook
    codes = _codes(dim, codebook_size, level)[None]
    with torch.no_grad():
        codebook.embed.copy_(codes)
        if hasattr(codebook, "embed_avg"):
            codebook.embed_avg.copy_(codes * codebook.cluster_size[..., None])


def _residual(dim: int, codebook_size: int, depth: int) -> Residual:
    quantizer = Residual(_vq(dim, codebook_size), depth)
    for level, inner in enumerate(quantizer.levels):
        inner.codebook.copy_(_codes(dim, codebook_size, level))
    return quantizer


def _peer_residual(dim: int, codebook_size: int, depth: int) -> nn.Module:
    quantizer = peer.ResidualVQ(
        dim=dim,
        num_quantizers=depth,
        codebook_size=codebook_size,
        decay=DECAY,
        commitment_weight=0.25,
        rotation_trick=False,
    )
    for level, layer in enumerate(quantizer.layers):
        _set_codes(layer, dim, codebook_size, level)
    return quantizer


def _vq_case(num_tokens: int, codebook_size: int, dim: int, is_product: bool = False) -> Case:
    return Case(
        f"VQ with EMA, {codebook_size:,} codes, {dim} dims",
        num_tokens,
        dim,
        lambda: _vq(dim, codebook_size),
        lambda: _peer_vq(dim, codebook_size),
        flops=2 * codebook_size * dim,
        is_product=is_product,
    )


CASES = {
    "vq-1024": _vq_case(16_384, 1_024, 256, is_product=True),
    "vq-8192": _vq_case(16_384, 8_192, 8),
    "vq-65536": _vq_case(4_096, 65_536, 8),
    "vq-rotation": Case(
        "VQ with the rotation trick, 1,024 codes, 256 dims",
        16_384,
        256,
        lambda: _vq(256, 1_024, gradient=RotationTrick()),
        lambda: _peer_vq(256, 1_024, rotation_trick=True),
        flops=2 * 1_024 * 256,
        is_product=True,
    ),
    "vq-gradient": Case(
        "VQ with a trained codebook, 8,192 codes, 8 dims",
        16_384,
        8,
        lambda: _vq(8, 8_192, update=GradientUpdate(), loss=VQLoss(0.25, 1.0)),
        lambda: _peer_vq(8, 8_192, learnable_codebook=True, ema_update=False),
        flops=2 * 8_192 * 8,
        compiles=True,
    ),
    "simvq-65536": Case(
        "SimVQ, 65,536 codes, 32 dims",
        4_096,
        32,
        lambda: SimVQ(32, 65_536),
        lambda: peer.SimVQ(dim=32, codebook_size=65_536, rotation_trick=False),
        flops=2 * 65_536 * 32,
        compiles=True,
    ),
    "fsq": Case(
        "FSQ, levels 8-5-5-5",
        262_144,
        4,
        lambda: FSQ([8, 5, 5, 5]),
        lambda: peer.FSQ([8, 5, 5, 5]),
        compiles=True,
    ),
    "lfq": Case(
        "LFQ, 16 bits, with its entropy loss, exact on both sides",
        4_096,
        16,
        lambda: LFQ(16, entropy=BitEntropy(group_bits=16)),
        lambda: peer.LFQ(dim=16, codebook_size=2**16),
        compiles=True,
    ),
    "lfq-large": Case(
        "LFQ, 16 bits, with its entropy loss in two groups, many vectors",
        262_144,
        16,
        lambda: LFQ(16),
        None,
        compiles=True,
    ),
    "residual": Case(
        "Residual VQ with EMA, 8 levels of 1,024 codes, 128 dims",
        16_384,
        128,
        lambda: _residual(128, 1_024, 8),
        lambda: _peer_residual(128, 1_024, 8),
        flops=8 * 2 * 1_024 * 128,
        is_product=True,
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", action="append", choices=CASES, help="default: all")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--token-factor", type=int, default=1, help="a GPU wants more, say 16")
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument(
        "--output", type=Path, help="folder for quantizers-DEVICE.json and quantizers-DEVICE.md"
    )
    parser.add_argument("--memory-of", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory_of:
        print(_extra_memory_bytes_here(*arguments.memory_of, arguments))
        return

    results = {
        "environment": describe_environment("vector-quantize-pytorch", "numba", "triton"),
        "device": arguments.device,
        "rounds": arguments.rounds,
        "product_gflops": round(product_gflops(arguments.device)),
        "cases": [
            {
                "case": name,
                "title": CASES[name].title,
                "num_tokens": CASES[name].num_tokens * arguments.token_factor,
                "modes": {mode: measure(name, mode, arguments) for mode in MODES},
            }
            for name in arguments.case or CASES
        ],
    }
    report = as_report(results)
    print(report)
    if arguments.output:
        write_results(arguments.output, f"quantizers-{arguments.device}", results, report)


def measure(name: str, mode: str, arguments: argparse.Namespace) -> dict[str, object]:
    """Milliseconds and extra memory of every contestant; why one is missing."""
    print(f"{name}, {mode}", file=sys.stderr)
    runs, missing = {}, {}
    for contestant in (OURS, PEER, COMPILED):
        try:
            runs[contestant] = _run(name, contestant, mode, arguments)
        except AbsentError as absent:
            missing[contestant] = str(absent)
    memory = {
        contestant: _extra_memory_bytes(name, contestant, mode, arguments) / 2**20
        for contestant in runs
        if contestant != COMPILED
    }
    return {
        "milliseconds": take_turns(runs, arguments.rounds, arguments.device) if runs else {},
        "extra_memory_mib": memory,
        "missing": missing,
    }


def _run(
    name: str,
    contestant: str,
    mode: str,
    arguments: argparse.Namespace,
) -> Callable[..., None]:
    """A call of the contestant, on all tokens or some; ``AbsentError`` where there is none."""
    case = CASES[name]
    if contestant == COMPILED and arguments.no_compile:
        raise AbsentError("switched off")
    if contestant == COMPILED and mode == "training" and not case.compiles:
        raise AbsentError("the update depends on the data")
    if contestant == PEER and case.theirs is None:
        raise AbsentError("its matrix of tokens x codes does not fit into memory")
    build = case.theirs if contestant == PEER else case.ours
    assert build is not None
    torch.manual_seed(0)
    quantizer = build().to(arguments.device).train(mode == "training")
    call = quantizer
    if contestant == COMPILED:
        torch._dynamo.reset()  # all quantizers share one forward, and with it a limit of graphs
        call = torch.compile(quantizer, fullgraph=True)  # type: ignore[assignment]
    num_tokens = case.num_tokens * arguments.token_factor
    everything = torch.randn(1, num_tokens, case.dim, device=arguments.device)

    def run(tokens: int = num_tokens) -> None:
        z = everything[:, :tokens]
        if mode == "training":
            quantizer.zero_grad(set_to_none=True)
            _step(call, z.detach().requires_grad_())
        else:
            with torch.no_grad():
                call(z)

    return run


def _step(quantizer: nn.Module, z: Tensor) -> None:
    output = quantizer(z)
    if isinstance(output, vqkit.quantizers.QuantizerOutput):
        quantized, losses = output.quantized, [output.loss]
    else:
        quantized, _, *losses = output
    # What a decoder sends back costs the quantizer nothing to compute.
    arriving = torch.ones(()).expand_as(quantized)
    losses = [loss.sum() for loss in losses if loss.requires_grad]
    torch.autograd.backward([quantized, *losses], [arriving] + [None] * len(losses))


def _extra_memory_bytes(
    name: str, contestant: str, mode: str, arguments: argparse.Namespace
) -> int:
    options = ["--device", arguments.device, "--token-factor", str(arguments.token_factor)]
    return int(
        in_own_process("benchmarks.quantizers", "--memory-of", name, contestant, mode, *options)
    )


def _extra_memory_bytes_here(
    name: str, contestant: str, mode: str, arguments: argparse.Namespace
) -> int:
    run = _run(name, contestant, mode, arguments)
    if arguments.device == "cpu" and find_spec("numba") is not None:
        import_module("vqkit.ops.nearest_compiled")
    run(CASES[name].num_tokens // 64)  # loads code and starts threads
    return extra_memory_bytes(run, arguments.device)


def as_report(results: dict) -> str:  # type: ignore[type-arg]
    lines = ["# Quantizers", "", as_markdown(results["environment"]), ""]
    lines += [
        f"Milliseconds, fastest and median of {results['rounds']} rounds in which all take turns. "
        f"*Slower* is the median over that of {OURS}. *Memory* is what a call adds at its peak, in "
        "MiB, in a process of its own; *more* is it over that of "
        f"{OURS}. *Share* is the rate of the search's multiplications and additions at the fastest "
        f"over that of a large matrix product, measured as {results['product_gflops']} GFLOP/s: "
        "in training the time of everything else counts as well.",
    ]
    for case in results["cases"]:
        lines += ["", f"## {case['title']}, {case['num_tokens']:,} vectors", ""]
        lines += [
            "| pass | quantizer | fastest | median | slower | share | memory | more |",
            "|---|---|---:|---:|---:|---:|---:|---:|",
        ]
        for mode, measured in case["modes"].items():
            taken, memory = measured["milliseconds"], measured["extra_memory_mib"]
            for name in taken:
                cells = [
                    mode,
                    name,
                    f"{taken[name]['fastest']:.1f}",
                    f"{taken[name]['median']:.1f}",
                ]
                ours = taken.get(OURS)
                cells.append(f"{taken[name]['median'] / ours['median']:.2f} x" if ours else "")
                flops = CASES[case["case"]].flops * case["num_tokens"]
                rate = flops / taken[name]["fastest"] / 1e6
                cells.append(f"{rate / results['product_gflops']:.0%}" if flops else "")
                cells.append(f"{memory[name]:.1f}" if name in memory else "")
                both = name in memory and OURS in memory
                cells.append(f"{memory[name] / max(memory[OURS], 0.1):.1f} x" if both else "")
                lines.append(f"| {' | '.join(cells)} |")
        reasons = {
            f"- no {name} in {mode}: {reason}"
            for mode, measured in case["modes"].items()
            for name, reason in measured["missing"].items()
        }
        lines += ["", *sorted(reasons)] if reasons else []
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
