"""Encoding of decoded media in a worker: each by itself or in batches, whatever happens."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from vqkit.clips import ClipSource, encode_clip, with_duration_layout
from vqkit.pipeline.executors import WorkerLostError
from vqkit.pipeline.reader_pool import reason_of
from vqkit.pipeline.reading import ReadMedia
from vqkit.tokenizers import Tokenizer, Tokens

__all__ = ["ItemEncoder"]


class ItemEncoder:
    """Turns media into tokens, or the reason why there are none, item by item.

    With a batch size of 1 every item is encoded by itself. Items of larger batches are encoded
    together: images of equal padded size, sounds of equal rate and similar length. A batch that
    does not fit the memory is halved, and so are all that follow. Clips are encoded as they are
    read, one after another.

    Args:
        tokenizer: What encodes.
        batch_size: Most items in a batch.
        num_codebooks: Keep the first so many; None for all.
    """

    def __init__(
        self, tokenizer: Tokenizer, batch_size: int = 1, num_codebooks: int | None = None
    ) -> None:
        self.tokenizer = tokenizer
        self.batch_size = batch_size
        self.num_codebooks = num_codebooks

    def encode(self, items: Sequence[ReadMedia]) -> list[Tokens | str]:
        """Encode images or sounds, each to the answer in its place.

        Raises:
            WorkerLostError: The device does not work any more.
        """
        by_rate: dict[int | None, list[int]] = {}
        for place, item in enumerate(items):
            by_rate.setdefault(item.sample_rate_hz, []).append(place)
        answers: dict[int, Tokens | str] = {}
        for sample_rate_hz, places in by_rate.items():
            media = [items[place].media for place in places]
            encoded = self._encode_of_one_rate(media, sample_rate_hz)
            answers.update(zip(places, encoded, strict=True))
        return [answers[place] for place in range(len(items))]

    def encode_clip(self, clip: ClipSource) -> Tokens | str:
        """Encode a clip as it is read.

        Raises:
            WorkerLostError: The device does not work any more.
        """

        def encode() -> Tokens:
            return with_duration_layout(encode_clip(clip, self.tokenizer))

        return self._attempt(encode, "its frames")

    def _encode_of_one_rate(
        self, media: Sequence[Tensor], sample_rate_hz: int | None
    ) -> list[Tokens | str]:
        answers: list[Tokens | str] = []
        while len(answers) < len(media):
            size = self.batch_size
            batch = media[len(answers) : len(answers) + size]
            if size == 1:
                answers.append(self._encode_alone(batch[0], sample_rate_hz))
                continue
            try:
                tokens = self._kept(
                    self.tokenizer.encode(batch, batched=True, sample_rate_hz=sample_rate_hz)
                )
            except (MemoryError, torch.OutOfMemoryError):
                self.batch_size = max(1, size // 2)
                _free_memory()
            except Exception as error:
                _check_device(error)
                # One of them is at fault, and only that one shall pay.
                answers += [self._encode_alone(item, sample_rate_hz) for item in batch]
            else:
                answers += [tokens.item(i) for i in range(len(tokens))]
        return answers

    def _encode_alone(self, item: Tensor, sample_rate_hz: int | None) -> Tokens | str:
        sides = " x ".join(map(str, item.shape[1:]))
        return self._attempt(
            lambda: self.tokenizer.encode([item], sample_rate_hz=sample_rate_hz),
            f"{sides} samples",
        )

    def _attempt(self, encode: Callable[[], Tokens], what: str) -> Tokens | str:
        """The tokens of an item, or why there are none."""
        try:
            return self._kept(encode())
        except (MemoryError, torch.OutOfMemoryError):
            _free_memory()
            return f"there is not enough memory to encode {what}. Make the media smaller"
        except Exception as error:
            _check_device(error)
            return reason_of(error)

    def _kept(self, tokens: Tokens) -> Tokens:
        return tokens.to("cpu").first_codebooks(self.num_codebooks)


def _check_device(error: Exception) -> None:
    """After some errors of a GPU every call fails: no fault of the items that follow."""
    kinds = getattr(torch, "AcceleratorError", ())
    if (kinds and isinstance(error, kinds)) or "CUDA error" in str(error):
        raise WorkerLostError(f"The device does not work any more: {reason_of(error)}") from error


def _free_memory() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
