"""Two processes with half the batch each train the model of one with the whole batch."""

import os
import socket
from functools import partial

import pytest
import torch

from tests.spawn import run_ranks
from tests.training import test_sound_adversary, tiny
from vqkit.training import Checkpoints, Optimization

STEPS = 4


def make(kind: str):
    torch.manual_seed(2)
    if kind == "adaptive":
        return tiny.training(
            STEPS, tokenizer=tiny.tokenizer(), adversary=tiny.adversary(norm="group")
        )
    # Adam's first steps would make another sign of what is nearly zero.
    descent = partial(torch.optim.SGD, lr=1e-2)
    return test_sound_adversary.training(
        STEPS,
        adversary=test_sound_adversary.adversary(optimizer=descent),
        optimization=Optimization(descent, clip_norm=1.0, average_decay=0.9),
    )


def train(module, batch_size: int, resume=None, callbacks=(), **options):
    data = tiny.data(batch_size=batch_size)
    trainer = tiny.trainer(callbacks=callbacks, **options)
    torch.manual_seed(5)
    trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=True)
    return data


class _TwoRanks:
    """Train as one of two ranks, then resume from a checkpoint of the second step."""

    def __init__(self, kind: str, folder: str, port: int):
        self.kind, self.folder, self.port = kind, folder, port

    def __call__(self, rank, join):
        os.environ.update(
            {
                "TORCHELASTIC_RUN_ID": "test",
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(self.port),
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": "2",
                "LOCAL_WORLD_SIZE": "2",
                "GROUP_RANK": "0",
            }
        )
        module = make(self.kind)
        checkpoints = Checkpoints(self.folder, every=2, keep=True)
        data = train(module, 4, callbacks=[checkpoints], devices=2)
        resumed = make(self.kind)
        train(resumed, 4, resume=f"{self.folder}/step_00000002.ckpt", devices=2)
        differing = [
            name
            for name, value in module.state_dict().items()
            if not torch.equal(value, resumed.state_dict()[name])
        ]
        return {"state": module.state_dict(), "position": data.position, "differing": differing}


@pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning")
@pytest.mark.parametrize("kind", ["adaptive", pytest.param("balanced", marks=pytest.mark.slow)])
def test_two_ranks_equal_one_process(tmp_path, kind):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    single = make(kind)
    data = train(single, 8)
    first, second = run_ranks(_TwoRanks(kind, str(tmp_path), port), timeout_seconds=200)
    assert first["position"] == second["position"] == data.position == STEPS * 8
    for name, value in single.state_dict().items():
        # Sums in another order: equal up to rounding, which Adam's first steps magnify.
        tolerance = 2e-4 if kind == "adaptive" else 1e-5
        assert torch.allclose(value, first["state"][name], atol=tolerance), name
        if "usage" not in name:
            assert torch.equal(first["state"][name], second["state"][name]), name
    codebook = "tokenizer.quantizer.codebook"
    assert torch.allclose(single.state_dict()[codebook], first["state"][codebook], atol=1e-5)
    # And a resumed run of two ranks is exact.
    assert first["differing"] == second["differing"] == []
