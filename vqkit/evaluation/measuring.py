"""Run a tokenizer over images, through the bytes of its token files, and measure what comes out."""

import time
from bisect import insort
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqkit.errors import ShapeError, TokenFileError
from vqkit.evaluation.environment import Environment
from vqkit.evaluation.item import ItemFailure, ItemResult, Picture
from vqkit.evaluation.report import Report, Setting
from vqkit.files import CodingResources, dumps, level_rates, loads, read_info
from vqkit.metrics.codebook import (
    CodeHistogram,
    append_rows,
    codebook_level,
    flatten_indices,
    merge_rows,
    sparse_counts,
)
from vqkit.metrics.image import (
    MSSSIM_MINIMUM_SIDE,
    SSIM_MINIMUM_SIDE,
    mean_squared_error,
    ms_ssim,
    psnr_from_error,
    round_to_eight_bits,
    ssim,
)
from vqkit.priors import Prior
from vqkit.tokenizers.tokens import Tokens

__all__ = ["ImageTokenizer", "PerceptualMetric", "evaluate"]

PerceptualMetric = Callable[[Tensor, Tensor], Tensor]
"""Distance of a reconstruction and its target, both ``[batch, channels, height, width]``."""

_LARGEST_PICTURE = 480
_ERROR_GAIN = 4


@runtime_checkable
class ImageTokenizer(Protocol):
    """What an evaluation needs of a tokenizer; :class:`vqkit.tokenizers.Tokenizer` is one."""

    def encode(self, media: Sequence[Tensor]) -> Tokens:
        """Tokens of a list of images ``[channels, height, width]``."""

    def decode(self, tokens: Tokens) -> list[Tensor]:
        """Images of their original size."""

    @property
    def spec(self) -> Any:
        """Description with ``codebook_sizes`` and ``to_dict()``."""


