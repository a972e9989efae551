"""``vqkit prior``: train a prior of a model's tokens, for smaller files and lost tokens."""

import argparse
import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from vqkit.cli.batch import run_batch
from vqkit.cli.console import Console, printable
from vqkit.cli.exit_status import ExitStatus
from vqkit.cli.model_search import find_named
from vqkit.cli.options import Parser, add_batch_options, positive
from vqkit.cli.sources import expand, find_token_files, is_dataset
from vqkit.cli.targets import Job
from vqkit.cli.tokens import read_token_file
from vqkit.cli.usage_error import UsageError
from vqkit.errors import ConfigError, ModelMismatchError

if TYPE_CHECKING:
    from torch import Tensor

    from vqkit.priors import Prior, PriorSpec
    from vqkit.tokenizers import TokenizerSpec

__all__ = ["add_parser", "run"]

_STREAM = "tokens"
_HELD_OUT = 20  # one grid of so many
_MOST_MEASURED = 1 << 17  # tokens of held-out grids


def add_parser(verbs: "argparse._SubParsersAction[Parser]") -> None:
    parser = verbs.add_parser(
        "prior",
        usage="vqkit prior TOKENS... -m MODEL [options]",
        help="train a prior of a model's tokens",
        description="Train a small masked transformer on tokens of a model and write it into the "
        "model's folder. With it, encode writes smaller files, which decode on every machine that "
        "has the folder, and decode fills in lost tokens.",
    )
    parser.add_names(
        "tokens", "TOKENS", "token files, folders of them, data sets of tokens, or - for a file"
    )
    parser.add_argument(
        "-r", "--recursive", action="store_true", help="search folders below folders as well"
    )
    parser.add_argument("-m", "--model", required=True, metavar="MODEL", help="folder of the model")
    group = parser.add_argument_group("training")
    group.add_argument(
        "--steps", type=positive, default=2000, metavar="N", help="batches (default: 2000)"
    )
    group.add_argument(
        "--batch-size", type=positive, default=16, metavar="N", help="crops of it (default: 16)"
    )
    group.add_argument(
        "--dim", type=positive, default=128, metavar="N", help="width of the network (default: 128)"
    )
    group.add_argument(
        "--depth", type=positive, default=3, metavar="N", help="its blocks (default: 3)"
    )
    group.add_argument(
        "--learning-rate", type=float, default=4e-3, metavar="X", help="highest (default: 0.004)"
    )
    group.add_argument("--seed", type=int, default=0, metavar="N", help="(default: 0)")
    group.add_argument("--threads", type=positive, metavar="N", help="of the CPU (default: all)")
    parser.add_argument(
        "-f", "--force", action="store_true", help="replace the prior that is there"
    )
    add_batch_options(parser)
    parser.set_defaults(run=run, verb="prior")


def run(arguments: argparse.Namespace, console: Console) -> int:
    import torch

    from vqkit.priors import PRIOR_FILE, write_prior
    from vqkit.tokenizers.folder import read_spec
    from vqkit.training import ProgressBar, train_prior

    folder = find_named(arguments.model)
    if folder is None:
        raise ConfigError(f"Model {arguments.model!r}: expected a model folder here, found none.")
    if (folder / PRIOR_FILE).exists() and not arguments.force:
        raise UsageError(
            f"{str(folder / PRIOR_FILE)!r} exists, and files that were coded with it need it. "
            "Replace it with -f."
        )
    spec = read_spec(folder)
    grids, is_complete = _read(arguments, spec, console)
    if not grids:
        return ExitStatus.SOME_FAILED
    prior_spec = _spec_of(grids, spec)
    held_out, training = grids[::_HELD_OUT], [g for i, g in enumerate(grids) if i % _HELD_OUT]
    if not training:
        training, held_out = held_out, []
    # Lightning announces the hardware and advertises.
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    shows = console.verbosity >= 0 and not arguments.no_progress
    prior = train_prior(
        prior_spec,
        training,
        max_steps=arguments.steps,
        dim=arguments.dim,
        depth=arguments.depth,
        batch_size=arguments.batch_size,
        learning_rate=arguments.learning_rate,
        seed=arguments.seed,
        callbacks=[ProgressBar()] if shows else [],
    )
    path = write_prior(prior, folder)
    facts = {
        "command": "prior",
        "output": str(path),
        "size_bytes": path.stat().st_size,
        "digest": prior.digest.hex(),
        "num_training_grids": len(training),
        "num_training_tokens": sum(grid.numel() for grid in training),
        **_measured(prior, held_out),
    }
    _report(facts, arguments, console)
    return ExitStatus.DONE if is_complete else ExitStatus.SOME_FAILED


