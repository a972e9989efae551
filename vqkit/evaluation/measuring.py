"""Run a tokenizer over media, through the bytes of its token files, and measure what comes out."""

import math
import time
from bisect import insort
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vqkit.errors import ConfigError, ShapeError, TokenFileError
from vqkit.evaluation.coding import ClipCoding, MediaTokenizer, WholeCoding
from vqkit.evaluation.environment import Environment
from vqkit.evaluation.image_quality import ImageQuality
from vqkit.evaluation.item import ItemFailure, ItemResult, LevelResult, Picture
from vqkit.evaluation.media_kind import CLIPS, SOUNDS, kind_of
from vqkit.evaluation.quality import Medium, Quality, Reconstruction, Scores
from vqkit.evaluation.report import Report, Setting
from vqkit.evaluation.sound_quality import SoundQuality
from vqkit.evaluation.table_health import TableHealth
from vqkit.evaluation.video_quality import VideoQuality
from vqkit.files import CodingResources, dumps, level_rates, loads, read_info
from vqkit.metrics.codebook import (
    CodeHistogram,
    append_rows,
    codebook_level,
    flatten_indices,
    merge_rows,
    sparse_counts,
)
from vqkit.priors import Prior
from vqkit.quantizers import Quantizer
from vqkit.tokenizers.tokens import Tokens

__all__ = ["default_quality", "evaluate"]


def evaluate(
    tokenizer: MediaTokenizer,
    media: Iterable[tuple[str, Medium]],
    *,
    dataset: str,
    quality: Quality | None = None,
    levels: Sequence[int] = (),
    device: torch.device | str | None = None,
    resources: CodingResources | None = None,
    max_pictures: int = 8,
    on_item: Callable[[ItemResult | ItemFailure], None] | None = None,
) -> Report:
    """Encode each item, write its token file in memory, decode it from the bytes, and compare.

    Bits and quality therefore belong to one file. An item that fails is noted in
    ``Report.failures`` and counts nowhere else; what reading ``media`` raises is the caller's. In
    several processes, evaluate a part of the media in each and call :meth:`Report.gather`.

    Args:
        tokenizer: any object with ``encode``, ``decode`` and ``spec``; of clips with
            ``encode_pieces`` and ``decode_pieces``.
        media: names, each different, and images ``[channels, height, width]`` in [-1, 1], or
            sounds (:class:`vqkit.media.Audio`, or samples at the model's rate), or clips
            (:class:`Footage`, read block by block, or ``[channels, frames, height, width]``).
        dataset: name of the set, for the report.
        quality: what is measured; by default what :func:`default_quality` gives.
        levels: measure the first so many codebooks of a residual quantizer as well, each count
            from a file of its own.
        device: where to compute: the tokenizer (and the metrics) are moved there and stay; None
            leaves them where they are.
        resources: what the model lends to the coding of its files; its prior, if any, measures the
            tokens as well.
        max_pictures: number of images, the first by name, that are kept small for pictures.
        on_item: called with the row of each item or its failure, e.g. for a progress bar.

    Raises:
        ConfigError: the quality is one of other media, or a level is not there.

    Example:
        >>> from vqkit.nets import FastDecoder, FastEncoder
        >>> from vqkit.quantizers import FSQ, Factorized
        >>> from vqkit.tokenizers import ImageFrontend, Tokenizer
        >>> encoder, decoder = FastEncoder(dim=16), FastDecoder(dim=16)
        >>> quantizer = Factorized(FSQ([8, 5, 5, 5]), 16)
        >>> tokenizer = Tokenizer(ImageFrontend(), encoder, quantizer, decoder)
        >>> report = evaluate(tokenizer, [("grey", torch.zeros(3, 32, 48))], dataset="example")
        >>> report.codebooks[0].num_tokens, report.metrics["psnr"].count
        (24, 1)
    """
    spec = tokenizer.spec
    quality = default_quality(spec) if quality is None else quality
    _check_settings(spec, quality, levels)
    if device is not None:
        for module in (tokenizer, *quality.modules):
            if isinstance(module, nn.Module):
                module.to(device)
    run = _Run(tokenizer, quality, sorted(levels), resources or CodingResources(), max_pictures)
    environment = Environment.current(run.device, quality.packages)
    begin = time.perf_counter()
    use = _CodeUse(spec.codebook_sizes)
    items: list[ItemResult] = []
    failures: list[ItemFailure] = []
    names: set[str] = set()
    for name, medium in media:
        try:
            if name in names:
                raise ShapeError(f"Two items are called {name!r}. Give each a name of its own.")
            item, tokens = run.measure(name, medium)
            use.add(tokens)
        except Exception as error:
            # Whatever went wrong with this item, the others are still worth their numbers.
            failures.append(ItemFailure(name, type(error).__name__, str(error)))
            outcome: ItemResult | ItemFailure = failures[-1]
        else:
            names.add(name)
            items.append(item)
            outcome = item
        if on_item is not None:
            on_item(outcome)
    histograms = use.histograms()
    return Report(
        setting=Setting(
            dataset=dataset,
            modality=spec.modality,
            metrics=quality.metrics,
            quality=quality.settings,
            tokenizer=spec.to_dict(),
        ),
        environment=environment,
        items=tuple(sorted(items, key=lambda item: item.name)),
        failures=tuple(sorted(failures, key=lambda failure: failure.name)),
        codebooks=tuple(map(codebook_level, histograms)),
        wall_seconds=time.perf_counter() - begin,
        tables=_tables(tokenizer),
        histograms=histograms,
        pictures=tuple(run.pictures),
        max_pictures=max_pictures,
    )


