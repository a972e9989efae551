"""Size and version of files: what tells that one changed since the job was planned."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["size_and_version", "version_in_store"]

_FACTS = ("ETag", "etag", "md5Hash", "md5", "mtime", "LastModified", "last_modified")


def size_and_version(path: str) -> tuple[int, str]:
    """Bytes and time of change of a file of this machine; -1 and nothing if it is not there."""
    try:
        facts = Path(path).stat()
    except OSError:
        return -1, ""
    return facts.st_size, str(facts.st_mtime_ns)


def version_in_store(facts: Mapping[str, Any]) -> str:
    """What a store gives a new value when the content changes, out of what fsspec says of it."""
    for name in _FACTS:
        if facts.get(name):
            return str(facts[name]).strip('"')
    return ""
