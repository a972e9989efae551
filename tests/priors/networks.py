"""Networks with weights as after training: of every size that the format has room for."""

import torch

from vqkit.priors import PriorNetwork


def random_network(
    level_sizes: tuple[int, ...], rank: int, *, dim: int = 32, depth: int = 2, seed: int = 0
) -> PriorNetwork:
    """A network whose activations reach their limits here and there."""
    generator = torch.Generator().manual_seed(seed)
    network = PriorNetwork(level_sizes, rank, dim=dim, depth=depth)
    with torch.no_grad():
        for parameter in network.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            spread = 0.2 * torch.exp(torch.randn(parameter.shape[:1], generator=generator))
            parameter.copy_(noise * spread.view(-1, *[1] * (parameter.ndim - 1)))
    return network
