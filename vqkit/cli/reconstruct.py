"""``vqkit reconstruct``: media -> token file -> media, with what it costs and what is lost."""

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vqkit.cli.batch import BatchOutcome, list_planned, report, run_batch
from vqkit.cli.clips import (
    SoundKeeper,
    SoundPlayer,
    add_sound_keeping_options,
    add_time_range_options,
    note_tracks,
    time_range_of,
)
from vqkit.cli.codebooks import num_codebooks
from vqkit.cli.console import Console, printable
from vqkit.cli.media import (
    DEFAULT_FORMATS,
    Media,
    facts_of,
    finder_of,
    media_path,
    output_format,
    read_media,
    write_decoded,
)
from vqkit.cli.models import ModelLoader, modality_here, resolve
from vqkit.cli.options import (
    Parser,
    add_audio_track_option,
    add_batch_options,
    add_codebooks_option,
    add_media,
    add_model_options,
    add_output_options,
)
from vqkit.cli.rates import rate_words
from vqkit.cli.sources import STANDARD_STREAM, expand
from vqkit.cli.targets import Job, plan
from vqkit.cli.usage_error import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from vqkit.tokenizers import Tokenizer

__all__ = ["add_parser", "run"]

_SOUND_METRICS = ("si_sdr", "mel_distance")


def add_parser(verbs: "argparse._SubParsersAction[Parser]") -> None:
    parser = verbs.add_parser(
        "reconstruct",
        usage="vqkit reconstruct MEDIA... -m MODEL (--output-dir DIR | -o FILE) [options]",
        help="encode and decode at once, with quality and rate",
        description="Encode media, decode them from the bytes of their token files, and print for "
        "each the quality (PSNR of the 8-bit pictures in dB; SI-SDR in dB and the mel distance of "
        "sounds, at the rate of the model) and the rate (of the file).",
    )
    add_media(parser)
    add_audio_track_option(parser)
    add_sound_keeping_options(parser)
    add_time_range_options(parser)
    add_model_options(
        parser, required=True, help="model folder, output folder of a training, id, or hub id"
    )
    add_codebooks_option(parser, "use", bitrate=True)
    add_output_options(
        parser,
        default="One of the two; photo.jpg becomes DIR/photo.png, talk.mp3 DIR/talk.wav.",
        format=True,
    )
    add_batch_options(parser)
    parser.set_defaults(run=run, verb="reconstruct")


def run(arguments: argparse.Namespace, console: Console) -> int:
    if arguments.output is None and arguments.output_dir is None:
        raise UsageError("Expected a place for the reconstructions. Use --output-dir or -o.")
    modality = modality_here(arguments.model)
    find, what = finder_of(modality)
    sources = expand(arguments.media, find, recursive=arguments.recursive, what=what)
    format = output_format(arguments) or DEFAULT_FORMATS.get(modality or "", "png")
    jobs = plan(sources, arguments, lambda path, _: media_path(path, format))
    if arguments.dry_run:
        resolve(arguments.model)
        return list_planned(jobs, arguments, console)
    models = ModelLoader(arguments, console)
    tokenizer = models.named()
    tokenizer.require_media_decoder()
    codebooks = num_codebooks(tokenizer, arguments)
    times = time_range_of(arguments, tokenizer.frontend.modality)
    keeper = SoundKeeper(arguments, tokenizer.frontend.modality, console)
    player = SoundPlayer(arguments, console, keeper.tokenizer)
    from vqkit.files import dumps, loads, read_info

    prints = not arguments.json and arguments.output != STANDARD_STREAM

    def work(job: Job) -> dict[str, Any]:
        target = job.written
        target.refuse_existing()
        name, track = printable(job.source.name), arguments.audio_track
        media = read_media(job.source, tokenizer, arguments.alpha, track, times, keeper)
        note_tracks(media.num_tracks, name, track, console)
        data = dumps(media.encoded(tokenizer).first_codebooks(codebooks))
        tokens = loads(data)
        decoded = tokenizer.decode(tokens)[0].cpu()
        write_decoded(decoded, tokens, target, format, player)
        facts = {
            **facts_of(read_info(data)),
            **_quality(decoded, media, tokenizer, job.source.name),
        }
        if prints:
            console.data(
                f"{name}: {_quality_words(facts)}, {rate_words(facts)}, "
                f"{facts['size_bytes']:,} bytes"
            )
        return facts

    outcome = run_batch(jobs, work, console, title="Reconstructing", bar=not arguments.no_progress)
    head = {
        "command": "reconstruct",
        "model": tokenizer.spec.to_dict(),
        "device": str(models.device),
        **{f"mean_{name}": value for name, value in _mean_quality(outcome).items()},
    }
    status = report(
        outcome,
        console,
        done="Reconstructed",
        means=f"with {printable(tokenizer.name)} on {models.device}",
        head=head if arguments.json else None,
    )
    if prints and outcome.num_done > 1:
        words = _quality_words(_mean_quality(outcome))
        console.data(f"mean: {words}, {rate_words(outcome.rates())}")
    return status


def _quality(
    decoded: "Tensor", media: Media, tokenizer: "Tokenizer", name: str
) -> dict[str, float | None]:
    """How near a reconstruction is; None where there is nothing to compare with."""
    from vqkit.evaluation import SoundQuality
    from vqkit.media import Audio
    from vqkit.metrics import psnr, round_to_eight_bits

    if media.sample_rate_hz is None:
        pair = (round_to_eight_bits(x) for x in (decoded, media.tensor))
        # The frames of a clip are one picture to it: the error is that of all pixels.
        return {"psnr": psnr(*(x.flatten(1, -2)[None] for x in pair)).item()}
    if not media.tensor.numel():
        return dict.fromkeys(_SOUND_METRICS)
    assert tokenizer.spec.sample_rate_hz is not None
    measure = SoundQuality(tokenizer.spec.sample_rate_hz, _SOUND_METRICS).measure
    return dict(measure(name, decoded, Audio(media.tensor, media.sample_rate_hz)).values)


def _quality_words(facts: Mapping[str, Any]) -> str:
    """PSNR of a picture; of a sound the two numbers, or that it is silent."""
    if "psnr" in facts:
        return f"{facts['psnr']:.2f} dB"
    ratio, distance = facts["si_sdr"], facts["mel_distance"]
    words = "silent" if ratio is None else f"{ratio:.2f} dB"
    return words if distance is None else f"{words}, mel distance {distance:.4f}"


def _mean_quality(outcome: BatchOutcome) -> dict[str, float | None]:
    """Over the items that have a value."""
    done = [item.facts for item in outcome.items if item.error is None]
    names = [name for name in ("psnr", *_SOUND_METRICS) if done and name in done[0]]
    means: dict[str, float | None] = {}
    for name in names or ["psnr"]:
        values = [facts[name] for facts in done if facts[name] is not None]
        means[name] = sum(values) / len(values) if values else None
    return means
