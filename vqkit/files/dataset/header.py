"""What all samples of a data set share: the tokenizer, its streams, and how they were made."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from vqkit.errors import ModelMismatchError, ShapeError
from vqkit.files.dataset.document import MAX_COUNT, Fields, is_close
from vqkit.files.format_error import FormatError
from vqkit.tokenizers.spec import VIDEO_SIZES, TokenizerSpec
from vqkit.tokenizers.tokens import Tokens

__all__ = ["MAIN_STREAM", "DatasetHeader", "Provenance", "StreamLayout"]

MAIN_STREAM = "tokens"

_FORMAT, _VERSION = "vqkit dataset", 1
_MAX_STREAMS, _MAX_AXES, _MAX_CODEBOOKS, _MAX_MEDIA_SIZES = 16, 4, 4096, 16
_MAX_SETTINGS, _MAX_SETTING_LENGTH = 64, 1000
_MAX_CODEBOOK_SIZE = 1 << 63

Setting = str | int | float | bool


@dataclass(frozen=True)
class StreamLayout:
    """Axes and codebooks of one stream, the same for all samples."""

    axes: tuple[str, ...]
    codebook_sizes: tuple[int, ...]

    @property
    def nominal_bits(self) -> float:
        """``log2`` of the codebook's size, summed over the codebooks: bits of one position."""
        return math.fsum(math.log2(size) for size in self.codebook_sizes)


@dataclass(frozen=True)
class Provenance:
    """How the tokens came about; none of it is needed to decode them.

    Attributes:
        plan_id: Of the run that wrote the data set; no two plans share a folder.
        precision: Number format that the encoder computed in, such as "float32".
        device: Kind of device that it computed on.
        preprocessing: Settings of what was done to the media before.
        vqkit_version: Of the writer.
        torch_version: Of the writer.
    """

    plan_id: str
    precision: str = "float32"
    device: str = "cpu"
    preprocessing: Mapping[str, Setting] = field(default_factory=dict)
    vqkit_version: str = ""
    torch_version: str = ""


