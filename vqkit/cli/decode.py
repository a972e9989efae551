"""``vqkit decode``: token files -> media."""

import argparse
from pathlib import Path
from typing import Any

from vqkit.cli.batch import list_planned, report, run_batch
from vqkit.cli.clips import SoundPlayer, add_sound_playing_options
from vqkit.cli.console import Console, printable
from vqkit.cli.media import (
    cutting_of,
    decode_to,
    default_format,
    media_path,
    output_format,
    write_media,
)
from vqkit.cli.model_search import MODELS_VARIABLE
from vqkit.cli.models import ModelLoader, resolve
from vqkit.cli.options import (
    Parser,
    add_batch_options,
    add_codebooks_option,
    add_cutting_options,
    add_model_options,
    add_output_options,
    add_token_files,
)
from vqkit.cli.partial import decode_part, parse_part, recover_token_file
from vqkit.cli.sources import Source, expand, find_token_files
from vqkit.cli.targets import Job, plan
from vqkit.cli.tokens import conceal, read_token_file

__all__ = ["add_parser", "run"]


def add_parser(verbs: "argparse._SubParsersAction[Parser]") -> None:
    parser = verbs.add_parser(
        "decode",
        usage="vqkit decode FILE... [options]",
        help="turn token files into media",
        description="Turn token files (.vqt) into media of the original size. A file names its "
        "model, which is looked for by its id below the working folder, in the folders of "
        f"${MODELS_VARIABLE}, in ./runs, and among the models downloaded from the hub before.",
    )
    add_token_files(parser)
    add_model_options(
        parser,
        required=False,
        help="model folder, id or hub id, for files whose model is elsewhere",
    )
    add_codebooks_option(parser, "decode from")
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--part",
        type=parse_part,
        metavar="AXIS=FIRST:END,...",
        help="decode a part of the media alone, as in height=0:256,width=64:128, in pixels, or "
        "time=0:48000, in samples at the model's rate or in frames; of the file no more is read "
        "than it needs, of a clip all from the start on; without sound",
    )
    what.add_argument(
        "--recover",
        action="store_true",
        help="decode what is intact of damaged files, and say what is lost (exit status 1)",
    )
    parser.add_argument(
        "--no-conceal",
        action="store_true",
        help="leave unknown tokens as holes, where the model has a prior to fill them in",
    )
    add_sound_playing_options(parser)
    add_cutting_options(parser, "decode")
    add_output_options(
        parser,
        default="Default: beside each input, photo.jpg.vqt as photo.png, talk.mp3.vqt as talk.wav.",
        format=True,
    )
    add_batch_options(parser)
    parser.set_defaults(run=run, verb="decode")


def run(arguments: argparse.Namespace, console: Console) -> int:
    sources = expand(
        arguments.files, find_token_files, recursive=arguments.recursive, what="token files"
    )
    format = output_format(arguments)

    def rename(path: Path, source: Source) -> Path:
        return media_path(path, format or default_format(source.path))

    jobs = plan(sources, arguments, rename)
    if arguments.dry_run:
        if arguments.model is not None:
            resolve(arguments.model)
        return list_planned(jobs, arguments, console)
    models = ModelLoader(arguments, console)
    if arguments.model is not None:
        models.named()
    sounds = SoundPlayer(arguments, console)

    def work(job: Job) -> dict[str, Any]:
        target = job.written
        target.refuse_existing()
        if arguments.part is not None:
            media, size, tokenizer, facts = decode_part(
                job.source, arguments.part, arguments.codebooks, models
            )
            write_media(media, size, target, format)
        else:
            tokens, facts = (
                recover_token_file(job.source, models, console)
                if arguments.recover
                else read_token_file(job.source, models)
            )
            tokenizer = models.maker_of(tokens)
            if not arguments.no_conceal:
                tokens = conceal(tokens, models, console, printable(job.source.name))
            tokens = tokens.first_codebooks(arguments.codebooks)
            cutting = cutting_of(arguments, tokens.modality)
            decode_to(tokens, tokenizer, target, format, sounds, cutting)
        console.detail(f"{printable(job.source.name)} -> {printable(target.name)}")
        return {**facts, "model": tokenizer.name, "fingerprint": tokenizer.fingerprint}

    outcome = run_batch(jobs, work, console, title="Decoding", bar=not arguments.no_progress)
    head = {"command": "decode", "device": str(models.device)}
    return report(
        outcome,
        console,
        done="Decoded",
        means=f"on {models.device}",
        head=head if arguments.json else None,
    )
