"""``vqkit info``: what a token file or a model says of itself."""

import argparse
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqkit.cli.batch import run_batch
from vqkit.cli.console import Console, explain, printable
from vqkit.cli.model_search import find_fingerprint, find_named, model_folder
from vqkit.cli.options import Parser, add_talk_options
from vqkit.cli.rates import extent_of, rate_facts, rate_words
from vqkit.cli.sources import Source, expand, find_token_files
from vqkit.cli.targets import Job
from vqkit.cli.tokens import content_of
from vqkit.errors import VqkitError

if TYPE_CHECKING:
    from vqkit.files import TokenFileInfo

__all__ = ["add_parser", "run"]

_MOST_LEVELS = 32
FORMAT_VERSION = 1
"""Of the JSON document. Keys may be added to it; a change of their meaning is a new version."""


def add_parser(verbs: "argparse._SubParsersAction[Parser]") -> None:
    parser = verbs.add_parser(
        "info",
        usage="vqkit info FILE_OR_MODEL... [options]",
        help="show what token files and models are",
        description="Show what token files (.vqt) and model folders say of themselves, where the "
        "bytes of a file go, and what its tokens need at least.",
    )
    parser.add_names("names", "FILE_OR_MODEL", "token files, model folders, folders of files, or -")
    parser.add_argument(
        "-r", "--recursive", action="store_true", help="search folders below folders as well"
    )
    add_talk_options(parser)
    parser.set_defaults(run=run, verb="info")


def run(arguments: argparse.Namespace, console: Console) -> int:
    sources = expand(
        arguments.names, _find, recursive=arguments.recursive, what="token files or a model"
    )
    is_first = True

    def work(job: Job) -> dict[str, Any]:
        nonlocal is_first
        facts = _describe(job.source)
        if not arguments.json:
            if not is_first:
                console.data("")
            is_first = False
            for line in _lines(job.source.name, facts):
                console.data(printable(line))
        return facts

    jobs = [Job(source) for source in sources]
    outcome = run_batch(jobs, work, console, title="Reading", bar=False)
    if arguments.json:
        items = [{"path": item.input, "error": item.error, **item.facts} for item in outcome.items]
        console.document({"format": "vqkit info", "version": FORMAT_VERSION, "items": items})
    return outcome.exit_status


def _find(folder: Path, recursive: bool) -> list[Path]:
    return [folder] if model_folder(folder) else find_token_files(folder, recursive)


def _describe(source: Source) -> dict[str, Any]:
    folder = find_named(source.name) if source.path is not None else None
    if folder is not None:
        return _describe_model(folder)
    from vqkit.files import read_info

    content = content_of(source)
    info = read_info(content)
    return {
        **_describe_tokens(info),
        **_describe_sound(content, info),
        **_describe_rates(content, info),
    }


def _describe_sound(content: Path | bytes, info: "TokenFileInfo") -> dict[str, Any]:
    """Of a clip with sound, what that is, or why it is not known."""
    from vqkit.clip_sound import SOUND_STREAM, describe_sound, sound_of
    from vqkit.files import read_part
    from vqkit.tokenizers import Tokens

    if all(stream.name != SOUND_STREAM for stream in info.streams):
        return {}
    try:
        stream = read_part(content, stream=SOUND_STREAM)
        tokens = Tokens({SOUND_STREAM: stream}, ({},), info.modality, "", info.fingerprint)
        file = sound_of(tokens)
        assert file is not None
        return {"sound": asdict(describe_sound(file))}
    except VqkitError as error:
        return {"sound": {"not_read": explain(error)}}


def _describe_rates(content: Path | bytes, info: "TokenFileInfo") -> dict[str, Any]:
    """What the tokens need by their own frequencies, or why that is not known."""
    from vqkit.files import CodingResources, level_rates, read_tokens

    try:
        folder = find_fingerprint(info.tokenizer, info.fingerprint)
        resources = None if folder is None else CodingResources.of_model(folder)
        rates = level_rates(read_tokens(content, resources=resources))
    except VqkitError as error:
        return {"levels": None, "entropy_bits": None, "not_decoded": explain(error)}
    return {
        "levels": [asdict(rate) for rate in rates],
        "entropy_bits": sum(rate.entropy_bits for rate in rates),
        "not_decoded": None,
    }