def default_quality(spec: Any) -> Quality:
    """The usual metrics of a tokenizer's media, of sounds at the rate of the model.

    Raises:
        ConfigError: It is a tokenizer of other media.
    """
    kind = kind_of(spec.modality)
    if kind is SOUNDS:
        return SoundQuality(spec.sample_rate_hz)
    return VideoQuality() if kind is CLIPS else ImageQuality()


class _CodeUse:
    """Counts of the codes, codebook by codebook."""

    def __init__(self, codebook_sizes: Sequence[int]) -> None:
        self.codebook_sizes = tuple(codebook_sizes)
        self._counts: list[list[Tensor]] = [[] for _ in codebook_sizes]

    def add(self, tokens: Tokens) -> None:
        rows = flatten_indices(tokens.indices.cpu(), self.codebook_sizes)
        for level, chunks in enumerate(self._counts):
            append_rows(chunks, sparse_counts(rows[:, level]))

    def histograms(self) -> tuple[CodeHistogram, ...]:
        empty = torch.zeros((0, 2), dtype=torch.int64)
        return tuple(
            CodeHistogram.from_rows(size, merge_rows([empty, *chunks]))
            for size, chunks in zip(self.codebook_sizes, self._counts, strict=True)
        )


class _Run:
    """One evaluation: measures item after item and keeps the first pictures by name."""

    def __init__(
        self,
        tokenizer: MediaTokenizer,
        quality: Quality,
        levels: Sequence[int],
        resources: CodingResources,
        max_pictures: int,
    ) -> None:
        self.tokenizer = tokenizer
        self.quality = quality
        self.levels = levels
        self.resources = resources
        self.max_pictures = max_pictures
        self.pictures: list[Picture] = []
        self.is_warm = False
        parameters = tokenizer.parameters() if isinstance(tokenizer, nn.Module) else iter(())
        parameter = next(parameters, None)
        self.device = torch.device("cpu") if parameter is None else parameter.device
        coding = ClipCoding if quality.kind is CLIPS else WholeCoding
        self.coding = coding(tokenizer, self.device)

    @torch.no_grad()
    def measure(self, name: str, medium: Medium) -> tuple[ItemResult, Tokens]:
        """The row of one item, and the tokens in its file."""
        if not self.is_warm:
            self.coding.warm_up(medium)
            self.is_warm = True
        encoded = self.coding.encode(medium)
        tokens = encoded.tokens
        begin = self.coding.now()
        data = dumps(tokens, resources=self.resources)
        written = self.coding.now()
        tokens_read = loads(data, resources=self.resources)
        read = self.coding.now()
        if not tokens_read.same_as(tokens):
            raise TokenFileError(
                "Evaluating failed: expected the tokens written, read others. Run vqkit verify."
            )
        reconstruction, decoding_seconds = self.coding.decode(tokens_read.to(self.device))
        info = read_info(data)
        size = {**tokens_read.media[0], "channels": encoded.channels}
        scores = self.quality.measure(name, reconstruction, encoded.original)
        item = ItemResult(
            name=name,
            size=size,
            extent=self.quality.kind.extent(size),
            digest=encoded.digest,
            num_tokens=info.num_tokens,
            nominal_bits=info.nominal_bits,
            size_bytes=len(data),
            overhead_bytes=info.overhead_bytes,
            entropy_bits=sum(rate.entropy_bits for rate in level_rates(tokens_read)),
            prior_bits=self._prior_bits(tokens_read),
            scores=scores.values,
            encode_seconds=encoded.seconds + written - begin,
            decode_seconds=decoding_seconds() + read - written,
            reasons=scores.reasons,
            levels=tuple(
                self._level(count, name, encoded.original, tokens_read, scores)
                for count in self.levels
            ),
            series={**scores.series, **_bits_over_time(tokens_read)},
        )
        self._keep_picture(name, reconstruction, encoded.original)
        return item, tokens_read.item(0)

    def _level(
        self, count: int, name: str, original: Medium, tokens: Tokens, whole: Scores
    ) -> LevelResult:
        """The first codebooks alone, from the bytes of their file."""
        first = tokens.first_codebooks(count)
        data = dumps(first, resources=self.resources)
        if count == len(tokens.codebook_sizes):
            return LevelResult(count, len(data), whole.values)
        read = loads(data, resources=self.resources).to(self.device)
        scores = self.quality.measure(name, self.coding.decode(read)[0], original)
        return LevelResult(count, len(data), scores.values)

    def _prior_bits(self, tokens: Tokens) -> float | None:
        prior = self.resources.prior
        return prior.bits(tokens.indices[0]) if isinstance(prior, Prior) else None

    def _keep_picture(self, name: str, reconstruction: Reconstruction, original: Medium) -> None:
        is_full = len(self.pictures) >= self.max_pictures
        if self.max_pictures == 0 or (is_full and name > self.pictures[-1].name):
            return
        picture = self.quality.picture(name, reconstruction, original)
        if picture is not None:
            insort(self.pictures, picture, key=lambda kept: kept.name)
            del self.pictures[self.max_pictures :]


