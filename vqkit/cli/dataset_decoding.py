"""Media of the samples of a data set of tokens."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from vqkit.cli.batch import report, run_batch
from vqkit.cli.clips import SoundPlayer
from vqkit.cli.console import Console, printable
from vqkit.cli.media import DEFAULT_FORMATS, decode_to, media_path
from vqkit.cli.models import ModelLoader
from vqkit.cli.options import OUTPUT_FORMATS
from vqkit.cli.rates import extent_of
from vqkit.cli.sources import Source
from vqkit.cli.targets import Job, Target
from vqkit.cli.usage_error import UsageError
from vqkit.errors import VqkitError
from vqkit.files.dataset import TokenDataset

__all__ = ["SampleSource", "decode", "path_of_key"]

_SAFE = " !#$&'()+,;=@[]^`{}~"


@dataclass(frozen=True)
class SampleSource(Source):
    """A sample of the data set, by its key."""

    key: str = ""

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return self.key


def decode(location: str, arguments: argparse.Namespace, console: Console) -> int:
    """Decode the samples that were named, or all."""
    if arguments.format not in (None, *OUTPUT_FORMATS):
        raise UsageError(
            f"--format {arguments.format}: expected one of {', '.join(OUTPUT_FORMATS)}."
        )
    dataset = TokenDataset(location)
    format = arguments.format or DEFAULT_FORMATS.get(dataset.manifest.header.modality, "png")
    places = _places(dataset, arguments.key)
    models = ModelLoader(arguments, console)
    if arguments.model is not None:
        models.named()
    sounds = SoundPlayer(arguments, console)
    failures = dict(dataset.manifest.failed)
    written: set[Path] = set()

    def work(job: Job) -> dict[str, Any]:
        assert isinstance(job.source, SampleSource)
        key, target = job.source.key, job.written
        if key not in places:
            reason = failures.get(key, "there is no such key with tokens")
            raise VqkitError(f"Cannot decode sample {key!a}: {reason}.")
        if target.path in written:
            raise VqkitError(f"Cannot decode sample {key!a}: {target.name} is another sample's.")
        target.refuse_existing()
        tokens = dataset.tokens(places[key])
        tokenizer = models.maker_of(tokens)
        tokens = tokens.first_codebooks(arguments.codebooks)
        decode_to(tokens, tokenizer, target, format, sounds, {})
        assert target.path is not None
        written.add(target.path)
        console.detail(printable(f"{key} -> {target.name}"))
        name, extent = extent_of(tokens.media[0])
        return {"num_tokens": tokens.num_tokens, name: extent}

    folder = Path(arguments.output)
    jobs = [
        Job(
            SampleSource(None, key=key),
            Target(
                folder / media_path(path_of_key(key), format),
                force=bool(arguments.force),
                make_folder=True,
            ),
        )
        for key in arguments.key or places
    ]
    outcome = run_batch(jobs, work, console, title="Decoding", bar=not arguments.no_progress)
    head = {"command": "dataset", "action": "decode", "device": str(models.device)}
    return report(
        outcome,
        console,
        done="Decoded",
        means=f"on {models.device}",
        head=head if arguments.json else None,
    )


def path_of_key(key: str) -> Path:
    r"""A path for a key, which may be anything, that stays below the folder it is put into.

    >>> path_of_key("cats/1.jpg").as_posix(), path_of_key("../a\\b").as_posix()
    ('cats/1.jpg', '%2E%2E/a%5Cb')
    """
    parts = [quote(part, safe=_SAFE) for part in key.split("/")]
    hidden = {"": "%", ".": "%2E", "..": "%2E%2E"}
    return Path(*(hidden.get(part, part) for part in parts))


def _places(dataset: TokenDataset, keys: list[str] | None) -> dict[str, int]:
    """Where the samples stand, by key, in the order of the data set."""
    wanted = None if keys is None else set(keys)
    places = ((dataset.key(index), index) for index in range(len(dataset)))
    return {key: index for key, index in places if wanted is None or key in wanted}
