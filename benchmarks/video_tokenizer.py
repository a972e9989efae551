"""VidTok against the same model in diffusers: same weights, same tokens, how fast.

``python -m benchmarks.video_tokenizer`` takes the causal 4x8x8 model in its published sizes, or
narrower with ``--width``, with random weights, which cost what trained ones do: a clip encoded to
tokens and its tokens decoded, as a whole and in steps of one latent frame. All run in turn.
``--output benchmarks/results`` keeps the results.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderVidTok
from torch import Tensor

from benchmarks.environment import as_markdown, describe_environment, write_results
from benchmarks.measuring import take_turns
from vqkit.nets import SteppedStream, open_stream
from vqkit.tokenizers import Tokenizer
from vqkit.tokenizers.converters import vidtok_from_diffusers

CODEBOOK_SIZE, DIM = 8**6, 6


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--width", type=int, default=128, help="channels at full resolution")
    parser.add_argument("--side", type=int, default=128, help="height and width in pixels")
    parser.add_argument("--frames", type=int, default=17)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--one-thread",
        action="store_true",
        help="processor time of one thread, for a machine that others use as well",
    )
    parser.add_argument("--output", type=Path, help="folder for the results")
    parser.add_argument("--name", default="video-tokenizer", help="of the files there")
    arguments = parser.parse_args()
    if arguments.one_thread:
        torch.set_num_threads(1)
    results = {
        "environment": describe_environment("diffusers"),
        "measured": "processor time of one thread" if arguments.one_thread else "the clock",
        "clip": [arguments.frames, arguments.side, arguments.side],
        "width": arguments.width,
        **measure(arguments),
    }
    report = as_report(results)
    print(report)
    if arguments.output:
        write_results(arguments.output, arguments.name, results, report)


@torch.no_grad()
def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Fastest times, and how many tokens are the same."""
    torch.manual_seed(0)
    model = AutoencoderVidTok(
        ch=arguments.width,
        z_channels=DIM,
        double_z=False,
        regularizer="fsq",
        codebook_size=CODEBOOK_SIZE,
    ).eval()
    parts = vidtok_from_diffusers(model.config, model.state_dict())
    parts.to(arguments.device)
    model = model.to(arguments.device)
    clip = torch.rand(1, 3, arguments.frames, arguments.side, arguments.side) * 2 - 1
    clip = clip.to(arguments.device)
    # What the model's own forward pass puts in front.
    padded = torch.cat([clip[:, :, :1]] * 3 + [clip], dim=2)
    _, their_indices = model.encode(padded)
    indices = encoded(parts, clip)
    runs = {
        "encode, diffusers": lambda: model.encode(padded),
        "encode, vqkit": lambda: encoded(parts, clip),
        "encode, vqkit in steps": lambda: encoded_in_steps(parts, clip),
        "decode, diffusers": lambda: model.decode(their_indices, decode_from_indices=True),
        "decode, vqkit": lambda: decoded(parts, indices),
        "decode, vqkit in steps": lambda: decoded_in_steps(parts, indices),
    }
    difference = model.decode(their_indices, decode_from_indices=True) - decoded(
        parts, their_indices[..., None].long()
    )
    clock = time.process_time if arguments.one_thread else time.perf_counter
    times = take_turns(runs, arguments.rounds, arguments.device, clock=clock)
    return {
        "share_of_same_tokens": float((indices[..., 0] == their_indices).float().mean()),
        "greatest_difference_of_pixels": float(difference.abs().max()),
        "milliseconds": {run: taken["fastest"] for run, taken in times.items()},
    }


def encoded(parts: Tokenizer, clip: Tensor) -> Tensor:
    return parts.quantizer.encode(parts.encoder(clip).movedim(1, -1))


def encoded_in_steps(parts: Tokenizer, clip: Tensor) -> Tensor:
    stream = SteppedStream(open_stream(parts.encoder), step=parts.encoder.stride[0], first=1)
    latent = torch.cat([stream.push(clip), stream.finish()], dim=2)
    return parts.quantizer.encode(latent.movedim(1, -1))


def decoded(parts: Tokenizer, indices: Tensor) -> Tensor:
    return parts.decoder(parts.quantizer.decode(indices).movedim(-1, 1))


def decoded_in_steps(parts: Tokenizer, indices: Tensor) -> Tensor:
    stream = SteppedStream(open_stream(parts.decoder), step=1)
    quantized = parts.quantizer.decode(indices).movedim(-1, 1)
    return torch.cat([stream.push(quantized), stream.finish()], dim=2)


def as_report(results: dict[str, Any]) -> str:
    frames, height, width = results["clip"]
    lines = [
        "# VidTok beside diffusers",
        "",
        as_markdown(results["environment"]),
        "",
        f"A clip of {frames} frames of {height}x{width}, causal 4x8x8 of {results['width']} "
        f"channels, random weights. Milliseconds by {results['measured']}, fastest round; all in "
        "turn.",
        "",
        "| what | diffusers | vqkit | ratio | vqkit in steps of one latent frame | ratio |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for what in ("encode", "decode"):
        theirs, ours, steps = (
            results["milliseconds"][f"{what}, {who}"]
            for who in ("diffusers", "vqkit", "vqkit in steps")
        )
        lines.append(
            f"| {what} | {theirs:.0f} | {ours:.0f} | {theirs / ours:.2f} | {steps:.0f} "
            f"| {theirs / steps:.2f} |"
        )
    lines += [
        "",
        f"{results['share_of_same_tokens']:.4%} of the tokens are the same; the greatest "
        f"difference of pixels is {results['greatest_difference_of_pixels']:.1e}.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