def evaluate(
    tokenizer: ImageTokenizer,
    images: Iterable[tuple[str, Tensor]],
    *,
    dataset: str,
    resize: str = "none",
    crop: str = "none",
    device: torch.device | str | None = None,
    lpips: PerceptualMetric | str | None = None,
    resources: CodingResources | None = None,
    max_pictures: int = 8,
    on_item: Callable[[ItemResult | ItemFailure], None] | None = None,
) -> Report:
    """Encode each image, write its token file in memory, decode it from the bytes, and compare.

    Bits and quality therefore belong to one file. Quality is that of the 8-bit pictures. An image
    that fails is noted in ``Report.failures`` and counts nowhere else; what reading ``images``
    raises is the caller's. In several processes, evaluate a part of the images in each and call
    :meth:`Report.gather`.

    Args:
        tokenizer: any object with ``encode``, ``decode`` and ``spec``.
        images: names, each different, and images ``[channels, height, width]`` in [-1, 1].
        dataset: name of the set, for the report.
        resize: how the images were resized, for the report.
        crop: how the images were cropped, for the report.
        device: where to compute: the tokenizer (and ``lpips``) are moved there and stay; None
            leaves them where they are.
        lpips: perceptual metric with its weights, e.g. :class:`vqkit.losses.LPIPS`; or a text that
            says why there is none, for the report.
        resources: what the model lends to the coding of its files; its prior, if any, measures the
            tokens as well.
        max_pictures: number of images, the first by name, that are kept small for pictures.
        on_item: called with the row of each image or its failure, e.g. for a progress bar.

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
    if device is not None:
        for module in (tokenizer, lpips):
            if isinstance(module, nn.Module):
                module.to(device)
    run = _Run(
        tokenizer,
        None if isinstance(lpips, str) else lpips,
        resources or CodingResources(),
        max_pictures,
    )
    environment = Environment.current(run.device)
    spec = tokenizer.spec
    begin = time.perf_counter()
    counts: list[list[Tensor]] = [[] for _ in spec.codebook_sizes]
    items: list[ItemResult] = []
    failures: list[ItemFailure] = []
    names: set[str] = set()
    for name, image in images:
        try:
            if name in names:
                raise ShapeError(f"Two images are called {name!r}. Give each a name of its own.")
            item, tokens = run.measure(name, image)
            rows = flatten_indices(tokens.indices.cpu(), tuple(spec.codebook_sizes))
        except Exception as error:
            # Whatever went wrong with this image, the others are still worth their numbers.
            failures.append(ItemFailure(name, type(error).__name__, str(error)))
            outcome: ItemResult | ItemFailure = failures[-1]
        else:
            names.add(name)
            items.append(item)
            for level, chunks in enumerate(counts):
                append_rows(chunks, sparse_counts(rows[:, level]))
            outcome = item
        if on_item is not None:
            on_item(outcome)
    empty = torch.zeros((0, 2), dtype=torch.int64)
    histograms = tuple(
        CodeHistogram.from_rows(size, merge_rows([empty, *chunks]))
        for size, chunks in zip(spec.codebook_sizes, counts, strict=True)
    )
    return Report(
        setting=Setting(
            dataset=dataset,
            resize=resize,
            crop=crop,
            lpips=_description(lpips),
            lpips_reason=lpips if isinstance(lpips, str) else _reason(lpips),
            tokenizer=spec.to_dict(),
        ),
        environment=environment,
        items=tuple(sorted(items, key=lambda item: item.name)),
        failures=tuple(sorted(failures, key=lambda failure: failure.name)),
        codebooks=tuple(map(codebook_level, histograms)),
        wall_seconds=time.perf_counter() - begin,
        histograms=histograms,
        pictures=tuple(run.pictures),
        max_pictures=max_pictures,
    )


class _Run:
    """One evaluation: measures image after image and keeps the first pictures by name."""

    def __init__(
        self,
        tokenizer: ImageTokenizer,
        lpips: PerceptualMetric | None,
        resources: CodingResources,
        max_pictures: int,
    ) -> None:
        self.tokenizer = tokenizer
        self.resources = resources
        self.lpips = lpips
        self.max_pictures = max_pictures
        self.pictures: list[Picture] = []
        self.is_warm = False
        parameters = tokenizer.parameters() if isinstance(tokenizer, nn.Module) else iter(())
        parameter = next(parameters, None)
        self.device = torch.device("cpu") if parameter is None else parameter.device

    @torch.no_grad()
    def measure(self, name: str, image: Tensor) -> tuple[ItemResult, Tokens]:
        """The row of one image, and the tokens in its file."""
        image = image.to(self.device)
        if not self.is_warm:
            # What loads on first use is no part of the speed.
            self.tokenizer.decode(self.tokenizer.encode([image]))
            self.is_warm = True
        begin = self._now()
        tokens = self.tokenizer.encode([image])
        data = dumps(tokens, resources=self.resources)
        encoded = self._now()
        tokens_read = loads(data, resources=self.resources)
        reconstruction = self.tokenizer.decode(tokens_read.to(self.device))[0]
        decoded = self._now()
        if not tokens_read.same_as(tokens):
            raise TokenFileError(
                "Evaluating failed: expected the tokens written, read others. Run vqkit verify."
            )
        info = read_info(data)
        target = round_to_eight_bits(image)[None]
        reconstruction = round_to_eight_bits(reconstruction.to(self.device))[None]
        error = mean_squared_error(reconstruction, target)
        height, width = image.shape[-2:]
        shorter = min(height, width)
        has_ssim, has_ms_ssim = shorter >= SSIM_MINIMUM_SIDE, shorter >= MSSSIM_MINIMUM_SIDE
        item = ItemResult(
            name=name,
            height=height,
            width=width,
            channels=image.shape[0],
            num_tokens=info.num_tokens,
            nominal_bits=info.nominal_bits,
            size_bytes=len(data),
            overhead_bytes=info.overhead_bytes,
            mean_squared_error=error.item(),
            psnr=psnr_from_error(error).item(),
            ssim=ssim(reconstruction, target).item() if has_ssim else None,
            ms_ssim=ms_ssim(reconstruction, target).item() if has_ms_ssim else None,
            lpips=self._perceptual_distance(reconstruction, target),
            encode_seconds=encoded - begin,
            decode_seconds=decoded - encoded,
            entropy_bits=sum(rate.entropy_bits for rate in level_rates(tokens_read)),
            prior_bits=self._prior_bits(tokens_read),
        )
        self._keep_picture(name, target[0], reconstruction[0])
        return item, tokens_read.item(0)

    def _prior_bits(self, tokens: Tokens) -> float | None:
        prior = self.resources.prior
        return prior.bits(tokens.indices[0]) if isinstance(prior, Prior) else None

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def _perceptual_distance(self, reconstruction: Tensor, target: Tensor) -> float | None:
        if self.lpips is None:
            return None
        try:
            return float(self.lpips(reconstruction, target))
        except ShapeError:  # too small for the network: not defined, as SSIM is not
            return None

    def _keep_picture(self, name: str, target: Tensor, reconstruction: Tensor) -> None:
        is_full = len(self.pictures) >= self.max_pictures
        if self.max_pictures == 0 or (is_full and name > self.pictures[-1].name):
            return
        error = (target - reconstruction).abs() * _ERROR_GAIN - 1
        picture = Picture(name, *map(_small_levels, (target, reconstruction, error)))
        insort(self.pictures, picture, key=lambda kept: kept.name)
        del self.pictures[self.max_pictures :]


def _small_levels(media: Tensor) -> Tensor:
    """uint8 ``[height, width, 3]`` of at most 480 pixels a side."""
    media = (media[:3] if len(media) >= 3 else media[:1].expand(3, -1, -1))[None]
    scale = min(1.0, _LARGEST_PICTURE / max(media.shape[-2:]))
    if scale < 1:
        size = [max(1, round(side * scale)) for side in media.shape[-2:]]
        media = F.interpolate(media, size, mode="bilinear", antialias=True)
    levels = ((media[0].clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return levels.permute(1, 2, 0).cpu().contiguous()


def _description(lpips: PerceptualMetric | str | None) -> str | None:
    if lpips is None or isinstance(lpips, str):
        return None
    weights = (f"{name}={getattr(lpips, name, None)}" for name in ("backbone", "heads"))
    name = getattr(lpips, "__name__", type(lpips).__name__)
    return f"{name}({', '.join(weights)})" if hasattr(lpips, "backbone") else name


def _reason(lpips: PerceptualMetric | None) -> str | None:
    return "no perceptual metric was given" if lpips is None else None
