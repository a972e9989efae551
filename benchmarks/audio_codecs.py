"""Codecs of sound against the same models in transformers: same weights, same tokens, how fast.

``python -m benchmarks.audio_codecs --clips FOLDER`` takes EnCodec (24 kHz), DAC (16 kHz) and Mimi
in their published sizes with random weights, which cost what trained ones do: one clip alone, and a
folder of clips of different lengths. vqkit takes the folder with ``batched=True``; transformers
clip by clip, and in padded batches of eight sorted by length, whose tokens are not those of the
clips alone: the faster of both counts. All run in turn. ``--output benchmarks/results`` keeps the
results.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import DacConfig, DacModel, EncodecConfig, EncodecModel, MimiConfig, MimiModel

from benchmarks.environment import as_markdown, describe_environment, write_results
from benchmarks.measuring import Clock, take_turns
from vqkit import Tokenizer
from vqkit.media import find_audio, read_audio
from vqkit.ops.resample import resample
from vqkit.tokenizers.converters import (
    dac_from_transformers,
    encodec_from_transformers,
    mimi_from_transformers,
)

Peer = Any
Codec = tuple[Peer, Tokenizer, Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]

PEERS_BATCH = 8


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=Path, required=True, help="folder of sounds")
    parser.add_argument("--most", type=int, default=200, help="clips of the folder")
    parser.add_argument("--seconds", type=float, default=4.0, help="of the clip that is alone")
    parser.add_argument("--models", nargs="*", default=["encodec", "dac", "mimi"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--one-thread",
        action="store_true",
        help="processor time of one thread, for a machine that others use as well",
    )
    parser.add_argument("--output", type=Path, help="folder for the results")
    parser.add_argument("--name", default="audio-codecs", help="of the files there")
    arguments = parser.parse_args()
    clock = time.process_time if arguments.one_thread else time.perf_counter
    if arguments.one_thread:
        torch.set_num_threads(1)

    files = find_audio(arguments.clips)[: arguments.most]
    makers = {"encodec": encodec, "dac": dac, "mimi": mimi}
    results: dict[str, Any] = {
        "environment": describe_environment("transformers"),
        "clips": arguments.clips.name,
        "measured": "processor time of one thread" if arguments.one_thread else "the clock",
        "codecs": [
            measure(name, makers[name](), files, arguments.seconds, arguments.rounds, clock)
            for name in arguments.models
        ],
    }
    report = as_report(results)
    print(report)
    if arguments.output:
        write_results(arguments.output, arguments.name, results, report)


def encodec() -> Codec:
    config = EncodecConfig()
    model = randomised(EncodecModel(config))
    bandwidth = config.target_bandwidths[-1]
    return (
        model,
        encodec_from_transformers(config.to_dict(), model.state_dict()),
        lambda x: model.encode(x, bandwidth=bandwidth).audio_codes[0],
        lambda codes: model.decode(codes[None], [None]).audio_values,
    )


def dac() -> Codec:
    config = DacConfig(
        downsampling_ratios=[2, 4, 5, 8], upsampling_ratios=[8, 5, 4, 2], n_codebooks=12
    )
    model = randomised(DacModel(config))
    hop = config.hop_length

    def encode(x: Tensor) -> Tensor:
        padded = torch.nn.functional.pad(x, (0, -x.shape[-1] % hop))
        codes: Tensor = model.encode(padded).audio_codes
        return codes

    return (
        model,
        dac_from_transformers(config.to_dict(), model.state_dict()),
        encode,
        lambda codes: model.decode(audio_codes=codes).audio_values,
    )


def mimi() -> Codec:
    config = MimiConfig()
    model = randomised(MimiModel(config))
    return (
        model,
        mimi_from_transformers(config.to_dict(), model.state_dict()),
        lambda x: model.encode(x).audio_codes,
        lambda codes: model.decode(codes).audio_values,
    )


@torch.no_grad()
def randomised(model: Peer) -> Peer:
    """Codebooks of transformers start at zero, and the nearest code would be the first."""
    for name, value in model.state_dict().items():
        if name.endswith((".embed", ".embed_sum")):
            value.normal_(std=0.1)
    return model.eval()


@torch.no_grad()
def measure(
    name: str, codec: Codec, files: list[Path], seconds: float, rounds: int, clock: Clock
) -> dict[str, Any]:
    """Fastest times of one clip and of the folder, and how many tokens are the same."""
    _, tokenizer, encode, decode = codec
    rate = tokenizer.frontend.sample_rate_hz
    assert rate is not None
    clips = [mono(path, rate) for path in files]
    single = max(clips, key=lambda clip: clip.shape[-1])[None, :, : round(seconds * rate)]
    codes, tokens = encode(single), tokenizer.encode(single)
    of_clip = {
        "clip, encode, transformers": lambda: encode(single),
        "clip, encode, vqkit": lambda: tokenizer.encode(single),
        "clip, decode, transformers": lambda: decode(codes),
        "clip, decode, vqkit": lambda: tokenizer.decode(tokens),
    }
    their_codes = [encode(clip[None]) for clip in clips]
    our_tokens = tokenizer.encode(clips, batched=True)
    num_same = sum(
        int((theirs.mT == our_tokens.item(i).indices).sum()) for i, theirs in enumerate(their_codes)
    )
    batches = [
        torch.stack(padded(some)) for some in in_batches(sorted(clips, key=lambda x: x.shape[-1]))
    ]
    code_batches = [
        torch.cat(padded(some))
        for some in in_batches(sorted(their_codes, key=lambda x: x.shape[-1]))
    ]
    of_folder = {
        "folder, encode, transformers, one by one": lambda: [encode(x[None]) for x in clips],
        "folder, encode, transformers, batches": lambda: [encode(batch) for batch in batches],
        "folder, encode, vqkit": lambda: tokenizer.encode(clips, batched=True),
        "folder, decode, transformers, one by one": lambda: [decode(x) for x in their_codes],
        "folder, decode, transformers, batches": lambda: [decode(x) for x in code_batches],
        "folder, decode, vqkit": lambda: tokenizer.decode(our_tokens, batched=True),
    }
    times = take_turns(of_clip, 3 * rounds, clock=clock)
    times |= take_turns(of_folder, rounds, warm_up=False, clock=clock)
    return {
        "name": name,
        "num_clips": len(clips),
        "clip_seconds": single.shape[-1] / rate,
        "folder_seconds": sum(clip.shape[-1] for clip in clips) / rate,
        "share_of_same_tokens": num_same / our_tokens.num_tokens,
        "milliseconds": {run: taken["fastest"] for run, taken in times.items()},
    }


def in_batches(items: list[Tensor]) -> list[list[Tensor]]:
    return [items[i : i + PEERS_BATCH] for i in range(0, len(items), PEERS_BATCH)]


def padded(items: list[Tensor]) -> list[Tensor]:
    longest = max(item.shape[-1] for item in items)
    return [torch.nn.functional.pad(item, (0, longest - item.shape[-1])) for item in items]


def mono(path: Path, rate: int) -> Tensor:
    """A clip as both libraries are given it: one channel at the model's rate."""
    sound = read_audio(path)
    return resample(sound.samples.mean(0, keepdim=True), sound.sample_rate_hz, rate).clamp(-1, 1)


