"""``vqkit convert``: models of other libraries <-> model folders."""

import argparse
from pathlib import Path

from vqkit.cli.console import Console, printable
from vqkit.cli.exit_status import ExitStatus
from vqkit.cli.model_search import find_named
from vqkit.cli.options import Parser, add_talk_options, add_trust_option
from vqkit.cli.usage_error import UsageError

__all__ = ["add_parser", "run"]

_VQKIT, _TRANSFORMERS = "vqkit", "transformers"


def add_parser(verbs: "argparse._SubParsersAction[Parser]") -> None:
    parser = verbs.add_parser(
        "convert",
        usage="vqkit convert SOURCE OUTPUT [options]",
        help="read models of other libraries, and write some",
        description="Turn a model of another library into a model folder: a folder of Hugging Face "
        "transformers (EnCodec, DAC, Mimi), or the weights of encodec (.th), descript-audio-codec "
        "(.pth), moshi (.safetensors) or WavTokenizer (.ckpt). Nothing that was pickled is run. "
        "With --to transformers, turn a model folder into a folder for that library.",
    )
    parser.add_names("places", "SOURCE OUTPUT", "the model to read, and the folder to write")
    parser.add_argument(
        "--to",
        choices=(_VQKIT, _TRANSFORMERS),
        default=_VQKIT,
        help="which library the folder is for (default: vqkit)",
    )
    parser.add_argument("--name", help="id of the model (default: by its kind, as audio/encodec)")
    parser.add_argument(
        "-f", "--force", action="store_true", help="write into a folder that holds a model"
    )
    add_trust_option(parser)
    add_talk_options(parser)
    parser.set_defaults(run=run, verb="convert")


def run(arguments: argparse.Namespace, console: Console) -> int:
    if len(arguments.places) != 2:
        raise UsageError(f"Expected SOURCE and OUTPUT, got {len(arguments.places)} name(s).")
    source, output = map(Path, arguments.places)
    from vqkit.tokenizers import Tokenizer
    from vqkit.tokenizers.converters import read_foreign, write_transformers
    from vqkit.tokenizers.folder import CONFIG_FILE

    if (output / CONFIG_FILE).exists() and not arguments.force:
        raise UsageError(f"{str(output)!r} holds a model. Replace it with -f.")
    if arguments.to == _TRANSFORMERS:
        tokenizer = Tokenizer.from_pretrained(
            find_named(str(source)) or source, trusted=arguments.trust
        )
        write_transformers(tokenizer, output)
    else:
        tokenizer = read_foreign(source)
        tokenizer.name = arguments.name or tokenizer.name
        tokenizer.save_pretrained(output)
    if arguments.json:
        console.document(
            {"command": "convert", "output": str(output), "model": tokenizer.spec.to_dict()}
        )
    console.note(f"Wrote {printable(str(output))}: {printable(tokenizer.name)} for {arguments.to}.")
    return ExitStatus.DONE
