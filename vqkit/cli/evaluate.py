"""``vqkit evaluate``: a model on a set of media, as a report with pictures."""

import argparse
import dataclasses
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vqkit.cli.codebooks import check_codebooks
from vqkit.cli.console import Console, explain, named_reason, printable
from vqkit.cli.exit_status import ExitStatus
from vqkit.cli.media import finder_of, read_media
from vqkit.cli.models import ModelLoader
from vqkit.cli.options import (
    Parser,
    add_batch_options,
    add_media,
    add_model_options,
    positive,
)
from vqkit.cli.progress import progress_bar
from vqkit.cli.scorers import imported, metrics_of_user
from vqkit.cli.sources import Source, expand
from vqkit.cli.usage_error import UsageError
from vqkit.errors import MissingExtraError, VqkitError

if TYPE_CHECKING:
    from vqkit.evaluation import (
        Footage,
        ItemFailure,
        ItemResult,
        Medium,
        PerceptualMetric,
        Quality,
        Report,
    )
    from vqkit.media import Alpha, Audio
    from vqkit.tokenizers import Tokenizer

__all__ = ["add_parser", "run"]

# Codecs of images are drawn for orientation alone; those of sounds are compared number by number.
_REFERENCE_ITEMS = {"image": 8}
_NO_LPIPS = "LPIPS was not asked for (--lpips)"
_NO_VMAF = "VMAF was not asked for (--vmaf)"
_NO_FLOW = "not asked for (--flow none)"
_OPTIONS_OF = {
    "image": ("lpips",),
    "audio": ("metrics", "scorer", "transcriber", "transcripts"),
    "video": ("lpips", "max_frames", "flow", "vmaf"),
}


def add_parser(verbs: "argparse._SubParsersAction[Parser]") -> None:
    parser = verbs.add_parser(
        "evaluate",
        usage="vqkit evaluate MEDIA... -m MODEL --output-dir DIR [options]",
        help="measure quality, rate and codebook use of a model",
        description="Measure a model on images (PSNR, SSIM, MS-SSIM) or sounds (distances of "
        "spectra, SI-SDR, PESQ, STOI ...) or clips (PSNR, SSIM, MS-SSIM, flicker, warping error): "
        "quality, bits counted on the bytes of token files, use of the codebooks. Writes "
        "report.json, pictures, and clips side by side.",
    )
    add_media(parser)
    parser.add_argument("--limit", type=positive, metavar="N", help="the first N items alone")
    parser.add_argument("--dataset", metavar="NAME", help="what the report calls the media")
    parser.add_argument(
        "--levels",
        metavar="N,...",
        help="measure the first N codebooks of a residual quantizer as well; or all",
    )
    parser.add_argument(
        "--reference",
        action="append",
        default=[],
        metavar="CODEC[=N,...]",
        help="measure a codec beside the model: jpeg or webp (at qualities N) on the first "
        f"{_REFERENCE_ITEMS['image']} images, opus, mp3 or amr (at N kbit/s) on all sounds, x264, "
        "vp9 or av1 (at CRF N) on all clips; may be repeated",
    )
    parser.add_argument(
        "--match",
        action="append",
        default=[],
        metavar="CODEC",
        help="measure a codec at the bytes of the model: each item at the best setting that takes "
        "no more; may be repeated",
    )
    add_model_options(
        parser, required=True, help="model folder, output folder of a training, id, or hub id"
    )
    group = parser.add_argument_group("images and clips")
    group.add_argument(
        "--lpips", action="store_true", help="measure LPIPS too; needs the weights of VGG16"
    )
    _add_clip_options(parser)
    _add_sound_options(parser)
    group = parser.add_argument_group("output")
    group.add_argument("--output-dir", required=True, metavar="DIR", help="folder of the report")
    group.add_argument("-f", "--force", action="store_true", help="overwrite a report that exists")
    add_batch_options(parser)
    parser.set_defaults(run=run, verb="evaluate")


