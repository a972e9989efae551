"""The first codebook follows a teacher, which itself is left as it is."""

import pytest
import torch
from torch import Tensor, nn

from tests.training import tiny
from vqkit.data import AudioDataModule, RandomSegment, Voices
from vqkit.errors import ConfigError, ShapeError
from vqkit.losses import L1, CosineDistance, LogSigmoidCosine
from vqkit.quantizers import EMA, RandomInit, Residual, VectorQuantizer
from vqkit.tokenizers import AudioFrontend, Tokenizer
from vqkit.training import Checkpoints, Distillation, TokenizerTraining, WeightedLoss

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning")

RATE, STRIDE, DIM, TEACHER_DIM = 8000, 160, 8, 5


class TinyCodec(nn.Module):
    """One convolution, there or back."""

    def __init__(self, back: bool):
        super().__init__()
        self.dim, self.stride = DIM, (STRIDE,)
        self.in_channels = self.out_channels = 1
        kind = nn.ConvTranspose1d if back else nn.Conv1d
        self.conv = kind(*((DIM, 1) if back else (1, DIM)), STRIDE, stride=STRIDE)

    @property
    def last_layer(self) -> Tensor:
        return self.conv.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Teacher(nn.Module):
    """200 frames per second of 16 kHz, a frame short as those without padding are."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(1, TEACHER_DIM, 120, stride=80)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.conv(x[:, None])).mT


def distillation(**options) -> Distillation:
    torch.manual_seed(2)
    settings = {"sample_rate_hz": RATE, "kernel": 8, "stride": 4, **options}
    loss = settings.pop("loss", CosineDistance())
    return Distillation(Teacher(), DIM, TEACHER_DIM, loss, **settings)


def training(max_steps: int, distilled: Distillation | None) -> TokenizerTraining:
    torch.manual_seed(3)
    quantizer = Residual(VectorQuantizer(DIM, 8, update=EMA(), init=RandomInit()), 2)
    tokenizer = Tokenizer(AudioFrontend(RATE), TinyCodec(False), quantizer, TinyCodec(True))
    return TokenizerTraining(
        tokenizer,
        {"waveform": WeightedLoss(L1())},
        tiny.optimization(average_decay=0.0),
        max_steps,
        distillation=distilled,
        log_every=1,
    )


def data() -> AudioDataModule:
    voices = Voices(4, seconds=0.5, sample_rate_hz=RATE)
    return AudioDataModule(voices, RandomSegment(3200), batch_size=4)


def fit(module, resume=None, **options):
    trainer = tiny.trainer(limit_val_batches=0, **options)
    trainer.fit(module, datamodule=data(), ckpt_path=resume, weights_only=True)
    return trainer


def test_the_first_level_learns_from_the_teacher():
    begun, module = (training(steps, distillation(weight=10.0)) for steps in (1, 20))
    before = {name: v.clone() for name, v in module.distillation.teacher.state_dict().items()}
    map_before = module.distillation.map.weight.detach().clone()
    fit(begun)
    fit(module)
    assert module.latest["loss/distillation"] < 0.5 * begun.latest["loss/distillation"]
    assert not torch.equal(module.distillation.map.weight, map_before)
    after = module.distillation.teacher.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_the_gradient_reaches_the_encoder_through_the_first_level_alone():
    module = training(1, distillation(loss=LogSigmoidCosine()))
    tokenizer = module.tokenizer
    batch = 0.3 * torch.randn(2, 1, 3200)
    module.distillation(tokenizer(batch).quantizer.first, batch).backward()
    assert tokenizer.encoder.conv.weight.grad.any()
    assert tokenizer.decoder.conv.weight.grad is None


def test_the_teacher_is_in_no_checkpoint_and_resumption_is_exact(tmp_path):
    through, interrupted, resumed = (training(4, distillation()) for _ in range(3))
    fit(through)
    interrupted.max_steps = 2
    fit(interrupted, callbacks=[Checkpoints(tmp_path, every=100)])
    fit(resumed, resume=tmp_path / "last.ckpt")
    state, expected = resumed.state_dict(), through.state_dict()
    assert {name for name in state if "distillation" in name} == {
        "distillation.map.weight",
        "distillation.map.bias",
    }
    assert [name for name in expected if not torch.equal(expected[name], state[name])] == []


def test_the_mean_of_the_teachers_frames_is_aligned():
    """Kernel 8, stride 4: each mean around its latent frame, ends over what there is."""
    features = torch.randn(1, 49, TEACHER_DIM)
    aligned = Distillation(
        lambda x: features, DIM, TEACHER_DIM, CosineDistance(), sample_rate_hz=16_000
    )
    target = aligned.target(torch.zeros(1, 1, 16_000))
    assert target.shape == (1, 13, TEACHER_DIM)
    torch.testing.assert_close(target[0, 0], features[0, :6].mean(0))
    torch.testing.assert_close(target[0, 1], features[0, 2:10].mean(0))
    torch.testing.assert_close(target[0, 12], features[0, 46:].mean(0))


def test_other_rates_and_widths_are_refused():
    batch, first = torch.zeros(1, 1, 3200), torch.zeros(1, 20, DIM)
    with pytest.raises(ShapeError, match="a frame more or less"):
        distillation(kernel=2, stride=2)(first, batch)
    with pytest.raises(ShapeError, match="a frame more or less"):
        Distillation(Teacher(), DIM, 4, CosineDistance(), sample_rate_hz=RATE)(first, batch)
    with pytest.raises(ConfigError, match="kernel >= stride"):
        distillation(kernel=1)
