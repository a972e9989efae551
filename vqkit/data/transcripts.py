"""Sets of sounds with what is said in them: files of a folder by their names, or a manifest."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vqkit.data.audio_files import AudioFiles
from vqkit.data.files import files_in_folders
from vqkit.errors import ConfigError
from vqkit.media import find_audio
from vqkit.metrics import normalise_transcript

__all__ = ["TranscribedFiles", "TranscribedFolder", "TranscribedManifest"]

_TEXT = "text"
_PATH_KEYS = ("audio", "path", "audio_filepath")


class TranscribedFiles(AudioFiles):
    """The sounds in these files, each with its transcript.

    Args:
        paths: the files.
        transcripts: what is said in each.
        normalise: small letters, no punctuation (``vqkit.metrics.normalise_transcript``).
        sample_rate_hz: rate of what comes out.
        channels: channels of what comes out.
        cache_size_bytes: keep decoded sounds in memory until they take this much.

    Raises:
        MediaError: there are no files.
        ConfigError: as many transcripts as files are missing, or a rate or number below 1.
    """

    def __init__(
        self,
        paths: Sequence[str | os.PathLike[str]],
        transcripts: Sequence[str],
        *,
        normalise: bool = True,
        sample_rate_hz: int = 16_000,
        channels: int = 1,
        cache_size_bytes: int = 0,
    ) -> None:
        super().__init__(
            paths,
            sample_rate_hz=sample_rate_hz,
            channels=channels,
            cache_size_bytes=cache_size_bytes,
        )
        if len(transcripts) != len(paths):
            raise ConfigError(
                f"Transcripts: expected one for each of {len(paths)} sounds, got "
                f"{len(transcripts)}."
            )
        self.transcripts = transcripts
        self.normalise = normalise

    def transcript(self, index: int) -> str:
        """What is said in one sound."""
        text = self.transcripts[index]
        return normalise_transcript(text) if self.normalise else text


class TranscribedFolder(TranscribedFiles):
    """Sounds below one or several folders whose names say what is said in them.

    Args:
        path: a folder, or several.
        pattern: regular expression that finds the transcript in a name without its ending, as the
            group ``text``; sounds whose names it does not match are left out.
        words: what stands for what was found, where that is no word: ``{"7": "seven"}``.
        recursive: search the folders below as well.
        normalise: small letters, no punctuation.
        sample_rate_hz: rate of what comes out.
        channels: channels of what comes out.
        cache_size_bytes: keep decoded sounds in memory until they take this much.

    Raises:
        ConfigError: a pattern that is none, or without a group ``text``, or that matches no name;
            or a rate or number below 1.
        MediaError: a folder does not exist or holds no sounds.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        pattern: str = r"(?P<text>[^_]+)",
        *,
        words: Mapping[str, str] | None = None,
        recursive: bool = True,
        normalise: bool = True,
        sample_rate_hz: int = 16_000,
        channels: int = 1,
        cache_size_bytes: int = 0,
    ) -> None:
        self.path = path
        self.pattern = pattern
        # A configuration may well read digits as numbers.
        self.words = {str(name): word for name, word in (words or {}).items()}
        self.recursive = recursive
        expression = _compiled(pattern)
        files = files_in_folders(path, find_audio, self.kind, recursive=recursive)
        matches = [(file, match) for file in files if (match := expression.match(file.stem))]
        if not matches:
            raise ConfigError(
                f"Transcripts by names: expected names that {pattern!r} matches, got "
                f"{len(files)} others, {files[0].name!r} among them."
            )
        found = [match[_TEXT] for _, match in matches]
        super().__init__(
            [file for file, _ in matches],
            [self.words.get(text, text) for text in found],
            normalise=normalise,
            sample_rate_hz=sample_rate_hz,
            channels=channels,
            cache_size_bytes=cache_size_bytes,
        )


class TranscribedManifest(TranscribedFiles):
    """Sounds with transcripts that a text file names, one a line.

    A line is ``path<TAB>transcript``, or, in a file that ends in ``.jsonl``, an object with
    ``"text"`` and one of ``"audio"``, ``"path"`` and ``"audio_filepath"``. Paths are absolute or
    relative to the file. Empty lines say nothing.

    Args:
        path: the manifest, UTF-8.
        normalise: small letters, no punctuation.
        sample_rate_hz: rate of what comes out.
        channels: channels of what comes out.
        cache_size_bytes: keep decoded sounds in memory until they take this much.

    Raises:
        ConfigError: it cannot be read, or a line is no such thing; or a rate or number below 1.
        MediaError: it names no sounds.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        normalise: bool = True,
        sample_rate_hz: int = 16_000,
        channels: int = 1,
        cache_size_bytes: int = 0,
    ) -> None:
        self.path = path
        entries = _entries(Path(path))
        super().__init__(
            [Path(path).parent / file for file, _ in entries],
            [text for _, text in entries],
            normalise=normalise,
            sample_rate_hz=sample_rate_hz,
            channels=channels,
            cache_size_bytes=cache_size_bytes,
        )


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise ConfigError(
            f"Transcripts by names: expected a regular expression, got {pattern!r} ({error})."
        ) from error
    if _TEXT not in expression.groupindex:
        raise ConfigError(
            f"Transcripts by names: expected a group (?P<{_TEXT}>...) in the pattern, got "
            f"{pattern!r}."
        )
    return expression


def _entries(manifest: Path) -> list[tuple[str, str]]:
    """Path and transcript of every line."""
    try:
        lines = manifest.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"Cannot read the transcripts {str(manifest)!r}: {error}.") from error
    read = _json_entry if manifest.suffix == ".jsonl" else _tab_entry
    entries = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            entry = read(line)
            if entry is None:
                form = (
                    "a JSON object with audio and text" if read is _json_entry else "path<TAB>text"
                )
                raise ConfigError(
                    f"Transcripts {str(manifest)!r}, line {number}: expected {form}, got "
                    f"{line[:80]!r}."
                )
            entries.append(entry)
    return entries


def _tab_entry(line: str) -> tuple[str, str] | None:
    path, tab, text = line.partition("\t")
    return (path.strip(), text.strip()) if tab and path.strip() else None


def _json_entry(line: str) -> tuple[str, str] | None:
    try:
        entry: Any = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(entry, dict):
        return None
    path = next((entry[key] for key in _PATH_KEYS if key in entry), None)
    text = entry.get(_TEXT)
    return (path, text) if isinstance(path, str) and isinstance(text, str) else None
