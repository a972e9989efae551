"""From configuration to objects and back, without running what a stranger wrote.

A configuration that came with a model never meets Hydra: only classes are built, only those of
vqkit's facades and of packages that the caller trusts by name.
"""

import importlib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from vqkit.errors import ConfigError

__all__ = ["build", "describe"]

_TARGET = "_target_"
_MAX_DEPTH = 16
# What a tokenizer is made of. Trainers, data sets and the command line are no part of a model.
_FACADES = ("vqkit.quantizers", "vqkit.nets", "vqkit.tokenizers")


def build(config: Mapping[str, Any], *, trusted: Sequence[str] = ()) -> Any:
    """Build the object that a nested configuration describes.

    Args:
        config: ``_target_`` (a class, by the path of its facade) and the arguments of its
            constructor; arguments may be configurations themselves.
        trusted: Packages of the caller's choice whose classes may be built too, e.g. ``["mypkg"]``.

    Raises:
        ConfigError: Not a configuration, a target that may not be built, or arguments that its
            constructor refuses.

    >>> build({"_target_": "vqkit.quantizers.FSQ", "levels": [8, 5, 5]}).codebook_sizes
    (200,)
    """
    if not isinstance(config, Mapping) or _TARGET not in config:
        raise ConfigError(f"Configuration: expected a mapping with {_TARGET!r}, got {config!r}.")
    return _build(config, tuple(trusted), 0)


def describe(obj: Any) -> Any:
    """Read an object's configuration back: what :func:`build` makes it of.

    Works on whatever keeps each constructor argument as an attribute of the same name, as all of
    vqkit does. What a class names in ``ADDED_ARGUMENTS``, with the value that it had before there
    was such an argument, is left out with that value: a model that was written before keeps its
    configuration, and so its fingerprint.

    Raises:
        ConfigError: An attribute is missing, or a value that JSON cannot hold.
    """
    if obj is None or isinstance(obj, bool | int | float | str):
        return obj
    if isinstance(obj, Mapping):
        return {str(key): describe(value) for key, value in obj.items()}
    if isinstance(obj, Sequence):
        return [describe(value) for value in obj]
    kind = type(obj)
    config: dict[str, Any] = {_TARGET: _path_of(kind)}
    added: Mapping[str, Any] = getattr(kind, "ADDED_ARGUMENTS", {})
    for name, parameter in inspect.signature(kind).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise ConfigError(f"{kind.__name__}: a constructor with *args cannot be described.")
        if not hasattr(obj, name):
            raise ConfigError(
                f"{kind.__name__}: expected the argument {name!r} as an attribute, found none. "
                f"Keep it as self.{name}."
            )
        value = getattr(obj, name)
        if name not in added or value != added[name]:
            config[name] = describe(value)
    return config


def _build(value: Any, trusted: tuple[str, ...], depth: int) -> Any:
    if depth > _MAX_DEPTH:
        raise ConfigError(f"Configuration: expected at most {_MAX_DEPTH} nested levels.")
    if isinstance(value, Mapping):
        arguments = {
            str(key): _build(item, trusted, depth + 1)
            for key, item in value.items()
            if key != _TARGET
        }
        return _construct(value[_TARGET], arguments, trusted) if _TARGET in value else arguments
    if isinstance(value, list | tuple):
        return [_build(item, trusted, depth + 1) for item in value]
    return value


def _construct(target: Any, arguments: dict[str, Any], trusted: tuple[str, ...]) -> Any:
    kind = _resolve(target, trusted)
    try:
        inspect.signature(kind).bind(**arguments)
    except TypeError as error:
        raise ConfigError(
            f"{target}: {error}; its arguments are {inspect.signature(kind)}."
        ) from error
    try:
        return kind(**arguments)
    except ConfigError:
        raise
    # What is of a wrong kind shows wherever a constructor first uses it.
    except (
        TypeError,
        ValueError,
        AttributeError,
        LookupError,
        ArithmeticError,
        RuntimeError,
    ) as error:
        raise ConfigError(f"{target}: {error}.") from error


def _resolve(target: Any, trusted: tuple[str, ...]) -> type:
    if not isinstance(target, str):
        raise ConfigError(f"{_TARGET}: expected a dotted path, got {target!r}.")
    module_name, _, name = target.rpartition(".")
    if module_name not in _FACADES and not _below(module_name, trusted):
        raise ConfigError(
            f"{_TARGET} {target!r} may not be built: expected a class of {', '.join(_FACADES)} or "
            f"of a trusted package ({', '.join(trusted) or 'none given'}). If you trust its "
            f"author, "
            f"pass trusted=[{target.split('.')[0]!r}]."
        )
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ConfigError(f"{_TARGET} {target!r}: {error}. Install its package.") from error
    if module_name in _FACADES and name not in module.__all__:
        raise ConfigError(f"{_TARGET} {target!r}: {module_name} has no {name!r}.")
    kind = getattr(module, name, None)
    # The class itself must live where it may: an alias would let anything through.
    if not isinstance(kind, type) or not _below(kind.__module__, ("vqkit", *trusted)):
        raise ConfigError(f"{_TARGET} {target!r}: expected a class, got {kind!r}.")
    return kind


def _below(module_name: str, packages: Sequence[str]) -> bool:
    return any(module_name == p or module_name.startswith(f"{p}.") for p in packages)


def _path_of(kind: type) -> str:
    parts = kind.__module__.split(".")
    facade = ".".join(parts[:2])
    return f"{facade if facade in _FACADES else kind.__module__}.{kind.__qualname__}"
