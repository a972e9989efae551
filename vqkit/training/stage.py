"""Stages of a training: where one starts from, and which parts of the model stay as they are."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import nn

from vqkit.errors import ConfigError
from vqkit.quantizers import Quantizer
from vqkit.training.start import Start

__all__ = ["Stage"]


@dataclass(frozen=True)
class Stage:
    """One of several trainings of a model, each of which starts from what the last one gave.

    VidTok (arXiv 2412.13061) trains the whole on small frames, then the decoder alone on large
    ones: as good as training the whole on large ones, for half the time.

    A frozen part gets no gradient and is in evaluation throughout: weights, codebooks with their
    statistics and averages of norms stay bit for bit, nothing is dropped at random.

    Attributes:
        start: Gives the first weights; None leaves those that were drawn.
        frozen: Parts of the model by the path of their module: ``encoder``, ``quantizer``,
            ``decoder.mid``.

    >>> from vqkit.quantizers import FSQ, Factorized
    >>> quantizer = Factorized(FSQ([8, 5, 5]), 4)
    >>> model = nn.ModuleDict({"quantizer": quantizer, "decoder": nn.Linear(4, 3)})
    >>> Stage(frozen=["quantizer"]).begin(model)
    >>> [name for name, p in model.named_parameters() if p.requires_grad]
    ['decoder.weight', 'decoder.bias']
    """

    start: Start | None = None
    frozen: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Keep a tuple."""
        object.__setattr__(self, "frozen", tuple(self.frozen))

    def begin(self, model: nn.Module, adversary: nn.Module | None = None) -> None:
        """Give the model its first weights and freeze its parts.

        Args:
            model: What is trained.
            adversary: What judges it; it may have earlier weights too.

        Raises:
            ConfigError: Weights that do not fit, a part that is not there, a codebook frozen before
                it was initialised, or nothing that is left to train.
        """
        if self.start is not None:
            self.start.load(model, adversary)
        if not self.frozen:
            return
        for name, part in self._parts(model):
            part.requires_grad_(False)
            for module in part.modules():
                if isinstance(module, Quantizer) and not module.initialized:
                    raise ConfigError(
                        f"Stage: expected initialised codes in the frozen {name!r}, got a "
                        f"{type(module).__name__} that its first batches would initialise. Start "
                        "from an earlier run."
                    )
        if not any(parameter.requires_grad for parameter in model.parameters()):
            raise ConfigError(
                f"Stage: expected parameters that are not frozen, got none beside "
                f"{', '.join(self.frozen)}."
            )

    def keep(self, model: nn.Module) -> None:
        """Put the frozen parts into evaluation, when training starts and after ``model.train()``.

        Raises:
            ConfigError: A part that is not there.
        """
        for _, part in self._parts(model):
            part.eval()

    def _parts(self, model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
        for name in self.frozen:
            try:
                part = model.get_submodule(name)
            except AttributeError as error:
                known = ", ".join(child for child, _ in model.named_children())
                raise ConfigError(
                    f"Stage frozen: expected modules below {known}, got {name!r}."
                ) from error
            yield name, part
