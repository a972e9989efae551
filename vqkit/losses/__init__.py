"""Losses of reconstructions and of adversaries, fp32 inside; media are in [-1, 1]."""

from vqkit.losses.adaptive_weight import adaptive_weight
from vqkit.losses.adversarial import (
    AdversarialLoss,
    Hinge,
    LeastSquares,
    Mixed,
    NonSaturating,
)
from vqkit.losses.balancer import GradientBalancer
from vqkit.losses.distillation import CosineDistance, DistillationLoss, LogSigmoidCosine
from vqkit.losses.feature_matching import FeatureMatching
from vqkit.losses.frame_loss import FrameLoss, WeightedFrames
from vqkit.losses.lecam import LeCAM
from vqkit.losses.lpips import LPIPS
from vqkit.losses.motion import FlowLoss, FrameDifferences
from vqkit.losses.reconstruction import L1, L2
from vqkit.losses.schedule import AdversarialSchedule
from vqkit.losses.spectral import MelFilters, MultiScaleMel, MultiScaleSTFT
from vqkit.losses.spectral_distance import (
    LinearL1,
    LogL1,
    LogL2,
    SpectralConvergence,
    SpectralDistance,
)

__all__ = [
    "L1",
    "L2",
    "LPIPS",
    "AdversarialLoss",
    "AdversarialSchedule",
    "CosineDistance",
    "DistillationLoss",
    "FeatureMatching",
    "FlowLoss",
    "FrameDifferences",
    "FrameLoss",
    "GradientBalancer",
    "Hinge",
    "LeCAM",
    "LeastSquares",
    "LinearL1",
    "LogL1",
    "LogL2",
    "LogSigmoidCosine",
    "MelFilters",
    "Mixed",
    "MultiScaleMel",
    "MultiScaleSTFT",
    "NonSaturating",
    "SpectralConvergence",
    "SpectralDistance",
    "WeightedFrames",
    "adaptive_weight",
]