def as_report(results: dict[str, Any]) -> str:
    lines = [
        "# Codecs of sound beside transformers",
        "",
        as_markdown(results["environment"]),
        "",
        f"Clips of `{results['clips']}`, brought to the model's rate before; random weights in the "
        f"published sizes, all codebooks. Times real time by {results['measured']}, fastest round; "
        "all in turn. Of a folder vqkit makes batches with lengths, transformers the faster of "
        f"clips one by one and padded batches of {PEERS_BATCH}.",
        "",
        "| model | what | transformers | vqkit | ratio |",
        "|---|---|---:|---:|---:|",
    ]
    for codec in results["codecs"]:
        for what in ("clip", "folder"):
            for verb in ("encode", "decode"):
                taken, run = codec["milliseconds"], f"{what}, {verb}"
                theirs = min(taken[name] for name in taken if name.startswith(f"{run}, trans"))
                ours, seconds = taken[f"{run}, vqkit"], codec[f"{what}_seconds"]
                lines.append(
                    f"| {codec['name']} | {verb} {what} ({seconds:.1f} s) "
                    f"| {1e3 * seconds / theirs:.2f} | {1e3 * seconds / ours:.2f} "
                    f"| {theirs / ours:.2f} |"
                )
    lines += [""]
    lines += [
        f"{codec['name']}: {codec['num_clips']} clips, {codec['share_of_same_tokens']:.4%} of the "
        "tokens are the same."
        for codec in results["codecs"]
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
