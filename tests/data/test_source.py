import itertools
import logging

import pytest
import torch
from torch.utils.data import DataLoader

from vqkit.data import ImageFolder, ImageSource
from vqkit.errors import MediaError


class Numbers(ImageSource):
    """Images that hold their number; some are broken."""

    def __init__(self, num_images, broken=()):
        super().__init__(num_images)
        self.broken = broken
        self.attempts = []

    def name(self, index):
        return f"number {index}"

    def load(self, index):
        self.attempts.append(index)
        if index in self.broken:
            raise MediaError(f"{index} is broken.")
        return torch.full((1, 1, 1), float(index))


def test_a_whole_source_gives_each_image():
    source = Numbers(4)
    assert [source[i].item() for i in range(4)] == [0, 1, 2, 3]
    assert [image.item() for image in source] == [0, 1, 2, 3]
    assert source.num_skipped == 0


def test_a_broken_image_is_replaced_by_the_next_whole_one():
    source = Numbers(6, broken=(1, 2, 5))
    assert [source[i].item() for i in range(6)] == [0, 3, 3, 3, 4, 0]
    assert source.num_skipped == 3


def test_a_broken_image_is_tried_and_logged_once(caplog):
    source = Numbers(3, broken=(1,))
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            assert source[1].item() == 2
            assert [name for name, _ in source.items()] == ["number 0", "number 2"]
    assert [record.getMessage() for record in caplog.records] == ["Skipped number 1. 1 is broken."]
    assert source.attempts.count(1) == 1


def test_when_nothing_can_be_read_it_is_an_error():
    source = Numbers(3, broken=(0, 1, 2))
    with pytest.raises(MediaError, match="None of the 3 images"):
        source[1]
    assert list(source.items()) == []
    assert source.num_skipped == 3


@pytest.mark.parametrize("index", [-1, 3, 100])
def test_there_is_nothing_outside(index):
    with pytest.raises(IndexError):
        Numbers(3)[index]


def test_items_of_all_ranks_are_the_items_of_one():
    source = Numbers(11, broken=(4, 10))
    shards = [[name for name, _ in source.items(rank, 3)] for rank in range(3)]
    assert [len(shard) for shard in shards] == [4, 2, 3]
    assert sorted(itertools.chain(*shards)) == sorted(name for name, _ in source.items())
    assert len(list(source.items())) == 9


def test_what_workers_find_broken_is_counted_here(damaged_folder):
    source = ImageFolder(damaged_folder)
    loader = DataLoader(source, batch_size=None, num_workers=2, persistent_workers=True)
    for _ in range(2):
        levels = [round((image[0, 0, 0].item() + 1) * 12.75) for image in loader]
        assert levels == [0, 1, 4, 4, 4, 5, 6, 7, 8, 0]
    assert source.num_skipped == 3
