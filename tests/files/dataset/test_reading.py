"""Reading data sets back in PyTorch: every sample once, in an order that can be gone on with."""

import itertools
import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from tests.files.dataset.samples import PHOTOS, SPEECH, random_samples, write_dataset, write_shard
from vqkit.errors import ConfigError, ModelMismatchError, StorageError, TokenFileError
from vqkit.files.dataset import (
    Sample,
    TokenDataset,
    TokenIterableDataset,
    TokenLoader,
    collate_items,
    shard_name,
)
from vqkit.files.storage import Storage


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "set"


def good(samples: list[Sample]) -> list[Sample]:
    return [sample for sample in samples if sample.tokens is not None]


def test_by_index(folder: Path) -> None:
    samples = good(write_dataset(Storage.at(folder)))
    dataset = TokenDataset(folder, num_cached=2)
    assert len(dataset) == len(samples) == 29
    for index in [*range(29), 3, 28, 0, -1, -29]:
        item, sample = dataset[index], samples[index]
        assert sample.tokens is not None
        assert item["key"] == sample.key
        assert item["label"] == sample.label
        assert item["media"] == sample.tokens.media[0]
        assert item["indices"].dtype == torch.int64
        assert torch.equal(item["indices"], sample.tokens.indices[0])
        assert dataset.tokens(index).same_as(sample.tokens)
    for index in (29, -30):
        with pytest.raises(IndexError, match=r"No sample .*: expected -29 to 28"):
            dataset[index]


def test_streams_beside_the_main_one(folder: Path) -> None:
    samples = good(write_dataset(Storage.at(folder), SPEECH))
    item = TokenDataset(folder)[4]
    tokens = samples[4].tokens
    assert tokens is not None
    assert torch.equal(item["indices"], tokens.indices[0])
    assert torch.equal(item["indices_gain"], tokens.streams["gain"].indices[0])
    assert item["indices_speaker"].shape == (1,)


def test_a_data_set_of_nothing(folder: Path) -> None:
    write_dataset(Storage.at(folder), sizes=(0,))
    assert len(TokenDataset(folder)) == 0
    assert list(TokenIterableDataset(folder)) == []


def test_travels_to_workers(folder: Path) -> None:
    """Opened files do not: a worker that was forked opens its own."""
    samples = good(write_dataset(Storage.at(folder)))
    dataset = TokenDataset(folder)
    assert dataset[0]["key"] == samples[0].key
    assert pickle.loads(pickle.dumps(dataset))[5]["key"] == samples[5].key
    assert len(pickle.dumps(dataset)) < 20_000
    loader = DataLoader(
        dataset, batch_size=4, shuffle=True, num_workers=2, collate_fn=collate_items
    )
    assert Counter(key for batch in loader for key in batch["key"]) == Counter(
        s.key for s in samples
    )


def test_batches_are_padded(folder: Path) -> None:
    samples = good(write_dataset(Storage.at(folder)))[:5]
    dataset = TokenDataset(folder)
    batch = collate_items([dataset[index] for index in range(5)])
    for row, sample in enumerate(samples):
        assert sample.tokens is not None
        extent = batch["lengths"][row].tolist()
        assert extent == [*sample.tokens.indices.shape[1:3]]
        crop = batch["indices"][row, : extent[0], : extent[1]]
        assert torch.equal(crop, sample.tokens.indices[0])
        assert batch["indices"][row].sum() == crop.sum()


