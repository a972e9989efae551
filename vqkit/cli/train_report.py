"""After a training: the exported model, measured on held-out items and on those trained on."""

import itertools
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from torch import Tensor

    from vqkit.evaluation import Report
    from vqkit.metrics import CodebookLevel
    from vqkit.tokenizers import Tokenizer

__all__ = ["measure"]

Items = Iterable[tuple[str, "Tensor"]]


def measure(config: "DictConfig", tokenizer: "Tokenizer", data: Any, output: Path) -> None:
    """Evaluate on the held-out items; write the first as a token file and decode it from there."""
    settings = config.evaluation
    measured = _KINDS[tokenizer.frontend.modality](settings, tokenizer)
    if data.validation is not None:
        items = list(itertools.islice(data.validation.items(), settings.max_items))
        measured.held_out(items, output)
        if items:
            measured.round_trip(*items[0], output)
    trained_on = itertools.islice(data.train.items(), settings.max_train_items)
    measured.trained_on(trained_on, output / "training_items")


class _Measured(ABC):
    """What is measured, written and said of a modality."""

    def __init__(self, settings: "DictConfig", tokenizer: "Tokenizer") -> None:
        self.settings = settings
        self.tokenizer = tokenizer

    @abstractmethod
    def held_out(self, items: list[tuple[str, "Tensor"]], output: Path) -> None:
        """Report on items that the model has not seen."""

    @abstractmethod
    def round_trip(self, name: str, item: "Tensor", output: Path) -> None:
        """One item as a token file and as what it decodes to."""

    @abstractmethod
    def trained_on(self, items: Items, output: Path) -> None:
        """Report on items of the training, above all which codes they use."""


class _Images(_Measured):
    def held_out(self, items: list[tuple[str, "Tensor"]], output: Path) -> None:
        from vqkit.evaluation import codec_reference, save_pictures, text_summary

        report = self._report(items, "held-out images", output)
        save_pictures(report, output, [codec_reference(items[:8], "webp")])
        print(text_summary(report))

    def round_trip(self, name: str, item: "Tensor", output: Path) -> None:
        from vqkit.media import write_image
        from vqkit.metrics import psnr, round_to_eight_bits

        file, decoded = _through_file(self.tokenizer, name, item, output)
        write_image(decoded, file.with_suffix(".png"), overwrite=True)
        num_bytes, num_pixels = file.stat().st_size, item.shape[1] * item.shape[2]
        quality = float(psnr(round_to_eight_bits(decoded)[None], item[None]))
        print(
            f"{name}: {file} has {num_bytes} bytes = {8 * num_bytes / num_pixels:.4f} bits per "
            f"pixel; decoded from it: PSNR {quality:.2f} dB"
        )

    def trained_on(self, items: Items, output: Path) -> None:
        from vqkit.evaluation import save_pictures

        report = self._report(items, "training images", output)
        save_pictures(report, output)
        _print_usage("training images", report.codebooks)

    def _report(self, items: Items, dataset: str, output: Path) -> "Report":
        from hydra.utils import instantiate

        from vqkit.evaluation import evaluate

        lpips = self.settings.lpips
        lpips = instantiate(lpips) if lpips else "no LPIPS weights were configured"
        report = evaluate(self.tokenizer, items, dataset=dataset, lpips=lpips)
        report.save(output)
        return report


class _Sounds(_Measured):
    def held_out(self, items: list[tuple[str, "Tensor"]], output: Path) -> None:
        report = self._report(items, output)
        numbers = ", ".join(f"{name} {value:.4g}" for name, value in report["metrics"].items())
        print(f"held-out sounds: {numbers}, {report['kbit_per_second']:.3f} kbit/s of files")

    def round_trip(self, name: str, item: "Tensor", output: Path) -> None:
        from vqkit.evaluation import spectrogram_png
        from vqkit.evaluation.output import write_output
        from vqkit.media import write_audio
        from vqkit.metrics import si_sdr

        rate_hz = self._rate_hz
        file, decoded = _through_file(self.tokenizer, name, item, output)
        write_audio(decoded, file.with_suffix(".wav"), rate_hz, overwrite=True)
        picture = spectrogram_png(item, decoded, rate_hz, name=name)
        write_output(output, "spectrogram.png", picture)
        num_bytes, seconds = file.stat().st_size, item.shape[-1] / rate_hz
        quality = float(si_sdr(decoded[None], item[None]))
        print(
            f"{name}: {file} has {num_bytes} bytes = {0.008 * num_bytes / seconds:.3f} kbit/s; "
            f"decoded from it: SI-SDR {quality:.2f} dB"
        )

    def trained_on(self, items: Items, output: Path) -> None:
        from vqkit.metrics import CodebookLevel

        report = self._report(items, output)
        _print_usage("training sounds", [CodebookLevel(**row) for row in report["codebooks"]])

    @property
    def _rate_hz(self) -> int:
        rate_hz = self.tokenizer.frontend.sample_rate_hz
        assert rate_hz is not None, "of a tokenizer of sounds"
        return rate_hz

    def _report(self, items: Items, output: Path) -> dict[str, Any]:
        from dataclasses import asdict

        from vqkit.errors import MissingExtraError
        from vqkit.evaluation.output import write_output
        from vqkit.evaluation.report import plain
        from vqkit.files import dumps, loads
        from vqkit.metrics import PESQ, CodebookUsage, codebook_level
        from vqkit.training import sound_metrics

        rate_hz = self._rate_hz
        metrics = sound_metrics(rate_hz, self.tokenizer.frontend.channels)
        if rate_hz == 16_000:
            try:
                metrics["pesq"] = PESQ(rate_hz)
            except MissingExtraError:
                pass
        usage = CodebookUsage(self.tokenizer.quantizer.codebook_sizes)
        num_bytes = num_samples = 0
        for _, item in items:
            data = dumps(self.tokenizer.encode([item]))
            tokens = loads(data)
            decoded = self.tokenizer.decode(tokens)[0]
            num_bytes, num_samples = num_bytes + len(data), num_samples + item.shape[-1]
            usage.update(tokens.indices)
            for metric in metrics.values():
                metric.update(decoded[None], item[None])
        report = {
            "metrics": {name: float(metric.compute()) for name, metric in metrics.items()},
            "kbit_per_second": 0.008 * num_bytes * rate_hz / max(1, num_samples),
            "codebooks": [asdict(codebook_level(level)) for level in usage.histograms()],
        }
        write_output(output, "report.json", json.dumps(plain(report), indent=2).encode())
        return report


_KINDS: dict[str, type[_Measured]] = {"image": _Images, "audio": _Sounds}


def _through_file(
    tokenizer: "Tokenizer", name: str, item: "Tensor", output: Path
) -> tuple[Path, "Tensor"]:
    """The token file of an item, and what is decoded from it."""
    from vqkit.files import read_tokens, write_tokens

    file = output / f"{Path(name).stem}.vqt"
    write_tokens(tokenizer.encode([item]), file, overwrite=True)
    return file, tokenizer.decode(read_tokens(file))[0]


def _print_usage(what: str, levels: "Iterable[CodebookLevel]") -> None:
    for number, level in enumerate(levels):
        print(
            f"{what}, codebook {number}: usage {level.usage:.1%} of {level.codebook_size} codes "
            f"over {level.num_tokens} tokens (uniform: {level.uniform_usage:.1%}), perplexity "
            f"{level.perplexity:.0f}"
        )
