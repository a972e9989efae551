"""After a training: the exported model, measured on held-out media and on those trained on."""

import dataclasses
import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqkit.cli.media import DEFAULT_FORMATS, write_media
from vqkit.cli.rates import rate_facts, rate_words
from vqkit.cli.targets import Target

if TYPE_CHECKING:
    from collections.abc import Iterator

    from omegaconf import DictConfig
    from torch import Tensor

    from vqkit.data import MediaSet, VideoSource
    from vqkit.evaluation import Footage, Medium, Quality, Reconstruction, Report
    from vqkit.tokenizers import Tokenizer

__all__ = ["write_reports"]

_REFERENCE_ITEMS = 8


def write_reports(settings: "DictConfig", tokenizer: "Tokenizer", data: Any, output: Path) -> None:
    """Evaluate on the held-out media; write the first as a token file and decode it from there.

    Args:
        settings: Of the evaluation: ``quality``, ``references`` and how many media.
        tokenizer: Trained.
        data: The training's data module.
        output: Folder of the run.
    """
    from hydra.utils import instantiate

    from vqkit.evaluation import evaluate, save_pictures

    quality: Quality = instantiate(settings.quality, _convert_="all")
    if data.validation is not None:
        items = itertools.islice(_items(settings, data, data.validation), settings.max_items)
        held_out = [(name, _medium(item, tokenizer)) for name, item in items]
        _report_held_out(settings, tokenizer, held_out, quality, output)
        if held_out:
            _round_trip(tokenizer, *held_out[0], quality, output)
    items = itertools.islice(_items(settings, data, data.train), settings.max_train_items)
    trained_on = ((name, _medium(item, tokenizer)) for name, item in items)
    what = quality.kind.items
    report = evaluate(tokenizer, trained_on, dataset=f"training {what}", quality=quality)
    folder = output / f"training_{what}"
    report.save(folder)
    save_pictures(report, folder)
    _print_usage(report)


def _items(
    settings: "DictConfig", data: Any, source: "MediaSet"
) -> "Iterator[tuple[str, Tensor | Footage]]":
    """Names and items, whole or as the validation has them."""
    from torch import Generator

    from vqkit.data import VideoSource

    if isinstance(source, VideoSource):
        yield from _clips(settings, data, source)
        return
    for name, item in source.items():
        if settings.get("prepared") and data.validation_transform is not None:
            # Not at random: each item the same, whichever are measured.
            item = data.validation_transform(item, Generator().manual_seed(0))
        yield name, item


def _clips(
    settings: "DictConfig", data: Any, source: "VideoSource"
) -> "Iterator[tuple[str, Footage]]":
    """Of files no more is read than is measured at a time, or than the validation takes."""
    from torch import Generator

    from vqkit.evaluation import SourceFootage, TensorFootage
    from vqkit.media import exact_rate

    transform = data.validation_transform if settings.get("prepared") else None
    rate = None if source.frame_rate is None else exact_rate(source.frame_rate)
    for index in range(len(source)):
        if transform is None:
            yield source.name(index), SourceFootage(source, index)
            continue
        clip = source.sample_or_skip(index, transform, Generator().manual_seed(0))
        if clip is not None:
            yield source.name(index), TensorFootage(clip, rate)


def _report_held_out(
    settings: "DictConfig",
    tokenizer: "Tokenizer",
    held_out: "list[tuple[str, Medium]]",
    quality: "Quality",
    output: Path,
) -> None:
    from vqkit.evaluation import (
        codec_reference,
        evaluate,
        matched_reference,
        save_clips,
        save_pictures,
        save_spectrograms,
        text_summary,
    )

    dataset = f"held-out {quality.kind.items}"
    report = evaluate(tokenizer, held_out, dataset=dataset, quality=quality)
    sizes_bytes = {item.name: item.size_bytes for item in report.items}
    measured = [row for row in held_out if row[0] in sizes_bytes][:_REFERENCE_ITEMS]
    if measured:
        curves = [
            codec_reference(measured, codec, list(of_codec), quality=quality)
            for codec, of_codec in settings.references.items()
        ]
        curves += [
            matched_reference(measured, sizes_bytes, codec, quality)
            for codec in settings.get("matched", ())
        ]
        report = dataclasses.replace(report, references=tuple(curves))
    report.save(output)
    save_pictures(report, output)
    if quality.kind.modality == "audio":
        sounds: dict[str, Any] = dict(held_out)
        save_spectrograms(report, output, tokenizer, sounds.__getitem__)
    if quality.kind.modality == "video":
        clips: dict[str, Any] = dict(held_out)
        save_clips(report, output, tokenizer, clips.__getitem__)
    print(text_summary(report))


def _round_trip(
    tokenizer: "Tokenizer", name: str, medium: "Medium", quality: "Quality", output: Path
) -> None:
    """Write one item as a token file, and what that decodes to."""
    from torch import Tensor

    from vqkit.clips import write_clip
    from vqkit.evaluation import Footage
    from vqkit.files import read_tokens, write_tokens

    file = output / f"{Path(name).stem}.vqt"
    if isinstance(medium, Footage):
        encoded = tokenizer.encode_pieces(medium.blocks(), frame_rate=medium.frame_rate)
    else:
        # At the rate of the model, as the data are.
        item = medium if isinstance(medium, Tensor) else medium.samples
        encoded = tokenizer.encode([item])
    write_tokens(encoded, file, overwrite=True)
    tokens = read_tokens(file)
    decoded_file = file.with_suffix(f".{DEFAULT_FORMATS[tokens.modality]}")
    decoded: Reconstruction
    if isinstance(medium, Footage):
        write_clip(tokenizer.decode_pieces(tokens), tokens, decoded_file, overwrite=True)
        decoded = tokenizer.decode_pieces(tokens)
    else:
        decoded = tokenizer.decode(tokens)[0]
        write_media(decoded, tokens.media[0], Target(decoded_file, force=True), None)
    num_bytes = file.stat().st_size
    rate = rate_words(rate_facts(tokens.media[0], num_bytes))
    metric = quality.metrics[0]
    value = quality.measure(name, decoded, medium).values[metric.name]
    score = "not defined" if value is None else f"{value:.{metric.digits}f}"
    print(
        f"{name}: {file} has {num_bytes} bytes = {rate}; {decoded_file} is decoded from it: "
        f"{metric.title} {score}"
    )


def _medium(item: "Tensor | Footage", tokenizer: "Tokenizer") -> "Medium":
    """An item of the training's data: a sound with its rate."""
    from torch import Tensor

    from vqkit.media import Audio

    rate_hz = tokenizer.frontend.sample_rate_hz
    return Audio(item, rate_hz) if isinstance(item, Tensor) and rate_hz is not None else item


def _print_usage(report: "Report") -> None:
    for number, level in enumerate(report.codebooks):
        print(
            f"{report.setting.dataset}, codebook {number}: usage {level.usage:.1%} of "
            f"{level.codebook_size} codes over {level.num_tokens} tokens (uniform: "
            f"{level.uniform_usage:.1%}), perplexity {level.perplexity:.0f}"
        )
