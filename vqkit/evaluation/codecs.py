"""What codecs of others reach on the same media, for comparison."""

from collections.abc import Iterable, Sequence

from vqkit.errors import ConfigError
from vqkit.evaluation.image_codecs import JPEG, WEBP
from vqkit.evaluation.image_quality import ImageQuality
from vqkit.evaluation.media_kind import SOUNDS
from vqkit.evaluation.quality import Medium, Quality
from vqkit.evaluation.rate_curve import RateCurve, RatePoint
from vqkit.evaluation.reference_codec import ReferenceCodec
from vqkit.evaluation.sound_codecs import AMR, MP3, OPUS
from vqkit.media import Audio

__all__ = ["REFERENCE_CODECS", "codec_reference"]

REFERENCE_CODECS = {codec.name: codec for codec in (JPEG, WEBP, OPUS, MP3, AMR)}
"""By name: JPEG and WebP of images, Opus, MP3 and AMR of sounds."""


def codec_reference(
    media: Iterable[tuple[str, Medium]],
    codec: str = "webp",
    settings: Sequence[int] = (),
    quality: Quality | None = None,
) -> RateCurve:
    """Rate and quality of a codec on media, measured as ``evaluate`` measures.

    Args:
        media: names and images ``[1 or 3 channels, height, width]`` in [-1, 1], or sounds, as for
            ``evaluate``.
        codec: "jpeg" or "webp" at the encoder's best effort; "opus", "mp3" or "amr".
        settings: qualities from 0 to 100, or bits per second; by default a few of them.
        quality: what is measured; of images the usual metrics by default, of sounds to be given.

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
    if quality is None and chosen.kind is not SOUNDS:
        quality = ImageQuality()
    if quality is None or quality.kind is not chosen.kind:
        raise ConfigError(
            f"Measuring {codec}: expected metrics of {chosen.kind.items}, got "
            f"{type(quality).__name__}. Give quality=SoundQuality(sample_rate_hz) for sounds."
        )
    rows: dict[int, list[tuple[int, dict[str, float | None]]]] = {
        setting: [] for setting in sorted(settings or chosen.default_settings)
    }
    extents = []
    for name, medium in media:
        extents.append(_extent(chosen, medium))
        for setting, found in rows.items():
            size_bytes, decoded = chosen.round_trip(name, medium, setting)
            found.append((size_bytes, dict(quality.measure(name, decoded, medium).values)))
    if not extents:
        raise ConfigError(
            f"Measuring {codec} failed: expected at least one {chosen.kind.item}, got none."
        )
    points = tuple(
        RatePoint.of(
            setting,
            chosen.label(setting),
            [size_bytes for size_bytes, _ in found],
            sum(extents),
            [scores for _, scores in found],
            quality.metrics,
        )
        for setting, found in rows.items()
    )
    return RateCurve(codec, chosen.title, points, len(extents))


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
    return codec.kind.extent(dict(zip(("width", "height"), reversed(medium.shape), strict=False)))
