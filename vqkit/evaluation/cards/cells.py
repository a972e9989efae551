"""Pictures of what quantizers do to the plane: the cells that share a code, and the codes."""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from vqkit.evaluation.cards.contestants import Contestant, Fit, projected
from vqkit.evaluation.cards.measure import train
from vqkit.evaluation.drawing import DARK, GREY, new_figure, png
from vqkit.quantizers import (
    BSQ,
    EMA,
    FSQ,
    IBQ,
    LFQ,
    Affine,
    Annealed,
    AssignmentEntropy,
    Cosine,
    DualCodebook,
    GaussianTable,
    Grouped,
    GumbelQuantizer,
    LogUniformGain,
    MultiScaleResidual,
    ProjectedVQ,
    PyramidVQ,
    Quantizer,
    RandomInit,
    RandomRotation,
    Residual,
    Rotated,
    ScalarLatent,
    SimVQ,
    Split,
    VectorQuantizer,
    VQLoss,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["CELLS", "CellPicture", "draw_cells", "plane_vectors"]

_SIDE = 400
_BATCH_SIZE = 1024
_REACH = 2.5
_RESOLUTION = 760
_MOST_CODES = 512
_NUM_DOTS = 250
_NUM_COLORS = 128
# Light tints, so that lines and dots show.
_TINTS = ("#A8CBE6", "#F6D7A0", "#A9DCCB", "#EDB79A", "#D8C6E4", "#F4EFA6", "#C9CED3", "#BFE3F2")


@dataclass(frozen=True)
class CellPicture:
    """A picture of one quantizer in two dimensions.

    Attributes:
        text: What is shown.
        draw: Trains for some steps and draws.
        height: Pixels; the width is always the same.
    """

    text: str
    draw: Callable[["Figure", int, int], None]
    height: int = _SIDE


def draw_cells(name: str, num_steps: int = 200, seed: int = 0) -> bytes:
    """Train the quantizer of this name in :data:`CELLS` on vectors of the plane, and draw it.

    Args:
        name: Key of ``CELLS``.
        num_steps: Training steps.
        seed: Of vectors and quantizer.

    Returns:
        A PNG file; smooth lines between flat tints need no more than a palette.
    """
    picture = CELLS[name]
    figure = new_figure(_SIDE, picture.height)
    picture.draw(figure, num_steps, seed)
    return png(figure, _NUM_COLORS)


def plane_vectors(num_vectors: int, generator: Generator) -> Tensor:
    """Training vectors ``[n, 2]``: a long cloud at 30 degrees and a small round one beside it."""
    noise = torch.randn(num_vectors, 2, generator=generator)
    angle = math.radians(30.0)
    turn = torch.tensor([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    long = (noise * torch.tensor([1.0, 0.35])) @ turn
    small = noise * 0.22 + torch.tensor([-0.9, 1.1])
    is_small = torch.rand(num_vectors, 1, generator=generator) < 0.25
    return torch.where(is_small, small, long)


def _plane(
    text: str, build: Callable[[Fit], Quantizer], learning_rate: float = 0.03
) -> CellPicture:
    contestant = Contestant("cells", text, build, learning_rate)

    def draw(figure: "Figure", num_steps: int, seed: int) -> None:
        quantizer = train(contestant, plane_vectors, num_steps, seed, batch_size=_BATCH_SIZE)
        axes = figure.subplots()
        _draw_plane(axes, quantizer.encode, quantizer.decode, quantizer.codebook_sizes)
        axes.set_title(text, size=9, color=DARK)

    return CellPicture(text, draw)


def _draw_plane(
    axes: "Axes",
    encode: Callable[[Tensor], Tensor],
    decode: Callable[[Tensor], Tensor],
    codebook_sizes: tuple[int, ...],
    scale: float = 1.0,
) -> None:
    """Cells as tints with lines between them, training vectors as grey dots, codes as dark ones."""
    line = torch.linspace(-_REACH, _REACH, _RESOLUTION)
    points = torch.stack(torch.meshgrid(line, line, indexing="xy"), dim=-1)
    cells = torch.zeros(points.shape[:2], dtype=torch.int64)
    for indices, size in zip(encode(points).unbind(-1), codebook_sizes, strict=True):
        cells = cells * size + indices
    _, cells = cells.unique(return_inverse=True)
    colors = torch.tensor([[int(tint[i : i + 2], 16) for i in (1, 3, 5)] for tint in _TINTS])
    picture = colors[_tints(cells)].float() / 255.0
    picture[_borders(cells)] = 0.25
    axes.imshow(
        picture.numpy(),
        origin="lower",
        extent=(-_REACH, _REACH, -_REACH, _REACH),
        interpolation="hanning",  # smooths the lines, which are finer than a pixel
    )
    x, y = (scale * plane_vectors(_NUM_DOTS, Generator().manual_seed(1))).T.tolist()
    axes.scatter(x, y, s=3, color=GREY, linewidth=0, alpha=0.7)
    if math.prod(codebook_sizes) <= _MOST_CODES:
        every = itertools.product(*map(range, codebook_sizes))
        codes = decode(torch.tensor(list(every))[None])[0].detach()
        x, y = codes.T.tolist()
        axes.scatter(x, y, s=17, color=DARK, edgecolor="white", linewidth=0.7, zorder=3)
    axes.set(xlim=(-_REACH, _REACH), ylim=(-_REACH, _REACH), xticks=[], yticks=[])
    axes.set_aspect("equal")
    axes.spines[:].set_color(GREY)


def _borders(cells: Tensor) -> Tensor:
    """Where a point's neighbour above or to the right lies in another cell, two points wide."""
    border = torch.zeros_like(cells, dtype=torch.bool)
    for axis in (0, 1):
        length = cells.shape[axis] - 1
        differs = cells.narrow(axis, 1, length) != cells.narrow(axis, 0, length)
        border.narrow(axis, 0, length).logical_or_(differs)
        border.narrow(axis, 1, length).logical_or_(differs)
    return border


def _tints(cells: Tensor) -> Tensor:
    """A tint for each cell, another than those of its neighbours while there are enough."""
    pairs = torch.cat(
        [
            torch.stack([cells[:, 1:].flatten(), cells[:, :-1].flatten()], dim=1),
            torch.stack([cells[1:].flatten(), cells[:-1].flatten()], dim=1),
        ]
    )
    pairs = pairs[pairs[:, 0] != pairs[:, 1]].unique(dim=0)
    num_cells = int(cells.max()) + 1
    neighbours: list[set[int]] = [set() for _ in range(num_cells)]
    for a, b in pairs.tolist():
        neighbours[a].add(b)
        neighbours[b].add(a)
    used = [0] * len(_TINTS)
    tints: list[int] = []
    for cell in range(num_cells):
        taken = {tints[other] for other in neighbours[cell] if other < cell}
        free = [tint for tint in range(len(_TINTS)) if tint not in taken] or [*range(len(_TINTS))]
        # The least used one: all tints are seen, and cells further off differ too.
        tint = min(free, key=lambda tint: used[tint])
        used[tint] += 1
        tints.append(tint)
    return torch.tensor(tints)[cells]


def _dual(figure: "Figure", num_steps: int, seed: int) -> None:
    """Two planes, one for each kind of position; hidden vectors lie nearer to the middle."""
    generator = Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        quantizer = DualCodebook(_vq(24), _vq(8)).train()
        for _ in range(num_steps):
            z = plane_vectors(_BATCH_SIZE, generator)[None]
            hidden = torch.rand(z.shape[:2], generator=generator) < 0.5
            z = torch.where(hidden[..., None], 0.5 * z, z)
            quantizer(z.requires_grad_(), hidden=hidden).loss.backward()
    quantizer.eval()
    for axes, title, part, scale in zip(
        figure.subplots(1, 2),
        ("visible: 24 codes", "hidden: 8 codes"),
        (quantizer.visible, quantizer.hidden),
        (1.0, 0.5),
        strict=True,
    ):
        _draw_plane(axes, part.encode, part.decode, part.codebook_sizes, scale)
        axes.set_title(title, size=9, color=DARK)


def _multiscale(figure: "Figure", num_steps: int, seed: int) -> None:
    """A smooth field after each scale, and the field itself."""
    scales = [[1, 1], [2, 2], [4, 4], [8, 8], [16, 16]]
    generator = Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        inner = VectorQuantizer(1, 16, update=EMA(0.95))
        quantizer = MultiScaleResidual(inner, scales).train()
        for _ in range(num_steps):
            quantizer(_fields(16, generator).requires_grad_()).loss.backward()
    quantizer.eval()
    field = _fields(1, Generator().manual_seed(seed + 1))
    indices = quantizer.encode(field)
    shown = []
    for number in range(1, len(scales) + 1):
        num_tokens = sum(math.prod(scale) for scale in scales[:number])
        prefix = indices.clone()
        prefix[:, num_tokens:] = -1
        shown.append((f"to {scales[number - 1][0]} x {scales[number - 1][1]}", prefix))
    pictures = [(title, quantizer.decode(prefix)) for title, prefix in shown]
    for axes, (title, picture) in zip(
        figure.subplots(2, 3).flatten(), [*pictures, ("input", field)], strict=True
    ):
        axes.imshow(picture[0, ..., 0].detach().numpy(), cmap="viridis", vmin=-2.5, vmax=2.5)
        axes.set_title(title, size=9, color=DARK)
        axes.set_axis_off()


def _fields(num_fields: int, generator: Generator) -> Tensor:
    """Sums of smooth noises, ``[n, 16, 16, 1]``."""
    parts = [
        F.interpolate(
            torch.randn(num_fields, 1, side, side, generator=generator), size=16, mode="bicubic"
        )
        * weight
        for side, weight in ((2, 1.6), (4, 0.6), (8, 0.25))
    ]
    return sum(parts, torch.zeros(())).movedim(1, -1)


def _vq(codebook_size: int, dim: int = 2) -> VectorQuantizer:
    return VectorQuantizer(dim, codebook_size, update=EMA(0.95))


CELLS: dict[str, CellPicture] = {
    "vq": _plane("VectorQuantizer, 32 codes", lambda fit: _vq(32)),
    "cosine": _plane(
        "VectorQuantizer, cosine, 12 codes",
        lambda fit: VectorQuantizer(2, 12, metric=Cosine(), update=EMA(0.95)),
    ),
    "affine": _plane("Affine, 32 codes", lambda fit: Affine(_vq(32))),
    "factorized": _plane(
        "Factorized to 1 dimension, 8 codes", lambda fit: projected(_vq(8, 1), 2), 0.01
    ),
    "projected": _plane(
        "ProjectedVQ, 32 codes",
        lambda fit: ProjectedVQ(2, 32, 16, table=GaussianTable()),
    ),
    "simvq": _plane("SimVQ, 32 codes", lambda fit: SimVQ(2, 32)),
    "fsq": _plane("FSQ, levels 5 x 4, learned projection", lambda fit: projected(FSQ([5, 4]), 2)),
    "lfq": _plane(
        "LFQ, 4 bits, learned projection", lambda fit: projected(LFQ(4, entropy=None), 2)
    ),
    "bsq": _plane(
        "BSQ, 4 bits, learned projection", lambda fit: projected(BSQ(4, entropy=None), 2)
    ),
    "ibq": _plane(
        "IBQ, 24 codes",
        lambda fit: IBQ(2, 24, init=RandomInit(1.0), entropy=AssignmentEntropy(0.05, 0.01)),
    ),
    "gumbel": _plane(
        "GumbelQuantizer, 24 codes",
        lambda fit: GumbelQuantizer(
            2, 24, temperature=Annealed(1.0, 0.0625, fit.num_steps), kl_weight=0.02
        ),
        0.3,
    ),
    "residual": _plane("Residual, 3 levels of 4 codes", lambda fit: Residual(_vq(4), 3)),
    "grouped": _plane("Grouped, 6 x 6 codes", lambda fit: Grouped(_vq(6, 1), 2)),
    "rotated": _plane(
        "Rotated Grouped, 6 x 6 codes",
        lambda fit: Rotated(Grouped(_vq(6, 1), 2), every=10, init=RandomRotation()),
    ),
    "split": _plane(
        "Split, 4 + 6 codes, each in 1 dimension",
        lambda fit: Split(projected(_vq(4, 1), 2), projected(_vq(6, 1), 2)),
        0.01,
    ),
    "pyramid": _plane(
        "PyramidVQ, 4 pulses, 4 gains",
        lambda fit: PyramidVQ(2, 4, LogUniformGain(4, 0.2, 1.4)),
    ),
    "scalar_latent": _plane(
        "ScalarLatent, 5 x 5 values",
        lambda fit: ScalarLatent(2, 5, loss=VQLoss()),
    ),
    "dual": CellPicture("DualCodebook, a codebook for each kind of position", _dual, 230),
    "multiscale": CellPicture("MultiScaleResidual, the sum after each scale", _multiscale, 300),
}
"""Every picture by its name; a new quantizer is a line here."""