def _add_clip_options(parser: Parser) -> None:
    group = parser.add_argument_group("clips")
    group.add_argument(
        "--max-frames", type=positive, metavar="N", help="the first N frames of each alone"
    )
    group.add_argument(
        "--flow",
        metavar="MODULE:OBJECT",
        help="your estimator of motion for the warping error, e.g. my_models:raft; or none, which "
        "leaves that out and saves half of the time",
    )
    group.add_argument(
        "--vmaf",
        nargs="?",
        const="",
        metavar="PROGRAM",
        help="measure VMAF too, by vmaf or an ffmpeg with libvmaf, found or named",
    )


def _add_sound_options(parser: Parser) -> None:
    group = parser.add_argument_group("sounds")
    group.add_argument(
        "--metrics",
        metavar="NAME,...",
        help="what to measure: mel_distance, stft_distance, si_sdr, snr, pesq, stoi (the default), "
        "waveform_l1, pesq_narrow, estoi, visqol_speech, visqol_audio; or all",
    )
    group.add_argument(
        "--scorer",
        action="append",
        default=[],
        metavar="NAME=MODULE:OBJECT",
        help="a model of yours that rates speech, e.g. utmos=my_models:utmos; may be repeated",
    )
    group.add_argument(
        "--transcriber",
        metavar="MODULE:OBJECT",
        help="a recogniser of yours, for word error rates; with --transcripts",
    )
    group.add_argument(
        "--transcripts", metavar="FILE", help="what is said: lines of a file's name and its words"
    )


def run(arguments: argparse.Namespace, console: Console) -> int:
    from vqkit.evaluation import (
        evaluate,
        save_clips,
        save_pictures,
        save_spectrograms,
        text_summary,
    )
    from vqkit.evaluation.report import REPORT_FILE

    folder = Path(arguments.output_dir)
    if (folder / REPORT_FILE).exists() and not arguments.force:
        raise UsageError(
            f"{str(folder / REPORT_FILE)!r} exists. Overwrite it with -f, or choose another folder."
        )
    models = ModelLoader(arguments, console)
    tokenizer = models.named()
    modality = tokenizer.frontend.modality
    find, what = finder_of(modality)
    sources = expand(arguments.media, find, recursive=arguments.recursive, what=what)
    sources = sources[: arguments.limit]
    quality = _quality(tokenizer, arguments, sources)
    references: list[tuple[str, list[int] | None]] = []
    references += [_reference(text, modality) for text in arguments.reference]
    references += [(_codec("--match", name, modality), None) for name in arguments.match]
    levels = _levels(tokenizer, arguments.levels)
    with progress_bar(
        len(sources), "Evaluating", wanted=not arguments.no_progress and console.verbosity >= 0
    ) as advance:
        watch = _Watch(console, advance)
        media = _Media(sources, tokenizer, arguments.alpha, arguments.max_frames, watch)
        report = evaluate(
            tokenizer,
            media,
            dataset=arguments.dataset or _common_name(arguments.media),
            quality=quality,
            levels=levels,
            device=models.device,
            resources=models.resources_of(tokenizer),
            on_item=media.on_item,
        )
    failures = sorted((*report.failures, *media.failures), key=lambda failure: failure.name)
    report = dataclasses.replace(report, failures=tuple(failures))
    report, all_codecs = _with_references(report, references, media, quality, console)
    written = [report.save(folder), *save_pictures(report, folder)]
    measured = [metric.name for metric in quality.metrics if report.metrics[metric.name].count]
    # What came through a pipe cannot be read once more.
    if modality == "audio" and measured and all(source.path for source in sources):
        written += save_spectrograms(report, folder, tokenizer, media.sound, measured[0])
    if modality == "video" and measured:
        written += save_clips(report, folder, tokenizer, media.clip, measured[0])
    if arguments.json:
        console.document(report.to_dict())
    else:
        console.data(text_summary(report))
    console.note(f"Wrote {', '.join(printable(str(file)) for file in written)}.")
    is_whole = all_codecs and not report.failures
    return ExitStatus.DONE if is_whole else ExitStatus.SOME_FAILED


class _Watch:
    """Moves the bar, and names what fails as it comes."""

    def __init__(self, console: Console, advance: Callable[[], None]) -> None:
        self.console = console
        self.advance = advance

    def __call__(self, outcome: "ItemResult | ItemFailure") -> None:
        from vqkit.evaluation import ItemFailure

        self.advance()
        if isinstance(outcome, ItemFailure):
            name, message = printable(outcome.name), printable(outcome.message)
            self.console.error(named_reason(name, message))


