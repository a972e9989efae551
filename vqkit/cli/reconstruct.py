"""``vqkit reconstruct``: media -> token file -> media, with what it costs and what is lost."""

import argparse
from typing import Any

from vqkit.cli.batch import BatchOutcome, list_planned, report, run_batch
from vqkit.cli.codebooks import check_codebooks
from vqkit.cli.console import Console, printable
from vqkit.cli.media import (
    facts_of,
    find_media,
    output_format,
    picture_path,
    read_media,
    write_media,
)
from vqkit.cli.models import ModelLoader, resolve
from vqkit.cli.options import (
    Parser,
    add_batch_options,
    add_codebooks_option,
    add_media,
    add_model_options,
    add_output_options,
)
from vqkit.cli.sources import STANDARD_STREAM, expand
from vqkit.cli.targets import Job, plan
from vqkit.cli.usage_error import UsageError

__all__ = ["add_parser", "run"]


def add_parser(verbs: "argparse._SubParsersAction[Parser]") -> None:
    parser = verbs.add_parser(
        "reconstruct",
        usage="vqkit reconstruct MEDIA... -m MODEL (--output-dir DIR | -o FILE) [options]",
        help="encode and decode at once, with quality and rate",
        description="Encode media, decode them from the bytes of their token files, and print for "
        "each the PSNR in dB (of the 8-bit pictures) and the bits per pixel (of the file).",
    )
    add_media(parser)
    add_model_options(
        parser, required=True, help="model folder, output folder of a training, id, or hub id"
    )
    add_codebooks_option(parser, "use")
    add_output_options(
        parser, default="One of the two; photo.jpg becomes DIR/photo.png.", format=True
    )
    add_batch_options(parser)
    parser.set_defaults(run=run, verb="reconstruct")


def run(arguments: argparse.Namespace, console: Console) -> int:
    if arguments.output is None and arguments.output_dir is None:
        raise UsageError("Expected a place for the reconstructions. Use --output-dir or -o.")
    sources = expand(arguments.media, find_media, recursive=arguments.recursive, what="images")
    format = output_format(arguments)
    jobs = plan(sources, arguments, lambda path: picture_path(path, format))
    if arguments.dry_run:
        resolve(arguments.model)
        return list_planned(jobs, arguments, console)
    models = ModelLoader(arguments, console)
    tokenizer = models.named()
    check_codebooks(tokenizer, arguments.codebooks)
    from vqkit.files import dumps, loads, read_info
    from vqkit.metrics import psnr, round_to_eight_bits

    prints = not arguments.json and arguments.output != STANDARD_STREAM

    def work(job: Job) -> dict[str, Any]:
        target = job.written
        target.refuse_existing()
        media = read_media(job.source, tokenizer, arguments.alpha)
        data = dumps(tokenizer.encode([media]).first_codebooks(arguments.codebooks))
        decoded = tokenizer.decode(loads(data))[0].cpu()
        quality = psnr(round_to_eight_bits(decoded)[None], round_to_eight_bits(media)[None])
        write_media(decoded, target, format)
        facts = {**facts_of(read_info(data)), "psnr": quality.item()}
        if prints:
            console.data(
                f"{printable(job.source.name)}: {facts['psnr']:.2f} dB, "
                f"{facts['bits_per_pixel']:.4f} bits per pixel, {facts['size_bytes']:,} bytes"
            )
        return facts

    outcome = run_batch(jobs, work, console, title="Reconstructing", bar=not arguments.no_progress)
    head = {
        "command": "reconstruct",
        "model": tokenizer.spec.to_dict(),
        "device": str(models.device),
        "mean_psnr": _mean_psnr(outcome),
    }
    status = report(
        outcome,
        console,
        done="Reconstructed",
        means=f"with {printable(tokenizer.name)} on {models.device}",
        head=head if arguments.json else None,
    )
    if prints and outcome.num_done > 1:
        console.data(
            f"mean: {head['mean_psnr']:.2f} dB, {outcome.bits_per_pixel:.4f} bits per pixel"
        )
    return status


def _mean_psnr(outcome: BatchOutcome) -> float | None:
    values = [item.facts["psnr"] for item in outcome.items if item.error is None]
    return sum(values) / len(values) if values else None
