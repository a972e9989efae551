"""Whether the parts of a tokenizer go together, and whether tokens are its."""

from typing import TYPE_CHECKING, Any

from vqkit.errors import ConfigError, ModelMismatchError, ShapeError
from vqkit.nets import TextDecoder
from vqkit.quantizers import Quantizer
from vqkit.tokenizers.frontend import Frontend
from vqkit.tokenizers.item_coding import ItemCoding
from vqkit.tokenizers.spec import TokenizerSpec
from vqkit.tokenizers.tokens import Tokens
from vqkit.tokenizers.whole_grid import row_of_tokens

if TYPE_CHECKING:
    from vqkit.tokenizers.tokenizer import Tokenizer

__all__ = ["check_parts", "checked_items"]


def check_parts(tokenizer: "Tokenizer") -> None:
    """Refuse parts that differ in what they have in common.

    Raises:
        ConfigError: They do.
    """
    encoder: Any = tokenizer.encoder
    decoder: Any = tokenizer.decoder
    quantizer, frontend, stride = tokenizer.quantizer, tokenizer.frontend, tokenizer.stride
    channels = frontend.channels
    facts: list[tuple[str, Any, str, Any]] = [
        ("encoder.dim", encoder.dim, "quantizer.dim", quantizer.dim),
        ("encoder.in_channels", encoder.in_channels, "frontend.channels", channels),
        ("strides", len(stride), "axes", len(frontend.axes)),
    ]
    if frontend.first_frame_alone is not None:
        alone = frontend.first_frame_alone
        for part in ("encoder",) if decoder is None else ("encoder", "decoder"):
            theirs = getattr(getattr(tokenizer, part), "first_frame_alone", None)
            facts.append((f"{part}.first_frame_alone", theirs, "frontend.first_frame_alone", alone))
    if decoder is not None:
        facts.append(("quantizer.dim", quantizer.dim, "decoder.dim", decoder.dim))
    if decoder is not None and not isinstance(decoder, TextDecoder):
        facts += [
            ("decoder.out_channels", decoder.out_channels, "frontend.channels", channels),
            ("encoder.stride", stride, "decoder.stride", tuple(decoder.stride)),
            ("encoder.grid", row_of_tokens(encoder), "decoder.grid", row_of_tokens(decoder)),
        ]
    if quantizer.grid is not None:
        num_axes = len(frontend.axes)
        facts.append(("quantizer.grid axes", len(quantizer.grid), "axes", num_axes))
    for left_name, left, right_name, right in facts:
        if left != right:
            raise ConfigError(
                f"Tokenizer: expected {left_name} and {right_name} to be equal, got {left} and "
                f"{right}."
            )
    if quantizer.grid is not None and row_of_tokens(encoder) is not None:
        raise ConfigError(
            f"Tokenizer: expected a quantizer of single positions after an encoder to a row of "
            f"tokens, got {type(quantizer).__name__} of the grid {quantizer.grid}."
        )
    _check_coding(tokenizer.coding, frontend, quantizer)


def checked_items(tokens: Tokens, tokenizer: "Tokenizer", check_model: bool) -> list[Tokens]:
    """The items, of which each is what the tokenizer makes.

    Raises:
        ModelMismatchError: The tokens are another tokenizer's.
        ShapeError: Their axes, codebooks or grid are not this tokenizer's.
    """
    if check_model and tokens.fingerprint != tokenizer.fingerprint:
        raise ModelMismatchError(
            f"Decoding: expected tokens of {tokenizer.name!r} ({tokenizer.fingerprint}), got "
            f"tokens of {tokens.tokenizer!r} ({tokens.fingerprint}). Load that model."
        )
    sizes, axes = tokenizer.quantizer.codebook_sizes, tokenizer.token_axes
    if tokens.axes != axes or tokens.codebook_sizes != sizes[: len(tokens.codebook_sizes)]:
        raise ShapeError(
            f"Decoding: expected axes {axes} and codebooks {sizes}, got {tokens.axes} and "
            f"{tokens.codebook_sizes}."
        )
    spec = tokenizer.spec
    items = [tokens.item(i) for i in range(len(tokens))]
    for item, size in zip(items, tokens.media, strict=True):
        expected, grid = spec.grid(size), tuple(item.indices.shape[1:-1])
        if grid != expected:
            raise ShapeError(
                f"Decoding: expected a grid of {expected} for media of {dict(size)}, got {grid}."
            )
        _check_side_streams(item, spec)
    return items


def _check_coding(coding: ItemCoding, frontend: Frontend, quantizer: Quantizer) -> None:
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


def _check_side_streams(item: Tokens, spec: TokenizerSpec) -> None:
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