def _describe_tokens(info: "TokenFileInfo") -> dict[str, Any]:
    _, extent = extent_of(info.media)
    nominal = info.nominal_bits / extent if extent else None
    known = rate_facts(info.media, info.size_bytes)
    rates = {name: rate for name, rate in known.items() if name.startswith("bits_per_")}
    rates |= {f"nominal_{name}": nominal for name in rates}
    model = find_fingerprint(info.tokenizer, info.fingerprint)
    return {
        "kind": "token file",
        "format_version": info.format_version,
        "modality": info.modality,
        "media": dict(info.media),
        "model": info.tokenizer,
        "fingerprint": info.fingerprint,
        "model_path": str(model) if model is not None else None,
        "num_tokens": info.num_tokens,
        "size_bytes": info.size_bytes,
        "header_bytes": info.header_bytes,
        "payload_bytes": info.payload_bytes,
        "table_bytes": info.table_bytes,
        "chunk_bytes": info.chunk_bytes,
        "footer_bytes": info.footer_bytes,
        "overhead_bytes": info.overhead_bytes,
        "num_chunks": info.num_chunks,
        "nominal_bits": info.nominal_bits,
        **rates,
        "token_hash": info.token_hash,
        "streams": [
            {
                "name": stream.name,
                "axes": list(stream.axes),
                "shape": list(stream.shape),
                "codebook_sizes": list(stream.codebook_sizes),
                "num_tokens": stream.num_tokens,
                "nominal_bits": stream.nominal_bits,
                "payload_bytes": stream.payload_bytes,
                "table_bytes": stream.table_bytes,
                "num_chunks": stream.num_chunks,
                "modes": list(stream.modes),
                "has_unknown": stream.has_unknown,
                "coding": stream.coding,
            }
            for stream in info.streams
        ],
    }


def _describe_model(folder: Path) -> dict[str, Any]:
    from vqkit.tokenizers.folder import CONFIG_FILE, WEIGHTS_FILE, read_spec

    spec = read_spec(folder)
    document = json.loads((folder / CONFIG_FILE).read_bytes())
    weights = folder / WEIGHTS_FILE
    return {
        "kind": "model",
        "format_version": document["format_version"],
        "vqkit_version": document.get("vqkit_version"),
        "model": spec.name,
        "fingerprint": spec.fingerprint,
        "model_path": str(folder),
        "modality": spec.modality,
        "channels": spec.channels,
        "axes": list(spec.axes),
        "strides": list(spec.strides),
        "codebook_sizes": list(spec.codebook_sizes),
        "bits_per_position": spec.bits_per_position,
        "nominal_bits_per_pixel": spec.bits_per_pixel,
        "nominal_bits_per_second": spec.bits_per_second,
        "sample_rate_hz": spec.sample_rate_hz,
        "chunking": None if spec.chunking is None else asdict(spec.chunking),
        "weights_bytes": weights.stat().st_size if weights.is_file() else None,
        "parts": {
            name: part["_target_"]
            for name, part in document["tokenizer"].items()
            if isinstance(part, dict) and "_target_" in part
        },
    }


def _lines(name: str, facts: dict[str, Any]) -> list[str]:
    return [name, *(f"  {key}: {value}" for key, value in _rows(facts).items())]


