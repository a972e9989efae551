"""Sizes and speeds of token files, against their entropy and general compressors.

``python -m benchmarks.coding`` codes a million indices of a Zipf source at three codebook sizes.
``--model MODEL --images FOLDER ...`` adds files of the tokens of real photos, each photo a file,
with the tables and the prior of the model's folder if it has any, which should come from other
photos. ``--output benchmarks/results`` keeps the results. One thread: constriction holds the
interpreter.
"""

import argparse
import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import constriction
import numpy as np
import pyarrow
import pyarrow.parquet
import torch
import zstandard
from torch import Tensor

from benchmarks.environment import as_markdown, describe_environment, write_results
from benchmarks.measuring import take_turns
from vqkit import Tokenizer
from vqkit.coding.adaptive import Counts, blocks
from vqkit.data import ImageFolder
from vqkit.files import CodingResources, dumps, loads, read_info
from vqkit.files.modes import (
    ADAPTIVE,
    ARCHIVE,
    FIXED_WIDTH,
    NEIGHBOURS,
    TABLED,
    TABLED_NEIGHBOURS,
    ChunkLayout,
    encode_chunk,
)
from vqkit.tokenizers import Tokens, TokenStream

Indices = np.ndarray[Any, np.dtype[np.int64]]
Block = tuple[int, int, Any]  # first symbol, last + 1, their weights or their table
Pack, Unpack = Callable[[Indices], Any], Callable[[Any], object]

NUM_SYMBOLS = 1_000_000
NUM_TIMED = 16  # photos whose files are timed
CODEBOOK_BITS = (10, 14, 17)
NOTHING = CodingResources()
MAKING_TABLES = "constriction alone, making the adaptive mode's tables of weights at hand"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help="of one codebook, for --images")
    parser.add_argument("--images", type=Path, nargs="*", default=[], help="folders of photos")
    parser.add_argument("--most", type=int, default=2000, help="photos of each folder")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, help="folder for coding.json and coding.md")
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    packages = ("constriction", "numpy", "zstandard", "pyarrow")
    results: dict[str, Any] = {
        "environment": describe_environment(*packages),
        "zipf": [zipf_case(bits, arguments.rounds) for bits in CODEBOOK_BITS],
        "photos": [],
    }
    if arguments.images:
        tokenizer = Tokenizer.from_pretrained(arguments.model)
        results["model"] = f"{tokenizer.name} ({tokenizer.fingerprint})"
        for folder in arguments.images:
            results["photos"].append(photo_case(tokenizer, folder, arguments.most))
    report = as_report(results)
    print(report)
    if arguments.output:
        write_results(arguments.output, "coding", results, report)


def zipf_case(bits: int, rounds: int) -> dict[str, Any]:
    """Bytes and speeds for a million indices of frequencies 1, 1/2, 1/3 ..., ids in no order."""
    size = 1 << bits
    random = np.random.default_rng(0)
    weights = 1 / np.arange(1, size + 1)
    ids = random.permutation(size)
    drawn = random.choice(size, NUM_SYMBOLS, p=weights / weights.sum())
    indices = ids[drawn].astype(np.int64)
    layout = ChunkLayout("tokens", (NUM_SYMBOLS,), (size,))
    coders: dict[str, tuple[Pack, Unpack]] = {
        name: (
            lambda x, mode=mode: mode.encode(x[:, None], layout, NOTHING),
            lambda data, mode=mode: mode.decode(data, layout, NOTHING, 1),
        )
        for name, mode in (
            ("vqkit, fixed width", FIXED_WIDTH),
            ("vqkit, adaptive", ADAPTIVE),
            ("vqkit, neighbours", NEIGHBOURS),
            ("vqkit, archive", ARCHIVE),
        )
    }
    tokens = as_tokens(torch.from_numpy(indices)[None, :, None], size, ("time",))
    coders["vqkit, whole file"] = (lambda _: dumps(tokens), loads)
    weights = adaptive_weights(indices, size)
    coders[MAKING_TABLES] = (
        lambda x: constriction_encode(x, as_tables(weights)),
        lambda data: constriction_decode(data, as_tables(weights)),
    )
    tables = as_tables(weights)
    coders["constriction alone, the same tables at hand"] = (
        lambda x: constriction_encode(x, tables),
        lambda data: constriction_decode(data, tables),
    )
    whole = np.bincount(indices, minlength=size).astype(np.float64)
    static = [(0, NUM_SYMBOLS, model_of(whole))]
    coders["constriction alone, one table, not counted"] = (
        lambda x: constriction_encode(x, static),
        lambda data: constriction_decode(data, static),
    )
    word = np.uint16 if bits <= 16 else np.uint32
    coders["zstd -19"] = (
        lambda x: zstandard.ZstdCompressor(level=19).compress(x.astype(word).tobytes()),
        lambda data: np.frombuffer(zstandard.ZstdDecompressor().decompress(data), word),
    )
    coders["Parquet, dictionary, zstd 3"] = (lambda x: to_parquet([x.astype(word)]), from_parquet)

    rows = measure(coders, indices, rounds)
    return {"codebook_size": size, "order_0_bytes": order_0_bytes(indices), "coders": rows}