def _check_settings(spec: Any, quality: Quality, levels: Sequence[int]) -> None:
    if quality.kind is not kind_of(spec.modality):
        raise ConfigError(
            f"Evaluating a tokenizer of {spec.modality}: expected metrics of it, got "
            f"{type(quality).__name__} of {quality.kind.items}."
        )
    most = len(spec.codebook_sizes)
    if any(not 1 <= count <= most for count in levels) or len(set(levels)) < len(levels):
        raise ConfigError(
            f"Levels: expected different numbers from 1 to the {most} codebooks of the tokenizer, "
            f"got {list(levels)}."
        )


def _bits_over_time(tokens: Tokens) -> dict[str, tuple[float, ...]]:
    """Bits of each latent frame of a clip, by the frequencies of the clip's own tokens."""
    if tokens.modality != "video" or tokens.axes[:1] != ("time",):
        return {}
    indices = tokens.indices[0]
    bits = torch.zeros(indices.shape[0], dtype=torch.float64)
    for level in indices.unbind(-1):
        _, codes, counts = torch.unique(level, return_inverse=True, return_counts=True)
        information = math.log2(max(1, level.numel())) - counts.double().log2()
        bits += information[codes].flatten(1).sum(dim=1)
    return {"entropy_bits": tuple(bits.tolist())}


def _tables(tokenizer: MediaTokenizer) -> tuple[TableHealth, ...]:
    quantizer = getattr(tokenizer, "quantizer", None)
    if not isinstance(quantizer, Quantizer):
        return ()
    return tuple(TableHealth.of(name, codes.cpu()) for name, codes in quantizer.tables().items())
