"""What a data set of tokens is, and whether it is sound."""

import argparse
from collections import Counter
from collections.abc import Iterator
from typing import Any

from vqkit.cli.console import Console, printable
from vqkit.cli.exit_status import ExitStatus
from vqkit.cli.progress import progress_bar
from vqkit.cli.rates import duration_words, rate_words
from vqkit.files.dataset import Manifest, verify_dataset
from vqkit.files.storage import Storage

__all__ = ["describe", "verify"]

_FORMAT_VERSION = 1
_MAX_LISTED = 10


def describe(location: str, arguments: argparse.Namespace, console: Console) -> int:
    """Say what the manifest says."""
    storage = Storage.at(location)
    facts = _facts(Manifest.read(storage))
    if arguments.json:
        console.document({"command": "dataset", "action": "info", "dataset": location, **facts})
        return ExitStatus.DONE
    console.data(printable(storage.location))
    for name, value in (*_rows(facts).items(), *_trouble(facts)):
        console.data(printable(f"  {name}: {value}"))
    return ExitStatus.DONE


def verify(location: str, arguments: argparse.Namespace, console: Console) -> int:
    """Read it in full and name what is wrong."""
    storage = Storage.at(location)
    num_shards = len(Manifest.read(storage).shards)
    wanted = not arguments.no_progress and console.verbosity >= 0
    with progress_bar(num_shards, "Verifying", wanted=wanted) as advance:
        report = verify_dataset(storage, deep=not arguments.quick, progress=advance)
    if arguments.json:
        console.document(
            {
                "command": "dataset",
                "action": "verify",
                "dataset": location,
                "quick": bool(arguments.quick),
                "num_shards": report.num_shards,
                "num_samples": report.num_samples,
                "num_failed": report.num_failed,
                "num_tokens": report.num_tokens,
                "problems": list(report.problems),
            }
        )
    for problem in report.problems:
        console.error(printable(problem))
    counted = (
        f"{report.num_shards:,} shard(s), {report.num_samples:,} samples, "
        f"{report.num_tokens:,} tokens"
    )
    if report.problems:
        console.note(f"{len(report.problems):,} problem(s) in {counted}.")
        return ExitStatus.SOME_FAILED
    console.note(f"Verified {counted}: all sound.")
    return ExitStatus.DONE


def _facts(manifest: Manifest) -> dict[str, Any]:
    """All of it but the shards and the histograms, as JSON types."""
    streams = {name: _stream_facts(manifest, name) for name in manifest.header.streams}
    ideal = [stream["ideal_bytes"] for stream in streams.values()]
    nominal = [stream["nominal_bits"] for stream in streams.values()]
    header = manifest.header.to_dict()
    return {
        "version": _FORMAT_VERSION,
        "header": header,
        "num_shards": manifest.num_shards,
        "num_samples": manifest.num_samples,
        "num_failed": manifest.num_failed,
        "num_tokens": manifest.num_tokens,
        "size_bytes": manifest.size_bytes,
        **_duration_facts(manifest),
        "bits_per_token": 8 * manifest.size_bytes / max(1, manifest.num_tokens),
        "nominal_bits": None if None in nominal else sum(nominal),
        "ideal_bytes": None if None in ideal else sum(ideal),
        "streams": streams,
        "failures": [{"key": key, "reason": reason} for key, reason in manifest.failed],
        "quarantined": dict(manifest.quarantined),
    }


def _duration_facts(manifest: Manifest) -> dict[str, float | None]:
    """Of sounds and clips, how long they last and what a second costs."""
    seconds = manifest.media_seconds
    if seconds is None:
        return {}
    rate = 8 * manifest.size_bytes / seconds if seconds else None
    return {"media_seconds": seconds, "bits_per_second": rate}


def _stream_facts(manifest: Manifest, name: str) -> dict[str, Any]:
    """Tokens of a stream and what they cost, as far as they were counted."""
    layout, histograms = manifest.header.streams[name], manifest.histograms[name]
    entropies = list(manifest.entropy_bits[name])
    counts = [None if part is None else part.num_tokens for part in histograms]
    num_positions = next((count for count in counts if count is not None), None)
    if num_positions is None and len(manifest.header.streams) == 1:
        num_positions = manifest.num_tokens // len(layout.codebook_sizes)
    ideal_bits = [
        None if entropy is None or count is None else entropy * count
        for entropy, count in zip(entropies, counts, strict=True)
    ]
    nominal = None if num_positions is None else num_positions * layout.nominal_bits
    known = [bits for bits in ideal_bits if bits is not None]
    return {
        "axes": list(layout.axes),
        "codebook_sizes": list(layout.codebook_sizes),
        "num_positions": num_positions,
        "nominal_bits": nominal,
        "entropy_bits": entropies,
        "codes_in_use": [None if part is None else len(part.indices) for part in histograms],
        "ideal_bytes": sum(known) / 8 if len(known) == len(ideal_bits) else None,
    }


def _rows(facts: dict[str, Any]) -> dict[str, str]:
    """The facts in the words of a reader."""
    header = facts["header"]
    provenance = header["provenance"]
    rows = {
        "kind": f"data set of {header['modality']} tokens",
        "model": f"{header['tokenizer']} ({header['fingerprint']})",
        "plan": provenance["plan_id"],
        "made": f"in {provenance['precision']} on {provenance['device']}, vqkit "
        f"{provenance['vqkit_version']}, torch {provenance['torch_version']}",
        "shards": f"{facts['num_shards']:,}",
        "samples": f"{facts['num_samples']:,}, and {facts['num_failed']:,} that failed",
        "tokens": f"{facts['num_tokens']:,}",
    }
    for name, stream in facts["streams"].items():
        for codebook, size in enumerate(stream["codebook_sizes"]):
            entropy, used = stream["entropy_bits"][codebook], stream["codes_in_use"][codebook]
            measured = "too many codes in use to count" if entropy is None else (
                f"{used:,} in use, {entropy:.3f} bits of entropy"
            )  # fmt: skip
            rows[f"codebook {codebook} of {name}"] = f"{size:,} codes, {measured}"
    rows["size"] = f"{facts['size_bytes']:,} bytes, {facts['bits_per_token']:.3f} bits per token"
    if facts.get("media_seconds"):
        rows["duration"] = f"{duration_words(facts['media_seconds'])}, {rate_words(facts)}"
    if facts["nominal_bits"] is not None:
        rows["nominal size"] = f"{facts['nominal_bits'] / 8:,.0f} bytes"
    if facts["ideal_bytes"] is not None:
        rows["ideal size"] = f"{facts['ideal_bytes']:,.0f} bytes by these entropies"
    return rows


def _trouble(facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Why samples and shards are missing, the most frequent reasons first."""
    reasons = Counter(failure["reason"] for failure in facts["failures"])
    for reason, count in reasons.most_common(_MAX_LISTED):
        yield f"failed {count:,} times", reason
    for name, reason in facts["quarantined"].items():
        yield f"in quarantine {name}", reason
