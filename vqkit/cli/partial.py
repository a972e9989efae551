"""Decoding a part of a token file, and what is left of a damaged one."""

import argparse
import re
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from vqkit.cli.console import Console, printable
from vqkit.cli.media import facts_of
from vqkit.cli.models import ModelLoader
from vqkit.cli.rates import rate_facts
from vqkit.cli.sources import Source
from vqkit.cli.tokens import content_of

if TYPE_CHECKING:
    from torch import Tensor

    from vqkit.files import LostRows, RecoveredTokens
    from vqkit.tokenizers import Tokenizer, TokenizerSpec, Tokens

__all__ = ["decode_part", "parse_part", "recover_token_file"]

_RANGE = re.compile(r"([a-z][a-z0-9_.-]*)=([0-9]+):([0-9]+)", re.ASCII)

# Tokens around a part: with 8, pictures of convolutional decoders differ by less than a thousandth
# of a level from what the whole decodes to.
_CONTEXT = 8


def parse_part(text: str) -> dict[str, tuple[int, int]]:
    """``height=0:256,width=64:128`` or ``time=0:48000``, for ``add_argument(type=...)``."""
    ranges = {}
    for word in text.split(","):
        match = _RANGE.fullmatch(word)
        if match is None or match[1] in ranges or int(match[2]) >= int(match[3]):
            raise argparse.ArgumentTypeError(
                f"expected AXIS=FIRST:END[,AXIS=FIRST:END], as in height=0:256, got {text!r}"
            )
        ranges[match[1]] = int(match[2]), int(match[3])
    return ranges


def decode_part(
    source: Source,
    ranges: Mapping[str, tuple[int, int]],
    codebooks: int | None,
    models: ModelLoader,
) -> "tuple[Tensor, dict[str, int], Tokenizer, dict[str, Any]]":
    """Decode the tokens that a part of the media needs; the others are not read.

    A part of a sound has the model's rate.

    Raises:
        TokenFileError: What is read is damaged.
        ShapeError: There is no such part.
    """
    from vqkit.files import read_info, read_part
    from vqkit.tokenizers import MediaPart, Tokens

    content = content_of(source)
    info = read_info(content)
    tokenizer = models.maker_of(info)
    part = MediaPart.of(tokenizer.spec, info.media, ranges, _CONTEXT)
    resources = models.resources_of(tokenizer)
    streams = {"tokens": read_part(content, part.grid, codebooks=codebooks, resources=resources)}
    for name in tokenizer.spec.side_streams:
        streams[name] = read_part(content, part.side, stream=name, resources=resources)
    size = _whole(tokenizer.spec, info.media, part.size)
    tokens = Tokens(streams, (size,), info.modality, info.tokenizer, info.fingerprint)
    facts = {**facts_of(info), "part": {axis: list(bounds) for axis, bounds in ranges.items()}}
    return part.cut(tokenizer.decode(tokens)[0]), size, tokenizer, facts


def recover_token_file(
    source: Source, models: ModelLoader, console: Console
) -> "tuple[Tokens, dict[str, Any]]":
    """Read what is intact of a token file, and say what is lost.

    Raises:
        TokenFileError: Nothing is left.
    """
    from vqkit.files import TokenReader, recover_tokens

    content = content_of(source)
    with TokenReader(content) as reader:
        header = reader.header
    resources = models.resources_of(models.maker_of(header))
    recovered = recover_tokens(content, resources=resources)
    for line in _lines(recovered):
        console.error(f"{printable(source.name)}: {printable(line)}")
    tokens = _with_size(recovered.tokens, models)
    size_bytes = len(content) if isinstance(content, bytes) else content.stat().st_size
    return tokens, {
        "media": dict(tokens.media[0]),
        "num_tokens": tokens.num_tokens,
        "size_bytes": size_bytes,
        **rate_facts(tokens.media[0], size_bytes),
        "is_damaged": not recovered.is_sound,
        "num_lost_tokens": recovered.num_lost,
        "losses": [asdict(loss) for loss in recovered.losses],
        "notes": list(recovered.notes),
    }


def _with_size(tokens: "Tokens", models: ModelLoader) -> "Tokens":
    """Tokens whose file lost its end, with the size that their grid stands for."""
    from vqkit.tokenizers.frame_groups import FrameGroups

    spec = models.maker_of(tokens).spec
    grid = zip(spec.axes, spec.strides, tokens.indices.shape[1:], strict=False)
    covered = {axis: stride * length for axis, stride, length in grid}
    if spec.first_frame_alone is not None:
        groups = FrameGroups(spec.strides[0], spec.first_frame_alone)
        covered["time"] = groups.num_frames(tokens.indices.shape[1])
    media = {**_whole(spec, {}, covered), **tokens.media[0]}
    return replace(tokens, media=(media,))


def _whole(
    spec: "TokenizerSpec", media: Mapping[str, int], extents: Mapping[str, int]
) -> dict[str, int]:
    """Sizes of media that are as large as ``extents`` says, in what the networks take."""
    from vqkit.tokenizers.spec import CHANNEL_AXIS

    if spec.modality == "video":
        sides = {axis: extents[axis] for axis in ("height", "width")}
        return {**media, "frames": extents["time"], **sides}
    if spec.sample_rate_hz is None:
        return {**media, **extents}
    return {
        **media,
        "samples": extents["time"],
        "sample_rate_hz": spec.sample_rate_hz,
        "channels": media.get("channels", extents.get(CHANNEL_AXIS, spec.channels)),
    }


def _lines(recovered: "RecoveredTokens") -> list[str]:
    lines = list(recovered.notes)
    if recovered.losses:
        lines.append(
            f"lost {recovered.num_lost:,} of {recovered.tokens.num_tokens:,} tokens: "
            + "; ".join(map(_words, recovered.losses))
        )
    return lines


def _words(loss: "LostRows") -> str:
    stop = "the end" if loss.stop_row is None else f"{loss.stop_row - 1}"
    return f"rows {loss.start_row} to {stop} of {loss.stream} ({loss.reason})"