def _quality(
    tokenizer: "Tokenizer", arguments: argparse.Namespace, sources: Sequence[Source]
) -> "Quality":
    """What to measure: what the options ask for, of the model's media.

    Raises:
        UsageError: Options of other media, or what they name is not there.
    """
    from vqkit.evaluation import (
        DEFAULT_SOUND_METRICS,
        SOUND_METRICS,
        ImageQuality,
        SoundQuality,
    )

    modality = tokenizer.frontend.modality
    foreign = [name for kind, names in _OPTIONS_OF.items() if kind != modality for name in names]
    foreign = [name for name in foreign if name not in _OPTIONS_OF[modality]]
    if given := [
        f"--{name.replace('_', '-')}"
        for name in foreign
        if getattr(arguments, name) not in (None, [], False)
    ]:
        raise UsageError(
            f"{given[0]}: {tokenizer.name} is a tokenizer of {modality}. Leave it out."
        )
    if modality == "image":
        return ImageQuality(_lpips() if arguments.lpips else _NO_LPIPS)
    if modality == "video":
        return _video_quality(arguments)
    names: Sequence[str] = DEFAULT_SOUND_METRICS
    if arguments.metrics:
        names = SOUND_METRICS if arguments.metrics == "all" else arguments.metrics.split(",")
    if unknown := [name for name in names if name not in SOUND_METRICS]:
        raise UsageError(
            f"--metrics: expected some of {', '.join(SOUND_METRICS)}, got {unknown[0]!r}."
        )
    added = metrics_of_user(arguments.scorer, arguments.transcriber, arguments.transcripts, sources)
    assert tokenizer.spec.sample_rate_hz is not None
    return SoundQuality(tokenizer.spec.sample_rate_hz, (*names, *added))


def _video_quality(arguments: argparse.Namespace) -> "Quality":
    from vqkit.evaluation import VMAF, VideoQuality

    flow = arguments.flow
    if flow == "none":
        flow = _NO_FLOW
    elif flow is not None:
        flow = imported("--flow", flow)
    vmaf: VMAF | str = _NO_VMAF if arguments.vmaf is None else VMAF(arguments.vmaf or None)
    lpips = _lpips() if arguments.lpips else _NO_LPIPS
    return VideoQuality(lpips, flow=flow, vmaf=vmaf)


def _levels(tokenizer: "Tokenizer", text: str | None) -> list[int]:
    """The numbers of codebooks that ``--levels`` asks for.

    Raises:
        UsageError: The tokenizer cannot decode from so many.
    """
    if text is None:
        return []
    if text == "all":
        levels = list(range(1, len(tokenizer.quantizer.codebook_sizes) + 1))
    elif all(part.isdecimal() for part in text.split(",")):
        levels = sorted({int(part) for part in text.split(",")})
    else:
        raise UsageError(f"--levels {text}: expected numbers with commas between, or all.")
    for count in levels:
        check_codebooks(tokenizer, count, "--levels")
    return levels


def _reference(text: str, modality: str) -> tuple[str, list[int]]:
    """A codec and its settings: qualities of pictures, bits per second of sounds.

    Raises:
        UsageError: There is no such codec of these media, or no such setting.
    """
    from vqkit.evaluation import REFERENCE_CODECS

    name, _, numbers = text.partition("=")
    _codec("--reference", name, modality)
    factor = 1000 if modality == "audio" else 1
    least, largest = REFERENCE_CODECS[name].settings_range
    try:
        settings = [round(factor * float(part)) for part in numbers.split(",") if part]
    except (ValueError, OverflowError) as error:
        raise UsageError(f"--reference {text}: expected CODEC=N,N with numbers.") from error
    if not all(least <= setting <= largest for setting in settings):
        raise UsageError(
            f"--reference {text}: expected {least / factor:g} to {largest / factor:g}."
        )
    return name, settings


def _codec(option: str, name: str, modality: str) -> str:
    """The name of a codec of these media.

    Raises:
        UsageError: There is no such.
    """
    from vqkit.evaluation import REFERENCE_CODECS

    known = [codec.name for codec in REFERENCE_CODECS.values() if codec.kind.modality == modality]
    if name not in known:
        raise UsageError(f"{option} {name}: expected one of {', '.join(known)}, got {name!r}.")
    return name