@dataclass(frozen=True)
class DatasetHeader:
    """What the shards and the manifest of a data set say of all its samples.

    Attributes:
        modality: "image", "audio", "video".
        tokenizer: Id of the model.
        fingerprint: 32 hex digits over its configuration and weights.
        streams: Axes and codebooks by the stream's name; the media's own grid is "tokens".
        media: Names of the sizes that samples have, such as "height".
        strides: Media samples for each token along each axis of the media.
        rates: Sample and frame rates that all samples share, with their unit in the name;
            ``sample_rate_hz`` is the tokenizer's, of the waveforms that strides count.
        special_ids: Ids beside the codes, by what they mean.
        provenance: How the tokens came about.
    """

    modality: str
    tokenizer: str
    fingerprint: str
    streams: Mapping[str, StreamLayout]
    media: tuple[str, ...]
    strides: tuple[int, ...]
    provenance: Provenance
    rates: Mapping[str, float] = field(default_factory=dict)
    special_ids: Mapping[str, int] = field(default_factory=dict)

    @staticmethod
    def of(
        spec: TokenizerSpec,
        *,
        plan_id: str,
        precision: str = "float32",
        device: str = "cpu",
        preprocessing: Mapping[str, Setting] | None = None,
        media: Sequence[str] | None = None,
        further_streams: Mapping[str, tuple[tuple[str, ...], tuple[int, ...]]] | None = None,
    ) -> "DatasetHeader":
        """The header for what a tokenizer makes.

        Args:
            spec: Of the tokenizer.
            plan_id: Of the run.
            precision: Number format of the encoder.
            device: Kind of device of the encoder.
            preprocessing: What is done to the media before.
            media: Names of the media's sizes; None for those that the tokenizer keeps.
            further_streams: Axes and codebook sizes of streams beside those of the tokenizer.
        """
        from vqkit import __version__

        axes = spec.axes if spec.latent_grid is None else ("token",)
        streams = {MAIN_STREAM: (axes, spec.codebook_sizes), **spec.side_streams}
        streams |= further_streams or {}
        return DatasetHeader(
            modality=spec.modality,
            tokenizer=spec.name,
            fingerprint=spec.fingerprint,
            streams={name: StreamLayout(*layout) for name, layout in streams.items()},
            media=tuple(spec.media_sizes if media is None else media),
            strides=spec.strides,
            rates={} if spec.sample_rate_hz is None else {"sample_rate_hz": spec.sample_rate_hz},
            provenance=Provenance(
                plan_id=plan_id,
                precision=precision,
                device=device,
                preprocessing=preprocessing or {},
                vqkit_version=__version__,
                torch_version=str(torch.__version__),
            ),
        )

    @property
    def plan_id(self) -> str:
        """Of the run that wrote the data set."""
        return self.provenance.plan_id

    @property
    def has_duration(self) -> bool:
        """Whether samples say how long they last."""
        sizes = {*self.media}
        return {"samples", "sample_rate_hz"} <= sizes or {*VIDEO_SIZES} <= sizes

    def layout(self) -> dict[str, Any]:
        """What must be the same in every shard: all but the machines they were made on."""
        content = self.to_dict()
        provenance = content.pop("provenance")
        return {**content, "plan_id": provenance["plan_id"]}

    def check(self, tokens: Tokens) -> None:
        """Refuse tokens that do not belong into this data set.

        Raises:
            ModelMismatchError: Another tokenizer made them.
            ShapeError: They are several items, or have other streams or media sizes.
        """
        if (tokens.tokenizer, tokens.fingerprint) != (self.tokenizer, self.fingerprint):
            raise ModelMismatchError(
                f"Data set of {self.tokenizer!r} ({self.fingerprint}): expected its tokens, got "
                f"those of {tokens.tokenizer!r} ({tokens.fingerprint})."
            )
        if len(tokens) != 1:
            raise ShapeError(f"Data set: expected one item for each sample, got {len(tokens)}.")
        streams = {
            name: StreamLayout(stream.axes, stream.codebook_sizes)
            for name, stream in tokens.streams.items()
        }
        if (tokens.modality, streams) != (self.modality, dict(self.streams)):
            raise ShapeError(
                f"Data set: expected {self.modality} with the streams {dict(self.streams)}, got "
                f"{tokens.modality} with {streams}."
            )
        unknown = set(tokens.media[0]) - set(self.media)
        if unknown:
            raise ShapeError(
                f"Data set: expected media sizes among {list(self.media)}, got {sorted(unknown)}. "
                f"Name them all when the header is made."
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        provenance = self.provenance
        return {
            "format": _FORMAT,
            "format_version": _VERSION,
            "modality": self.modality,
            "tokenizer": self.tokenizer,
            "fingerprint": self.fingerprint,
            "streams": {
                name: {
                    "axes": list(stream.axes),
                    "codebook_sizes": list(stream.codebook_sizes),
                    "nominal_bits_per_position": stream.nominal_bits,
                }
                for name, stream in self.streams.items()
            },
            "media": list(self.media),
            "strides": list(self.strides),
            "rates": dict(self.rates),
            "special_ids": dict(self.special_ids),
            "provenance": {
                "plan_id": provenance.plan_id,
                "precision": provenance.precision,
                "device": provenance.device,
                "preprocessing": dict(provenance.preprocessing),
                "vqkit_version": provenance.vqkit_version,
                "torch_version": provenance.torch_version,
            },
        }

    @staticmethod
    def parse(fields: Fields) -> "DatasetHeader":
        """Inverse of `to_dict`, every field checked.

        Raises:
            FormatError: A field is missing, unknown or wrong.
        """
        fields.version(_FORMAT, _VERSION)
        header = DatasetHeader(
            modality=fields.identifier("modality"),
            tokenizer=fields.text("tokenizer", 200),
            fingerprint=fields.text("fingerprint", 32, "[0-9a-f]{32}"),
            streams={
                name: _stream(Fields(content, f"stream {name!r}"))
                for name, content in fields.mapping("streams", _MAX_STREAMS).items()
            },
            media=fields.identifiers("media", _MAX_MEDIA_SIZES),
            strides=fields.integers("strides", _MAX_AXES, lowest=1),
            rates=_numbers(fields, "rates"),
            special_ids=_ids(fields, "special_ids"),
            provenance=_provenance(fields.fields("provenance")),
        )
        fields.end()
        if not header.streams:
            raise FormatError("expected at least one stream in the header, got none")
        return header


def _stream(fields: Fields) -> StreamLayout:
    axes = fields.identifiers("axes", _MAX_AXES)
    sizes = fields.integers("codebook_sizes", _MAX_CODEBOOKS, lowest=1, highest=_MAX_CODEBOOK_SIZE)
    if not sizes:
        raise FormatError(f"expected at least one codebook in {fields.what}, got none")
    stream = StreamLayout(axes, sizes)
    bits = fields.number("nominal_bits_per_position")
    if not is_close(bits, stream.nominal_bits):
        raise FormatError(
            f"expected {stream.nominal_bits} nominal bits in {fields.what}, got {bits}"
        )
    fields.end()
    return stream


def _provenance(fields: Fields) -> Provenance:
    provenance = Provenance(
        plan_id=fields.text("plan_id", 128, "[A-Za-z0-9_.-]+"),
        precision=fields.text("precision", 64),
        device=fields.text("device", 200),
        preprocessing=_settings(fields, "preprocessing"),
        vqkit_version=fields.text("vqkit_version", 64),
        torch_version=fields.text("torch_version", 64),
    )
    fields.end()
    return provenance


def _settings(fields: Fields, name: str) -> dict[str, Setting]:
    settings = fields.mapping(name, _MAX_SETTINGS)
    for key, value in settings.items():
        is_text = type(value) is str and len(value) <= _MAX_SETTING_LENGTH
        is_number = type(value) in (int, float, bool) and abs(value) <= MAX_COUNT
        if not is_text and not is_number:
            raise FormatError(f"expected a text, a number or a truth value as {key} of {name}")
    return settings


def _numbers(fields: Fields, name: str) -> dict[str, float]:
    inner = Fields(fields.mapping(name, _MAX_SETTINGS), name)
    return {key: inner.number(key) for key in inner.names()}


def _ids(fields: Fields, name: str) -> dict[str, int]:
    inner = Fields(fields.mapping(name, _MAX_SETTINGS), name)
    return {key: inner.integer(key) for key in inner.names()}
