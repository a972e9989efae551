"""Codecs of sound against the same models in transformers: same weights, same tokens, how fast.

``python -m benchmarks.audio_codecs --clips FOLDER`` takes EnCodec (24 kHz), DAC (16 kHz) and Mimi
in their published sizes with random weights, which cost what trained ones do. One clip alone, and a
folder of clips one after the other, as both libraries take clips of different lengths. Both sides
run in turn. ``--output benchmarks/results`` keeps the results.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import DacConfig, DacModel, EncodecConfig, EncodecModel, MimiConfig, MimiModel

from benchmarks.environment import as_markdown, describe_environment, write_results
from benchmarks.measuring import take_turns
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


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=Path, required=True, help="folder of sounds")
    parser.add_argument("--most", type=int, default=200, help="clips of the folder")
    parser.add_argument("--seconds", type=float, default=4.0, help="of the clip that is alone")
    parser.add_argument("--models", nargs="*", default=["encodec", "dac", "mimi"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, help="folder for audio-codecs.json and .md")
    arguments = parser.parse_args()

    files = find_audio(arguments.clips)[: arguments.most]
    makers = {"encodec": encodec, "dac": dac, "mimi": mimi}
    results: dict[str, Any] = {
        "environment": describe_environment("transformers"),
        "clips": arguments.clips.name,
        "codecs": [
            measure(name, makers[name](), files, arguments.seconds, arguments.rounds)
            for name in arguments.models
        ],
    }
    report = as_report(results)
    print(report)
    if arguments.output:
        write_results(arguments.output, "audio-codecs", results, report)


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
    name: str, codec: Codec, files: list[Path], seconds: float, rounds: int
) -> dict[str, Any]:
    """Fastest times of one clip and of the folder, and how many tokens are the same."""
    _, tokenizer, encode, decode = codec
    rate = tokenizer.frontend.sample_rate_hz
    assert rate is not None
    clips = [mono(path, rate) for path in files]
    single = max(clips, key=lambda clip: clip.shape[-1])[None, :, : round(seconds * rate)]
    codes, tokens = encode(single), tokenizer.encode(single)
    of_folder = [(encode(clip[None]), tokenizer.encode([clip])) for clip in clips]
    num_same = sum(int((a.mT == b.indices).sum()) for a, b in of_folder)
    runs: dict[str, Callable[[], object]] = {
        "clip, encode, transformers": lambda: encode(single),
        "clip, encode, vqkit": lambda: tokenizer.encode(single),
        "clip, decode, transformers": lambda: decode(codes),
        "clip, decode, vqkit": lambda: tokenizer.decode(tokens),
        "folder, encode, transformers": lambda: [encode(clip[None]) for clip in clips],
        "folder, encode, vqkit": lambda: tokenizer.encode(clips),
        "folder, decode, transformers": lambda: [decode(codes) for codes, _ in of_folder],
        "folder, decode, vqkit": lambda: [tokenizer.decode(tokens) for _, tokens in of_folder],
    }
    times = take_turns(runs, rounds)
    return {
        "name": name,
        "num_clips": len(clips),
        "clip_seconds": single.shape[-1] / rate,
        "folder_seconds": sum(clip.shape[-1] for clip in clips) / rate,
        "share_of_same_tokens": num_same / sum(b.num_tokens for _, b in of_folder),
        "milliseconds": {run: taken["fastest"] for run, taken in times.items()},
    }


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
        "published sizes, all codebooks. Times real time, fastest round; both sides in turn.",
        "",
        "| model | what | transformers | vqkit | ratio |",
        "|---|---|---:|---:|---:|",
    ]
    for codec in results["codecs"]:
        for what in ("clip", "folder"):
            for verb in ("encode", "decode"):
                theirs, ours = (
                    codec["milliseconds"][f"{what}, {verb}, {library}"]
                    for library in ("transformers", "vqkit")
                )
                seconds = codec[f"{what}_seconds"]
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