def measure(
    coders: dict[str, tuple[Pack, Unpack]], indices: Indices, rounds: int
) -> dict[str, dict[str, float]]:
    """Bytes, and milliseconds of the fastest round; all coders in turn."""
    packed = {name: pack(indices) for name, (pack, _) in coders.items()}
    runs: dict[str, Callable[[], object]] = {}
    for name, (pack, unpack) in coders.items():
        runs[f"{name}: encode"] = lambda pack=pack: pack(indices)
        runs[f"{name}: decode"] = lambda unpack=unpack, name=name: unpack(packed[name])
    times = take_turns(runs, rounds)
    return {
        name: {
            "bytes": len(data) if isinstance(data, bytes) else data.nbytes,
            "encode_ms": times[f"{name}: encode"]["fastest"],
            "decode_ms": times[f"{name}: decode"]["fastest"],
        }
        for name, data in packed.items()
    }


def adaptive_weights(indices: Indices, size: int) -> list[Block]:
    """The blocks of the adaptive mode, each with the weights of its table."""
    counts, found = Counts(size), []
    for start, stop in blocks(indices.size):
        found.append((start, stop, counts.weights()))
        counts.add(indices[start:stop])
    return found


def as_tables(weights: list[Block]) -> list[Block]:
    return [(start, stop, model_of(of_block)) for start, stop, of_block in weights]


def model_of(weights: np.ndarray[Any, np.dtype[np.float64]]) -> Any:
    return constriction.stream.model.Categorical(weights, perfect=False)


def constriction_encode(indices: Indices, tables: list[Block]) -> Any:
    coder = constriction.stream.queue.RangeEncoder()
    symbols = indices.astype(np.int32)
    for start, stop, model in tables:
        coder.encode(symbols[start:stop], model)
    return coder.get_compressed()


def constriction_decode(words: Any, tables: list[Block]) -> object:
    coder = constriction.stream.queue.RangeDecoder(words)
    return [coder.decode(model, stop - start) for start, stop, model in tables]


def photo_case(tokenizer: Tokenizer, folder: Path, most: int) -> dict[str, Any]:
    """Bytes of the files of all photos together, and of their parts."""
    source = ImageFolder(folder)
    assert tokenizer.folder is not None
    resources = CodingResources.of_model(tokenizer.folder)
    (size,) = tokenizer.spec.codebook_sizes
    total: dict[str, float] = {}
    grids: list[np.ndarray[Any, Any]] = []
    modes: dict[str, dict[int, int]] = {"alone": {}, "with the model's folder": {}}
    seconds = {"write": 0.0, "read": 0.0}
    num_timed = 0
    for number in range(min(len(source), most)):
        tokens = tokenizer.encode([source[number]])
        grid = tokens.streams["tokens"].indices[0].numpy()
        rows = grid.reshape(-1, 1)
        layout = ChunkLayout("tokens", grid.shape[:-1], (size,))
        mode, payload = encode_chunk(rows, layout, "auto", NOTHING)
        count(modes["alone"], mode)
        word = np.uint16 if size <= 1 << 16 else np.uint32
        parts: dict[str, float] = {
            "order-0 entropy of each photo": order_0_bytes(rows[:, 0]),
            "fixed width": len(FIXED_WIDTH.encode(rows, layout, NOTHING)),
            "adaptive": len(ADAPTIVE.encode(rows, layout, NOTHING)),
            "neighbours": len(NEIGHBOURS.encode(rows, layout, NOTHING)),
            "smallest": len(payload),
            "zstd -19": len(
                zstandard.ZstdCompressor(level=19).compress(rows.astype(word).tobytes())
            ),
            "whole files, fixed width": len(dumps(tokens, coder="fixed")),
            "whole files": len(dumps(tokens)),
        }
        for name, coding in (("table", TABLED), ("table, neighbours", TABLED_NEIGHBOURS)):
            coded = coding.encode(rows, layout, resources)
            if coded is not None:
                parts[name] = len(coded)
        if resources.tables is not None or resources.prior is not None:
            started = time.perf_counter()
            data = dumps(tokens, resources=resources)
            written = time.perf_counter()
            (stream,) = read_info(data).streams
            parts["smallest, with the model's tables and prior"] = stream.payload_bytes
            parts["whole files, with the model's tables and prior"] = len(data)
            count(modes["with the model's folder"], stream.modes[0])
            if number < NUM_TIMED:
                loads(data, resources=resources)
                seconds["write"] += written - started
                seconds["read"] += time.perf_counter() - written
                num_timed += rows.size
        for name, value in parts.items():
            total[name] = total.get(name, 0) + value
        grids.append(rows[:, 0].astype(word))
    total["one Parquet file, dictionary, zstd 3"] = len(to_parquet(grids))
    total["order-0 entropy of all photos together"] = order_0_bytes(np.concatenate(grids))
    return {
        "folder": folder.name,
        "codebook_size": size,
        "num_photos": len(grids),
        "num_tokens": sum(map(len, grids)),
        "prior": resources.prior.digest.hex() if resources.prior is not None else None,
        "tokens_per_second": {verb: num_timed / s for verb, s in seconds.items() if s},
        "chunks_by_mode": modes,
        "bytes": total,
    }