def _with_references(
    report: "Report",
    references: "Sequence[tuple[str, list[int] | None]]",
    media: "_Media",
    quality: "Quality",
    console: Console,
) -> "tuple[Report, bool]":
    """The report with the codecs that could be measured, and whether all could."""
    from vqkit.evaluation import codec_reference, matched_reference

    sizes_bytes = {item.name: item.size_bytes for item in report.items}
    curves = []
    wanted = references if report.items else []
    for name, settings in wanted:
        again = media.again(report, _REFERENCE_ITEMS.get(report.setting.modality))
        try:
            if settings is None:
                curves.append(matched_reference(again, sizes_bytes, name, quality))
            else:
                curves.append(codec_reference(again, name, settings, quality))
        # The evaluation is worth its report without a codec too.
        except (VqkitError, OSError) as error:
            console.failure(error, name)
    return dataclasses.replace(report, references=tuple(curves)), len(curves) == len(wanted)


class _Media:
    """The media of a set, read as they are needed; those that cannot be read are remembered."""

    def __init__(
        self,
        sources: Sequence[Source],
        tokenizer: "Tokenizer",
        alpha: "Alpha",
        max_frames: int | None,
        on_item: "Callable[[ItemResult | ItemFailure], None]",
    ) -> None:
        self.sources = sources
        self.tokenizer = tokenizer
        self.alpha = alpha
        self.max_frames = max_frames
        self.on_item = on_item
        self.failures: list[ItemFailure] = []
        self._piped: bytes | None = None

    def __iter__(self) -> "Iterator[tuple[str, Medium]]":
        from vqkit.evaluation import ItemFailure

        for source in self.sources:
            try:
                medium = self._read(source)
            except (VqkitError, OSError, MemoryError) as error:
                failure = ItemFailure(source.name, type(error).__name__, explain(error))
                self.failures.append(failure)
                self.on_item(failure)
            else:
                yield source.name, medium

    def again(self, report: "Report", count: int | None) -> "Iterator[tuple[str, Medium]]":
        """The first of those that were evaluated, or all, once more."""
        names = {item.name for item in report.items}
        sources = (s for s in self.sources if s.path is not None and s.name in names)
        for source in itertools.islice(sources, count):
            yield source.name, self._read(source)

    def sound(self, name: str) -> "Audio":
        """One of the sounds once more."""
        from vqkit.media import Audio

        (source,) = (source for source in self.sources if source.name == name)
        medium = self._read(source)
        assert isinstance(medium, Audio)
        return medium

    def clip(self, name: str) -> "Footage":
        """One of the clips once more."""
        (source,) = (source for source in self.sources if source.name == name)
        return self._footage(source)

    def _footage(self, source: Source) -> "Footage":
        """A clip that is read block by block, when it is wanted; a pipe gives its bytes once."""
        from vqkit.evaluation import FileFootage

        if source.path is None and self._piped is None:
            opened = source.open()
            assert not isinstance(opened, Path)
            self._piped = opened.read()
        content = source.path or self._piped
        assert content is not None
        channels = self.tokenizer.frontend.channels
        return FileFootage(content, channels=channels, alpha=self.alpha, max_frames=self.max_frames)

    def _read(self, source: Source) -> "Medium":
        from vqkit.media import Audio

        if source.problem:
            raise VqkitError(source.problem)
        if self.tokenizer.frontend.modality == "video":
            return self._footage(source)
        media = read_media(source, self.tokenizer, self.alpha)
        if media.sample_rate_hz is None:
            return media.tensor
        return Audio(media.tensor, media.sample_rate_hz)


def _common_name(names: Sequence[str]) -> str:
    """What the names have in common: the folder, or the one file."""
    return Path(os.path.commonpath([Path(name).absolute() for name in names])).name


def _lpips() -> "PerceptualMetric | str":
    """The metric, or why there is none: an evaluation without it is still worth having."""
    from vqkit.losses import LPIPS

    try:
        return LPIPS()
    except MissingExtraError as error:
        return str(error)