@settings(deadline=None, max_examples=12)
@given(
    sizes=st.lists(st.integers(0, 20), min_size=1, max_size=3),
    world_size=st.integers(1, 5),
    num_workers=st.integers(1, 4),
    buffer_size=st.integers(1, 40),
    equal=st.booleans(),
    shuffle=st.booleans(),
)
def test_nothing_is_lost_or_doubled(
    sizes: list[int],
    world_size: int,
    num_workers: int,
    buffer_size: int,
    equal: bool,
    shuffle: bool,
) -> None:
    """Over any number of ranks and workers, with shards of any sizes."""
    storage = Storage.at("memory://streams")
    for name in storage.names():
        storage.remove(name)
    keys = [s.key for s in good(write_dataset(storage, sizes=tuple(sizes), tokens=(1, 1)))]
    read, counts = [], []
    for rank in range(world_size):
        dataset = TokenIterableDataset(
            storage, buffer_size=buffer_size, rank=rank, world_size=world_size, equal=equal,
            shuffle=shuffle,
        )  # fmt: skip
        stretches = [
            [item["key"] for item in dataset._samples(worker, num_workers, 0)]
            for worker in range(num_workers)
        ]
        lengths = [*map(len, stretches)]
        assert max(lengths) - min(lengths) <= 1
        counts.append(sum(lengths))
        assert counts[-1] == len(dataset)
        read += itertools.chain(*stretches)
    assert len(set(read)) == len(read)
    assert max(counts) - min(counts) <= (0 if equal else 1)
    assert set(read) <= set(keys)
    assert len(keys) - len(read) == (len(keys) % world_size if equal else 0)
    if not shuffle:
        assert read == keys[: len(read)]


def keys_of(dataset: TokenIterableDataset) -> list[str]:
    return [item["key"] for item in dataset]


