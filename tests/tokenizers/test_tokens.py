import copy
import dataclasses
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from vqkit.errors import ModelMismatchError, ShapeError
from vqkit.tokenizers.tokens import Tokens, TokenStream

FINGERPRINT = "0123456789abcdef" * 2


def unchecked(kind: type, **fields: Any) -> Any:
    """Build as users do, for whom nothing checks the annotations of the constructor."""
    instance = object.__new__(kind)
    for name, value in fields.items():
        object.__setattr__(instance, name, value)
    instance.__post_init__()
    return instance


def fields_of(tokens: Tokens) -> dict[str, Any]:
    return {field.name: getattr(tokens, field.name) for field in dataclasses.fields(tokens)}


def image_tokens(*grids: tuple[int, int], codebook_size: int = 16) -> list[Tokens]:
    return [
        Tokens(
            streams={
                "tokens": TokenStream(
                    torch.randint(codebook_size, (1, *grid, 2)),
                    (codebook_size, 3 * codebook_size),
                    ("height", "width"),
                ),
                "gain": TokenStream(torch.randint(8, (1, 1)), (8,), ()),
            },
            media=({"height": 8 * grid[0] - 1, "width": 8 * grid[1]},),
            modality="image",
            tokenizer="image/example",
            fingerprint=FINGERPRINT,
        )
        for grid in grids
    ]


def test_main_stream_and_sizes() -> None:
    (tokens,) = image_tokens((3, 5))
    assert tokens.indices is tokens.streams["tokens"].indices
    assert tokens.codebook_sizes == (16, 48)
    assert tokens.axes == ("height", "width")
    assert len(tokens) == 1
    assert tokens.num_tokens == 3 * 5 * 2 + 1
    assert tokens.bits == pytest.approx(15 * (4 + np.log2(48)) + 3)


def test_stack_pads_and_item_crops() -> None:
    singles = image_tokens((3, 5), (4, 2), (1, 1))
    batch = Tokens.stack(singles)
    assert len(batch) == 3
    assert batch.indices.shape == (3, 4, 5, 2)
    assert batch.streams["tokens"].lengths.tolist() == [[3, 5], [4, 2], [1, 1]]
    assert batch.streams["gain"].lengths is None
    assert batch.indices[1, :, 2:].eq(0).all()
    assert batch.num_tokens == sum(single.num_tokens for single in singles)
    assert batch.bits == pytest.approx(sum(single.bits for single in singles))
    assert batch.media == tuple(single.media[0] for single in singles)
    for i, single in enumerate(singles):
        assert batch.item(i).same_as(single)
        assert torch.equal(batch.item(i).indices, single.indices)
        assert batch.item(i - 3).same_as(single)
    assert not batch.item(0).same_as(singles[1])


def test_stack_of_batches_is_flat() -> None:
    a, b, c = image_tokens((3, 5), (4, 2), (4, 2))
    batch = Tokens.stack([Tokens.stack([a, b]), c])
    assert batch.same_as(Tokens.stack([a, b, c]))


def test_stack_of_equal_grids_needs_no_lengths() -> None:
    assert Tokens.stack(image_tokens((2, 3), (2, 3))).streams["tokens"].lengths is None


def test_padding_does_not_count_in_comparisons() -> None:
    stream = Tokens.stack(image_tokens((3, 5), (4, 2))).streams["tokens"]
    other = stream.indices.clone()
    other[1, :, 2:] = 7
    assert stream.same_as(TokenStream(other, stream.codebook_sizes, stream.axes, stream.lengths))
    other[1, 0, 0] = (stream.indices[1, 0, 0] + 1) % 16
    assert not stream.same_as(
        TokenStream(other, stream.codebook_sizes, stream.axes, stream.lengths)
    )


def test_full_lengths_equal_no_lengths() -> None:
    (tokens,) = image_tokens((3, 5))
    stream = tokens.streams["tokens"]
    full = TokenStream(stream.indices, stream.codebook_sizes, stream.axes, torch.tensor([[3, 5]]))
    assert stream.same_as(full)
    assert full.same_as(stream)
    assert full.num_tokens == stream.num_tokens


