"""Batches that fail, do not fit, or hold one bad item."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from tests.cli.tiny import tiny_tokenizer
from vqkit.pipeline.encoder import ItemEncoder
from vqkit.pipeline.executors import WorkerLostError
from vqkit.pipeline.reading import ReadMedia
from vqkit.tokenizers import Tokenizer, Tokens


class Troubles:
    """What happens to a tokenizer: it has room for so many items, and breaks over dark ones."""

    def __init__(self, room: int = 1000, error: Exception | None = None) -> None:
        self.room = room
        self.error = error
        self.batches: list[int] = []


MakeEncoder = Callable[[Troubles, int], ItemEncoder]


@pytest.fixture
def make_encoder(monkeypatch: pytest.MonkeyPatch) -> MakeEncoder:
    real = Tokenizer.encode

    def make(troubles: Troubles, batch_size: int) -> ItemEncoder:
        def encode(
            self: Tokenizer,
            media: Sequence[Tensor],
            *,
            batched: bool = False,
            sample_rate_hz: int | None = None,
        ) -> Tokens:
            assert batched == (len(media) > 1)
            troubles.batches.append(len(media))
            if len(media) > troubles.room:
                raise torch.OutOfMemoryError("CUDA out of memory")
            if troubles.error is not None and any(item.max() < -0.9 for item in media):
                raise troubles.error
            return real(self, media, batched=batched, sample_rate_hz=sample_rate_hz)

        monkeypatch.setattr(Tokenizer, "encode", encode)
        return ItemEncoder(tiny_tokenizer(), batch_size)

    return make


def media(*values: float) -> list[ReadMedia]:
    return [ReadMedia(torch.full((3, 8, 8), value), 1, "") for value in values]


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_every_item_gets_its_tokens(batch_size: int) -> None:
    tokenizer = tiny_tokenizer()
    items = media(*torch.linspace(-0.8, 0.8, 8).tolist())
    answers = ItemEncoder(tokenizer, batch_size).encode(items)
    assert len(answers) == 8
    for item, answer in zip(items, answers, strict=True):
        assert isinstance(answer, Tokens)
        assert answer.same_as(tokenizer.encode([item.media]))


def test_a_batch_that_does_not_fit_is_halved_for_good(make_encoder: MakeEncoder) -> None:
    troubles = Troubles(room=3)
    encoder = make_encoder(troubles, 8)
    answers = encoder.encode(media(*[0.0] * 10))
    assert all(isinstance(answer, Tokens) for answer in answers)
    assert troubles.batches == [8, 4, 2, 2, 2, 2, 2]
    troubles.batches.clear()
    assert len(encoder.encode(media(*[0.0] * 4))) == 4
    assert troubles.batches == [2, 2]


def test_an_item_that_does_not_fit_alone_is_named(make_encoder: MakeEncoder) -> None:
    answers = make_encoder(Troubles(room=0), 4).encode(media(0.0, 0.0))
    assert answers == 2 * [
        "there is not enough memory to encode 8 x 8 samples. Make the media smaller"
    ]


def test_one_bad_item_does_not_spoil_its_batch(make_encoder: MakeEncoder) -> None:
    troubles = Troubles(error=RuntimeError("too dark"))
    answers = make_encoder(troubles, 4).encode(media(0.0, -1.0, 0.5, 0.7, 0.1))
    assert [answer if isinstance(answer, str) else "" for answer in answers] == [
        "", "RuntimeError: too dark", "", "", "",
    ]  # fmt: skip


@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_broken_device_is_nobodys_fault(make_encoder: MakeEncoder, batch_size: int) -> None:
    error = RuntimeError("CUDA error: device-side assert triggered")
    with pytest.raises(WorkerLostError, match="device-side assert"):
        make_encoder(Troubles(error=error), batch_size).encode(media(0.0, -1.0))


def test_the_first_codebooks_alone() -> None:
    tokenizer = tiny_tokenizer(levels=3)
    (answer,) = ItemEncoder(tokenizer, num_codebooks=2).encode(media(0.3))
    assert isinstance(answer, Tokens)
    assert answer.codebook_sizes == (125, 125)
    (item,) = media(0.3)
    assert torch.equal(answer.indices, tokenizer.encode([item.media]).indices[..., :2])
