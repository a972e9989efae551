"""The contract of a tokenizer, as named checks that anybody can run on a model of their own.

    from vqkit.testing import check_tokenizer

    def test_my_tokenizer():
        check_tokenizer(my_tokenizer)

Weights may be random: the checks are about what is promised, not about quality.
"""

import copy
import dataclasses
import tempfile
from collections.abc import Callable

import torch
from torch import Tensor

from vqkit.errors import ModelMismatchError
from vqkit.files import dumps, loads
from vqkit.nets import TextDecoder
from vqkit.tokenizers import Tokenizer, Tokens

__all__ = ["check_tokenizer", "tokenizer_checks"]

Check = Callable[[Tokenizer], None]

_CHECKS: list[Check] = []


def _check(function: Check) -> Check:
    _CHECKS.append(function)
    return function


def tokenizer_checks() -> tuple[Check, ...]:
    """All checks, for ``pytest.mark.parametrize``."""
    return tuple(_CHECKS)


def check_tokenizer(tokenizer: Tokenizer) -> None:
    """Run every check.

    Raises:
        AssertionError: Names the check that failed and what it saw.
    """
    for check in _CHECKS:
        try:
            check(tokenizer)
        except AssertionError as error:
            raise AssertionError(f"{tokenizer.name}, {check.__name__}: {error}") from error


def _require(condition: bool | Tensor, message: str) -> None:
    if not bool(condition):
        raise AssertionError(message)