@pytest.mark.parametrize(
    "change",
    [
        {"modality": "audio"},
        {"tokenizer": "image/other"},
        {"fingerprint": "f" * 32},
        {"media": ({"height": 1, "width": 1},)},
    ],
)
def test_same_as_sees_every_field(change: dict[str, Any]) -> None:
    (tokens,) = image_tokens((3, 5))
    fields = fields_of(tokens)
    assert tokens.same_as(Tokens(**fields))
    assert not tokens.same_as(Tokens(**{**fields, **change}))


def test_same_as_sees_missing_streams() -> None:
    (tokens,) = image_tokens((3, 5))
    less = Tokens(
        {"tokens": tokens.streams["tokens"]},
        tokens.media,
        tokens.modality,
        tokens.tokenizer,
        tokens.fingerprint,
    )
    assert not tokens.same_as(less)
    assert not less.same_as(tokens)


def test_streams_differ_by_axes_codebooks_and_batch() -> None:
    indices = torch.zeros(1, 2, 2, 1, dtype=torch.int64)
    stream = TokenStream(indices, (4,), ("height", "width"))
    assert not stream.same_as(TokenStream(indices, (5,), ("height", "width")))
    assert not stream.same_as(TokenStream(indices, (4,), ("width", "height")))
    assert not stream.same_as(TokenStream(indices.expand(2, -1, -1, -1), (4,), ("height", "width")))


@pytest.mark.gpu
def test_to_a_device_and_back() -> None:
    batch = Tokens.stack(image_tokens((3, 5), (4, 2)))
    there = batch.to("cuda")
    assert there.indices.is_cuda
    assert there.same_as(batch)
    assert batch.same_as(there)
    assert Tokens.stack([there.item(1), there.item(0)]).to("cpu").item(1).same_as(batch.item(0))


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_travels_between_processes(clone: Any) -> None:
    batch = Tokens.stack(image_tokens((3, 5), (4, 2)))
    assert clone(batch).same_as(batch)


def test_keeps_plain_python_values() -> None:
    stream = unchecked(
        TokenStream,
        indices=torch.zeros(1, 2, 1, dtype=torch.int64),
        codebook_sizes=[np.int64(4)],
        axes=["time"],
        lengths=None,
    )
    assert stream.codebook_sizes == (4,)
    assert type(stream.codebook_sizes[0]) is int
    assert stream.axes == ("time",)
    media = {"samples": np.int32(7)}
    tokens = unchecked(
        Tokens,
        streams={"tokens": stream},
        media=[media],
        modality="audio",
        tokenizer="",
        fingerprint=FINGERPRINT,
    )
    assert tokens.media == ({"samples": 7},)
    assert type(tokens.media[0]["samples"]) is int
    media["samples"] = 8
    assert tokens.media == ({"samples": 7},)


def test_an_empty_grid_is_allowed() -> None:
    stream = TokenStream(torch.zeros(1, 0, 3, dtype=torch.int64), (4, 4, 4), ("time",))
    assert (stream.num_tokens, stream.bits) == (0, 0.0)


def test_huge_codebooks() -> None:
    size = 1 << 63
    stream = TokenStream(torch.tensor([[[size - 1]]]), (size,), ("time",))
    assert stream.bits == 63


ZEROS = torch.zeros(2, 3, 4, 1, dtype=torch.int64)


