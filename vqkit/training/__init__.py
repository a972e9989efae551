"""Training a tokenizer with Lightning."""

from vqkit.training.adversary import Adversary
from vqkit.training.average import WeightAverage
from vqkit.training.callbacks import Checkpoints, ProgressBar, StopOnInterrupt
from vqkit.training.distillation import Distillation
from vqkit.training.examples import Clips, Pictures, Spectrograms
from vqkit.training.learning_rate import (
    Constant,
    Exponential,
    LearningRate,
    Milestones,
    WarmupCosine,
)
from vqkit.training.module import TokenizerTraining, WeightedLoss
from vqkit.training.optimization import Optimization
from vqkit.training.parameter_groups import make_optimizer, parameter_groups
from vqkit.training.prior import PriorTraining, train_prior
from vqkit.training.random_state import seed_everything
from vqkit.training.stage import Stage
from vqkit.training.start import EarlierRun, InflatedImages, Start
from vqkit.training.supervised import SupervisedTraining
from vqkit.training.trainer import make_trainer
from vqkit.training.validation import sound_metrics
from vqkit.training.watch_codebooks import WatchCodebooks

__all__ = [
    "Adversary",
    "Checkpoints",
    "Clips",
    "Constant",
    "Distillation",
    "EarlierRun",
    "Exponential",
    "InflatedImages",
    "LearningRate",
    "Milestones",
    "Optimization",
    "Pictures",
    "PriorTraining",
    "ProgressBar",
    "Spectrograms",
    "Stage",
    "Start",
    "StopOnInterrupt",
    "SupervisedTraining",
    "TokenizerTraining",
    "WarmupCosine",
    "WatchCodebooks",
    "WeightAverage",
    "WeightedLoss",
    "make_optimizer",
    "make_trainer",
    "parameter_groups",
    "seed_everything",
    "sound_metrics",
    "train_prior",
]
