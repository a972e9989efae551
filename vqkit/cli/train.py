"""``vqkit train``: compose a recipe with Hydra, train, export the model, measure it."""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqkit.cli.train_report import write_reports
from vqkit.errors import ConfigError, VqkitError
from vqkit.paths import config_dir, recipe_dir

if TYPE_CHECKING:
    from omegaconf import DictConfig

__all__ = ["find_recipe", "main", "to_hydra"]

DEFAULT_RECIPE = "image/quickstart"
_ENTRY = "recipe.yaml"


def main(arguments: Sequence[str]) -> int:
    """Train; return the exit status.

    ``recipe=<modality>/<name>`` picks the recipe; everything else is Hydra's: ``key=value``,
    ``--cfg job``, ``--multirun``, ``--help``.
    """
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    try:
        overrides = to_hydra(arguments)
    except VqkitError as error:
        print(f"vqkit train: {error}", file=sys.stderr)
        return 2
    status: list[int] = []
    _run_hydra(overrides, status, debug)
    # Hydra itself answers --help and --cfg.
    return max(status, default=0)


def to_hydra(arguments: Sequence[str]) -> list[str]:
    """Turn ``recipe=NAME`` into what Hydra calls it; without one take the default recipe."""
    name = DEFAULT_RECIPE
    rest = []
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key == "recipe":
            name = value
        else:
            rest.append(argument)
    find_recipe(name)
    root = recipe_dir().parent
    return [
        *rest,
        f"hydra.searchpath=[file://{root}]",
        f"+{recipe_dir().name}@_global_={name}/{Path(_ENTRY).stem}",
    ]


def find_recipe(name: str) -> Path:
    """The recipe's file.

    Raises:
        ConfigError: There is none of that name; the message lists those there are.
    """
    root = recipe_dir()
    known = sorted(str(path.parent.relative_to(root)) for path in root.rglob(_ENTRY))
    if name not in known:
        raise ConfigError(f"Recipe {name!r}: expected one of {', '.join(known)}.")
    return root / name / _ENTRY


def _run_hydra(overrides: list[str], status: list[int], debug: bool) -> None:
    import hydra

    @hydra.main(version_base="1.3", config_path=str(config_dir()), config_name="train")
    def job(config: "DictConfig") -> None:
        try:
            status.append(_train(config))
        except Exception as error:
            known = _known(error)
            if debug or known is None:
                raise
            print(f"vqkit train: {known}", file=sys.stderr)
            status.append(1)

    # hydra.main reads the command line itself.
    previous = sys.argv
    sys.argv = ["vqkit train", *overrides]
    try:
        job()
    finally:
        sys.argv = previous


def _known(error: BaseException | None) -> VqkitError | None:
    """The error of ours behind one that Hydra wrapped."""
    while error is not None:
        if isinstance(error, VqkitError):
            return error
        error = error.__cause__
    return None


def _train(config: "DictConfig") -> int:
    import torch
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    from vqkit.cli.train_recognition import finish_recogniser
    from vqkit.training import (
        StopOnInterrupt,
        SupervisedTraining,
        make_trainer,
        seed_everything,
    )

    # Lightning announces the hardware and advertises; what matters is said below.
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    output = Path(config.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(config, output / "config.yaml", resolve=True)
    seed_everything(config.seed)
    data = instantiate(config.data, _convert_="all")
    training = instantiate(config.training, _convert_="all")
    callbacks = list(instantiate(config.callbacks, _convert_="all").values())
    loggers = list(instantiate(config.logger, _convert_="all").values())
    settings: dict[str, Any] = OmegaConf.to_container(config.trainer, resolve=True)  # type: ignore[assignment]
    for key in ("max_steps", "warmup_steps", "log_every"):
        del settings[key]  # the module's and the schedule's
    if (num_threads := settings.pop("num_threads")) is not None:
        torch.set_num_threads(num_threads)
    trainer = make_trainer(callbacks=callbacks, logger=loggers, **settings)
    num_parameters = sum(p.numel() for p in training.exported.parameters())
    _say(
        f"{config.name}: {num_parameters / 1e6:.2f} M parameters, {len(data.train)} "
        f"{data.train.kind}"
    )
    _say(f"output in {output}")
    trainer.fit(training, datamodule=data, ckpt_path=config.resume, weights_only=True)
    interrupted = any(isinstance(c, StopOnInterrupt) and c.interrupted for c in callbacks)
    measures = config.evaluation.enabled and not interrupted
    if trainer.is_global_zero and isinstance(training, SupervisedTraining):
        finish_recogniser(training, data, output, measures=measures)
    elif trainer.is_global_zero:
        tokenizer = training.exported.cpu().eval()
        tokenizer.save_pretrained(output / "model")
        _say(f"model in {output / 'model'} ({training.step} steps)")
        if measures:
            write_reports(config.evaluation, tokenizer, data, output)
    return 130 if interrupted else 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
