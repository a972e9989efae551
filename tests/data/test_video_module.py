import pytest
import torch

from tests.data.test_module import as_rank, batches
from tests.media.video_files import clip, written
from vqkit.data import (
    FramesToMultiple,
    MovingShapes,
    RandomFrames,
    SampleStream,
    VideoDataModule,
    VideoFolder,
    video_training_chain,
)
from vqkit.errors import ConfigError

TRANSFORM = video_training_chain(3, 16, (0.5, 1.0))


@pytest.fixture
def folder(tmp_path):
    """Five clips of 4 to 8 frames; one of them is broken."""
    for number in range(5):
        content = written(clip(4 + number, 24 + 2 * number, 40), 20, format="mkv")
        (tmp_path / f"{number}.mkv").write_bytes(content if number != 2 else content[:300])
    return tmp_path


def make(folder, **settings) -> VideoDataModule:
    return VideoDataModule(VideoFolder(folder), TRANSFORM, **{"batch_size": 4, **settings})


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [0, 2])
def test_neither_workers_nor_ranks_nor_a_stop_change_a_batch(folder, num_workers):
    expected = batches(make(folder, seed=5), 4)
    stream = SampleStream(VideoFolder(folder), TRANSFORM, 5)
    for number, batch in enumerate(expected):
        assert batch.shape == (4, 3, 3, 16, 16)
        assert torch.equal(batch, torch.stack([stream[4 * number + i] for i in range(4)]))
    module = make(folder, seed=5, num_workers=num_workers)
    assert torch.equal(torch.cat(batches(module, 2)), torch.cat(expected[:2]))
    module.advance(8)
    second = make(folder, seed=5)
    second.load_state_dict(module.state_dict())
    assert torch.equal(torch.cat(batches(second, 2)), torch.cat(expected[2:]))
    halves = [
        torch.stack(batches(as_rank(make(folder, seed=5, batch_size=2), rank, 2), 4))
        for rank in (0, 1)
    ]
    assert torch.equal(torch.cat(halves, dim=1), torch.stack(expected))
    assert module.train.num_skipped == 1


def test_validation_gives_each_whole_clip_once(folder):
    module = make(folder, validation=VideoFolder(folder), validation_transform=FramesToMultiple(2))
    assert [item.shape[2] for item in module.val_dataloader()] == [3, 5, 7, 7]


@pytest.mark.parametrize("what", ["validation", "test"])
def test_all_sets_are_alike(what, folder):
    source = VideoFolder(folder, frame_rate=8)
    with pytest.raises(ConfigError, match=f"{what} clips: expected 8 frames/s and 3 channels as"):
        VideoDataModule(source, RandomFrames(2), **{what: VideoFolder(folder)})
    with pytest.raises(ConfigError, match="got their own frame rates and 3 channels"):
        VideoDataModule(source, RandomFrames(2), **{what: MovingShapes(2)})
