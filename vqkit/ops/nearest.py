"""Nearest code: which row of a codebook is closest to each token, exactly and in little memory."""

import functools
import os
import sys
from importlib.util import find_spec
from typing import Literal

import torch
from torch import Tensor

from vqkit.errors import ConfigError, MissingExtraError, ShapeError
from vqkit.ops.nearest_exact import nearest_exactly
from vqkit.ops.nearest_few import nearest_of_few, takes_few
from vqkit.ops.nearest_scores import CentredCodes, Search, centre_codes, rows_at_once
from vqkit.ops.nearest_tiled import TiledSearch
from vqkit.ops.threads import on_all_threads, shares_threads_of_torch
from vqkit.shapes import Bool, Float, Int

__all__ = ["nearest_code"]

_BACKENDS = ("auto", "tiled", "compiled", "triton")
_METRICS = ("euclidean", "cosine")
_ELEMENTS_AT_ONCE = 2**21
_TASKS_PER_THREAD = 4
# Multiplications from which the kernel pays: the first use in a process loads numba (a second).
_WORTH_THE_KERNEL = 2**20
_WORTH_LOADING_IT = 2**27


def nearest_code(
    z: Float[Tensor, "tokens dim"],
    codebook: Float[Tensor, "codes dim"],
    *,
    metric: Literal["euclidean", "cosine"] = "euclidean",
    backend: str = "auto",
) -> Int[Tensor, " tokens"]:
    """Index of the code nearest to each token.

    VQ-VAE, arXiv 1711.00937, equation 1: ``argmin_k |z - e_k|^2``; for ``metric="cosine"`` of rows
    divided by their length, ViT-VQGAN, arXiv 2110.04627, section 3.2. The answer is exact: the
    squared differences, summed in float64, have their minimum at this code, and of equal ones the
    lowest index is taken, whatever the backend, the device, the offset and the scale of the data.
    Float32 scores, measured from the middle of the data, decide where their error bound lets them;
    the other tokens are compared in float64. Nothing of size tokens x codes is built, no gradient
    kept.

    A code with a NaN or an infinity is never chosen, nor is a zero code under ``cosine``. A token
    with one (a zero token under ``cosine``) gets index 0, as does every token if no code can be
    chosen. Float64 data should stay below 1e150 in size, so that squares are finite.

    Args:
        z: Tokens, any floating dtype, strides and number, 0 included.
        codebook: Codes, at least one, any floating dtype, on the device of ``z``.
        metric: ``euclidean`` or ``cosine``.
        backend: ``tiled`` (plain torch, any device), ``compiled`` (CPU, extra ``fast``), ``triton``
            (CUDA, where Triton is installed, as with PyTorch on Linux), or ``auto``.

    Returns:
        int64 indices in ``[0, codes)``, on the device of ``z``.

    Raises:
        ShapeError: Not two matrices of floats with the same number of features on one device.
        ConfigError: An unknown metric or backend, or one that is not for the device of the tensors.
        MissingExtraError: ``compiled`` without numba, ``triton`` without Triton.

    Example:
        >>> codebook = torch.tensor([[0.0, 0.0], [1.0, 1.0], [1.0, 1.0]])
        >>> nearest_code(torch.tensor([[0.1, 0.2], [0.9, 0.7], [0.5, 0.5]]), codebook)
        tensor([0, 1, 0])
    """
    _check(z, codebook, metric, backend)
    return _nearest_code(z.detach(), codebook.detach(), metric, backend)


# An operator of its own, so that torch.compile takes it as it is and no mode sees its tiles.
@torch.library.custom_op("vqkit::nearest_code", mutates_args=())
def _nearest_code(z: Tensor, codebook: Tensor, metric: str, backend: str) -> Tensor:
    if len(z) == 0:
        return torch.zeros(0, dtype=torch.int64, device=z.device)
    with torch.autocast(z.device.type, enabled=False):
        if backend == "auto" and takes_few(z, codebook, metric):
            indices, doubtful = nearest_of_few(z, codebook)
        else:
            indices, doubtful = _nearest_by_score(z, codebook, metric, backend)
        if doubtful.any():
            indices[doubtful] = nearest_exactly(z[doubtful], codebook, metric)
    return indices


@_nearest_code.register_fake
def _(z: Tensor, codebook: Tensor, metric: str, backend: str) -> Tensor:
    return z.new_empty(z.shape[0], dtype=torch.int64)


