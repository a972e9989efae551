"""A state dict that is read entry by entry, so that nothing in it is overlooked."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from vqkit.errors import ConfigError

__all__ = ["State", "Weights"]

State = Mapping[str, Tensor]
"""What ``state_dict()`` gives, and ``safetensors.torch.load_file``."""

_NAMES_SHOWN = 8


class Weights:
    """The entries of a state dict below a prefix that have not been taken yet.

    Attributes:
        library: Whose weights they are, for messages.
        prefix: Ends with a dot, unless it is empty.
    """

    def __init__(self, entries: dict[str, Tensor], library: str, prefix: str) -> None:
        self._entries = entries
        self.library = library
        self.prefix = prefix

    @classmethod
    def find(cls, state: State, library: str, pattern: str, example: str) -> "Weights":
        """The part of a state dict whose names match ``pattern`` below one prefix.

        Raises:
            ConfigError: No such entry, or entries below several prefixes.
        """
        # The prefix is lazy, and so is whether there is one: the shortest wins.
        whole = re.compile(rf"(?P<prefix>(?:.*?\.)??)(?:{pattern})")
        matches = (whole.fullmatch(name) for name in state)
        prefixes = sorted({match["prefix"] for match in matches if match is not None})
        if not prefixes:
            nested = [name for name, value in state.items() if isinstance(value, Mapping)]
            fix = (
                f"Pass what is below one of {nested}."
                if nested
                else "Is it the state dict of another model?"
            )
            raise ConfigError(
                f"{library} weights: expected a name like {example!r}, got {_shown(state)}. {fix}"
            )
        if len(prefixes) > 1:
            raise ConfigError(
                f"{library} weights: expected one quantizer, got those below {prefixes}. Pass the "
                "entries of one."
            )
        (prefix,) = prefixes
        entries = {name: value for name, value in state.items() if name.startswith(prefix)}
        return cls(entries, library, prefix)

    def below(self, name: str) -> "Weights":
        """The part below a module's name."""
        return Weights(self._entries, self.library, f"{self.prefix}{name}.")

    def below_one_of(self, *names: str) -> "Weights":
        """The part below the first of these modules that is there."""
        for name in names:
            if self.has_below(name):
                return self.below(name)
        raise self._error(f"{' or '.join(names)} below {self.prefix!r}", "neither")

    def has_below(self, name: str) -> bool:
        """Whether there is a module of this name."""
        return any(key.startswith(f"{self.prefix}{name}.") for key in self._entries)

    def numbered(self, name: str) -> list["Weights"]:
        """The parts below ``name.0``, ``name.1``, and so on.

        Raises:
            ConfigError: None, or a number is missing.
        """
        start = re.compile(rf"{re.escape(self.prefix + name)}\.(\d+)\.")
        matches = (start.match(key) for key in self._entries)
        numbers = sorted({int(match[1]) for match in matches if match is not None})
        if not numbers or numbers != list(range(len(numbers))):
            raise self._error(f"{self.prefix}{name}.0, .1, ... without a gap", f"numbers {numbers}")
        return [self.below(f"{name}.{number}") for number in numbers]

    def __contains__(self, name: str) -> bool:
        return self.prefix + name in self._entries

    def num_axes(self, name: str) -> int:
        """Axes of an entry; 0 where there is none."""
        value = self._entries.get(self.prefix + name)
        return value.ndim if isinstance(value, Tensor) else 0

    def length(self, name: str) -> int:
        """Size of an entry's first axis; 0 where there is none."""
        return len(self._entries[self.prefix + name]) if self.num_axes(name) else 0

    def take(self, name: str, *shape: int | None) -> Tensor:
        """An entry in fp32; each None of the shape stands for any size.

        Raises:
            ConfigError: It is not there, no tensor, of another shape or not finite.
        """
        key = self.prefix + name
        if key not in self._entries:
            raise self._error(repr(key), _shown(self._entries))
        value = self._entries.pop(key)
        if not isinstance(value, Tensor):
            raise self._error(f"a tensor at {key!r}", type(value).__name__)
        wanted = ["any" if size is None else size for size in shape]
        fits = len(value.shape) == len(shape) and all(
            size in (None, actual) for size, actual in zip(shape, value.shape, strict=True)
        )
        if not fits:
            raise self._error(f"{key!r} of shape {wanted}".replace("'any'", "any"), value.shape)
        value = value.detach().float()
        if not bool(value.isfinite().all()):
            raise self._error(f"finite values in {key!r}", "a NaN or an infinity")
        return value

    def take_one_of(self, names: tuple[str, ...], *shape: int | None) -> Tensor:
        """The first of these entries that is there, as :meth:`take` gives it."""
        return self.take(next((name for name in names if name in self), names[0]), *shape)

    def drop(self, *names: str) -> None:
        """Pass over entries that evaluation does not depend on."""
        for name in names:
            self._entries.pop(self.prefix + name, None)

    def require_initialized(self, *names: str) -> None:
        """Check the flag of a codebook that data initialise, whichever its name.

        Raises:
            ConfigError: It says no.
        """
        for name in names:
            flag = self._entries.pop(self.prefix + name, None)
            if flag is not None and not bool(torch.as_tensor(flag).all()):
                raise self._error(
                    "an initialised codebook", f"{self.prefix}{name} = 0", "Train the model first."
                )

    def finish(self) -> None:
        """Check that everything was taken.

        Raises:
            ConfigError: Entries are left, whose meaning is unknown.
        """
        left = [key for key in self._entries if key.startswith(self.prefix)]
        if left:
            raise self._error(
                "no other entries",
                _shown(left),
                "They are no part of what can be read here; remove those that change nothing.",
            )

    def _error(self, expected: str, got: object, fix: str = "") -> ConfigError:
        if isinstance(got, torch.Size):
            got = list(got)
        text = f"{self.library} weights: expected {expected}, got {got}."
        return ConfigError(f"{text} {fix or 'Is it the state dict of another model?'}")


def _shown(names: Mapping[str, Tensor] | list[str]) -> str:
    shown = sorted(names)
    if not shown:
        return "no entries"
    more = len(shown) - _NAMES_SHOWN
    return ", ".join(shown[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