def _media(tokenizer: Tokenizer, *size: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    media = torch.rand(tokenizer.frontend.channels, *size, generator=generator)
    return (2 * media - 1).to(tokenizer.device)


def _size(tokenizer: Tokenizer) -> tuple[int, ...]:
    """The smallest size that needs no padding."""
    grid = tokenizer.spec.latent_grid or tuple(1 for _ in tokenizer.stride)
    return tuple(side * step for side, step in zip(grid, tokenizer.stride, strict=True))


def _sizes(tokenizer: Tokenizer) -> list[tuple[int, ...]]:
    """Sizes around the stride: one sample, one less, just it, one more, longer than wide.

    A quantizer of one grid takes those alone that are padded to it.
    """
    step = tokenizer.stride
    if tokenizer.spec.latent_grid is not None:
        full = _size(tokenizer)
        least = tuple(side - s + 1 for side, s in zip(full, step, strict=True))
        return [least, tuple(side - 1 for side in full), full, (full[0], *least[1:])]
    return [
        tuple(1 for _ in step),
        tuple(s - 1 for s in step),
        step,
        tuple(s + 1 for s in step),
        (step[0] * 3 + 2, *(s * 2 for s in step[1:])),
    ]


def _is_text(tokenizer: Tokenizer) -> bool:
    return isinstance(tokenizer.decoder, TextDecoder)


def _decoded(tokenizer: Tokenizer, tokens: Tokens) -> list[Tensor]:
    """What the tokens of each item lead to: media, the letters of a text, or nothing."""
    if _is_text(tokenizer):
        return [torch.tensor([ord(c) for c in text]) for text in tokenizer.transcribe(tokens)]
    if tokenizer.decoder is None:
        return [torch.empty(0)] * len(tokens)
    return tokenizer.decode(tokens)


def _has_media_decoder(tokenizer: Tokenizer) -> bool:
    return tokenizer.decoder is not None and not _is_text(tokenizer)


@_check
def check_sizes_come_back(tokenizer: Tokenizer) -> None:
    """Media of any size keep it, with as many tokens as the description says."""
    for size in _sizes(tokenizer):
        tokens = tokenizer.encode([_media(tokenizer, *size)])
        expected = tokenizer.spec.grid(tokens.media[0])
        grid = tuple(tokens.indices.shape[1:-1])
        _require(grid == expected, f"size {size}: grid {grid}, described as {expected}")
        if not _has_media_decoder(tokenizer):
            continue
        (decoded,) = tokenizer.decode(tokens)
        _require(decoded.shape[1:] == size, f"size {size} came back as {tuple(decoded.shape[1:])}")
        low, high = decoded.aminmax()
        _require(low >= -1 and high <= 1, f"values from {low.item()} to {high.item()}")


@_check
def check_any_sound(tokenizer: Tokenizer) -> None:
    """Sounds of other rates and channels, silent ones and those of no length keep their shape."""
    if tokenizer.frontend.sample_rate_hz is None:
        return
    rate = tokenizer.frontend.sample_rate_hz
    for other, channels, length in (
        (rate, 1, 0),
        (rate // 2, 2, 999),
        (rate * 2, 6, 1),
        (rate, 3, 7),
    ):
        channels = min(channels, tokenizer.frontend.max_channels or channels)
        sound = 0.1 * torch.ones(channels, length, device=tokenizer.device)
        for media in (sound, torch.zeros_like(sound)):
            tokens = tokenizer.encode([media], sample_rate_hz=other)
            (decoded,) = _decoded(tokenizer, loads(dumps(tokens)))
            got = tuple(decoded.shape if _has_media_decoder(tokenizer) else media.shape)
            _require(
                got == tuple(media.shape), f"{list(media.shape)} at {other} Hz came back as {got}"
            )


@_check
def check_batch_is_single(tokenizer: Tokenizer) -> None:
    """Items encoded together, of one size or several, get the tokens they get alone."""
    media = [_media(tokenizer, *size, seed=i) for i, size in enumerate(_sizes(tokenizer))]
    together = tokenizer.encode(media)
    for i, item in enumerate(media):
        alone = tokenizer.encode([item])
        _require(together.item(i).same_as(alone), f"item {i} has other tokens in company")
        _require(
            torch.equal(_decoded(tokenizer, together)[i], _decoded(tokenizer, alone)[0]),
            f"item {i} decodes otherwise in company",
        )
    batch = torch.stack([_media(tokenizer, *_size(tokenizer), seed=i) for i in range(3)])
    for i, item in enumerate(batch):
        alone = tokenizer.encode([item])
        _require(tokenizer.encode(batch).item(i).same_as(alone), "a batch differs from its items")


@_check
def check_file_is_exact(tokenizer: Tokenizer) -> None:
    """Tokens read from a file are the tokens written, and decode to the same media."""
    tokens = tokenizer.encode([_media(tokenizer, *_sizes(tokenizer)[-1])])
    read = loads(dumps(tokens))
    _require(read.same_as(tokens), "the file gives other tokens")
    same = torch.equal(_decoded(tokenizer, read)[0], _decoded(tokenizer, tokens)[0])
    _require(same, "tokens from the file decode otherwise")


@_check
def check_encoding_is_pure(tokenizer: Tokenizer) -> None:
    """Encoding and decoding repeat exactly, and change neither weights nor mode."""
    tokenizer = copy.deepcopy(tokenizer)
    media = [_media(tokenizer, *_sizes(tokenizer)[-1])]
    for mode in (True, False):
        tokenizer.train(mode)
        before = {name: value.clone() for name, value in tokenizer.state_dict().items()}
        first = tokenizer.encode(media)
        _decoded(tokenizer, first)
        _require(tokenizer.encode(media).same_as(first), "encoding does not repeat")
        _require(tokenizer.training == mode, "encoding leaves another mode")
        after = tokenizer.state_dict()
        changed = [name for name, value in before.items() if not torch.equal(value, after[name])]
        _require(not changed, f"encoding changed {changed}")


@_check
def check_model_folder(tokenizer: Tokenizer) -> None:
    """A saved model is the same model: fingerprint, tokens and media."""
    media = [_media(tokenizer, *_sizes(tokenizer)[-1])]
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        packages = {type(part).__module__.split(".")[0] for part in tokenizer.modules()}
        packages -= {"vqkit", "torch"}
        loaded = Tokenizer.from_pretrained(folder, trusted=sorted(packages))
    loaded.to(tokenizer.device)
    _require(loaded.fingerprint == tokenizer.fingerprint, "the fingerprint changed")
    tokens = tokenizer.encode(media)
    _require(loaded.encode(media).same_as(tokens), "the loaded model encodes otherwise")
    same = torch.equal(_decoded(loaded, tokens)[0], _decoded(tokenizer, tokens)[0])
    _require(same, "the loaded model decodes otherwise")


@_check
def check_other_model_is_refused(tokenizer: Tokenizer) -> None:
    """A changed weight is another model, and its tokens are refused by name."""
    other = copy.deepcopy(tokenizer)
    with torch.no_grad():
        next(other.parameters()).view(-1)[0] += 1.0
    _require(other.fingerprint != tokenizer.fingerprint, "the fingerprint ignores the weights")
    if tokenizer.decoder is None:
        return
    tokens = tokenizer.encode([_media(tokenizer, *_size(tokenizer))])
    try:
        _decoded(other, tokens)
    except ModelMismatchError as error:
        for part in (tokenizer.fingerprint, other.fingerprint):
            _require(part in str(error), f"the message does not name {part}")
    else:
        raise AssertionError("tokens of another model were decoded")


@_check
def check_training_pass(tokenizer: Tokenizer) -> None:
    """The training pass keeps the shape and reaches every part with a gradient.

    Without a decoder to media there is none: a ``SpeechRecogniser`` is trained instead.
    """
    if not _has_media_decoder(tokenizer):
        _refused(lambda: tokenizer(_media(tokenizer, *_size(tokenizer))[None]), "a training pass")
        return
    tokenizer = copy.deepcopy(tokenizer).train()
    size = tuple(2 * s for s in tokenizer.stride)
    if tokenizer.spec.latent_grid is not None:
        size = _size(tokenizer)
    items = [_media(tokenizer, *size, seed=i) for i in range(8)]
    # Clips whose first frame is alone are not multiples of the stride.
    media = torch.stack([tokenizer.frontend.prepare(x, tokenizer.stride)[0] for x in items])
    for _ in range(4):  # past the initialisation of codebooks
        output = tokenizer(media)
    _require(output.reconstruction.shape == media.shape, "the reconstruction has another shape")
    ((output.reconstruction - media).square().mean() + output.quantizer.loss).backward()
    for part in ("encoder", "decoder"):
        gradients = [p.grad for p in getattr(tokenizer, part).parameters() if p.requires_grad]
        _require(
            any(g is not None and g.any() for g in gradients), f"no gradient reaches the {part}"
        )


@_check
def check_bad_input(tokenizer: Tokenizer) -> None:
    """Wrong media and wrong tokens are refused by a ``ValueError``."""
    size = _size(tokenizer)
    good = _media(tokenizer, *size)
    if tokenizer.spec.latent_grid is not None:
        larger = torch.cat([good, good], dim=-1)
        _refused(lambda: tokenizer.encode([larger]), "media of another grid")
        _refused(lambda: tokenizer(larger[None]), "a batch of another grid")
    _refused(lambda: tokenizer.encode([]), "no item")
    _refused(lambda: tokenizer.encode([good[:0]]), "no channel")
    if tokenizer.frontend.sample_rate_hz is None:
        _refused(lambda: tokenizer.encode([good[:, :0]]), "an empty side")
        _refused(lambda: tokenizer.encode([torch.cat([good, good])]), "wrong channels")
        _refused(lambda: tokenizer.encode([good], sample_rate_hz=8000), "a rate of no sound")
    else:
        _refused(lambda: tokenizer.encode([good], sample_rate_hz=0), "a rate of 0 Hz")
    _refused(lambda: tokenizer.encode([good * 127.5 + 127.5]), "values of 0 to 255")
    _refused(lambda: tokenizer.encode([good * float("nan")]), "NaN")
    _refused(lambda: tokenizer(good[None, ..., :-1]), "a side that the stride does not divide")
    tokens = tokenizer.encode([good])
    lying = dataclasses.replace(tokens, media=(dict.fromkeys(tokens.media[0], 10**6),))
    decode = tokenizer.transcribe if _is_text(tokenizer) else tokenizer.decode
    _refused(lambda: decode(lying), "a media size that the grid does not cover")


def _refused(call: Callable[[], object], what: str) -> None:
    try:
        call()
    except ValueError:
        return
    raise AssertionError(f"{what} was not refused")
