import itertools

import pytest
import torch
from torch.utils.data import DataLoader

from vqkit.data import ImageFolder, PositionSampler, RandomCrop, SampleStream, training_chain
from vqkit.errors import ConfigError


def take(sampler: PositionSampler, num_batches: int) -> list[list[int]]:
    return list(itertools.islice(sampler, num_batches))


def flat(batches) -> list[int]:
    return list(itertools.chain(*batches))


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("start", [0, 1, 17, 10**12])
def test_the_ranks_end_to_end_are_the_batch_of_one_process(world_size, start):
    ranks = [
        take(PositionSampler(4, start=start, rank=rank, world_size=world_size), 5)
        for rank in range(world_size)
    ]
    joined = [flat(batches) for batches in zip(*ranks, strict=True)]
    assert joined == take(PositionSampler(4 * world_size, start=start), 5)
    assert flat(joined) == list(range(start, start + 20 * world_size))


def test_going_on_is_the_same_as_not_stopping():
    whole = take(PositionSampler(3), 10)
    assert take(PositionSampler(3), 4) + take(PositionSampler(3, start=12), 6) == whole


def test_the_world_may_change_between_two_runs():
    """One process for 2 steps of 4, then two processes with half of it each."""
    whole = flat(take(PositionSampler(4), 5))
    first = flat(take(PositionSampler(4), 2))
    ranks = [take(PositionSampler(2, start=8, rank=rank, world_size=2), 3) for rank in (0, 1)]
    rest = [position for batches in zip(*ranks, strict=True) for position in flat(batches)]
    assert first + rest == whole


@pytest.mark.parametrize(
    "settings", [{"start": -1}, {"rank": 1}, {"rank": -1}, {"world_size": 0}, {"batch_size": 0}]
)
def test_wrong_numbers_are_errors(settings):
    with pytest.raises(ConfigError, match="sampler: expected"):
        PositionSampler(**{"batch_size": 2, **settings})


def test_each_epoch_visits_each_image_once_in_another_order(folder):
    stream = SampleStream(ImageFolder(folder), RandomCrop(4), seed=3)
    epochs = [[stream.index_of(10 * epoch + i) for i in range(10)] for epoch in range(20)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 20
    # No image likes a place: each stands first now and then.
    assert len({epoch[0] for epoch in epochs}) >= 6


def test_a_sample_is_a_function_of_seed_and_position(folder):
    def stream(seed):
        return SampleStream(ImageFolder(folder), training_chain(8, (0.5, 1.0)), seed)

    first = [stream(0)[position] for position in (5, 123_456_789, 5)]
    assert torch.equal(first[0], first[2])
    backwards = stream(0)
    samples = {position: backwards[position] for position in reversed(range(30))}
    assert all(torch.equal(stream(0)[position], samples[position]) for position in range(30))
    others = [stream(1)[position] for position in range(30)]
    assert sum(torch.equal(a, samples[i]) for i, a in enumerate(others)) <= 1


def test_the_same_image_is_cut_differently_each_time(folder):
    stream = SampleStream(ImageFolder([folder / "3.png"]), RandomCrop(4), seed=0)
    samples = torch.stack([stream[position] for position in range(20)])
    assert len({sample.numpy().tobytes() for sample in samples}) >= 18


def test_neither_workers_nor_the_global_generator_change_a_sample(folder):
    stream = SampleStream(ImageFolder(folder), training_chain(16, (0.4, 1.0)), seed=7)
    expected = torch.stack([stream[position] for position in range(40)])
    for num_workers in (0, 1, 2):
        torch.manual_seed(num_workers)
        loader = DataLoader(stream, batch_sampler=PositionSampler(8), num_workers=num_workers)
        batches = torch.cat(list(itertools.islice(loader, 5)))
        assert torch.equal(batches, expected)


def test_a_broken_file_leaves_the_batch_full(damaged_folder):
    stream = SampleStream(ImageFolder(damaged_folder), RandomCrop(8), seed=0)
    loader = DataLoader(stream, batch_sampler=PositionSampler(5))
    batches = list(itertools.islice(loader, 4))
    assert all(batch.shape == (5, 3, 8, 8) for batch in batches)
    again = SampleStream(ImageFolder(damaged_folder), RandomCrop(8), seed=0)
    # The replacement does not depend on what was read before.
    assert torch.equal(torch.cat(batches)[13], again[13])
    assert stream.source.num_skipped == 3


def test_many_images_cost_one_permutation_for_each_epoch():
    class Many:
        def __len__(self):
            return 1_000_000

    stream = SampleStream.__new__(SampleStream)
    stream.source, stream.seed = Many(), 0
    indices = [stream.index_of(position) for position in range(999_000, 1_001_000)]
    assert len(set(indices[:1000])) == len(set(indices[1000:])) == 1000