def _nearest_by_score(
    z: Tensor, codebook: Tensor, metric: str, backend: str
) -> tuple[Int[Tensor, " tokens"], Bool[Tensor, " tokens"]]:
    """Codes of the lowest float32 scores, and the tokens that may deserve another one."""
    codes = centre_codes(codebook, z, metric)
    search, num_threads = _search(codes, backend, len(z) * codebook.numel())
    size = max(1, _ELEMENTS_AT_ONCE // z.shape[1])
    if num_threads > 1:
        size = min(size, -(-len(z) // (_TASKS_PER_THREAD * num_threads)))
        if not shares_threads_of_torch():
            size = min(size, rows_at_once(z.shape[1], z.device))
    indices = torch.empty(len(z), dtype=torch.int64, device=z.device)
    doubtful = torch.empty(len(z), dtype=torch.bool, device=z.device)

    def decide(task: int) -> None:
        rows = slice(task * size, (task + 1) * size)
        queries, lengths = codes.queries(z[rows])
        found = search(queries)
        indices[rows] = found.indices
        doubtful[rows] = codes.doubtful(found, lengths)

    num_tasks = -(-len(z) // size)
    if num_threads > 1:
        on_all_threads(decide, num_tasks)
    else:
        for task in range(num_tasks):
            decide(task)
    return indices, doubtful


def _search(codes: CentredCodes, backend: str, work: int) -> tuple[Search, int]:
    """A backend bound to the codes, and the number of threads that may call it at once."""
    if backend == "auto":
        backend = _best_backend(codes.points.device, work)
    if backend == "tiled":
        return TiledSearch(codes), 1
    if backend == "triton":
        try:
            from vqkit.ops.nearest_triton import TritonSearch
        except ImportError as error:
            raise _missing("triton", "triton", "Install triton", error) from error
        return TritonSearch(codes), 1
    try:
        from vqkit.ops.nearest_compiled import CompiledSearch
    except ImportError as error:
        raise _missing("compiled", "numba", "Install vqkit[fast]", error) from error
    return CompiledSearch(codes), torch.get_num_threads() if work >= _WORTH_THE_KERNEL else 1


def _missing(backend: str, package: str, fix: str, error: ImportError) -> MissingExtraError:
    return MissingExtraError(
        f"Loading the {backend} nearest-code search failed: expected {package}, got {error} "
        f'(backend="{backend}"). {fix}, or use backend="tiled".'
    )


def _best_backend(device: torch.device, work: int) -> str:
    if device.type == "cpu":
        return "compiled" if _kernel_pays(work) else "tiled"
    return "triton" if _triton_runs_on(device) else "tiled"


@functools.cache
def _triton_runs_on(device: torch.device) -> bool:
    if device.type != "cuda" or _is_interpreted() or find_spec("triton") is None:
        return False
    return torch.cuda.get_device_capability(device) >= (7, 0)


def _is_interpreted() -> bool:
    """Whether Triton runs kernels on the CPU, slowly, for tests."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def _kernel_pays(work: int) -> bool:
    loaded = "vqkit.ops.nearest_compiled" in sys.modules
    enough = work >= (_WORTH_THE_KERNEL if loaded else _WORTH_LOADING_IT)
    return enough and find_spec("numba") is not None


def _check(z: Tensor, codebook: Tensor, metric: str, backend: str) -> None:
    for name, tensor in (("z", z), ("codebook", codebook)):
        if tensor.ndim != 2 or not tensor.is_floating_point():
            raise ShapeError(
                f"Searching the nearest code failed: expected {name} to be a matrix of floats, got "
                f"{tensor.dtype} of shape {tuple(tensor.shape)} (nearest_code). Flatten the "
                "positions to rows."
            )
    if z.shape[1] != codebook.shape[1] or z.shape[1] == 0 or len(codebook) == 0:
        raise ShapeError(
            "Searching the nearest code failed: expected at least one code with the features of "
            f"the tokens, got tokens of shape {tuple(z.shape)} and codes of shape "
            f"{tuple(codebook.shape)} (nearest_code). Project the tokens to the codebook's dim."
        )
    if z.device != codebook.device:
        raise ShapeError(
            f"Searching the nearest code failed: expected one device, got tokens on {z.device} and "
            f"codes on {codebook.device} (nearest_code). Move one with .to()."
        )
    if metric not in _METRICS or backend not in _BACKENDS:
        raise ConfigError(
            f"Searching the nearest code failed: expected a metric of {_METRICS} and a backend of "
            f"{_BACKENDS}, got {metric!r} and {backend!r} (nearest_code). Pick one of these."
        )
    device = {"compiled": "cpu", "triton": "cpu" if _is_interpreted() else "cuda"}.get(backend)
    if device is not None and z.device.type != device:
        raise ConfigError(
            f"Searching the nearest code failed: expected {device.upper()} tensors for "
            f'backend="{backend}", got {z.device} (nearest_code). Use backend="auto".'
        )
