"""Loading models: the one that ``--model`` names, or those that token files name."""

import argparse
import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from vqkit.cli.console import Console
from vqkit.cli.model_search import (
    MODELS_VARIABLE,
    find_fingerprint,
    find_named,
    local_models,
)
from vqkit.cli.usage_error import UsageError
from vqkit.errors import ConfigError, MissingExtraError, ModelMismatchError, VqkitError

if TYPE_CHECKING:
    import torch

    from vqkit.files import CodingResources
    from vqkit.tokenizers import Tokenizer

__all__ = ["ModelLoader", "find_device", "modality_here", "resolve"]


@runtime_checkable
class Made(Protocol):
    """What names the model that made it: tokens, or what is known of their file."""

    @property
    def tokenizer(self) -> str:
        """Its id."""

    @property
    def fingerprint(self) -> str:
        """Its fingerprint."""


class ModelLoader:
    """Loads models, each once, onto the device that was asked for.

    Args:
        arguments: With ``model``, ``revision``, ``trust`` and ``device``.
        console: Where it says what was loaded.

    Raises:
        UsageError: There is no such device.
    """

    def __init__(self, arguments: argparse.Namespace, console: Console) -> None:
        self.arguments = arguments
        self.console = console
        self.device = find_device(arguments.device)
        self._named: Tokenizer | None = None
        self._resources: dict[str, CodingResources] = {}
        self._makers: dict[str, Tokenizer | None] = {}

    def named(self) -> "Tokenizer":
        """The model of ``--model``.

        Raises:
            ConfigError: There is no such model, or it is damaged.
        """
        if self._named is not None:
            return self._named
        name = self.arguments.model
        path = resolve(name)
        try:
            self._named = self._load(path)
            return self._named
        except (ConfigError, MissingExtraError) as error:
            hint = "" if Path(path).is_dir() else _near(name)
            if not hint:
                raise
            raise type(error)(f"{error}{hint}") from error

    def resources_of(self, tokenizer: "Tokenizer") -> "CodingResources":
        """What the folder of a model loaded here has for the coding of its tokens."""
        from vqkit.files import CodingResources

        if tokenizer.fingerprint not in self._resources:
            assert tokenizer.folder is not None, "it was loaded from a folder"
            self._resources[tokenizer.fingerprint] = CodingResources.of_model(tokenizer.folder)
        return self._resources[tokenizer.fingerprint]

    def maker_of(self, tokens: Made) -> "Tokenizer":
        """The model that made the tokens or the file, unless ``--model`` names one.

        Raises:
            ModelMismatchError: It is not here.
        """
        if self.arguments.model is not None:
            return self.named()
        if tokens.fingerprint not in self._makers:
            self._makers[tokens.fingerprint] = self._find_maker(tokens)
        tokenizer = self._makers[tokens.fingerprint]
        if tokenizer is None:
            raise ModelMismatchError(
                f"Decoding: expected the model {tokens.tokenizer!r} with fingerprint "
                f"{tokens.fingerprint}, found none here. Name its folder with -m, or the folder "
                f"that it lies in with the environment variable {MODELS_VARIABLE}."
            )
        return tokenizer

    def _find_maker(self, tokens: Made) -> "Tokenizer | None":
        path = find_fingerprint(tokens.tokenizer, tokens.fingerprint)
        if path is not None:
            return self._load(str(path))
        if tokens.tokenizer.count("/") != 1:
            return None
        try:
            # What was downloaded before; a token file by itself never makes us go out for a model.
            tokenizer = self._load(tokens.tokenizer, local_files_only=True)
        except VqkitError:
            return None
        return tokenizer if tokenizer.fingerprint == tokens.fingerprint else None

    def _load(self, path: str, *, local_files_only: bool = False) -> "Tokenizer":
        from vqkit.tokenizers import Tokenizer

        tokenizer = Tokenizer.from_pretrained(
            path,
            revision=self.arguments.revision,
            local_files_only=local_files_only,
            trusted=self.arguments.trust,
        )
        self.console.detail(f"Model {tokenizer.name} from {path} on {self.device}.")
        return tokenizer.to(self.device)


def resolve(name: str) -> str:
    """From what ``--model`` says to what ``Tokenizer.from_pretrained`` takes.

    A folder, the output folder of a training, a folder in ``$VQKIT_MODELS``, the id of a model that
    is here, or an id on the hub, in this order.

    Raises:
        ConfigError: None of these; names what comes near.
    """
    path = find_named(name)
    if path is not None:
        return str(path)
    same_id = [model for model in local_models() if model.spec.name == name]
    if len({model.spec.fingerprint for model in same_id}) > 1:
        places = ", ".join(str(model.path) for model in same_id)
        raise ConfigError(
            f"Model {name!r}: expected one of that id, found several: {places}. Name its folder."
        )
    if same_id:
        return str(same_id[0].path)
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return name
    hint = _near(name) or " See vqkit list models."
    raise ConfigError(
        f"Model {name!r}: expected a model folder, a training's output folder, the id of a model "
        f"that is here, or a hub id 'organisation/name'; found none of them.{hint}"
    )


def modality_here(name: str) -> str | None:
    """Modality of the model that ``--model`` names; None if it is on the hub alone.

    None of a damaged model or of none too: whoever loads it says so, after wrong usage.
    """
    from vqkit.tokenizers.folder import read_spec

    try:
        path = Path(resolve(name))
        return read_spec(path).modality if path.is_dir() else None
    except VqkitError:
        return None


def _near(name: str) -> str:
    known = {text for model in local_models() for text in (str(model.path), model.spec.name)}
    near = difflib.get_close_matches(name, sorted(known))
    return f" Did you mean {' or '.join(near)}?" if near else ""


def find_device(name: str) -> "torch.device":
    """The device of this name, auto for a GPU if there is one.

    Raises:
        UsageError: There is no such device.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    # Which of these torch raises for a device that is not there depends on the kind of device.
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(
            f"--device {name}: expected a device of this machine ({reason})."
        ) from error
    return device
