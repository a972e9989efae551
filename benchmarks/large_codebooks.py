"""Large codebooks: how much of them is used by quantizers trained alike on patches of photos.

``python -m benchmarks.large_codebooks --images FOLDER ...`` prints the tables, ``--output
benchmarks/results`` keeps them and draws the curves. An autoencoder of 8 x 8 patches is trained
jointly with each quantizer: the same initial networks, the same patches in the same order, the same
optimizer and number of steps. Without ``--images`` the photos inside scikit-image serve.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.environment import as_markdown, describe_environment, write_results
from vqkit.data import ImageFolder, ImageSource, Photos
from vqkit.metrics import CodebookLevel, CodeHistogram, codebook_level
from vqkit.quantizers import (
    Cosine,
    Factorized,
    GradientUpdate,
    ProjectedVQ,
    Quantizer,
    RandomInit,
    SimVQ,
    Table,
    VectorQuantizer,
    minibatch_kmeans,
)

SIZES = (16_384, 65_536, 100_000)
PATCH, PIXELS, WIDTH = 8, 3 * 8**2, 256
LATENT_DIM, CODE_DIM, FEATURES = 16, 8, 16
COLOURS = {"VQ": "C3", "factorised": "C1", "SimVQ": "C2", "VQGAN-LC": "C0"}
# Where usage is measured before the end, as parts of the steps, and over how many tokens per code.
CURVE, CURVE_TOKENS_PER_CODE = (0.1, 0.3, 0.6), 2
TOKENS_PER_CODE = (1, 2, 5, 10, 20, 50)
# What the papers count over: 256 tokens of each of ImageNet's 50,000 validation images.
ALL_TOKENS = 50_000 * 256
TRAINING_CORNERS = ((0, 0), (4, 4), (0, 4), (4, 0), (2, 2), (6, 6), (2, 6), (6, 2))
HELD_OUT_CORNERS = tuple((down, right) for down in (0, 2, 4, 6) for right in (0, 2, 4, 6))
TABLE_PATCHES_PER_CODE = 20
AT_ONCE = 65_536


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, nargs="*", default=[], help="folders of photos")
    parser.add_argument("--codes", type=int, nargs="*", default=SIZES)
    parser.add_argument("--methods", nargs="*", default=list(COLOURS), choices=list(COLOURS))
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=512, help="patches per step")
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--output", type=Path, help="folder for large-codebooks-cpu.{json,md,png}")
    arguments = parser.parse_args(words)

    training, held_out = read_patches(arguments.images)
    settings = {name: getattr(arguments, name) for name in ("steps", "batch", "learning_rate")}
    settings |= {"training_patches": len(training), "held_out_patches": len(held_out)}
    settings |= {"tokens_per_code": list(TOKENS_PER_CODE), "dims": [LATENT_DIM, CODE_DIM, FEATURES]}
    settings |= {"table_patches_per_code": TABLE_PATCHES_PER_CODE}
    results: dict[str, Any] = {"environment": describe_environment("numba"), **settings}
    runs = kept_runs(arguments.output, results)
    results["runs"] = list(runs.values())
    for seed in arguments.seeds:
        features = None
        if "VQGAN-LC" in arguments.methods:
            features = pretrained_features(training, seed, arguments)
        for size in arguments.codes:
            for method in arguments.methods:
                if (method, size, seed) in runs:
                    continue
                start = time.perf_counter()
                torch.manual_seed(seed)
                quantizer = quantizer_of(method, size, features)
                building = {"building": round(time.perf_counter() - start, 1)}
                run = train(quantizer, training, held_out, seed, arguments)
                run["seconds"] = {**building, **run["seconds"]}
                settings = {"method": method, "codebook_size": size, "seed": seed}
                settings |= {"torch_threads": torch.get_num_threads()}
                settings |= {"command": results["environment"]["command"]}
                runs[method, size, seed] = {**settings, **run}
                results["runs"] = [runs[key] for key in sorted(runs, key=place_in_report)]
                final = run["usage_by_tokens"][-1]
                print(
                    f"{method:10} {size:7,}  usage {final['usage']:.3f}  corrected "
                    f"{final['relative_usage']:.3f}  {run['psnr_db']:.2f} dB  {run['seconds']}",
                    flush=True,
                )
                # After each run: one that breaks does not take the others with it.
                if arguments.output:
                    write(results, arguments.output)
    print(as_report(results))


def place_in_report(run: tuple[str, int, int]) -> tuple[int, int, int]:
    """By size, then in the order of the methods, then by seed."""
    method, size, seed = run
    return size, list(COLOURS).index(method), seed


def kept_runs(folder: Path | None, results: dict) -> dict:  # type: ignore[type-arg]
    """What an earlier call of the same settings has left, by method, size and seed."""
    path = folder / "large-codebooks-cpu.json" if folder else None
    if path is None or not path.is_file():
        return {}
    earlier = json.loads(path.read_text())
    settings = results.keys() - {"environment", "runs"}
    if any(earlier.get(name) != results[name] for name in settings):
        return {}
    return {(run["method"], run["codebook_size"], run["seed"]): run for run in earlier["runs"]}


def write(results: dict, folder: Path) -> None:  # type: ignore[type-arg]
    path = write_results(folder, "large-codebooks-cpu", results, as_report(results))
    draw(results, path.with_suffix(".png"))


def read_patches(folders: list[Path]) -> tuple[Tensor, Tensor]:
    """Patches ``[n, 192]`` as uint8, in random order: to train on, and of other photos to measure.

    Half of the photos each, cut several times, each from another corner.
    """
    sources: list[ImageSource] = [ImageFolder(folder) for folder in folders] or [Photos()]
    photos = [(source, index) for source in sources for index in range(len(source))]
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(photos), generator=generator).tolist()
    training, held_out = (
        torch.cat(
            [
                patches
                for number in numbers
                for patches in cut(photos[number][0][photos[number][1]], corners)
            ]
        )
        for numbers, corners in ((order[::2], TRAINING_CORNERS), (order[1::2], HELD_OUT_CORNERS))
    )
    shuffled = (x[torch.randperm(len(x), generator=generator)] for x in (training, held_out))
    return next(shuffled), next(shuffled)[:ALL_TOKENS]


def cut(image: Tensor, corners: tuple[tuple[int, int], ...]) -> Iterator[Tensor]:
    """The patches of a photo ``[3, height, width]`` in [-1, 1], from each corner on."""
    pixels = ((image + 1.0) * 127.5).round().to(torch.uint8)
    height, width = (side // PATCH * PATCH - PATCH for side in image.shape[1:])
    for down, right in corners:
        crop = pixels[:, down : down + height, right : right + width]
        yield F.pixel_unshuffle(crop[None], PATCH).flatten(2)[0].T


def as_input(patches: Tensor) -> Tensor:
    return patches.float() / 127.5 - 1.0


def network(num_inputs: int, num_outputs: int) -> nn.Sequential:
    """Norm and SiLU before the last layer, as at the end of VQGAN's encoder."""
    return nn.Sequential(
        nn.Linear(num_inputs, WIDTH), nn.LayerNorm(WIDTH), nn.SiLU(), nn.Linear(WIDTH, num_outputs)
    )