def test_orders_are_drawn_by_seed_and_epoch(folder: Path) -> None:
    samples = good(write_dataset(Storage.at(folder), sizes=(40, 40), tokens=(1, 1)))
    plain = [sample.key for sample in samples]
    dataset = TokenIterableDataset(folder, seed=1, buffer_size=16)
    first = keys_of(dataset)
    assert (
        first == keys_of(dataset) == keys_of(TokenIterableDataset(folder, seed=1, buffer_size=16))
    )
    dataset.set_epoch(1)
    others = [keys_of(dataset), keys_of(TokenIterableDataset(folder, seed=2, buffer_size=16))]
    assert len({tuple(keys) for keys in [plain, first, *others]}) == 4
    assert all(sorted(keys) == plain for keys in [first, *others])
    # Within a window samples of different row groups are mixed.
    places = [plain.index(key) for key in first[:16]]
    assert len({place // 5 for place in places}) > 2
    assert sorted(places) != places


def test_goes_on_exactly_where_it_stopped(folder: Path) -> None:
    write_dataset(Storage.at(folder), sizes=(20, 13), tokens=(1, 1))
    dataset = TokenIterableDataset(folder, seed=3, buffer_size=8)
    dataset.set_epoch(2)
    whole = keys_of(dataset)
    for stop in (0, 1, 7, 8, 9, 13, 28, 29):
        dataset.set_epoch(2)
        head = [item["key"] for item in itertools.islice(dataset, stop)]
        state = pickle.loads(pickle.dumps(dataset.state_dict()))
        fresh = TokenIterableDataset(folder, seed=3, buffer_size=8)
        fresh.load_state_dict(state)
        assert fresh.state_dict() == state
        assert head + keys_of(fresh) == whole
        # The next pass begins anew.
        assert keys_of(fresh) == whole


@pytest.mark.parametrize("num_workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_a_loader_goes_on_exactly(folder: Path, num_workers: int) -> None:
    write_dataset(Storage.at(folder), sizes=(20, 13), tokens=(1, 1))

    def loader() -> TokenLoader:
        dataset = TokenIterableDataset(folder, seed=3, buffer_size=8)
        return TokenLoader(dataset, 4, num_workers=num_workers)

    reference = loader()
    epochs = [[batch["key"] for batch in reference] for _ in range(2)]
    assert reference.state_dict()["epoch"] == 2
    assert epochs[0] != epochs[1]
    for epoch in epochs:
        assert len({key for batch in epoch for key in batch}) == 29
    for stop in (1, 4, 7):
        stopped = loader()
        head = [batch["key"] for batch in itertools.islice(stopped, stop)]
        state = stopped.state_dict()
        resumed = loader()
        resumed.load_state_dict(state)
        rest = [batch["key"] for batch in resumed]
        assert head + rest == epochs[0]
        assert [batch["key"] for batch in resumed] == epochs[1]


def test_workers_read_from_an_object_store(bucket: str) -> None:
    """Also where the parent has spoken with the store before they were forked."""
    storage = Storage.at(f"{bucket}/set")
    keys = [s.key for s in good(write_dataset(storage, sizes=(6, 3), tokens=(1, 1)))]
    assert TokenDataset(storage)[0]["key"] == keys[0]
    loader = TokenLoader(TokenIterableDataset(f"{bucket}/set", buffer_size=8), 4, num_workers=2)
    assert sorted(key for batch in loader for key in batch["key"]) == sorted(keys)


def test_ranks_of_equal_length_make_as_many_batches(folder: Path) -> None:
    write_dataset(Storage.at(folder), sizes=(20, 14), tokens=(1, 1))
    counts = [
        len([*TokenLoader(TokenIterableDataset(folder, rank=rank, world_size=3, equal=True), 4)])
        for rank in range(3)
    ]
    assert len(set(counts)) == 1
    full = TokenLoader(TokenIterableDataset(folder), 4, drop_last=True)
    assert {len(batch["key"]) for batch in full} == {4}


def test_states_of_others_are_refused(folder: Path) -> None:
    write_dataset(Storage.at(folder), sizes=(9,))
    dataset = TokenIterableDataset(folder, seed=1)
    state = dataset.state_dict()
    for other in ({"seed": 2}, {"world_size": 2}, {"rank": 1}, {"extra": 0}):
        with pytest.raises(ConfigError, match="State of a token data set: expected"):
            dataset.load_state_dict({**state, **other})
    dataset.load_state_dict({**state, "taken": [0, 0]})
    with pytest.raises(ConfigError, match=r"expected 2 worker\(s\) as before, got 1"):
        next(iter(dataset))
    loader = TokenLoader(dataset, 2, num_workers=2)
    with pytest.raises(ConfigError, match=r"expected 2 worker\(s\), got that of 1"):
        loader.load_state_dict(state)


def test_refuses_impossible_settings(folder: Path) -> None:
    write_dataset(Storage.at(folder), sizes=(9,))
    wrong: list[dict[str, Any]] = [
        {"rank": 2, "world_size": 2}, {"rank": -1}, {"world_size": 0}, {"buffer_size": 0},
    ]  # fmt: skip
    for words in wrong:
        with pytest.raises(ConfigError, match="expected 0 <= rank < world_size"):
            TokenIterableDataset(folder, **words)
    with pytest.raises(ConfigError, match="expected batches of at least 1"):
        TokenLoader(TokenIterableDataset(folder), 0)
    with pytest.raises(ConfigError, match="Cached row groups: expected at least 1"):
        TokenDataset(folder, num_cached=0)
    with pytest.raises(StorageError, match="expected a token data set"):
        TokenIterableDataset(folder / "inner")


def test_ranks_of_torch_distributed_are_known(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_dataset(Storage.at(folder), sizes=(9,))
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 2)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 4)
    dataset = TokenIterableDataset(folder)
    assert (dataset.rank, dataset.world_size) == (2, 4)


def test_shards_of_others_are_refused(folder: Path) -> None:
    storage = Storage.at(folder)
    write_dataset(storage)
    from dataclasses import replace

    other = replace(PHOTOS, fingerprint="f" * 32)
    data, _ = write_shard(other, random_samples(other, 20), 0, 3, rows_per_group=6)
    storage.write(shard_name(0, 3), data)
    with pytest.raises(ModelMismatchError, match="expected tokens of 'image/example'"):
        TokenDataset(folder)[0]
    data, _ = write_shard(PHOTOS, random_samples(PHOTOS, 20), 0, 3, rows_per_group=5)
    storage.write(shard_name(0, 3), data)
    with pytest.raises(TokenFileError, match="expected the shard of the manifest, got another"):
        TokenDataset(folder)[0]


def test_a_forked_process_does_not_share_files(folder: Path) -> None:
    """The place in a file that was opened before would be the parent's too."""
    samples = good(write_dataset(Storage.at(folder)))
    dataset = TokenDataset(folder)
    assert dataset[0]["key"] == samples[0].key
    readers = dict(dataset._groups._readers)
    assert readers
    dataset._groups._process -= 1  # as a child sees it
    assert dataset[0]["key"] == samples[0].key
    assert all(reader not in readers.values() for reader in dataset._groups._readers.values())
