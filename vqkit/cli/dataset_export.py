"""A data set of tokens in the format of a trainer."""

import argparse
from pathlib import Path

from vqkit.cli.console import Console, printable
from vqkit.cli.exit_status import ExitStatus
from vqkit.cli.progress import progress_bar
from vqkit.cli.usage_error import UsageError
from vqkit.files.dataset import Manifest
from vqkit.files.dataset.export import EXPORT_FORMATS, export_dataset
from vqkit.files.dataset.header import MAIN_STREAM
from vqkit.files.storage import Storage

__all__ = ["export"]


def export(location: str, arguments: argparse.Namespace, console: Console) -> int:
    """Write it, whole or not at all."""
    if arguments.format is None:
        raise UsageError(
            f"vqkit dataset export: expected --format with one of {', '.join(EXPORT_FORMATS)}."
        )
    storage = Storage.at(location)
    wanted = not arguments.no_progress and console.verbosity >= 0
    num_shards = len(Manifest.read(storage).shards)
    with progress_bar(num_shards, "Exporting", wanted=wanted) as advance:
        done = export_dataset(
            storage,
            Path(arguments.output),
            arguments.format,
            order=arguments.order or "raster",
            level_offsets=bool(arguments.level_offsets),
            separator=arguments.separator or "none",
            stream=arguments.stream or MAIN_STREAM,
            overwrite=bool(arguments.force),
            progress=advance,
        )
    vocabulary = done.vocabulary
    if arguments.json:
        console.document(
            {
                "command": "dataset",
                "action": "export",
                "dataset": location,
                "output": arguments.output,
                "format": done.format,
                "order": done.order,
                "stream": done.stream,
                "separator": done.separator,
                "offsets": list(vocabulary.offsets),
                "special_ids": vocabulary.special_ids,
                "vocabulary_size": vocabulary.size,
                "dtype": done.dtype.name,
                "num_samples": done.num_samples,
                "num_ids": done.num_ids,
                "size_bytes": sum(facts.size_bytes for facts in done.files.values()),
            }
        )
    specials = "".join(f", {name} {value}" for name, value in vocabulary.special_ids.items())
    console.note(
        printable(
            f"{location} -> {arguments.output}: {done.num_samples:,} samples, {done.num_ids:,} "
            f"ids of {done.dtype.name}, {done.order}, vocabulary of {vocabulary.size:,}{specials}."
        )
    )
    return ExitStatus.DONE
