"""What vqkit raises: one tree, so that a caller can catch all of it or one kind.

A message reads: *What failed: expected X, got Y (where). Fix.*
"""

__all__ = [
    "CodingError",
    "ConfigError",
    "MediaError",
    "MissingExtraError",
    "ModelMismatchError",
    "ShapeError",
    "StorageError",
    "StreamingError",
    "TokenFileError",
    "VqkitError",
]


class VqkitError(Exception):
    """Base of every error that vqkit raises on purpose."""


class CodingError(VqkitError, ValueError):
    """Bytes that no entropy coder of this kind writes."""


class ConfigError(VqkitError, ValueError):
    """A setting, a configuration file or a model folder is wrong."""


class ShapeError(VqkitError, ValueError):
    """A tensor has the wrong shape, dtype or value range."""


class MediaError(VqkitError):
    """An image, audio or video file cannot be read or written."""


class StorageError(VqkitError):
    """A folder or an object store cannot be read or written."""


class StreamingError(VqkitError, ValueError):
    """A network needs the whole of a signal, or a stream is used out of order."""


class TokenFileError(VqkitError):
    """A token file is damaged, truncated, hostile or of an unknown version."""


class ModelMismatchError(VqkitError):
    """Tokens were made by another tokenizer than the one asked to decode them."""


class MissingExtraError(VqkitError, ImportError):
    """An optional package or weight file is needed and absent."""