def _rows(facts: dict[str, Any]) -> dict[str, str]:
    """The facts in the words of a reader."""
    from vqkit.tokenizers.spec import CHANNEL_AXIS

    head = {"kind": facts["kind"], "model": f"{facts['model']} ({facts['fingerprint']})"}
    if facts["kind"] == "model":
        sizes = facts["codebook_sizes"]
        rows = {
            **head,
            "folder": facts["model_path"],
            "media": f"{facts['modality']}, {facts['channels']} channels",
            "stride": " x ".join(map(str, facts["strides"])),
            "codebooks": f"{len(sizes)}, of {', '.join(map(str, sizes))} codes",
            "rate": f"{facts['bits_per_position']:.3f} bits per position",
            "weights": f"{facts['weights_bytes'] or 0:,} bytes",
            **facts["parts"],
            "written by": f"vqkit {facts['vqkit_version']}",
        }
        if facts["modality"] == "image":
            rows["rate"] += f", {facts['nominal_bits_per_pixel']:.4f} bits per pixel"
        if facts["nominal_bits_per_second"] is not None:
            rows["media"] += f", {facts['sample_rate_hz']} Hz"
            rows["rate"] += f", {facts['nominal_bits_per_second'] / 1000:.3f} kbit/s"
            if CHANNEL_AXIS in facts["axes"]:
                rows["media"] = f"audio, any channels, each alone, {facts['sample_rate_hz']} Hz"
                rows["rate"] += " for each channel"
        if facts["chunking"] is not None:
            rows["chunks"] = (
                f"of {facts['chunking']['chunk_samples']} samples, one every "
                f"{facts['chunking']['step_samples']}"
            )
        return rows
    rows = {
        **head,
        "model here": facts["model_path"] or "no",
        "media": f"{facts['modality']}, " + _media_words(facts["media"]),
    }
    for stream in facts["streams"]:
        sizes = stream["codebook_sizes"]
        shape = " x ".join(map(str, stream["shape"])) or "1"
        rows[f"stream {stream['name']}"] = (
            f"{shape} positions, {len(sizes)} codebook(s) of {', '.join(map(str, sizes))} codes"
        )
        rows[f"coding of {stream['name']}"] = (
            f"{stream['coding']}, {stream['payload_bytes']:,} bytes "
            f"({stream['nominal_bits'] / 8:,.0f} nominal)"
        )
    if "sound" in facts:
        rows["sound"] = _sound_words(facts["sound"], facts["size_bytes"])
    rows |= _rate_rows(facts)
    if (rate := rate_words(facts)) is not None:
        nominal = {k.removeprefix("nominal_"): v for k, v in facts.items() if "nominal_" in k}
        rows["rate"] = f"{rate} ({rate_words(nominal)} nominal)"
    rows["token hash"] = facts["token_hash"]
    return rows


def _sound_words(sound: dict[str, Any], size_bytes: int) -> str:
    if "not_read" in sound:
        return f"not known, it cannot be read: {sound['not_read']}"
    what = sound["encoding"] or f"tokens of {sound['model']} ({sound['fingerprint']})"
    seconds = "" if sound["seconds"] is None else f", {sound['seconds']:.2f} s"
    share = sound["size_bytes"] / size_bytes
    return (
        f"{what}, {sound['channels']} channel(s), {sound['sample_rate_hz']} Hz{seconds}, "
        f"{sound['size_bytes']:,} bytes ({share:.0%} of the file)"
    )


def _media_words(media: dict[str, int]) -> str:
    from vqkit.tokenizers.audio_frontend import GAIN_SIZE
    from vqkit.tokenizers.float_bits import float_of_bits

    words = [f"{name} {size}" for name, size in media.items() if name != GAIN_SIZE]
    if GAIN_SIZE in media:
        gain_db = 20 * math.log10(float_of_bits(media[GAIN_SIZE], "gain"))
        words.append(f"gain {gain_db:+.2f} dB")
    return ", ".join(words)


def _rate_rows(facts: dict[str, Any]) -> dict[str, str]:
    """Where the bytes go, and what each level needs."""
    parts = {
        "tokens": facts["payload_bytes"],
        "tables": facts["table_bytes"],
        "header": facts["header_bytes"],
        "fields and checksums of chunks": facts["chunk_bytes"],
        "footer": facts["footer_bytes"],
    }
    shares = ", ".join(f"{name} {size:,}" for name, size in parts.items() if size)
    rows = {"size": f"{facts['size_bytes']:,} bytes: {shares}"}
    if facts["levels"] is None:
        rows["entropy"] = f"not known, the tokens cannot be read: {facts['not_decoded']}"
        return rows
    rows["entropy"] = (
        f"{facts['entropy_bits'] / 8:,.0f} bytes by the tokens' own frequencies "
        f"({facts['nominal_bits'] / 8:,.0f} nominal)"
    )
    for level in facts["levels"][:_MOST_LEVELS] if len(facts["levels"]) > 1 else []:
        unknown = f", {level['num_unknown']:,} unknown" if level["num_unknown"] else ""
        rows[f"level {level['codebook']} of {level['stream']}"] = (
            f"{level['num_tokens']:,} tokens{unknown}, entropy {level['entropy_bits'] / 8:,.0f} "
            f"bytes ({level['nominal_bits'] / 8:,.0f} nominal)"
        )
    return rows
