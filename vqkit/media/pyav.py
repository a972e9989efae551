"""The package PyAV (FFmpeg), imported when it is first needed, and its words for metadata."""

from collections.abc import Mapping
from types import ModuleType

from vqkit.errors import MissingExtraError
from vqkit.media.audio_decoder import METADATA_KEYS

__all__ = ["load_av", "metadata_of"]


def load_av() -> ModuleType:
    """The package PyAV.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise MissingExtraError(
            "Videos, and audio of MP4 and WebM: expected the package av, which is not here "
            f"({error}). Run: pip install av"
        ) from error
    return av


def metadata_of(found: Mapping[str, str]) -> dict[str, str]:
    """What a file says of itself by the names of ``METADATA_KEYS``, out of FFmpeg's names."""
    names = {"track": "tracknumber", "encoder": "software"}
    lowered = {key.lower(): value for key, value in found.items()}
    renamed = {names.get(key, key): value for key, value in lowered.items()}
    return {key: value for key, value in renamed.items() if key in METADATA_KEYS}
