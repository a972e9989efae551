"""``vqkit verify``: read token files in full and write nothing."""

import argparse
from typing import Any

from vqkit.cli.batch import report, run_batch
from vqkit.cli.console import Console, printable
from vqkit.cli.models import ModelLoader
from vqkit.cli.options import Parser, add_batch_options, add_model_options, add_token_files
from vqkit.cli.sources import expand, find_token_files
from vqkit.cli.targets import Job
from vqkit.cli.tokens import read_token_file

__all__ = ["add_parser", "run"]


def add_parser(verbs: "argparse._SubParsersAction[Parser]") -> None:
    parser = verbs.add_parser(
        "verify",
        usage="vqkit verify FILE... [options]",
        help="check token files without writing anything",
        description="Read token files in full: every checksum, every token, the hash over all of "
        "them. With a model, decode them too.",
    )
    add_token_files(parser)
    add_model_options(parser, required=False, help="decode the files with this model as well")
    add_batch_options(parser)
    parser.set_defaults(run=run, verb="verify")


def run(arguments: argparse.Namespace, console: Console) -> int:
    sources = expand(
        arguments.files, find_token_files, recursive=arguments.recursive, what="token files"
    )
    models, tokenizer = None, None
    if arguments.model is not None:
        models = ModelLoader(arguments, console)
        tokenizer = models.named()
        tokenizer.require_media_decoder()

    def work(job: Job) -> dict[str, Any]:
        tokens, facts = read_token_file(job.source, models)
        if tokenizer is not None:
            tokenizer.decode(tokens)
        console.detail(f"{printable(job.source.name)}: {facts['num_tokens']:,} tokens, all sound")
        return {**facts, "model": tokens.tokenizer, "fingerprint": tokens.fingerprint}

    jobs = [Job(source) for source in sources]
    outcome = run_batch(jobs, work, console, title="Verifying", bar=not arguments.no_progress)
    head = {"command": "verify", "decoded": tokenizer is not None}
    return report(outcome, console, done="Verified", head=head if arguments.json else None)
