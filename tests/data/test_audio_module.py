import itertools

import pytest
import torch

from tests.data.test_module import FEW_WORKERS, LIGHTNINGS_OWN, as_rank, batches, fit
from vqkit.data import (
    AudioDataModule,
    AudioFolder,
    Chain,
    RandomGain,
    RandomSegment,
    SampleStream,
    SegmentToMultiple,
    Voices,
)
from vqkit.errors import ConfigError

TRANSFORM = Chain({"segment": RandomSegment(4000, min_rms=0.1), "gain": RandomGain(-10, 6)})


def make(folder, **settings) -> AudioDataModule:
    cache_size_bytes = settings.pop("cache_size_bytes", 0)
    return AudioDataModule(
        AudioFolder(folder, cache_size_bytes=cache_size_bytes),
        TRANSFORM,
        **{"batch_size": 4, **settings},
    )


@pytest.mark.parametrize("cache_size_bytes", [0, 300_000])
def test_neither_workers_nor_a_cache_nor_damage_change_a_batch(damaged_sounds, cache_size_bytes):
    expected = batches(make(damaged_sounds, seed=5), 12)
    stream = SampleStream(AudioFolder(damaged_sounds), TRANSFORM, 5)
    for number, batch in enumerate(expected):
        assert batch.shape == (4, 1, 4000)
        assert torch.equal(batch, torch.stack([stream[4 * number + i] for i in range(4)]))
    module = make(damaged_sounds, seed=5, num_workers=2, cache_size_bytes=cache_size_bytes)
    assert torch.equal(torch.cat(batches(module, 12)), torch.cat(expected))
    assert module.train.num_skipped == 4


def test_n_and_m_batches_are_n_plus_m(damaged_sounds):
    """In another process, which has not met the damage that the first one met."""
    whole = batches(make(damaged_sounds), 12)
    first = make(damaged_sounds, num_workers=2)
    seen = batches(first, 5)
    first.advance(20)
    second = make(damaged_sounds, num_workers=1, cache_size_bytes=1 << 30)
    second.load_state_dict(first.state_dict())
    seen += batches(second, 7)
    assert torch.equal(torch.cat(seen), torch.cat(whole))


def test_two_ranks_end_to_end_are_one_process(damaged_sounds):
    whole = torch.stack(batches(make(damaged_sounds, batch_size=6), 5))
    halves = [
        torch.stack(batches(as_rank(make(damaged_sounds, batch_size=3), rank, 2), 5))
        for rank in (0, 1)
    ]
    assert torch.equal(torch.cat(halves, dim=1), whole)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_ranks_share_the_validation_sounds_without_doubles_or_losses(damaged_sounds, num_workers):
    expected = [sound for _, sound in AudioFolder(damaged_sounds).items()]
    shards = []
    for rank in range(3):
        module = make(
            damaged_sounds, validation=AudioFolder(damaged_sounds), num_workers=num_workers
        )
        shards.append(list(as_rank(module, rank, 3).val_dataloader()))
    assert [len(shard) for shard in shards] == [3, 2, 1]
    assert {sound.shape[2] for sound in itertools.chain(*shards)} == {
        sound.shape[1] for sound in expected
    }


def test_validation_cuts_if_asked(sounds):
    module = make(
        sounds,
        validation=AudioFolder(sounds),
        validation_transform=SegmentToMultiple(320, max_samples=10_000),
    )
    lengths = [sound.shape[2] for sound in module.val_dataloader()]
    assert len(lengths) == 10
    assert all(length % 320 == 0 for length in lengths)
    assert max(lengths) == 9920


@pytest.mark.parametrize("what", ["validation", "test"])
@pytest.mark.parametrize("settings", [{"sample_rate_hz": 16_000}, {"channels": 2}])
def test_all_sets_sound_alike(what, settings):
    with pytest.raises(ConfigError, match=f"{what} sounds: expected 24000 Hz and 1 channels as in"):
        AudioDataModule(Voices(2), TRANSFORM, **{what: Voices(2, **settings)})
    assert AudioDataModule(Voices(2), TRANSFORM, **{what: Voices(3)}).sample_rate_hz == 24_000


@pytest.mark.filterwarnings(FEW_WORKERS, LIGHTNINGS_OWN)
def test_a_trainer_resumes_where_it_stopped(damaged_sounds, tmp_path):
    def module():
        return make(damaged_sounds, validation=AudioFolder(damaged_sounds), num_workers=2)

    whole, _ = fit(module(), tmp_path, 7)
    first, trainer = fit(module(), tmp_path, 3)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    second, trainer = fit(module(), tmp_path, 7, tmp_path / "last.ckpt")
    assert trainer.datamodule.position == 28
    assert torch.equal(torch.cat(first.seen + second.seen), torch.cat(whole.seen))
    assert len(whole.validated) == 18