def batches(training: Tensor, seed: int, arguments: argparse.Namespace) -> Iterator[Tensor]:
    """Batches of consecutive patches; each seed begins where the one before ends."""
    first = seed * arguments.steps
    for step in range(first, first + arguments.steps):
        rows = torch.arange(step * arguments.batch, (step + 1) * arguments.batch) % len(training)
        yield as_input(training[rows])


def pretrained_features(training: Tensor, seed: int, arguments: argparse.Namespace) -> Tensor:
    """Patches as an autoencoder without quantizer sees them: the place of VQGAN-LC's CLIP.

    From their mean, and all divided by one number, so that a row is about 1 long.
    """
    torch.manual_seed(seed + 1)
    encoder, decoder = network(PIXELS, FEATURES), network(FEATURES, PIXELS)
    optimizer = torch.optim.Adam(
        [*encoder.parameters(), *decoder.parameters()], lr=arguments.learning_rate
    )
    for x in batches(training, seed, arguments):
        optimizer.zero_grad()
        F.mse_loss(decoder(encoder(x)), x).backward()
        optimizer.step()
    used = training[: TABLE_PATCHES_PER_CODE * max(arguments.codes)]
    with torch.no_grad():
        features = torch.cat([encoder(as_input(rows)) for rows in used.split(AT_ONCE)])
    features -= features.mean(0)
    return features / features.square().sum(1).mean().sqrt()


class ClusteredTable(Table):
    """Centres of features, by vqkit's own clustering."""

    def __init__(self, features: Tensor) -> None:
        self.features = features

    def __call__(self, num_codes: int, dim: int) -> Tensor:
        rows = self.features[: TABLE_PATCHES_PER_CODE * num_codes]
        centres, _ = minibatch_kmeans(rows.split(AT_ONCE), num_codes, iterations=0)
        return centres


