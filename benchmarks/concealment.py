"""Photos decoded after some of their tokens were lost, with and without a prior to fill them in.

``python -m benchmarks.concealment --model MODEL --images FOLDER --output benchmarks/results`` drops
tokens at random, each photo by itself. The folder must hold photos that neither the tokenizer nor
its prior was trained on; the picture shows one of scikit-image that image/quickstart holds out.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.environment import as_markdown, describe_environment, write_results
from vqkit import Tokenizer
from vqkit.data import HELD_OUT_PHOTOS, ImageFolder, Photos
from vqkit.evaluation.drawing import DARK, new_figure, png
from vqkit.files import CodingResources
from vqkit.metrics import psnr
from vqkit.priors import Prior
from vqkit.tokenizers import Tokens

SHARES = (0.05, 0.1, 0.2, 0.4)
DRAWN_SHARE = 0.2

Fill = Callable[[Tokens], Tokens]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="folder with a prior")
    parser.add_argument("--images", type=Path, required=True, help="folder of held-out photos")
    parser.add_argument("--most", type=int, default=16, help="photos")
    parser.add_argument("--output", type=Path, help="folder for concealment.json, .md and .png")
    arguments = parser.parse_args()

    tokenizer = Tokenizer.from_pretrained(arguments.model)
    assert tokenizer.folder is not None
    prior = CodingResources.of_model(tokenizer.folder).prior
    if not isinstance(prior, Prior):
        raise SystemExit(f"{arguments.model} has no prior. Train one with vqkit prior.")
    fills: dict[str, Fill] = {
        "holes": lambda tokens: tokens,
        "nearest known token": nearest_known,
        "prior": prior.fill_tokens,
    }
    source = ImageFolder(arguments.images)
    count = min(len(source), arguments.most)
    photos = [source[number] for number in range(count)]
    encoded = [tokenizer.encode([photo]) for photo in photos]
    rows = [measure(tokenizer, photos, encoded, share, fills) for share in SHARES]
    results = {
        "environment": describe_environment("numpy"),
        "model": f"{tokenizer.name} ({tokenizer.fingerprint}), prior {prior.digest.hex()}",
        "folder": arguments.images.name,
        "num_photos": count,
        "intact": mean([quality(tokenizer, p, t) for p, t in zip(photos, encoded, strict=True)]),
        "rows": rows,
    }
    report = as_report(results)
    print(report)
    if arguments.output:
        path = write_results(arguments.output, "concealment", results, report)
        # Photos that come with a dependency: the picture may be shown anywhere.
        shown = [photo for _, photo in Photos(HELD_OUT_PHOTOS).items()]
        drawn = [tokenizer.encode([photo]) for photo in shown]
        path.with_suffix(".png").write_bytes(draw(tokenizer, shown, drawn, fills))


def measure(
    tokenizer: Tokenizer,
    photos: list[Tensor],
    encoded: list[Tokens],
    share: float,
    fills: dict[str, Fill],
) -> dict[str, Any]:
    """Mean PSNR of the decoded photos against the originals; how many tokens came back right."""
    psnrs: dict[str, list[float]] = {name: [] for name in fills}
    right: dict[str, list[float]] = {name: [] for name in fills}
    for number, (photo, tokens) in enumerate(zip(photos, encoded, strict=True)):
        lost = with_losses(tokens, share, seed=number)
        is_lost = lost.indices < 0
        for name, fill in fills.items():
            filled = fill(lost)
            psnrs[name].append(quality(tokenizer, photo, filled))
            right[name].append((filled.indices == tokens.indices)[is_lost].float().mean().item())
    return {
        "share": share,
        "psnr_db": {name: mean(values) for name, values in psnrs.items()},
        "right": {name: mean(values) for name, values in right.items()},
    }


def with_losses(tokens: Tokens, share: float, seed: int) -> Tokens:
    """Each position lost with that probability, in all codebooks."""
    generator = torch.Generator().manual_seed(seed)
    indices = tokens.indices
    is_lost = torch.rand(indices.shape[:-1], generator=generator) < share
    return tokens.with_indices("tokens", torch.where(is_lost[..., None], -1, indices))


def nearest_known(tokens: Tokens) -> Tokens:
    """Each lost token as a copy of the nearest known one: what one does without a model."""
    (indices,) = tokens.indices
    known = torch.nonzero(indices[..., 0] >= 0)
    lost = torch.nonzero(indices[..., 0] < 0)
    if not len(known) or not len(lost):
        return tokens
    nearest = known[torch.cdist(lost.float(), known.float()).argmin(1)]
    filled = indices.clone()
    filled[lost.unbind(1)] = indices[nearest.unbind(1)]
    return tokens.with_indices("tokens", filled[None])


def quality(tokenizer: Tokenizer, photo: Tensor, tokens: Tokens) -> float:
    decoded = tokenizer.decode(tokens)[0].clamp(-1, 1)
    return psnr(decoded[None], photo[None]).item()


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def draw(
    tokenizer: Tokenizer, photos: list[Tensor], encoded: list[Tokens], fills: dict[str, Fill]
) -> bytes:
    """Crops of the originals and of what was decoded, a photo a row."""
    columns = ["original", "all tokens", *fills]
    figure = new_figure(230 * len(columns), 260 * len(photos))
    grid = figure.subplots(len(photos), len(columns), squeeze=False)
    for number, (row, photo, tokens) in enumerate(zip(grid, photos, encoded, strict=True)):
        lost = with_losses(tokens, DRAWN_SHARE, seed=number)
        versions = [tokens, *(fill(lost) for fill in fills.values())]
        pictures = [photo, *(tokenizer.decode(version)[0] for version in versions)]
        values = ["", *(f", {quality(tokenizer, photo, version):.1f} dB" for version in versions)]
        for axes, picture, name, value in zip(row, pictures, columns, values, strict=True):
            side = min(256, *picture.shape[1:])
            top, left = ((size - side) // 2 for size in picture.shape[1:])
            crop = picture[:, top : top + side, left : left + side].clamp(-1, 1)
            axes.imshow(((crop + 1) / 2).permute(1, 2, 0).numpy(), interpolation="nearest")
            axes.set_axis_off()
            axes.set_title(f"{name}{value}", fontsize=8, color=DARK)
    return png(figure)


def as_report(results: dict[str, Any]) -> str:
    names = list(results["rows"][0]["psnr_db"])
    lines = [
        "# Lost tokens",
        "",
        as_markdown(results["environment"]),
        "",
        f"{results['num_photos']} photos of `{results['folder']}`, tokens of {results['model']}. "
        "Tokens are dropped at random; mean PSNR in dB against the originals, and the share of "
        f"lost tokens that came back right. With all tokens: {results['intact']:.2f} dB.",
        "",
        "| lost | " + " | ".join(names) + " | right by nearest | right by prior |",
        "|---:|" + "---:|" * (len(names) + 2),
    ]
    for row in results["rows"]:
        cells = [f"{row['psnr_db'][name]:.2f}" for name in names]
        right = [f"{row['right'][name]:.1%}" for name in ("nearest known token", "prior")]
        lines.append(f"| {row['share']:.0%} | " + " | ".join([*cells, *right]) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