def count(counts: dict[int, int], mode: int) -> None:
    counts[mode] = counts.get(mode, 0) + 1


def order_0_bytes(indices: np.ndarray[Any, Any]) -> float:
    counts = np.unique(indices, return_counts=True)[1]
    return float(-(counts * np.log2(counts / indices.size)).sum() / 8)


def as_tokens(indices: Tensor, size: int, axes: tuple[str, ...]) -> Tokens:
    stream = TokenStream(indices, (size,), axes)
    return Tokens({"tokens": stream}, ({"samples": indices.numel()},), "audio", "zipf", "0" * 32)


def to_parquet(rows: list[np.ndarray[Any, Any]]) -> bytes:
    target = io.BytesIO()
    table = pyarrow.table({"codes": pyarrow.array(rows)})
    pyarrow.parquet.write_table(table, target, compression="zstd", compression_level=3)
    return target.getvalue()


def from_parquet(data: bytes) -> object:
    return pyarrow.parquet.read_table(io.BytesIO(data))


def as_report(results: dict[str, Any]) -> str:
    lines = ["# Coding of tokens", "", as_markdown(results["environment"]), ""]
    lines += [
        f"{NUM_SYMBOLS:,} indices of a Zipf source with exponent 1, ids in random order, a row. "
        "*Over entropy* is the size beside the order-0 entropy of these indices; speeds in "
        "millions of symbols per second, fastest round, one thread. A whole file is coded in "
        "chunks of 2^20 symbols with all modes tried; writing it includes header, checksums and "
        "token hash, reading checks them. *constriction alone* codes the blocks of the adaptive "
        "mode without counting and, where they are at hand, without making tables.",
    ]
    for case in results["zipf"]:
        lines += ["", f"## {case['codebook_size']:,} codes", ""]
        lines += ["| coder | bytes | over entropy | encode | decode |", "|---|---:|---:|---:|---:|"]
        for name, row in case["coders"].items():
            over = row["bytes"] / case["order_0_bytes"] - 1
            speeds = [NUM_SYMBOLS / row[f"{verb}_ms"] / 1e3 for verb in ("encode", "decode")]
            lines.append(
                f"| {name} | {row['bytes']:,} | {over:+.2%} | {speeds[0]:.1f} | {speeds[1]:.1f} |"
            )
        ours, alone = case["coders"]["vqkit, adaptive"], case["coders"][MAKING_TABLES]
        overhead = [ours[f"{verb}_ms"] / alone[f"{verb}_ms"] - 1 for verb in ("encode", "decode")]
        lines += [
            "",
            "Time of the adaptive mode over that of constriction, which makes the same tables: "
            f"{overhead[0]:+.0%} to encode, {overhead[1]:+.0%} to decode.",
        ]
    for case in results["photos"]:
        chosen = [
            f"{name} "
            + ", ".join(f"{count:,} in mode {mode}" for mode, count in sorted(counts.items()))
            for name, counts in case["chunks_by_mode"].items()
            if counts
        ]
        speeds = case["tokens_per_second"]
        lines += [
            "",
            f"## Photos of `{case['folder']}`",
            "",
            f"{case['num_photos']:,} photos, {case['num_tokens']:,} tokens of "
            f"{case['codebook_size']} codes by {results['model']}, each photo coded on its own. "
            f"Chunks: {'; '.join(chosen)}."
            + (
                f" With the prior {case['prior']} of the model a file is written with "
                f"{speeds['write']:,.0f} tokens per second, which includes every other mode and "
                f"decoding the chunk once, and read with {speeds['read']:,.0f}."
                if case["prior"]
                else ""
            ),
            "",
            "| what | bytes | bits per token | of fixed width |",
            "|---|---:|---:|---:|",
        ]
        for name, size in case["bytes"].items():
            bits, share = 8 * size / case["num_tokens"], size / case["bytes"]["fixed width"]
            lines.append(f"| {name} | {size:,.0f} | {bits:.3f} | {share:.1%} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