def _read(
    arguments: argparse.Namespace, spec: "TokenizerSpec", console: Console
) -> "tuple[list[Tensor], bool]":
    """The grids of all files, in 32-bit integers where these hold them; whether all were read."""
    import torch

    datasets = [name for name in arguments.tokens if is_dataset(name)]
    files = [name for name in arguments.tokens if name not in datasets]
    sources = expand(files, find_token_files, recursive=arguments.recursive, what="token files")
    dtype = torch.int32 if max(spec.codebook_sizes) <= 1 << 31 else torch.int64
    grids: list[Tensor] = []

    def add(grid: "Tensor") -> None:
        if grid.numel():
            grids.append(grid.to(dtype))

    def work(job: Job) -> dict[str, Any]:
        tokens, facts = read_token_file(job.source)
        _check_maker(spec, tokens.tokenizer, tokens.fingerprint, tokens.codebook_sizes)
        add(tokens.indices[0])
        return facts

    for name in datasets:
        for grid in _grids_of(name, spec):
            add(grid)
    jobs = [Job(source) for source in sources]
    outcome = run_batch(jobs, work, console, title="Reading", bar=not arguments.no_progress)
    if outcome.interrupted:
        raise KeyboardInterrupt
    return grids, not outcome.failures


def _grids_of(location: str, spec: "TokenizerSpec") -> "Iterator[Tensor]":
    """The grids of a data set."""
    from vqkit.files.dataset import TokenIterableDataset

    dataset = TokenIterableDataset(location, shuffle=False, rank=0, world_size=1)
    header = dataset.manifest.header
    sizes = header.streams[_STREAM].codebook_sizes
    _check_maker(spec, header.tokenizer, header.fingerprint, sizes)
    return (item["indices"] for item in dataset)


def _check_maker(
    spec: "TokenizerSpec", tokenizer: str, fingerprint: str, codebook_sizes: tuple[int, ...]
) -> None:
    if fingerprint != spec.fingerprint or codebook_sizes != spec.codebook_sizes:
        raise ModelMismatchError(
            f"Training a prior: expected all tokens of {spec.name!r} ({spec.fingerprint}) with all "
            f"its codebooks, got tokens of {tokenizer!r} ({fingerprint}) of {codebook_sizes}."
        )


def _spec_of(grids: "Sequence[Tensor]", spec: "TokenizerSpec") -> "PriorSpec":
    from vqkit.priors import PriorSpec

    return PriorSpec(_STREAM, grids[0].ndim - 1, spec.codebook_sizes, spec.fingerprint)


def _measured(prior: "Prior", grids: "Sequence[Tensor]") -> dict[str, Any]:
    """Bits of held-out tokens: by the prior, by the order-0 entropy of them all, at fixed width."""
    import torch

    from vqkit.metrics import CodebookUsage, codebook_level

    bits, num_tokens = 0.0, 0
    usage = CodebookUsage(prior.spec.codebook_sizes)
    for grid in grids:
        if num_tokens >= _MOST_MEASURED:
            break
        if bool((grid < 0).any()):
            continue
        bits += prior.bits(grid.to(torch.int64))
        num_tokens += grid.numel()
        usage.update(grid.to(torch.int64)[None])
    if not num_tokens:
        return {}
    levels = [codebook_level(histogram) for histogram in usage.histograms()]
    return {
        "num_measured_tokens": num_tokens,
        "bits_per_token": bits / num_tokens,
        "order_0_bits_per_token": sum(level.entropy_bits for level in levels) / len(levels),
    }


def _report(facts: dict[str, Any], arguments: argparse.Namespace, console: Console) -> None:
    if arguments.json:
        console.document(facts)
    elif "bits_per_token" in facts:
        console.data(
            f"{facts['bits_per_token']:.3f} bits per token on {facts['num_measured_tokens']:,} "
            f"held-out tokens; order-0 entropy {facts['order_0_bits_per_token']:.3f}"
        )
    console.note(f"Wrote {printable(facts['output'])} ({facts['size_bytes']:,} bytes).")
