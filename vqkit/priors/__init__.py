"""Learned priors of token grids: for smaller files, likelihoods, and tokens that were lost."""

from vqkit.priors.levels import Levels
from vqkit.priors.network import PriorNetwork
from vqkit.priors.order import reveal_order, step_bounds
from vqkit.priors.prior import Prior, PriorSpec
from vqkit.priors.prior_file import PRIOR_FILE, read_prior, write_prior

__all__ = [
    "PRIOR_FILE",
    "Levels",
    "Prior",
    "PriorNetwork",
    "PriorSpec",
    "read_prior",
    "reveal_order",
    "step_bounds",
    "write_prior",
]
