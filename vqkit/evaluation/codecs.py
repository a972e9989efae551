"""What codecs of others reach on the same media, for comparison."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from vqkit.errors import ConfigError
from vqkit.evaluation.footage import Footage
from vqkit.evaluation.image_codecs import JPEG, WEBP
from vqkit.evaluation.image_quality import ImageQuality
from vqkit.evaluation.media_kind import CLIPS, SOUNDS
from vqkit.evaluation.quality import Medium, Quality
from vqkit.evaluation.rate_curve import RateCurve, RatePoint
from vqkit.evaluation.reference_codec import CodedItem, ReferenceCodec
from vqkit.evaluation.sound_codecs import AMR, MP3, OPUS
from vqkit.evaluation.video_codecs import AV1, VP9, X264
from vqkit.evaluation.video_quality import VideoQuality
from vqkit.media import Audio

__all__ = ["REFERENCE_CODECS", "codec_reference", "matched_reference"]

REFERENCE_CODECS = {codec.name: codec for codec in (JPEG, WEBP, OPUS, MP3, AMR, X264, VP9, AV1)}
"""By name: JPEG and WebP of images, Opus, MP3 and AMR of sounds, H.264, VP9 and AV1 of clips."""


def codec_reference(
    media: Iterable[tuple[str, Medium]],
    codec: str = "webp",
    settings: Sequence[int] = (),
    quality: Quality | None = None,
) -> RateCurve:
    """Rate and quality of a codec on media, measured as ``evaluate`` measures.

    Args:
        media: names and images ``[1 or 3 channels, height, width]`` in [-1, 1], sounds or clips, as
            for ``evaluate``.
        codec: "jpeg" or "webp" at the encoder's best effort; "opus", "mp3" or "amr"; "x264", "vp9"
            or "av1".
        settings: qualities from 0 to 100, bits per second, or values of CRF; by default a few of
            them.
        quality: what is measured; of images and clips the usual metrics by default, of sounds to be
            given.

    Raises:
        ConfigError: there is no item, or the codec or a setting is unknown.
        MediaError: the codec cannot hold an item.
        MissingExtraError: its encoder is not here.

    Example:
        >>> import torch
        >>> curve = codec_reference([("grey", torch.zeros(3, 16, 16))], "jpeg", [50])
        >>> curve.points[0].label, curve.points[0].metrics["psnr"].mean > 40
        ('quality 50', True)
    """
    chosen = _codec_of(codec, settings)
    quality = _quality_of(chosen, quality).for_ladders()
    rows: dict[int, list[_Row]] = {
        setting: [] for setting in sorted(settings or chosen.default_settings)
    }
    extents = []
    for name, medium in media:
        for setting, found in rows.items():
            coded = chosen.round_trip(name, medium, setting)
            found.append(_Row.of(name, coded, medium, quality))
        extents.append(_extent(chosen, medium))
    _check_some(chosen, extents)
    points = tuple(
        _point(setting, chosen.label(setting), found, extents, quality)
        for setting, found in rows.items()
    )
    return RateCurve(codec, chosen.title, points, len(extents))


def matched_reference(
    media: Iterable[tuple[str, Medium]],
    sizes_bytes: Mapping[str, int],
    codec: str,
    quality: Quality | None = None,
) -> RateCurve:
    """A codec at the bytes of a model: each item at the best setting that takes no more than those.

    It is found by halving the range of settings: of two that give nearly the same bytes, which of
    small files need not fall with the quality, it may be the other one.

    What is coded counts, without the container around it where that is told apart, so that the
    codec has the advantage in doubt; the rate of the point is that of whole files, as always. An
    item that takes more at the least setting is there with that.

    Args:
        media: as for :func:`codec_reference`.
        sizes_bytes: of the model's files by name, e.g. ``item.size_bytes`` of a report.
        codec: as for :func:`codec_reference`.
        quality: as for :func:`codec_reference`.

    Raises:
        ConfigError: there is no item, or the codec is unknown.
        MediaError: the codec cannot hold an item.
        MissingExtraError: its encoder is not here.

    Example:
        >>> import torch
        >>> image = torch.linspace(-1, 1, 64).expand(3, 64, 64)
        >>> point = matched_reference([("ramp", image)], {"ramp": 900}, "jpeg").points[0]
        >>> point.label, point.size_bytes <= 900
        ('as many bytes', True)
    """
    chosen = _codec_of(codec, ())
    quality = _quality_of(chosen, quality)
    rows, settings, extents = [], [], []
    for name, medium in media:
        setting, coded = _best_within(chosen, name, medium, sizes_bytes[name])
        settings.append(setting)
        rows.append(_Row.of(name, coded, medium, quality))
        extents.append(_extent(chosen, medium))
    _check_some(chosen, extents)
    point = _point(int(median(settings)), "as many bytes", rows, extents, quality)
    return RateCurve(f"{codec}_matched", chosen.title, (point,), len(extents))


@dataclass(frozen=True)
class _Row:
    """One item at one setting."""

    size_bytes: int
    payload_bytes: int | None
    scores: Mapping[str, float | None]

    @classmethod
    def of(cls, name: str, coded: CodedItem, medium: Medium, quality: Quality) -> "_Row":
        scores = quality.measure(name, coded.decoded, medium).values
        return cls(coded.size_bytes, coded.payload_bytes, scores)


def _point(
    setting: int, label: str, rows: Sequence[_Row], extents: Sequence[float], quality: Quality
) -> RatePoint:
    return RatePoint.of(
        setting,
        label,
        [row.size_bytes for row in rows],
        sum(extents),
        [row.scores for row in rows],
        quality.metrics,
        [row.payload_bytes for row in rows],
    )


def _best_within(
    codec: ReferenceCodec, name: str, medium: Medium, size_bytes: int
) -> tuple[int, CodedItem]:
    """The best setting whose bytes are no more than these, by halving what is left."""
    least, largest = codec.settings_range
    # From the smallest file to the best one.
    settings = (
        range(least, largest + 1) if codec.larger_is_better else range(largest, least - 1, -1)
    )
    low, high = 0, len(settings) - 1
    best = None
    while low <= high:
        middle = (low + high) // 2
        coded = codec.round_trip(name, medium, settings[middle])
        payload = coded.size_bytes if coded.payload_bytes is None else coded.payload_bytes
        if payload <= size_bytes:
            best, low = (settings[middle], coded), middle + 1
        else:
            high = middle - 1
    return best or (settings[0], codec.round_trip(name, medium, settings[0]))


def _quality_of(codec: ReferenceCodec, quality: Quality | None) -> Quality:
    if quality is None and codec.kind is not SOUNDS:
        quality = VideoQuality() if codec.kind is CLIPS else ImageQuality()
    if quality is None or quality.kind is not codec.kind:
        raise ConfigError(
            f"Measuring {codec.name}: expected metrics of {codec.kind.items}, got "
            f"{type(quality).__name__}. Give quality=SoundQuality(sample_rate_hz) for sounds."
        )
    return quality


def _check_some(codec: ReferenceCodec, extents: Sequence[float]) -> None:
    if not extents:
        raise ConfigError(
            f"Measuring {codec.name} failed: expected at least one {codec.kind.item}, got none."
        )


def _codec_of(name: str, settings: Sequence[int]) -> ReferenceCodec:
    if name not in REFERENCE_CODECS:
        raise ConfigError(
            f"Measuring a codec failed: expected one of {', '.join(REFERENCE_CODECS)}, got "
            f"{name!r}."
        )
    codec = REFERENCE_CODECS[name]
    least, largest = codec.settings_range
    if not all(least <= setting <= largest for setting in settings):
        raise ConfigError(
            f"Measuring {name} failed: expected settings from {least} to {largest}, got "
            f"{list(settings)}."
        )
    return codec


def _extent(codec: ReferenceCodec, medium: Medium) -> float:
    if isinstance(medium, Audio):
        rate = {"sample_rate_hz": medium.sample_rate_hz}
        return codec.kind.extent({"samples": medium.samples.shape[-1], **rate})
    if isinstance(medium, Footage):
        return codec.kind.extent(medium.size)
    sides = zip(("width", "height", "frames"), reversed(medium.shape), strict=False)
    return codec.kind.extent(dict(sides))