@pytest.mark.parametrize(
    ("indices", "codebook_sizes", "axes", "lengths", "message"),
    [
        (ZEROS.int(), (4,), ("height", "width"), None, "int64 tensor, got torch.int32"),
        (ZEROS.float(), (4,), ("height", "width"), None, "got torch.float32"),
        (ZEROS.numpy(), (4,), ("height", "width"), None, "got ndarray"),
        (ZEROS, (4,), ("time",), None, r"expected \[batch, time, 1\].*got \[2, 3, 4, 1\]"),
        (ZEROS, (4, 4), ("height", "width"), None, r"height, width, 2\].*got \[2, 3, 4, 1\]"),
        (ZEROS[:0], (4,), ("height", "width"), None, "at least one item"),
        (ZEROS + 4, (4,), ("height", "width"), None, "0 to 3 for codebook 0.*got 4 to 4"),
        (ZEROS - 2, (4,), ("height", "width"), None, "or -1 for an unknown one, got -2 to -2"),
        (ZEROS, (0,), ("height", "width"), None, "codebook size: expected 1 to"),
        (ZEROS, (True,), ("height", "width"), None, "whole number, got True"),
        (ZEROS, (4.0,), ("height", "width"), None, "whole number, got 4.0"),
        (ZEROS, (2**63 + 1,), ("height", "width"), None, "codebook size: expected 1 to"),
        (ZEROS, (), ("height", "width"), None, "tuple of sizes"),
        (ZEROS, 4, ("height", "width"), None, "tuple of sizes, got 4"),
        (ZEROS, (4,), ("height", "height"), None, "different names"),
        (ZEROS, (4,), "hw", None, "tuple of names"),
        (ZEROS, (4,), ("Height", "width"), None, "axis name.*'Height'"),
        (ZEROS, (4,), ("height\n", "width"), None, "axis name"),
        (ZEROS, (4,), ("height", "w" * 33), None, "axis name"),
        (ZEROS, (4,), ("height", 1), None, "axis name.*got 1"),
        (ZEROS, (4,), ("height", "width"), torch.ones(2, 2), "lengths.*got torch.float32"),
        (ZEROS, (4,), ("height", "width"), [[1, 1]], "lengths.*got list"),
        (ZEROS, (4,), ("height", "width"), torch.tensor([3, 4]), r"\[2, 2\], got \[2\]"),
        (ZEROS, (4,), ("height", "width"), torch.tensor([[3, 4], [4, 4]]), r"got \[4, 4\]"),
        (ZEROS, (4,), ("height", "width"), torch.tensor([[3, 4], [-1, 4]]), r"got \[-1, 4\]"),
        (
            ZEROS,
            (4,),
            ("height", "width"),
            torch.tensor([[1, 1], [1, 1]], device="meta"),
            "on cpu like the indices, got meta",
        ),
    ],
)
def test_stream_refuses(
    indices: Any, codebook_sizes: Any, axes: Any, lengths: Any, message: str
) -> None:
    with pytest.raises(ShapeError, match=message):
        unchecked(
            TokenStream,
            indices=indices,
            codebook_sizes=codebook_sizes,
            axes=axes,
            lengths=lengths,
        )


def test_unknown_tokens_are_legal_and_counted() -> None:
    indices = torch.tensor([[[0, -1], [-1, -1]], [[1, 2], [-1, 3]]])
    stream = TokenStream(indices, (2, 8), ("time",), torch.tensor([[1], [2]]))
    assert stream.num_unknown == 2
    assert stream.num_tokens == 6
    assert not stream.same_as(TokenStream(indices.clamp_min(0), (2, 8), ("time",), stream.lengths))


