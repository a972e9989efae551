"""The Lightning trainer with what this training needs set, and nothing of it left to forget."""

from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import Logger

__all__ = ["make_trainer"]


def make_trainer(
    *,
    callbacks: Sequence[Callback] = (),
    logger: Sequence[Logger] = (),
    validate_every: int = 1000,
    accumulate: int = 1,
    precision: str = "32-true",
    strategy: str = "auto",
    **options: Any,
) -> Trainer:
    """Make a trainer for :class:`~vqkit.training.TokenizerTraining`.

    The module ends the training by its own count of steps, the data know their ranks, checkpoints
    are a callback's: Lightning's means for these are switched off.

    Args:
        callbacks: Callbacks.
        logger: Loggers.
        validate_every: Steps between validations.
        accumulate: Batches per step, as the module has it.
        precision: "32-true", "bf16-mixed", or "auto", which is the latter where the device computes
            in bfloat16: where it does not, PyTorch emulates it many times more slowly. Quantizers
            and losses stay in fp32.
        strategy: Of Lightning. With several devices and an adversary each backward pass leaves
            parameters out, hence "auto" then means "ddp_find_unused_parameters_true".
        **options: Of Lightning's Trainer: accelerator, devices, num_nodes …
    """
    devices = options.get("devices", 1)
    if strategy == "auto" and (devices not in (1, "1", "auto") or options.get("num_nodes", 1) > 1):
        strategy = "ddp_find_unused_parameters_true"
    if precision == "auto":
        accelerator = options.get("accelerator", "auto")
        precision = "bf16-mixed" if _computes_in_bfloat16(accelerator) else "32-true"
    return Trainer(
        max_epochs=-1,
        max_steps=-1,
        val_check_interval=validate_every * accumulate,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
        logger=list(logger) or False,
        precision=precision,  # type: ignore[arg-type]
        strategy=strategy,
        **options,
    )


def _computes_in_bfloat16(accelerator: str) -> bool:
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # The only question that all supported versions of torch answer.
    return accelerator in ("auto", "cpu") and torch.cpu._is_avx512_bf16_supported()
