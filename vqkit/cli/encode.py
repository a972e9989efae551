"""``vqkit encode``: media -> token files."""

import argparse
from pathlib import Path
from typing import Any

from vqkit.cli.batch import list_planned, report, run_batch
from vqkit.cli.clips import (
    SoundKeeper,
    add_sound_keeping_options,
    add_time_range_options,
    time_range_of,
)
from vqkit.cli.codebooks import num_codebooks
from vqkit.cli.console import Console, printable
from vqkit.cli.encode_dataset import (
    add_dataset_options,
    refuse_dataset_options,
    run_dataset,
)
from vqkit.cli.media import encode_media, facts_of, finder_of, refuse_media_name
from vqkit.cli.models import ModelLoader, modality_here, resolve
from vqkit.cli.options import (
    Parser,
    add_audio_track_option,
    add_batch_options,
    add_codebooks_option,
    add_cutting_options,
    add_media,
    add_model_options,
    add_output_options,
    positive,
)
from vqkit.cli.rates import rate_words
from vqkit.cli.sources import TOKEN_SUFFIX, Source, expand
from vqkit.cli.targets import Job, plan

__all__ = ["add_parser", "run"]

_PORTABLE = "portable"


def add_parser(verbs: "argparse._SubParsersAction[Parser]") -> None:
    parser = verbs.add_parser(
        "encode",
        usage="vqkit encode MEDIA... -m MODEL [options]\n"
        "       vqkit encode INPUTS -m MODEL --dataset DATASET [options]",
        help="turn media into token files, or into one data set",
        description="Turn media into token files (.vqt), each read back and compared as it is "
        "written. With --dataset, turn a folder, a list, a Parquet or a tar file of any number of "
        "media into shards of tokens; the same command again goes on where it was interrupted.",
    )
    add_media(parser)
    add_audio_track_option(parser)
    add_sound_keeping_options(parser)
    add_time_range_options(parser)
    add_model_options(
        parser, required=True, help="model folder, output folder of a training, id, or hub id"
    )
    add_codebooks_option(parser, "write", bitrate=True)
    parser.add_argument(
        "--coder",
        choices=("auto", _PORTABLE, "archive", "fixed"),
        default="auto",
        help="auto: the smallest file; portable: the smallest that needs nothing of the model's "
        "folder but the model; archive: large files that decode fast; fixed: a size that depends "
        "on the shape alone (default: auto)",
    )
    parser.add_argument(
        "--chunk-rows",
        type=positive,
        metavar="N",
        help="rows of tokens that can be decoded on their own, and that are lost together where a "
        "file is damaged (default: all of a picture)",
    )
    add_cutting_options(parser, "encode")
    add_output_options(
        parser,
        default="Default: beside each input, its name with .vqt after it.",
        format=False,
    )
    add_dataset_options(parser)
    add_batch_options(parser)
    parser.set_defaults(run=run, verb="encode")


def run(arguments: argparse.Namespace, console: Console) -> int:
    if arguments.dataset is not None:
        return run_dataset(arguments, console)
    refuse_dataset_options(arguments)
    find, what = finder_of(modality_here(arguments.model))
    sources = expand(arguments.media, find, recursive=arguments.recursive, what=what)
    refuse_media_name(arguments.output)
    jobs = plan(sources, arguments, _token_file)
    if arguments.dry_run:
        resolve(arguments.model)
        return list_planned(jobs, arguments, console)
    models = ModelLoader(arguments, console)
    tokenizer = models.named()
    codebooks = num_codebooks(tokenizer, arguments)
    time_range_of(arguments, tokenizer.frontend.modality)
    sounds = SoundKeeper(arguments, tokenizer.frontend.modality, console)
    from vqkit.files import CodingResources, write_tokens

    is_portable = arguments.coder == _PORTABLE
    coder = "auto" if is_portable else arguments.coder
    resources = CodingResources() if is_portable else models.resources_of(tokenizer)

    def work(job: Job) -> dict[str, Any]:
        target = job.written
        target.refuse_existing()
        tokens = encode_media(job.source, tokenizer, arguments, sounds, console)
        tokens = tokens.first_codebooks(codebooks)
        info = write_tokens(
            tokens,
            target.open(),
            overwrite=target.force,
            chunk_rows=arguments.chunk_rows,
            coder=coder,
            resources=resources,
        )
        facts = facts_of(info)
        console.detail(
            f"{printable(job.source.name)} -> {printable(target.name)}: {facts['num_tokens']:,} "
            f"tokens, {facts['size_bytes']:,} bytes, {rate_words(facts)}"
        )
        return facts

    outcome = run_batch(jobs, work, console, title="Encoding", bar=not arguments.no_progress)
    head = {
        "command": "encode",
        "model": tokenizer.spec.to_dict(),
        "device": str(models.device),
    }
    return report(
        outcome,
        console,
        done="Encoded",
        means=f"with {printable(tokenizer.name)} on {models.device}",
        head=head if arguments.json else None,
    )


def _token_file(path: Path, source: Source) -> Path:
    return path.with_name(path.name + TOKEN_SUFFIX)
