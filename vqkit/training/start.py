"""Where a training starts from, other than from weights drawn anew."""

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from vqkit.errors import ConfigError
from vqkit.nets import (
    VideoVQGANDecoder,
    VideoVQGANEncoder,
    VQGANDecoder,
    VQGANEncoder,
    inflated_decoder,
    inflated_encoder,
)
from vqkit.tokenizers import Tokenizer, folder

__all__ = ["EarlierRun", "InflatedImages", "Start"]

_MODEL = "model"
_CHECKPOINT_SUFFIX = ".ckpt"
# What is trained, by its name in a training: its average, if there is one, is what was exported.
_TRAINED = ("average.model.", "tokenizer.", "recogniser.")
_ADVERSARY = "adversary."


class Start(ABC):
    """Gives a model its first weights."""

    @abstractmethod
    def load(self, model: nn.Module, adversary: nn.Module | None) -> None:
        """Load the weights into a model, and into what judges it if there are such weights.

        Raises:
            ConfigError: There are none, or they do not fit.
        """


@dataclass(frozen=True)
class EarlierRun(Start):
    """The weights that an earlier run ended with.

    Attributes:
        path: Folder of the run, or any model folder: the tokenizer as it was exported, beside which
            an adversary begins anew. Or a checkpoint (``.ckpt``) of the run: the tokenizer, by the
            average of its weights if there is one, and the adversary if both have one.
    """

    path: str | os.PathLike[str]

    def load(self, model: nn.Module, adversary: nn.Module | None) -> None:
        """Load what is there; sizes that differ are an error, settings of the training are not.

        Raises:
            ConfigError: No model there, or one of another network.
        """
        path = Path(self.path)
        if path.suffix == _CHECKPOINT_SUFFIX:
            state = _read_checkpoint(path)
            prefix = next((p for p in _TRAINED if any(n.startswith(p) for n in state)), _TRAINED[0])
            _fill(model, _below(state, prefix), path)
            if adversary is not None and (judged := _below(state, _ADVERSARY)):
                _fill(adversary, judged, path)
            return
        # Weights alone: what is configured here needs nobody's trust.
        stored = folder.read(path / _MODEL if (path / _MODEL).is_dir() else path)
        _fill(model, stored.state, stored.path)


@dataclass(frozen=True)
class InflatedImages(Start):
    """The weights of a trained tokenizer of images, for a tokenizer of clips.

    Inflation by the last tap over time (MAGVIT-v2, arXiv 2310.05737, section 3.2; Open-MAGVIT2):
    at first each frame has the latents that it has as a picture, and of a single frame the tokens
    and the reconstruction are those of the images' tokenizer (see ``vqkit.nets.inflated_encoder``).

    Attributes:
        path: Model folder, or id on the hub, of a tokenizer of images with VQGAN's networks.
    """

    path: str | os.PathLike[str]

    def load(self, model: nn.Module, adversary: nn.Module | None) -> None:
        """Load encoder, quantizer and decoder; the adversary judges other media and begins anew.

        Raises:
            ConfigError: No such tokenizer, networks that are not VQGAN's, or of other sizes.
        """
        images = Tokenizer.from_pretrained(self.path)
        encoder, decoder = getattr(model, "encoder", None), getattr(model, "decoder", None)
        if not (
            isinstance(images.encoder, VQGANEncoder)
            and isinstance(images.decoder, VQGANDecoder)
            and isinstance(encoder, VideoVQGANEncoder)
            and isinstance(decoder, VideoVQGANDecoder)
        ):
            parts = (images.encoder, images.decoder, encoder, decoder)
            raise ConfigError(
                "InflatedImages: expected VQGANEncoder and VQGANDecoder of images, and "
                "VideoVQGANEncoder and VideoVQGANDecoder, got "
                f"{', '.join(type(part).__name__ for part in parts)} ({self.path})."
            )
        path = Path(self.path)
        _fill(encoder, inflated_encoder(images.encoder, encoder.time_levels).state_dict(), path)
        _fill(decoder, inflated_decoder(images.decoder, decoder.time_levels).state_dict(), path)
        quantizer = getattr(model, "quantizer", None)
        assert isinstance(quantizer, nn.Module)
        _fill(quantizer, images.quantizer.state_dict(), path)


def _read_checkpoint(path: Path) -> Mapping[str, Tensor]:
    try:
        # Nothing that was pickled is run.
        state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    except FileNotFoundError as error:
        raise ConfigError(f"Start: expected a checkpoint at {path}, found none.") from error
    except Exception as error:  # the reader raises a dozen kinds, none of them documented
        raise ConfigError(f"Start: {path} is no checkpoint of a training ({error}).") from error
    if not isinstance(state, dict):
        raise ConfigError(f"Start: {path} is no checkpoint of a training.")
    return state


def _below(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)
    }


def _fill(module: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Load weights, all of them, into a module that has exactly these."""
    expected = module.state_dict()
    problems = [f"{name} is missing" for name in expected.keys() - state.keys()]
    problems += [f"{name} is not of this network" for name in state.keys() - expected.keys()]
    problems += [
        f"{name} is {list(state[name].shape)}, not {list(value.shape)}"
        for name, value in expected.items()
        # Collected samples of an unfinished initialisation are as many as they are.
        if name in state and state[name].shape != value.shape and not name.endswith(".pending")
    ]
    if problems:
        shown = "; ".join(sorted(problems)[:5])
        raise ConfigError(
            f"Start: expected the weights of a {type(module).__name__} of these sizes, got others "
            f"({path}): {shown}{' ...' if len(problems) > 5 else ''}. Configure the network as it "
            "was trained."
        )
    module.load_state_dict(state, strict=True)
