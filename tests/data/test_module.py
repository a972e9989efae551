import itertools
import multiprocessing
from types import SimpleNamespace

import lightning.pytorch as lightning
import pytest
import torch

from vqkit.data import (
    CenterCrop,
    CropToMultiple,
    ImageDataModule,
    ImageFolder,
    SampleStream,
    training_chain,
)
from vqkit.errors import ConfigError
from vqkit.media import read_image

FEW_WORKERS = "ignore:.*does not have many workers"
LIGHTNINGS_OWN = "ignore:.*isinstance.treespec, LeafSpec.:FutureWarning"


def make(folder, **settings) -> ImageDataModule:
    return ImageDataModule(
        ImageFolder(folder), training_chain(8, (0.5, 1.0)), **{"batch_size": 4, **settings}
    )


def batches(module: ImageDataModule, number: int) -> list[torch.Tensor]:
    return list(itertools.islice(module.train_dataloader(), number))


def as_rank(module: ImageDataModule, rank: int, world_size: int) -> ImageDataModule:
    module.trainer = SimpleNamespace(global_rank=rank, world_size=world_size)
    return module


def test_training_batches_are_the_samples_of_the_stream(folder):
    module = make(folder, seed=5)
    stream = SampleStream(module.train, module.transform, 5)
    for number, batch in enumerate(batches(module, 6)):
        assert batch.shape == (4, 3, 8, 8)
        assert torch.equal(batch, torch.stack([stream[4 * number + i] for i in range(4)]))


def test_any_number_of_workers_gives_the_same_batches(folder):
    expected = torch.cat(batches(make(folder), 8))
    assert torch.equal(torch.cat(batches(make(folder, num_workers=2), 8)), expected)


def test_n_and_m_batches_are_n_plus_m(folder):
    """Workers read ahead of the training: only what was trained on counts."""
    whole = batches(make(folder), 9)
    first = make(folder, num_workers=2)
    seen = batches(first, 4)
    first.advance(16)
    second = make(folder, num_workers=1)
    second.load_state_dict(first.state_dict())
    assert second.position == 16
    seen += batches(second, 5)
    assert torch.equal(torch.cat(seen), torch.cat(whole))


def test_two_ranks_end_to_end_are_one_process(folder):
    whole = torch.stack(batches(make(folder, batch_size=6), 5))
    halves = [
        torch.stack(batches(as_rank(make(folder, batch_size=3), rank, 2), 5)) for rank in (0, 1)
    ]
    assert torch.equal(torch.cat(halves, dim=1), whole)


def test_resuming_on_other_data_is_an_error(folder):
    state = make(folder, seed=3).state_dict()
    with pytest.raises(ConfigError, match=r"expected seed 3 .* got 4"):
        make(folder, seed=4).load_state_dict(state)
    (folder / "0.png").unlink()
    with pytest.raises(ConfigError, match=r"expected length 10 .* got 9"):
        make(folder, seed=3).load_state_dict(state)


def test_validation_gives_each_whole_image_once_in_order(folder):
    paths = sorted(folder.iterdir())
    module = make(folder, validation=ImageFolder(folder), num_workers=2)
    for _ in range(2):
        images = list(module.val_dataloader())
        assert len(images) == 10
        for image, path in zip(images, paths, strict=True):
            assert torch.equal(image, read_image(path)[None])


def test_validation_crops_if_asked(folder):
    module = make(folder, validation=ImageFolder(folder), validation_transform=CropToMultiple(8))
    assert {tuple(image.shape[2:]) for image in module.val_dataloader()} == {
        (16, 24),
        (24, 24),
        (24, 16),
    }
    module = make(folder, validation=ImageFolder(folder), validation_transform=CenterCrop(8))
    assert all(image.shape == (1, 3, 8, 8) for image in module.val_dataloader())


@pytest.mark.parametrize("num_workers", [0, 2])
def test_ranks_share_the_validation_images_without_doubles_or_losses(damaged_folder, num_workers):
    expected = [image for _, image in ImageFolder(damaged_folder).items()]
    shards = []
    for rank in range(3):
        module = make(
            damaged_folder, validation=ImageFolder(damaged_folder), num_workers=num_workers
        )
        shards.append(list(as_rank(module, rank, 3).val_dataloader()))
        assert module.validation.num_skipped == len(range(rank, 10, 3)) - len(shards[-1])
    assert [len(shard) for shard in shards] == [2, 3, 2]
    first_pixels = sorted(image[0, 0, 0, 0].item() for image in itertools.chain(*shards))
    assert first_pixels == [image[0, 0, 0].item() for image in expected]


def test_tests_fall_back_to_the_validation_images(folder, tmp_path):
    assert make(folder).val_dataloader() == []
    assert make(folder).test_dataloader() == []
    validation = ImageFolder(folder)
    assert len(list(make(folder, validation=validation).test_dataloader())) == 10
    own = ImageFolder(folder / "4.png")
    assert len(list(make(folder, validation=validation, test=own).test_dataloader())) == 1


def test_loaders_do_not_touch_the_global_generator(folder):
    module = make(folder, validation=ImageFolder(folder), num_workers=2)
    state = torch.random.get_rng_state()
    batches(module, 2)
    list(module.val_dataloader())
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize("settings", [{"batch_size": 0}, {"num_workers": -1}, {"seed": -1}])
def test_numbers_out_of_range_are_errors(folder, settings):
    with pytest.raises(ConfigError, match=f"{next(iter(settings))} of the data: expected at least"):
        make(folder, **settings)


@pytest.mark.slow
def test_workers_may_be_spawned(folder, monkeypatch):
    expected = torch.cat(batches(make(folder), 4))
    before = multiprocessing.get_start_method()
    multiprocessing.set_start_method("spawn", force=True)
    try:
        module = make(folder, validation=ImageFolder(folder), num_workers=2)
        assert torch.equal(torch.cat(batches(module, 4)), expected)
        assert len(list(module.val_dataloader())) == 10
    finally:
        multiprocessing.set_start_method(before, force=True)


class Recorder(lightning.LightningModule):
    """Trains nothing, notes what it sees."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen, self.validated = [], []

    def training_step(self, batch):
        self.seen.append(batch)
        self.trainer.datamodule.advance(len(batch) * self.trainer.world_size)
        return self.weight * batch.mean()

    def validation_step(self, batch, index):
        self.validated.append(batch)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(module, tmp_path, max_steps, checkpoint=None):
    recorder = Recorder()
    trainer = lightning.Trainer(
        max_steps=max_steps,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        val_check_interval=2,
        num_sanity_val_steps=0,
        default_root_dir=tmp_path,
    )
    trainer.fit(recorder, datamodule=module, ckpt_path=checkpoint, weights_only=True)
    return recorder, trainer


@pytest.mark.filterwarnings(FEW_WORKERS, LIGHTNINGS_OWN)
@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_trainer_resumes_where_it_stopped(damaged_folder, tmp_path, num_workers):
    def module():
        validation = ImageFolder(damaged_folder)
        return make(damaged_folder, validation=validation, num_workers=num_workers)

    whole, _ = fit(module(), tmp_path, 7)
    first, trainer = fit(module(), tmp_path, 3)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    second, trainer = fit(module(), tmp_path, 7, tmp_path / "last.ckpt")
    assert trainer.datamodule.position == 28
    assert (len(first.seen), len(second.seen)) == (3, 4)
    assert torch.equal(torch.cat(first.seen + second.seen), torch.cat(whole.seen))
    # Three times in seven steps, seven of the ten images each.
    assert len(whole.validated) == 21
