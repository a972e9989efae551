"""What of a prepared item the networks take at a time, and how their tokens make one grid."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from vqkit.errors import ConfigError, ShapeError
from vqkit.quantizers import Quantizer
from vqkit.shapes import Float
from vqkit.tokenizers.chunking import Chunking
from vqkit.tokenizers.frontend import Frontend
from vqkit.tokenizers.spec import TokenizerSpec
from vqkit.tokenizers.tokens import Tokens

__all__ = ["ItemCoding", "check_coding", "check_side_streams"]

Networks = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class ItemCoding:
    """Items as they are, or each channel alone, or in chunks, or both.

    Args:
        codes_alone: Whether every channel is an item of one channel to the networks. The tokens
            have an axis ``channel`` after that of time.
        chunking: Whether, and in what chunks, the networks take a sound.
    """

    codes_alone: bool = False
    chunking: Chunking | None = None

    def encode(
        self, pieces: Iterable[Float[Tensor, "batch channels *size"]], networks: Networks
    ) -> dict[str, Tensor]:
        """Indices ``[batch, *grid, codebooks]`` by the name of their stream.

        Args:
            pieces: Items of one size. Where they are encoded in chunks, their pieces may come one
                after the other.
            networks: Media to indices.
        """
        if not self.codes_alone:
            return self._encode(pieces, networks)
        num_channels = 0

        def alone() -> Iterator[Tensor]:
            nonlocal num_channels
            for piece in pieces:
                num_channels = piece.shape[1]
                yield piece.flatten(0, 1)[:, None]

        return {
            name: indices.unflatten(0, (-1, num_channels)).movedim(1, 2).contiguous()
            for name, indices in self._encode(alone(), networks).items()
        }

    def decode(
        self, streams: Mapping[str, Tensor], num_samples: int, stride: int, networks: Networks
    ) -> Iterator[Float[Tensor, "channels *size"]]:
        """The inverse, for one item: what it decodes to, in pieces where it was cut in chunks.

        Args:
            streams: Indices ``[1, *grid, codebooks]``.
            num_samples: Of the prepared sound.
            stride: Samples per position.
            networks: Indices to media.
        """
        if self.codes_alone:
            streams = {name: x.movedim(2, 1).flatten(0, 1) for name, x in streams.items()}
        for piece in self._decode(streams, num_samples, stride, networks):
            yield piece.flatten(0, 1)

    def _encode(self, pieces: Iterable[Tensor], networks: Networks) -> dict[str, Tensor]:
        if self.chunking is not None:
            return self.chunking.encode(pieces, networks)
        (whole,) = pieces
        return {"tokens": networks(whole)}

    def _decode(
        self, streams: Mapping[str, Tensor], num_samples: int, stride: int, networks: Networks
    ) -> Iterator[Tensor]:
        if self.chunking is None:
            return iter([networks(streams["tokens"])])
        return self.chunking.decode(streams, num_samples, stride, networks)


def check_coding(coding: ItemCoding, frontend: Frontend, quantizer: Quantizer) -> None:
    """Refuse chunks of what has no time, and parts of what is quantized as a whole.

    Raises:
        ConfigError: The parts of a tokenizer do not go together.
    """
    if coding.chunking is not None and frontend.sample_rate_hz is None:
        raise ConfigError(
            f"Tokenizer: expected sounds for chunks, got {type(frontend).__name__}. Leave chunking "
            "out."
        )
    if quantizer.grid is not None and coding != ItemCoding():
        raise ConfigError(
            f"Tokenizer: expected a quantizer of any number of positions for channels or chunks by "
            f"themselves, got {type(quantizer).__name__} of {quantizer.grid}."
        )


def check_side_streams(item: Tokens, spec: TokenizerSpec) -> None:
    """Check that what stands beside the tokens of an item is all that decoding them needs.

    Raises:
        ShapeError: A stream is missing, or of other axes, codebooks or positions.
    """
    for name, (axes, sizes) in spec.side_streams.items():
        grid = spec.side_grid(item.media[0])
        stream = item.streams.get(name)
        found = None if stream is None else (stream.axes, stream.codebook_sizes, stream.grid)
        if found != (axes, sizes, grid):
            raise ShapeError(
                f"Decoding: expected a stream {name!r} of axes {axes}, codebooks {sizes} and "
                f"positions {grid}, got {'none' if found is None else found}."
            )
