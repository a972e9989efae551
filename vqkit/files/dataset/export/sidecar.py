"""``export.json``, which says what the files of an export hold and how to turn them back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vqkit.errors import ConfigError, ShapeError, TokenFileError
from vqkit.files.dataset.document import Fields, dump_document, explained, parse_document, quoted
from vqkit.files.dataset.export.datatrove import Datatrove
from vqkit.files.dataset.export.litdata import Litdata
from vqkit.files.dataset.export.megatron import Megatron
from vqkit.files.dataset.export.memmap import Memmap
from vqkit.files.dataset.export.order import ORDERS
from vqkit.files.dataset.export.vocabulary import SEPARATORS, Sequencing, Vocabulary
from vqkit.files.dataset.export.webdataset import WebDataset
from vqkit.files.dataset.header import DatasetHeader, StreamLayout
from vqkit.files.format_error import FormatError
from vqkit.shapes import Int
from vqkit.tokenizers.tokens import Tokens, TokenStream

__all__ = ["EXPORT_FORMATS", "SAMPLES_NAME", "SIDECAR_NAME", "Export", "FileFacts"]

SIDECAR_NAME = "export.json"
SAMPLES_NAME = "samples.jsonl"
EXPORT_FORMATS = {f.name: f for f in (Megatron(), Datatrove(), Litdata(), Memmap(), WebDataset())}
"""By name."""

_FORMAT, _VERSION = "vqkit export", 1
_MAX_BYTES = 1 << 26
_MAX_FILES = 1 << 17


@dataclass(frozen=True)
class FileFacts:
    """Length and SHA-256 of a file."""

    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Export:
    """What an export holds.

    Attributes:
        format: Name of the layout of its files.
        header: What its samples share; its one stream is the one that was exported.
        order: Name of the order of tokens.
        level_offsets: Whether each codebook has ids of its own.
        separator: Which ids stand around a sample.
        num_samples: Sequences.
        num_ids: Ids of all of them, separators and padding included.
        files: What every file beside the sidecar must be.
    """

    format: str
    header: DatasetHeader
    order: str = "raster"
    level_offsets: bool = False
    separator: str = "none"
    num_samples: int = 0
    num_ids: int = 0
    files: Mapping[str, FileFacts] = field(default_factory=dict)

    @staticmethod
    def read(folder: str | Path) -> "Export":
        """What the sidecar of a folder says.

        Raises:
            TokenFileError: There is none, or it is damaged.
        """
        path = Path(folder) / SIDECAR_NAME
        try:
            size = path.stat().st_size
            data = path.read_bytes() if size <= _MAX_BYTES else b""
        except OSError as error:
            raise TokenFileError(
                f"Cannot read {path}: {error.strerror or error}. "
                f"Name a folder that vqkit dataset export wrote."
            ) from error
        with explained(str(path)):
            if size > _MAX_BYTES:
                raise FormatError(f"expected up to {_MAX_BYTES} bytes, got {size}")
            return Export.from_bytes(data)

    @property
    def stream(self) -> str:
        """The stream that was exported."""
        (name,) = self.header.streams
        return name

    @property
    def layout(self) -> StreamLayout:
        """Its axes and codebooks."""
        return self.header.streams[self.stream]

    @property
    def vocabulary(self) -> Vocabulary:
        """Which ids there are."""
        return Vocabulary(
            codebook_sizes=self.layout.codebook_sizes,
            level_offsets=self.level_offsets,
            separator=self.separator,
            has_padding=ORDERS[self.order].needs_padding,
        )

    @property
    def sequencing(self) -> Sequencing:
        """From grids to ids and back."""
        return Sequencing(ORDERS[self.order], self.vocabulary)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the ids in the files."""
        return EXPORT_FORMATS[self.format].dtype(self.vocabulary.size)

    def tokens(
        self, ids: Int[torch.Tensor, " ids"], grid: tuple[int, ...], media: Mapping[str, int]
    ) -> Tokens:
        """The tokens of one sequence, as they are in the files or as a model wrote it.

        Args:
            ids: With the separators or without.
            grid: Positions along each axis.
            media: Sizes of the media that are to be decoded from it.

        Raises:
            ShapeError: The ids are no sequence for such a grid.
        """
        try:
            shape = (*grid, len(self.layout.codebook_sizes))
            indices = self.sequencing.grid(ids.cpu().numpy(), shape)
        except FormatError as error:
            raise ShapeError(f"Cannot turn ids into tokens: {error.what}.") from None
        stream = TokenStream(
            torch.from_numpy(np.ascontiguousarray(indices))[None],
            self.layout.codebook_sizes,
            self.layout.axes,
        )
        header = self.header
        return Tokens(
            {self.stream: stream}, (media,), header.modality, header.tokenizer, header.fingerprint
        )

    def to_bytes(self) -> bytes:
        """The content of the sidecar."""
        return dump_document(
            {
                "format": _FORMAT,
                "format_version": _VERSION,
                "layout": self.format,
                "header": self.header.to_dict(),
                "order": self.order,
                "level_offsets": self.level_offsets,
                "separator": self.separator,
                **self._vocabulary(),
                "num_samples": self.num_samples,
                "num_ids": self.num_ids,
                "files": {
                    name: {"size_bytes": facts.size_bytes, "sha256": facts.sha256}
                    for name, facts in self.files.items()
                },
            }
        )

    @staticmethod
    def from_bytes(data: bytes) -> "Export":
        """Inverse of `to_bytes`, every field checked.

        Raises:
            FormatError: It is no sidecar.
        """
        fields = parse_document(data, "the sidecar")
        fields.version(_FORMAT, _VERSION)
        header = DatasetHeader.parse(fields.fields("header"))
        if len(header.streams) != 1:
            raise FormatError(f"expected one stream, got {quoted(sorted(header.streams))}")
        export = Export(
            format=fields.choice("layout", EXPORT_FORMATS),
            header=header,
            order=fields.choice("order", ORDERS),
            level_offsets=fields.truth("level_offsets"),
            separator=fields.choice("separator", SEPARATORS),
            num_samples=fields.integer("num_samples"),
            num_ids=fields.integer("num_ids"),
            files=_files(fields),
        )
        try:
            expected = export._vocabulary()
        except ConfigError as error:
            raise FormatError(
                f"expected a vocabulary that the layout has room for ({error})"
            ) from None
        for name, value in expected.items():
            if fields.take(name) != value:
                raise FormatError(f"expected {quoted(value)} as {name} of the sidecar, got another")
        fields.end()
        return export

    def _vocabulary(self) -> dict[str, Any]:
        vocabulary = self.vocabulary
        return {
            "offsets": list(vocabulary.offsets),
            "vocabulary_size": vocabulary.size,
            "special_ids": vocabulary.special_ids,
            "dtype": self.dtype.name,
        }


def _files(fields: Fields) -> dict[str, FileFacts]:
    content = fields.take("files")
    if type(content) is not dict or len(content) > _MAX_FILES:
        raise FormatError(f"expected files by name, got {quoted(content)}")
    files = {}
    for name, facts in content.items():
        if Path(name).name != name or not name.isprintable():
            raise FormatError(f"expected names of files in the folder, got {quoted(name)}")
        inner = Fields(facts, f"file {name!a}")
        files[name] = FileFacts(
            inner.integer("size_bytes"), inner.text("sha256", 64, "[0-9a-f]{64}")
        )
        inner.end()
    return files
