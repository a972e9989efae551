"""``vqkit evaluate``: a model on a set of media, as a report with pictures."""

import argparse
import dataclasses
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

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
from vqkit.cli.sources import Source, expand
from vqkit.cli.usage_error import UsageError
from vqkit.errors import ConfigError, MissingExtraError, VqkitError

if TYPE_CHECKING:
    from torch import Tensor

    from vqkit.evaluation import ItemFailure, ItemResult, PerceptualMetric
    from vqkit.tokenizers import Tokenizer

__all__ = ["add_parser", "run"]

_REFERENCE_IMAGES = 8
_NO_LPIPS = "LPIPS was not asked for (--lpips)"


def add_parser(verbs: "argparse._SubParsersAction[Parser]") -> None:
    parser = verbs.add_parser(
        "evaluate",
        usage="vqkit evaluate MEDIA... -m MODEL --output-dir DIR [options]",
        help="measure quality, rate and codebook use of a model",
        description="Measure a model on images: quality (PSNR, SSIM, MS-SSIM), bits per pixel "
        "counted on the bytes of token files, use of the codebooks. Writes report.json and "
        "pictures.",
    )
    add_media(parser, "image files")
    parser.add_argument("--limit", type=positive, metavar="N", help="the first N images alone")
    parser.add_argument("--dataset", metavar="NAME", help="what the report calls the images")
    parser.add_argument(
        "--lpips", action="store_true", help="measure LPIPS too; needs the weights of VGG16"
    )
    parser.add_argument(
        "--reference",
        choices=("jpeg", "webp"),
        help=f"draw this codec beside the model, on the first {_REFERENCE_IMAGES} images",
    )
    add_model_options(
        parser, required=True, help="model folder, output folder of a training, id, or hub id"
    )
    group = parser.add_argument_group("output")
    group.add_argument("--output-dir", required=True, metavar="DIR", help="folder of the report")
    group.add_argument("-f", "--force", action="store_true", help="overwrite a report that exists")
    add_batch_options(parser)
    parser.set_defaults(run=run, verb="evaluate")


def run(arguments: argparse.Namespace, console: Console) -> int:
    from vqkit.evaluation import (
        ItemFailure,
        codec_reference,
        evaluate,
        save_pictures,
        text_summary,
    )
    from vqkit.evaluation.report import REPORT_FILE

    folder = Path(arguments.output_dir)
    if (folder / REPORT_FILE).exists() and not arguments.force:
        raise UsageError(
            f"{str(folder / REPORT_FILE)!r} exists. Overwrite it with -f, or choose another folder."
        )
    find, what = finder_of("image")
    sources = expand(arguments.media, find, recursive=arguments.recursive, what=what)
    sources = sources[: arguments.limit]
    models = ModelLoader(arguments, console)
    tokenizer = models.named()
    if tokenizer.frontend.modality != "image":
        raise ConfigError(
            f"Evaluating {tokenizer.name!r}: expected a tokenizer of images, got one of "
            f"{tokenizer.frontend.modality}. This version evaluates images alone."
        )
    with progress_bar(
        len(sources), "Evaluating", wanted=not arguments.no_progress and console.verbosity >= 0
    ) as advance:

        def show(outcome: "ItemResult | ItemFailure") -> None:
            advance()
            if isinstance(outcome, ItemFailure):
                console.error(named_reason(printable(outcome.name), printable(outcome.message)))

        images = _Images(sources, tokenizer, arguments.alpha, show)
        report = evaluate(
            tokenizer,
            images,
            dataset=arguments.dataset or _common_name(arguments.media),
            lpips=_lpips() if arguments.lpips else _NO_LPIPS,
            device=models.device,
            resources=models.resources_of(tokenizer),
            on_item=show,
        )
    failures = sorted((*report.failures, *images.failures), key=lambda failure: failure.name)
    report = dataclasses.replace(report, failures=tuple(failures))
    references = []
    if arguments.reference and report.items:
        references = [codec_reference(images.first(_REFERENCE_IMAGES), arguments.reference)]
    written = [report.save(folder), *save_pictures(report, folder, references)]
    if arguments.json:
        console.document(report.to_dict())
    else:
        console.data(text_summary(report))
    console.note(f"Wrote {', '.join(printable(str(file)) for file in written)}.")
    return ExitStatus.SOME_FAILED if report.failures else ExitStatus.DONE


class _Images:
    """The images of a set, read as they are needed; those that cannot be read are remembered."""

    def __init__(
        self,
        sources: Sequence[Source],
        tokenizer: "Tokenizer",
        alpha: str,
        on_failure: "Callable[[ItemFailure], None]",
    ) -> None:
        self.sources = sources
        self.tokenizer = tokenizer
        self.alpha = alpha
        self.on_failure = on_failure
        self.failures: list[ItemFailure] = []

    def __iter__(self) -> "Iterator[tuple[str, Tensor]]":
        from vqkit.evaluation import ItemFailure

        for source in self.sources:
            try:
                image = self._read(source)
            except (VqkitError, OSError, MemoryError) as error:
                failure = ItemFailure(source.name, type(error).__name__, explain(error))
                self.failures.append(failure)
                self.on_failure(failure)
            else:
                yield source.name, image

    def first(self, count: int) -> "Iterator[tuple[str, Tensor]]":
        """The first of those that could be read, once more."""
        failed = {failure.name for failure in self.failures}
        again = (s for s in self.sources if s.path is not None and s.name not in failed)
        for source in itertools.islice(again, count):
            yield source.name, self._read(source)

    def _read(self, source: Source) -> "Tensor":
        if source.problem:
            raise VqkitError(source.problem)
        return read_media(source, self.tokenizer, self.alpha).tensor


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