def quantizer_of(method: str, size: int, features: Tensor | None) -> Quantizer:
    """Each as its paper has it, behind the same latents."""
    if method == "VQ":  # VQGAN: codes are parameters, uniform in [-1/K, 1/K] at first
        return VectorQuantizer(LATENT_DIM, size, update=GradientUpdate(), init=RandomInit())
    if method == "SimVQ":
        return SimVQ(LATENT_DIM, size)
    if method == "factorised":  # ViT-VQGAN: unit codes in few dimensions
        inner: Quantizer = VectorQuantizer(
            CODE_DIM, size, metric=Cosine(), update=GradientUpdate(), init=RandomInit(1.0)
        )
    else:
        assert features is not None
        return ProjectedVQ(LATENT_DIM, size, FEATURES, table=ClusteredTable(features))
    return Factorized(inner, LATENT_DIM)


def train(
    quantizer: Quantizer,
    training: Tensor,
    held_out: Tensor,
    seed: int,
    arguments: argparse.Namespace,
) -> dict[str, Any]:
    """Train an autoencoder around the quantizer; measure on photos it has not seen."""
    torch.manual_seed(seed)
    encoder, decoder = network(PIXELS, LATENT_DIM), network(LATENT_DIM, PIXELS)
    parameters = [p for part in (encoder, quantizer, decoder) for p in part.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=arguments.learning_rate, betas=(0.9, 0.99))
    (size,) = quantizer.codebook_sizes
    curve, taken = [], {"training": 0.0, "measuring": 0.0}
    stops = {round(part * arguments.steps) for part in CURVE}
    for step, x in enumerate(batches(training, seed, arguments)):
        start = time.perf_counter()
        if step in stops:
            (level,), psnr_db = measure(
                encoder, quantizer, decoder, held_out, [CURVE_TOKENS_PER_CODE * size]
            )
            curve.append({"step": step, "psnr_db": psnr_db, **vars(level)})
            taken["measuring"] += time.perf_counter() - start
            start = time.perf_counter()
        output = quantizer(encoder(x))
        optimizer.zero_grad()
        (F.mse_loss(decoder(output.quantized), x) + output.loss).backward()
        # To zero over the second half.
        for group in optimizer.param_groups:
            group["lr"] = arguments.learning_rate * min(1.0, 2 * (1 - step / arguments.steps))
        optimizer.step()
        taken["training"] += time.perf_counter() - start
    start = time.perf_counter()
    numbers = [*(count * size for count in TOKENS_PER_CODE), ALL_TOKENS]
    levels, psnr_db = measure(encoder, quantizer, decoder, held_out, numbers)
    place = TOKENS_PER_CODE.index(CURVE_TOKENS_PER_CODE)
    curve.append({"step": arguments.steps, "psnr_db": psnr_db, **vars(levels[place])})
    taken["measuring"] += time.perf_counter() - start
    return {
        "curve": curve,
        "usage_by_tokens": [vars(level) for level in levels],
        "psnr_db": psnr_db,
        "seconds": {name: round(value, 1) for name, value in taken.items()},
    }


@torch.no_grad()
def measure(
    encoder: nn.Module, quantizer: Quantizer, decoder: nn.Module, patches: Tensor, num: list[int]
) -> tuple[list[CodebookLevel], float]:
    """Use of the codebook over the first patches, for each of some ascending numbers of them.

    Where there are fewer patches than a number says, all serve. The PSNR is over all that are used.
    """
    quantizer.eval()
    (size,) = quantizer.codebook_sizes
    counts, error, done, levels = torch.zeros(size, dtype=torch.int64), 0.0, 0, []
    for number in (min(n, len(patches)) for n in num):
        for rows in patches[done:number].split(AT_ONCE):
            x = as_input(rows)
            output = quantizer(encoder(x))
            counts += torch.bincount(output.indices.flatten(), minlength=size)
            error += float((decoder(output.quantized) - x).square().sum())
        done = number
        levels.append(codebook_level(CodeHistogram.from_counts(counts)))
    quantizer.train()
    # Pixels are in [-1, 1]: the peak is 2.
    mse = torch.tensor(error / (done * patches.shape[1]))
    return levels, float(10 * torch.log10(4.0 / mse))