def test_stream_names_the_codebook_that_is_exceeded() -> None:
    indices = torch.tensor([[[0, 7], [1, 8]]])
    with pytest.raises(ShapeError, match=r"0 to 7 for codebook 1 of 8 codes, .*got 7 to 8"):
        TokenStream(indices, (2, 8), ("time",))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"streams": {}}, "mapping of streams"),
        ({"streams": [1]}, "mapping of streams"),
        ({"streams": {"tokens": ZEROS}}, "a TokenStream as 'tokens', got Tensor"),
        ({"streams": {"": None}}, "stream name"),
        ({"media": ()}, r"expected 0 item\(s\) in stream 'tokens'"),
        ({"media": ({}, {})}, r"expected 2 item\(s\) in stream 'tokens'.*got 1"),
        ({"media": {"height": 1}}, "one mapping per item"),
        ({"media": ("height",)}, "mapping per item, got 'height'"),
        ({"media": ({"height": -1},)}, "media size height: expected 0 to"),
        ({"media": ({"height": 1.5},)}, "media size height: expected a whole number"),
        ({"media": ({"height": 2**53 + 1},)}, "media size height: expected 0 to"),
        ({"media": ({"hei ght": 1},)}, "media size name"),
        ({"modality": "Image"}, "modality"),
        ({"modality": None}, "modality"),
        ({"tokenizer": "a\x1b[2J"}, r"printable characters, got 'a\\x1b\[2J'"),
        ({"tokenizer": "x" * 201}, "up to 200 printable"),
        ({"tokenizer": None}, "printable"),
        ({"fingerprint": "0" * 31}, "32 lower-case hex digits"),
        ({"fingerprint": "F" * 32}, "32 lower-case hex digits"),
        ({"fingerprint": "0" * 31 + "٣"}, "32 lower-case hex digits"),
        ({"fingerprint": 0}, "32 lower-case hex digits"),
    ],
)
def test_tokens_refuse(change: dict[str, Any], message: str) -> None:
    (tokens,) = image_tokens((3, 5))
    with pytest.raises(ShapeError, match=message):
        unchecked(Tokens, **{**fields_of(tokens), **change})


def test_item_out_of_range() -> None:
    (tokens,) = image_tokens((3, 5))
    for index in (1, -2):
        with pytest.raises(ShapeError, match=f"No item {index}: expected -1 to 0"):
            tokens.item(index)


def test_stack_refuses() -> None:
    (a,) = image_tokens((3, 5))
    (other_codebooks,) = image_tokens((3, 5), codebook_size=8)
    fields = fields_of(a)
    with pytest.raises(ShapeError, match="at least one, got none"):
        Tokens.stack([])
    with pytest.raises(ShapeError, match="different layout"):
        Tokens.stack([a, other_codebooks])
    with pytest.raises(ShapeError, match="different layout"):
        Tokens.stack([a, Tokens(**{**fields, "modality": "audio"})])
    with pytest.raises(ModelMismatchError, match=r"'image/example'.*'image/other'"):
        Tokens.stack([a, Tokens(**{**fields, "tokenizer": "image/other"})])
    with pytest.raises(ModelMismatchError, match=FINGERPRINT):
        Tokens.stack([a, Tokens(**{**fields, "fingerprint": "f" * 32})])


def test_main_stream_is_asked_for_by_name() -> None:
    (tokens,) = image_tokens((3, 5))
    fields = fields_of(tokens)
    fields["streams"] = {"coarse": tokens.streams["tokens"]}
    with pytest.raises(ShapeError, match=r"one named 'tokens', got \['coarse'\]"):
        _ = Tokens(**fields).indices


def test_item_shares_memory() -> None:
    batch = Tokens.stack(image_tokens((3, 5), (4, 2)))
    item: Tensor = batch.item(1).indices
    assert item.untyped_storage().data_ptr() == batch.indices.untyped_storage().data_ptr()


def test_first_codebooks_are_a_prefix_and_keep_the_lengths() -> None:
    indices = torch.arange(12).reshape(2, 3, 2)
    lengths = torch.tensor([[3], [1]])
    tokens = Tokens(
        {
            "tokens": TokenStream(indices, (12, 13), ("time",), lengths),
            "gain": TokenStream(torch.zeros(2, 1, dtype=torch.int64), (4,), ()),
        },
        ({"samples": 3}, {"samples": 1}),
        "audio",
        "audio/example",
        "0" * 32,
    )
    first = tokens.first_codebooks(1)
    assert first.codebook_sizes == (12,)
    assert torch.equal(first.indices, indices[..., :1])
    assert first.streams["tokens"].lengths is lengths
    assert first.streams["gain"].codebook_sizes == (4,)
    assert tokens.first_codebooks(None) is tokens
    assert tokens.first_codebooks(9).same_as(tokens)
