"""``vqkit convert``: models of other libraries <-> model folders."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vqkit.cli.console import Console, printable
from vqkit.cli.exit_status import ExitStatus
from vqkit.cli.model_search import find_named
from vqkit.cli.options import Parser, add_talk_options, add_trust_option, kilobits
from vqkit.cli.usage_error import UsageError
from vqkit.errors import ConfigError

if TYPE_CHECKING:
    from vqkit.tokenizers import Tokenizer

__all__ = ["add_parser", "run"]

_VQKIT, _TRANSFORMERS, _DIFFUSERS = "vqkit", "transformers", "diffusers"
_POLICIES = ("mix", "split", "mid-side")


def add_parser(verbs: "argparse._SubParsersAction[Parser]") -> None:
    parser = verbs.add_parser(
        "convert",
        usage="vqkit convert SOURCE OUTPUT [options]",
        help="read models of other libraries, and write some",
        description="Turn a model of another library into a model folder: a folder of Hugging Face "
        "transformers (EnCodec, DAC, Mimi, X-Codec), or the weights of encodec (.th), audiocraft "
        "(.bin), descript-audio-codec (.pth), moshi (.safetensors), WavTokenizer (.ckpt), Vocos "
        "(.bin, with --encodec) or SpeechTokenizer (.pt). Of images: a folder of diffusers "
        "(VQModel) or of 1d-tokenizer (TiTok), or the weights of taming-transformers, "
        "latent-diffusion, LlamaGen, Open-MAGVIT2 or IBQ (with --codes product). Nothing that was "
        "pickled is run. With --to transformers or diffusers, turn a model folder into a folder "
        "for that library. A model folder may be the source too, for one with other channels or "
        "another level.",
    )
    parser.add_names("places", "SOURCE OUTPUT", "the model to read, and the folder to write")
    parser.add_argument(
        "--to",
        choices=(_VQKIT, _TRANSFORMERS, _DIFFUSERS),
        default=_VQKIT,
        help="which library the folder is for (default: vqkit)",
    )
    parser.add_argument("--name", help="id of the model (default: by its kind, as audio/encodec)")
    parser.add_argument(
        "--channels",
        choices=_POLICIES,
        help="of a model for one channel: code the mean of a sound's channels (default), each "
        "channel alone, or mid and side of a stereo sound alone",
    )
    parser.add_argument(
        "--loudness",
        type=float,
        metavar="LUFS",
        help="bring sounds to this loudness before they are coded, as in --loudness=-24; decoding "
        "undoes it",
    )
    parser.add_argument(
        "--encodec", metavar="MODEL", help="for Vocos: the EnCodec whose tokens it makes sound of"
    )
    parser.add_argument(
        "--bandwidth",
        type=kilobits,
        metavar="KBPS",
        default=6.0,
        help="for Vocos: at which of its bandwidths (default: 6)",
    )
    parser.add_argument(
        "--codes",
        choices=("nearest", "product"),
        help="of images, where weights do not tell: take the nearest code (VQGAN's way, the "
        "default), or that of the largest product (IBQ)",
    )
    parser.add_argument(
        "--last-weights",
        action="store_true",
        help="of images: take the last weights although the checkpoint has their moving average",
    )
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
    from vqkit.tokenizers.converters import write_diffusers, write_transformers
    from vqkit.tokenizers.folder import CONFIG_FILE

    if (output / CONFIG_FILE).exists() and not arguments.force:
        raise UsageError(f"{str(output)!r} holds a model. Replace it with -f.")
    if arguments.to != _VQKIT:
        write = write_transformers if arguments.to == _TRANSFORMERS else write_diffusers
        tokenizer = _own(source, arguments.trust)
        write(tokenizer, output)
    else:
        tokenizer = _with_border(_read(source, arguments), arguments)
        tokenizer.name = arguments.name or tokenizer.name
        tokenizer.save_pretrained(output)
    if arguments.json:
        console.document(
            {"command": "convert", "output": str(output), "model": tokenizer.spec.to_dict()}
        )
    console.note(f"Wrote {printable(str(output))}: {printable(tokenizer.name)} for {arguments.to}.")
    return ExitStatus.DONE


def _read(source: Path, arguments: argparse.Namespace) -> "Tokenizer":
    """A model of another library, or a model folder."""
    from vqkit.tokenizers.converters import ImageChoice, VocosChoice, read_foreign

    if _is_own(source):
        return _own(source, arguments.trust)
    encodec = None
    if arguments.encodec is not None:
        beside = Path(arguments.encodec)
        encodec = _own(beside, arguments.trust) if _is_own(beside) else read_foreign(beside)
    return read_foreign(
        source,
        VocosChoice(encodec, arguments.bandwidth),
        ImageChoice(arguments.codes, arguments.last_weights),
    )


def _own(source: Path, trusted: Sequence[str]) -> "Tokenizer":
    from vqkit.tokenizers import Tokenizer

    return Tokenizer.from_pretrained(find_named(str(source)) or source, trusted=trusted)


def _is_own(source: Path) -> bool:
    from vqkit.tokenizers.folder import read_spec

    try:
        read_spec(find_named(str(source)) or source)
    except ConfigError:  # what is wrong with it, if it was one, is said by whoever reads it
        return False
    return True


def _with_border(tokenizer: "Tokenizer", arguments: argparse.Namespace) -> "Tokenizer":
    """With the channels and the loudness that are asked for."""
    from vqkit.tokenizers import (
        AudioFrontend,
        LoudnessLevel,
        MidSide,
        MixChannels,
        SplitChannels,
        with_frontend,
    )

    if arguments.channels is None and arguments.loudness is None:
        return tokenizer
    old = tokenizer.frontend
    if not isinstance(old, AudioFrontend):
        raise UsageError(f"--channels, --loudness: {tokenizer.name} is no model of sounds.")
    policies = {"mix": MixChannels(), "split": SplitChannels(), "mid-side": MidSide()}
    level = old.level
    if arguments.loudness is not None:
        level = LoudnessLevel(target_lufs=arguments.loudness)
    policy = policies.get(arguments.channels, old.channel_policy)
    frontend = AudioFrontend(old.sample_rate_hz, old.channels, policy, level)
    return with_frontend(tokenizer, frontend)