def as_report(results: dict) -> str:  # type: ignore[type-arg]
    commands = dict.fromkeys(run["command"] for run in results["runs"])
    environment = {**results["environment"], "command": "` and `".join(commands)}
    lines = ["# Large codebooks", "", as_markdown(environment), ""]
    lines += [
        f"An autoencoder of {PATCH} x {PATCH} x 3 patches (layers of {PIXELS}, {WIDTH} and "
        f"{LATENT_DIM} features, and back) is trained jointly with each quantizer for "
        f"{results['steps']:,} steps of {results['batch']:,} patches with Adam, learning rate "
        f"{results['learning_rate']} that falls to zero over the second half: the same "
        "initial networks, the same patches in the same order. "
        f"{results['training_patches']:,} patches to train on; measured on patches of other "
        f"photos, {results['held_out_patches']:,} in random order. Each seed has networks, tables "
        "and patches of its own.",
        "",
        f"- VQ: {LATENT_DIM} dims, codes are parameters, uniform in [-1/K, 1/K] at first, no "
        "revival (VQGAN).",
        f"- factorised: projected to {CODE_DIM} dims, unit codes that are parameters, no revival "
        "(ViT-VQGAN).",
        f"- SimVQ: {LATENT_DIM} dims, random frozen table, one trained matrix.",
        f"- VQGAN-LC: {LATENT_DIM} dims, frozen table, trained projection. The table has the "
        "centres that `minibatch_kmeans` finds in one pass, without Lloyd steps, over at most "
        f"{TABLE_PATCHES_PER_CODE} patches per code, in the {FEATURES} features of an autoencoder "
        "without quantizer, trained as long before: the place of the paper's CLIP. The other three "
        "have no such training.",
        "",
        "*Usage* is the share of codes seen at all; *corrected* is it over that of a perfectly "
        "uniform source over as many tokens. A source that is not uniform, as photos are not, "
        "shows its rare codes late: the same model is given at several numbers of tokens, at last "
        f"{ALL_TOKENS:,}, as many as the papers count over (256 of each of ImageNet's 50,000 "
        "validation images: 128 per code at 100,000 codes, 195 at 65,536). Learning rate, "
        "normalisation, and size, clustering and dims of the table were chosen by usage on these "
        "held-out patches, mostly of 16,384 codes. *Perplexity* is relative to K, over all tokens, "
        "as is PSNR.",
        "",
        "| codes | quantizer | seed | "
        + " | ".join(f"corrected, {count} K tokens" for count in TOKENS_PER_CODE)
        + f" | corrected, {ALL_TOKENS / 1e6:.1f} M tokens"
        + " | usage | perplexity | PSNR in dB | table | training | threads |",
        "|---:|---|" + "---:|" * (len(TOKENS_PER_CODE) + 8),
    ]
    for run in results["runs"]:
        levels, size = run["usage_by_tokens"], run["codebook_size"]
        cells = [f"{size:,}", run["method"], f"{run['seed']}"]
        cells += [f"{level['relative_usage']:.1%}" for level in levels]
        cells += [f"{levels[-1]['usage']:.1%}", f"{levels[-1]['perplexity'] / size:.1%}"]
        cells += [f"{run['psnr_db']:.2f}"]
        cells += [f"{run['seconds'][part]:.0f} s" for part in ("building", "training")]
        cells += [f"{run['torch_threads']}"]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "![Usage](large-codebooks-cpu.png)"]
    return "\n".join(lines) + "\n"


def draw(results: dict, path: Path) -> None:  # type: ignore[type-arg]
    """Usage over training and over the number of tokens, a column per size."""
    from vqkit.evaluation.drawing import new_figure, plain_axes, png

    sizes = sorted({run["codebook_size"] for run in results["runs"]})
    figure = new_figure(360 * len(sizes), 620)
    axes = figure.subplots(2, len(sizes), squeeze=False, sharey=True)
    for run in results["runs"]:
        training, tokens = axes[:, sizes.index(run["codebook_size"])]
        style = {"color": COLOURS[run["method"]], "marker": "o", "ms": 4, "lw": 1}
        style["label"] = run["method"] if run["seed"] == 0 else None
        counts = [*TOKENS_PER_CODE, ALL_TOKENS / run["codebook_size"]]
        for panel, levels, places in (
            (training, run["curve"], [point["step"] for point in run["curve"]]),
            (tokens, run["usage_by_tokens"], counts),
        ):
            panel.plot(places, [100 * level["relative_usage"] for level in levels], **style)
    for column, size in enumerate(sizes):
        training, tokens = axes[:, column]
        for panel in (training, tokens):
            plain_axes(panel)
            panel.axhline(95, color="#888888", linewidth=0.8, linestyle="--")
        training.set(ylim=(-3, 103), xlim=(0, None), xlabel="training step")
        training.set_title(f"{size:,} codes", fontsize=10)
        tokens.set(xscale="log", xlabel="measured tokens per code, after training")
        tokens.set_xticks(TOKENS_PER_CODE, TOKENS_PER_CODE)
        tokens.minorticks_off()
    axes[0, 0].set_ylabel(f"corrected usage, %\n({CURVE_TOKENS_PER_CODE} tokens per code)")
    axes[1, 0].set_ylabel("corrected usage, %")
    axes[0, 0].legend(fontsize=8)
    path.write_bytes(png(figure))


if __name__ == "__main__":
    main()
