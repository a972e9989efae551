"""The contract of a quantizer, as named checks that anybody can run on a layer of their own.

    from vqkit.testing import check_quantizer

    def test_my_quantizer():
        check_quantizer(MyQuantizer(dim=16))

Each check works on copies, needs nothing but the public interface of
:class:`vqkit.quantizers.Quantizer`, and raises ``AssertionError`` with what it saw.
"""

import copy
import math
from collections.abc import Callable
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from vqkit.quantizers import NO_TOKEN, Quantizer

__all__ = ["check_quantizer", "quantizer_checks"]

Check = Callable[[Quantizer], None]

_CHECKS: list[Check] = []
_BATCH, _POSITIONS = 4, 24


def _check(function: Check) -> Check:
    _CHECKS.append(function)
    return function


def quantizer_checks() -> tuple[Check, ...]:
    """All checks, for ``pytest.mark.parametrize``."""
    return tuple(_CHECKS)


def check_quantizer(quantizer: Quantizer) -> None:
    """Run every check.

    Raises:
        AssertionError: Names the check that failed and what it saw.
    """
    for check in _CHECKS:
        try:
            check(quantizer)
        except AssertionError as error:
            raise AssertionError(
                f"{type(quantizer).__name__}, {check.__name__}: {error}"
            ) from error


def _require(condition: bool | Tensor, message: str) -> None:
    if not bool(condition):
        raise AssertionError(message)


def _latents(quantizer: Quantizer, *shape: int, seed: int = 1) -> Tensor:
    """Random latents of ``batch, *positions``; a quantizer of one grid keeps its grid."""
    batch, *positions = shape or (_BATCH, _POSITIONS)
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, *(quantizer.grid or positions), quantizer.dim, generator=generator)


def _index_shape(quantizer: Quantizer, z: Tensor) -> tuple[int, ...]:
    positions = quantizer.index_positions(tuple(z.shape[1:-1]))
    return (len(z), *positions, len(quantizer.codebook_sizes))


# Most checks begin with a quantizer that is initialised: once per quantizer is enough.
_initialised: WeakKeyDictionary[Quantizer, Quantizer] = WeakKeyDictionary()


def _ready(quantizer: Quantizer) -> Quantizer:
    """A copy in training mode that has seen the data its initialisation wants."""
    if quantizer not in _initialised:
        _initialised[quantizer] = _initialise(quantizer)
    torch.manual_seed(1)
    return copy.deepcopy(_initialised[quantizer])


def _initialise(quantizer: Quantizer) -> Quantizer:
    ready = copy.deepcopy(quantizer).train()
    torch.manual_seed(0)
    for step in range(64):
        if ready.initialized and step:
            return ready
        ready(_latents(ready, 16, 64, seed=100 + step))
    raise AssertionError("not initialized after 64 training batches")


def _state(quantizer: Quantizer) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in quantizer.state_dict().items()}


def _same_state(a: dict[str, Tensor], b: dict[str, Tensor]) -> list[str]:
    """Names of the entries that differ."""
    return [name for name in a.keys() | b.keys() if not _equal(a.get(name), b.get(name))]


def _equal(a: Tensor | None, b: Tensor | None) -> bool:
    return a is not None and b is not None and a.dtype == b.dtype and torch.equal(a, b)


