"""Hours of sound through the command line: peak memory and time, encoding and decoding.

``python -m benchmarks.long_sound --clip SPEECH`` repeats a clip to ``--hours`` of stereo at
44.1 kHz, writes it as FLAC, encodes it with EnCodec in its published size (24 kHz, 8 levels, random
weights, which cost what trained ones do) and decodes it again, each in a process of its own whose
peak of resident memory the system reports. ``--output benchmarks/results`` keeps the results.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.environment import as_markdown, describe_environment, write_results
from benchmarks.measuring import verb_in_own_process
from vqkit.media import AudioWriter, audio_info, read_audio
from vqkit.nets import SEANetDecoder, SEANetEncoder
from vqkit.ops.resample import resample
from vqkit.quantizers import Residual, VectorQuantizer
from vqkit.tokenizers import AudioFrontend, Tokenizer

_RATE_HZ = 44_100


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clip", type=Path, required=True, help="a sound to repeat")
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--chunk-seconds", type=float, default=2.0)
    parser.add_argument("--output", type=Path, help="folder for long-sound.json and .md")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        encodec(folder / "model")
        write_long(arguments.clip, folder / "long.flac", arguments.hours)
        chunk = ["--chunk-seconds", str(arguments.chunk_seconds)]
        model = ["-m", str(folder / "model"), *chunk]
        steps = {
            "encode": verb_in_own_process("encode", folder / "long.flac", *model),
            "decode": verb_in_own_process(
                "decode", folder / "long.flac.vqt", *model, "-o", folder / "back.flac"
            ),
        }
        sizes = [audio_info(folder / name).num_samples for name in ("long.flac", "back.flac")]
        if sizes[0] != sizes[1]:
            raise RuntimeError(f"decoded {sizes[1]} samples of {sizes[0]}")
        results: dict[str, Any] = {
            "environment": describe_environment(),
            "seconds": sizes[0] / _RATE_HZ,  # type: ignore[operator]
            "chunk_seconds": arguments.chunk_seconds,
            "file_bytes": (folder / "long.flac.vqt").stat().st_size,
            "steps": steps,
        }
    report = as_report(results)
    print(report)
    if arguments.output:
        write_results(arguments.output, "long-sound", results, report)


def encodec(folder: Path) -> None:
    """A model folder."""
    torch.manual_seed(0)
    quantizer = Residual(VectorQuantizer(128, 1024), 8)
    tokenizer = Tokenizer(
        AudioFrontend(24_000), SEANetEncoder(), quantizer, SEANetDecoder(), "audio/encodec"
    )
    with torch.no_grad():
        noise = torch.randn(16, 1, 24_000).cumsum(-1).mul(0.01).clamp(-1, 1)
        quantizer.train()(tokenizer.encoder(noise).movedim(1, -1))  # codes as latents have them
    tokenizer.eval().save_pretrained(folder)


def write_long(clip: Path, path: Path, hours: float) -> None:
    """The clip again and again, in both channels, until it is long enough."""
    sound = read_audio(clip)
    once = resample(sound.samples, sound.sample_rate_hz, _RATE_HZ).clamp(-1, 1)
    stereo = torch.cat([once[:1], once[-1:].flip(-1)])
    missing = round(hours * 3600 * _RATE_HZ)
    with AudioWriter(path, _RATE_HZ, channels=2) as writer:
        while missing > 0:
            writer.write(stereo[:, :missing])
            missing -= stereo.shape[1]


def as_report(results: dict[str, Any]) -> str:
    """Markdown."""
    rows = [
        f"| {verb} | {step['seconds']:.0f} | {results['seconds'] / step['seconds']:.1f} | "
        f"{step['peak_bytes'] / 1e9:.2f} |"
        for verb, step in results["steps"].items()
    ]
    return "\n".join(
        [
            "# Hours of sound",
            "",
            f"{results['seconds'] / 3600:.2f} hours of stereo at 44.1 kHz, EnCodec at 24 kHz with "
            f"8 levels, chunks of {results['chunk_seconds']:g} s; the token file has "
            f"{results['file_bytes']:,} bytes, "
            f"{8 * results['file_bytes'] / results['seconds'] / 1000:.2f} kbit/s.",
            "",
            "| verb | seconds | times real time | peak memory, GB |",
            "|---|---|---|---|",
            *rows,
            "",
            as_markdown(results["environment"]),
        ]
    )


if __name__ == "__main__":
    main()
