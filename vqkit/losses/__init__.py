"""Losses of reconstructions and of adversaries, fp32 inside; media are in [-1, 1]."""

from vqkit.losses.adaptive_weight import adaptive_weight
from vqkit.losses.adversarial import AdversarialLoss, Hinge, LeastSquares, NonSaturating
from vqkit.losses.lecam import LeCAM
from vqkit.losses.lpips import LPIPS
from vqkit.losses.reconstruction import L1, L2
from vqkit.losses.schedule import AdversarialSchedule

__all__ = [
    "L1",
    "L2",
    "LPIPS",
    "AdversarialLoss",
    "AdversarialSchedule",
    "Hinge",
    "LeCAM",
    "LeastSquares",
    "NonSaturating",
    "adaptive_weight",
]