def _train_step(
    quantizer: Quantizer, z: Tensor, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Loss and input gradient of one seeded training pass."""
    torch.manual_seed(7)
    z = z.clone().requires_grad_()
    output = quantizer(z, mask)
    (output.quantized.square().mean() + output.loss).backward()
    assert z.grad is not None
    return output.loss.detach(), z.grad


@_check
def check_shapes(quantizer: Quantizer) -> None:
    """Grids of one, two and three axes, one position, no position and no item.

    A quantizer of one grid keeps that, and maps it to positions of its own choice.
    """
    ready = _ready(quantizer)
    if ready.grid is None:
        _require(ready.index_positions((2, 3)) == (2, 3), "positions change without a grid")
    for mode in (True, False):
        ready.train(mode)
        for shape in [(2, 5), (2, 3, 4), (1, 2, 3, 4), (1, 1), (2, 0), (0, 5)]:
            z = _latents(ready, *shape)
            output = ready(z)
            _require(output.quantized.shape == z.shape, f"quantized {output.quantized.shape}")
            expected = _index_shape(ready, z)
            _require(output.indices.shape == expected, f"indices {output.indices.shape}")
            _require(output.indices.dtype == torch.int64, f"indices are {output.indices.dtype}")
            _require(ready.encode(z).shape == expected, "encode has another shape than forward")
            _require(ready.decode(ready.encode(z)).shape == z.shape, "decode changes the shape")


@_check
def check_description(quantizer: Quantizer) -> None:
    """``codebook_sizes`` and ``bits_per_position`` agree."""
    sizes = quantizer.codebook_sizes
    _require(isinstance(sizes, tuple) and all(size >= 2 for size in sizes), f"sizes {sizes}")
    bits = sum(math.log2(size) for size in sizes)
    _require(abs(quantizer.bits_per_position - bits) < 1e-9, "bits_per_position is not sum log2 K")


@_check
def check_dtypes(quantizer: Quantizer) -> None:
    """The input's dtype comes back; loss is an fp32 scalar; autocast changes nothing."""
    ready = _ready(quantizer).eval()
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        z = _latents(ready).to(dtype)
        output = ready(z)
        _require(output.quantized.dtype == dtype, f"{dtype} became {output.quantized.dtype}")
        _require(output.loss.dtype == torch.float32, f"loss is {output.loss.dtype}")
        _require(output.loss.ndim == 0, f"loss has shape {tuple(output.loss.shape)}")
        with torch.autocast("cpu", dtype=torch.bfloat16):
            automatic = ready(z)
        _require(torch.equal(automatic.indices, output.indices), "autocast changes the indices")
        _require(torch.equal(automatic.quantized, output.quantized), "autocast changes the output")


@_check
def check_indices_in_range(quantizer: Quantizer) -> None:
    """Indices are in range in training and evaluation, for inputs of any size."""
    ready = _ready(quantizer)
    sizes = torch.tensor(ready.codebook_sizes)
    for mode in (True, False):
        ready.train(mode)
        for scale in (0.0, 1.0, 1e4, 1e30):
            indices = ready(_latents(ready) * scale).indices
            lowest = NO_TOKEN if mode else 0  # level dropout leaves -1
            _require((indices >= lowest).all(), f"{int(indices.min())} at scale {scale}")
            _require((indices < sizes).all(), f"{int(indices.max())} at scale {scale}")


@_check
def check_decode_matches_forward(quantizer: Quantizer) -> None:
    """``decode(encode(z))`` is the evaluation output bit for bit, in every dtype."""
    ready = _ready(quantizer).eval()
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        z = _latents(ready).to(dtype)
        output, indices = ready(z), ready.encode(z)
        _require(torch.equal(indices, output.indices), f"encode differs from forward, {dtype}")
        decoded = ready.decode(indices).to(dtype)
        error = (decoded - output.quantized).abs().max()
        _require(torch.equal(decoded, output.quantized), f"{dtype}: off by up to {error:.3g}")


@_check
def check_training_output_is_the_code(quantizer: Quantizer) -> None:
    """In training the output is what ``decode`` gives for its indices: no rounding is added.

    A quantizer that says ``adds_noise`` may leave the code in training, and must then do so.
    """
    ready = _ready(quantizer)
    before = copy.deepcopy(ready)
    output = ready(_latents(ready))
    is_code = torch.equal(output.quantized, before.decode(output.indices))
    _require(
        is_code != ready.adds_noise,
        f"adds_noise is {ready.adds_noise}, the training output is the code: {is_code}",
    )


@_check
def check_no_token(quantizer: Quantizer) -> None:
    """Index -1 decodes to zero, and one missing codebook leaves the other positions alone."""
    ready = _ready(quantizer).eval()
    z = _latents(ready, 2, 3)
    nothing = torch.full(_index_shape(ready, z), NO_TOKEN)
    _require(not ready.decode(nothing).any(), "index -1 decodes to something")
    whole = ready.encode(z)
    for codebook in range(whole.shape[-1]):
        holed = whole.clone()
        holed[0, 0, ..., codebook] = NO_TOKEN
        decoded = ready.decode(holed)
        _require(bool(decoded.isfinite().all()), f"-1 in codebook {codebook} is not finite")
        if ready.grid is None:
            others = decoded.flatten(0, 1)[1:], ready.decode(whole).flatten(0, 1)[1:]
            _require(torch.equal(*others), f"-1 in codebook {codebook} changes other positions")


@_check
def check_gradient(quantizer: Quantizer) -> None:
    """The output has a finite gradient to the input that is not zero."""
    ready = _ready(quantizer)
    z = _latents(ready).requires_grad_()
    weight = _latents(ready, seed=2)
    (ready(z).quantized * weight).sum().backward()
    assert z.grad is not None
    _require(z.grad.isfinite().all(), "the input gradient is not finite")
    _require(z.grad.any(), "the input gradient is zero")


@_check
def check_loss(quantizer: Quantizer) -> None:
    """The loss is finite and not negative, in evaluation too; its terms are scalars."""
    ready = _ready(quantizer)
    for mode in (True, False):
        output = ready.train(mode)(_latents(ready))
        _require(
            output.loss.detach().isfinite() and output.loss.detach() >= 0,
            f"loss {output.loss.item()}",
        )
        for name, term in output.terms.items():
            _require(term.ndim == 0 and not term.requires_grad, f"term {name} is no plain scalar")


@_check
def check_evaluation_is_pure(quantizer: Quantizer) -> None:
    """Evaluation, ``no_grad``, ``encode`` and ``decode`` change no state; all repeat exactly."""
    ready = _ready(quantizer)
    z = _latents(ready)
    before = _state(ready)
    for fresh, label in ((ready, "after"), (copy.deepcopy(quantizer), "before")):
        before = _state(fresh)
        fresh.train().decode(fresh.encode(z))
        with torch.no_grad():
            fresh(z)
        first = fresh.eval()(z)
        second = fresh(z)
        changed = _same_state(before, _state(fresh))
        _require(not changed, f"{label} initialisation: {changed} changed")
        _require(torch.equal(first.quantized, second.quantized), "evaluation does not repeat")


@_check
def check_inference_mode(quantizer: Quantizer) -> None:
    """``inference_mode`` gives what evaluation gives, and training goes on after it."""
    ready = _ready(quantizer)
    z = _latents(ready)
    expected = ready.eval()(z)
    with torch.inference_mode():
        found = ready(z)
        decoded = ready.decode(found.indices)
    _require(torch.equal(found.indices, expected.indices), "other indices in inference mode")
    _require(torch.equal(found.quantized, expected.quantized), "other codes in inference mode")
    _require(torch.equal(decoded, expected.quantized), "decode differs in inference mode")
    _train_step(ready.train(), z)


@_check
def check_positions_are_independent(quantizer: Quantizer) -> None:
    """A position's index depends neither on its neighbours nor on the batch.

    Of a quantizer of one grid, an item's indices do not depend on the batch.
    """
    ready = _ready(quantizer).eval()
    z = _latents(ready)
    indices = ready.encode(z)
    if ready.grid is None:
        order = torch.randperm(_POSITIONS)
        _require(torch.equal(ready.encode(z[:, order]), indices[:, order]), "order changes indices")
    _require(torch.equal(ready.encode(z.flip(0)), indices.flip(0)), "order changes items")
    single = torch.cat([ready.encode(item[None]) for item in z])
    _require(torch.equal(single, indices), "a batch gives other indices than its items")


def _refuses_masks(quantizer: Quantizer) -> bool:
    """Whether there is a grid, where no mask makes sense; then any mask must be refused."""
    if quantizer.grid is None:
        return False
    ready = _ready(quantizer)
    before = _state(ready)
    for value in (True, False):
        z = _latents(ready)
        mask = torch.full(z.shape[:-1], value)
        _refused(lambda z=z, mask=mask: ready(z, mask), "a mask beside a grid")  # type: ignore[misc]
    _require(not _same_state(before, _state(ready)), "a refused mask changed the state")
    return True


@_check
def check_full_mask_is_no_mask(quantizer: Quantizer) -> None:
    """An all-true mask gives the loss, gradient and state of no mask."""
    if _refuses_masks(quantizer):
        return
    plain, masked = _ready(quantizer), _ready(quantizer)
    z = _latents(plain)
    loss, gradient = _train_step(plain, z)
    masked_loss, masked_gradient = _train_step(
        masked, z, torch.ones(_BATCH, _POSITIONS, dtype=torch.bool)
    )
    _require(torch.equal(loss, masked_loss), f"loss {loss.item()} became {masked_loss.item()}")
    _require(torch.equal(gradient, masked_gradient), "the gradient differs")
    changed = _same_state(_state(plain), _state(masked))
    _require(not changed, f"{changed} differ")


@_check
def check_padding_is_invisible(quantizer: Quantizer) -> None:
    """Masked positions, whatever they hold, change neither loss nor gradient nor state."""
    if _refuses_masks(quantizer):
        return
    plain, padded = _ready(quantizer), _ready(quantizer)
    z = _latents(plain)
    garbage = torch.full((_BATCH, 5, plain.dim), math.nan)
    garbage[:, 2:] = 1e6
    mask = torch.ones(_BATCH, _POSITIONS + 5, dtype=torch.bool)
    mask[:, _POSITIONS:] = False
    torch.manual_seed(7)
    a = plain(z)
    torch.manual_seed(7)
    b = padded(torch.cat([z, garbage], dim=1), mask)
    _require(torch.allclose(a.loss, b.loss, rtol=1e-5, atol=1e-7), "padding changes the loss")
    _require(torch.equal(a.quantized, b.quantized[:, :_POSITIONS]), "padding changes the output")
    _require(torch.equal(a.indices, b.indices[:, :_POSITIONS]), "padding changes the indices")
    _require(not b.quantized[:, _POSITIONS:].any(), "masked output is not zero")
    _require((b.indices[:, _POSITIONS:] == NO_TOKEN).all(), "masked indices are not -1")
    state, padded_state = _state(plain), _state(padded)
    for name, value in state.items():
        close = torch.allclose(value, padded_state[name], rtol=1e-5, atol=1e-6)
        _require(close, f"padding changes {name}")


@_check
def check_empty_mask(quantizer: Quantizer) -> None:
    """A batch without any valid position gives a finite loss and changes nothing."""
    if _refuses_masks(quantizer):
        return
    ready = _ready(quantizer)
    before = _state(ready)
    output = ready(_latents(ready), torch.zeros(_BATCH, _POSITIONS, dtype=torch.bool))
    _require(output.loss.isfinite(), f"loss {output.loss.item()}")
    _require(not output.quantized.any(), "masked output is not zero")
    changed = _same_state(before, _state(ready))
    _require(not changed, f"{changed} changed")


@_check
def check_non_finite_batch(quantizer: Quantizer) -> None:
    """NaN and infinity poison nothing: the state stays, except for the count of such batches."""
    for bad in (math.nan, math.inf):
        for fresh in (_ready(quantizer), copy.deepcopy(quantizer).train()):
            before = _state(fresh)
            z = _latents(fresh)
            z.view(-1)[0] = bad
            indices = fresh(z).indices
            sizes = torch.tensor(fresh.codebook_sizes)
            in_range = (indices >= NO_TOKEN) & (indices < sizes)
            _require(in_range.all(), f"{bad} gives an index out of range")
            changed = [name for name in _same_state(before, _state(fresh)) if "skipped" not in name]
            _require(not changed, f"{bad} changed {changed}")


@_check
def check_state_dict(quantizer: Quantizer) -> None:
    """A strict reload, also after first use, gives the same outputs bit for bit."""
    ready = _ready(quantizer).eval()
    z = _latents(ready)
    other = copy.deepcopy(quantizer).eval()
    other.reset_parameters()
    other(z)  # a derived table that is cached now would be stale below
    other.load_state_dict(ready.state_dict(), strict=True)
    _require(torch.equal(other.encode(z), ready.encode(z)), "reloaded, it encodes otherwise")
    _require(torch.equal(other(z).quantized, ready(z).quantized), "reloaded, it decodes otherwise")
    _require(other.initialized, "reloaded, it would initialise again")


@_check
def check_cast(quantizer: Quantizer) -> None:
    """After ``.double()`` or ``.bfloat16()`` decode still follows forward."""
    for cast in ("double", "bfloat16"):
        ready = getattr(_ready(quantizer).eval(), cast)()
        z = _latents(ready)
        decoded = ready.decode(ready.encode(z))
        _require(torch.equal(decoded, ready(z).quantized), f".{cast}() parts decode from forward")


@_check
def check_seed(quantizer: Quantizer) -> None:
    """The same seed and data give the same state bit for bit."""
    states = []
    for trained in (_ready(quantizer), _initialise(quantizer)):
        _train_step(trained, _latents(trained))
        states.append(_state(trained))
    changed = _same_state(*states)
    _require(not changed, f"{changed} differ between two runs of one seed")


@_check
def check_activation_checkpointing(quantizer: Quantizer) -> None:
    """Under checkpointing the state moves once and the gradient is that of the plain pass."""
    plain, recomputed = _ready(quantizer), _ready(quantizer)
    z = _latents(plain)
    loss, gradient = _train_step(plain, z)
    torch.manual_seed(7)
    z = z.clone().requires_grad_()

    def run(x: Tensor) -> Tensor:
        output = recomputed(x)
        total: Tensor = output.quantized.square().mean() + output.loss
        return total

    checkpoint(run, z, use_reentrant=False).backward()
    assert z.grad is not None
    changed = _same_state(_state(plain), _state(recomputed))
    _require(not changed, f"{changed} differ")
    _require(torch.allclose(gradient, z.grad, rtol=1e-5, atol=1e-8), "the gradient differs")
    _require(bool(loss.isfinite()), "the loss is not finite")


@_check
def check_memory(quantizer: Quantizer) -> None:
    """Nothing of size tokens x codes is kept for backward."""
    ready = _ready(quantizer)
    largest = 0

    def note(tensor: Tensor) -> Tensor:
        nonlocal largest
        largest = max(largest, tensor.numel())
        return tensor

    z = _latents(ready, 8, 256).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        ready(z)
    pairs = 8 * 256 * max(ready.codebook_sizes)
    allowed = max(pairs // 8, 2 * z.numel() * len(ready.codebook_sizes))
    _require(largest <= allowed, f"a tensor of {largest} elements is kept for backward")


@_check
def check_bad_input(quantizer: Quantizer) -> None:
    """Wrong input is refused by a ``ValueError`` that names what was expected and what came."""
    ready = _ready(quantizer).eval()
    dim, num = ready.dim, len(ready.codebook_sizes)
    z = torch.zeros_like(_latents(ready, 1, 2))
    shape = _index_shape(ready, z)
    wider = torch.zeros(*z.shape[:-1], dim + 1)
    message = _refused(lambda: ready(wider), "a wrong dim")
    _require(str(dim) in message and str(dim + 1) in message, f"wrong dim: {message!r}")
    _refused(lambda: ready(torch.zeros(dim)), "an input without a batch")
    _refused(lambda: ready(z.long()), "an integer input")
    _refused(lambda: ready(z, torch.ones(1, 3, dtype=torch.bool)), "a wrong mask")
    _refused(lambda: ready.decode(torch.zeros(shape)), "float indices")
    more = torch.zeros(*shape[:-1], num + 1, dtype=torch.int64)
    _refused(lambda: ready.decode(more), "more codebooks")
    too_large = torch.tensor(ready.codebook_sizes).expand(shape)
    _refused(lambda: ready.decode(too_large), "an index out of range")
    _refused(lambda: ready.decode(torch.full(shape, -2)), "a negative index")
    if ready.grid is not None:
        other = torch.zeros(1, *(size + 1 for size in ready.grid), dim)
        message = _refused(lambda: ready(other), "another grid")
        _require(str(list(ready.grid)) in message, f"another grid: {message!r}")
        _refused(lambda: ready.decode(torch.zeros(shape).long()[:, 1:]), "too few indices")


def _refused(call: Callable[[], object], what: str) -> str:
    try:
        call()
    except ValueError as error:
        return str(error)
    raise AssertionError(f"{what} was not refused")
