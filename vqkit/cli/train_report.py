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

    from vqkit.data import MediaSet
    from vqkit.evaluation import Medium, Quality, Report
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


def _items(settings: "DictConfig", data: Any, source: "MediaSet") -> "Iterator[tuple[str, Tensor]]":
    """Names and items, whole or as the validation has them."""
    from torch import Generator

    for name, item in source.items():
        if settings.get("prepared") and data.validation_transform is not None:
            # Not at random: each item the same, whichever are measured.
            item = data.validation_transform(item, Generator().manual_seed(0))
        yield name, item


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
        save_pictures,
        save_spectrograms,
        text_summary,
    )

    dataset = f"held-out {quality.kind.items}"
    report = evaluate(tokenizer, held_out, dataset=dataset, quality=quality)
    if held_out:
        curves = [
            codec_reference(held_out[:_REFERENCE_ITEMS], codec, list(of_codec), quality=quality)
            for codec, of_codec in settings.references.items()
        ]
        report = dataclasses.replace(report, references=tuple(curves))
    report.save(output)
    save_pictures(report, output)
    if quality.kind.modality == "audio":
        sounds: dict[str, Any] = dict(held_out)
        save_spectrograms(report, output, tokenizer, sounds.__getitem__)
    print(text_summary(report))


def _round_trip(
    tokenizer: "Tokenizer", name: str, medium: "Medium", quality: "Quality", output: Path
) -> None:
    """Write one item as a token file, and what that decodes to."""
    from torch import Tensor

    from vqkit.files import read_tokens, write_tokens

    file = output / f"{Path(name).stem}.vqt"
    # At the rate of the model, as the data are.
    item = medium if isinstance(medium, Tensor) else medium.samples
    write_tokens(tokenizer.encode([item]), file, overwrite=True)
    tokens = read_tokens(file)
    decoded = tokenizer.decode(tokens)[0]
    decoded_file = file.with_suffix(f".{DEFAULT_FORMATS[tokens.modality]}")
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


def _medium(item: "Tensor", tokenizer: "Tokenizer") -> "Medium":
    """An item of the training's data: a sound with its rate."""
    from vqkit.media import Audio

    rate_hz = tokenizer.frontend.sample_rate_hz
    return item if rate_hz is None else Audio(item, rate_hz)


def _print_usage(report: "Report") -> None:
    for number, level in enumerate(report.codebooks):
        print(
            f"{report.setting.dataset}, codebook {number}: usage {level.usage:.1%} of "
            f"{level.codebook_size} codes over {level.num_tokens} tokens (uniform: "
            f"{level.uniform_usage:.1%}), perplexity {level.perplexity:.0f}"
        )
