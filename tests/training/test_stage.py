"""Trainings in stages: what is frozen stays bit for bit, and a stage starts where another ended."""

import copy

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from tests.training import tiny
from tests.training.test_module import fit, same
from vqkit.errors import ConfigError
from vqkit.nets import (
    FastDecoder,
    FastEncoder,
    VideoVQGANDecoder,
    VideoVQGANEncoder,
    VQGANDecoder,
    VQGANEncoder,
)
from vqkit.paths import config_dir
from vqkit.quantizers import FSQ, LFQ, Factorized
from vqkit.tokenizers import ImageFrontend, Tokenizer, VideoFrontend, build
from vqkit.training import Checkpoints, EarlierRun, InflatedImages, Stage

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning")

TOKENS = ("encoder", "quantizer")


class NormedEncoder(tiny.TinyEncoder):
    """With all that a frozen part must not do: averages of a norm, and chances."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(self.dim)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x):
        return self.dropout(self.norm(super().forward(x)))


def normed_tokenizer() -> Tokenizer:
    return Tokenizer(
        ImageFrontend(), NormedEncoder(), tiny.vector_quantizer(), tiny.TinyDecoder(), "tiny"
    )


def staged(max_steps: int, stage: Stage, tokenizer: Tokenizer | None = None, **options):
    """As ``tiny.training``, with AdamW, whose decay would shrink what is frozen and forgotten."""
    optimization = tiny.optimization(
        factory=lambda groups: torch.optim.AdamW(groups, lr=1e-2, weight_decay=0.1),
        stage=stage,
        **options.pop("optimization", {}),
    )
    return tiny.training(
        max_steps, optimization=optimization, tokenizer=tokenizer or normed_tokenizer(), **options
    )


@pytest.fixture(scope="module")
def first_stage(tmp_path_factory):
    """Folder of a run of four steps, and what was trained."""
    folder = tmp_path_factory.mktemp("run")
    module = tiny.training(4, tokenizer=normed_tokenizer())
    fit(module, callbacks=[Checkpoints(folder / "checkpoints")])
    module.exported.eval().save_pretrained(folder / "model")
    return folder, module


def parts(state: dict, *names: str) -> dict:
    return {n: v.clone() for n, v in state.items() if n.split(".")[0] in names}


@pytest.mark.parametrize("average_decay", [0.0, 0.9])
def test_the_decoder_alone_learns(first_stage, average_decay):
    """Weights, codes, their statistics and averages of norms stay; tokens do, too."""
    folder, earlier = first_stage
    stage = Stage(EarlierRun(folder), TOKENS)
    module = staged(4, stage, optimization={"average_decay": average_decay})
    before = copy.deepcopy(module.tokenizer.state_dict())
    image = torch.rand(1, 3, 32, 32) * 2 - 1
    tokens = earlier.exported.encode(image)
    # Validation and pictures switch modes in between.
    fit(module, validate_every=2)
    for tokenizer in (module.tokenizer, module.exported):
        after = tokenizer.state_dict()
        assert same(parts(before, *TOKENS), parts(after, *TOKENS)) == []
        changed = same(parts(before, "decoder"), parts(after, "decoder"))
        assert set(changed) == set(parts(before, "decoder"))
        assert torch.equal(tokenizer.encode(image).indices, tokens.indices)
    assert module.step == 4
    assert {f"quantizer/{name}" for name in ("commitment",)} <= module.latest.keys()


def test_without_freezing_all_of_that_moves(first_stage):
    """So that the test above can fail."""
    folder, _ = first_stage
    module = staged(4, Stage(EarlierRun(folder)))
    before = copy.deepcopy(module.tokenizer.state_dict())
    fit(module)
    changed = set(same(before, module.tokenizer.state_dict()))
    assert {"encoder.conv.weight", "encoder.norm.running_mean", "quantizer.codebook"} <= changed
    assert any(name.startswith("quantizer.") and name != "quantizer.codebook" for name in changed)


def test_frozen_parts_are_in_evaluation_whatever_is_called(first_stage):
    folder, _ = first_stage
    module = staged(2, Stage(EarlierRun(folder), TOKENS))
    tokenizer = module.tokenizer

    def frozen_modes():
        return {m.training for part in TOKENS for m in getattr(tokenizer, part).modules()}

    for switch in (module.train, lambda: module.eval().train()):
        switch()
        assert frozen_modes() == {False}
        assert tokenizer.decoder.training
    tokenizer.encode(torch.zeros(1, 3, 32, 32))
    assert frozen_modes() == {False}
    assert tokenizer.decoder.training
    media = torch.rand(2, 3, 32, 32)
    assert torch.equal(tokenizer(media).quantizer.indices, tokenizer(media).quantizer.indices), (
        "nothing is dropped at random"
    )
    assert not tokenizer(media).quantizer.quantized.requires_grad
    groups = module.configure_optimizers()[0].param_groups
    moved = {id(p) for group in groups for p in group["params"]}
    assert moved == {id(p) for p in tokenizer.decoder.parameters()}


def test_the_encoder_alone_learns_through_a_frozen_decoder(first_stage):
    folder, _ = first_stage
    module = staged(
        3,
        Stage(EarlierRun(folder), ["quantizer", "decoder"]),
        adversary=tiny.adversary(adaptive=False),
    )
    before = copy.deepcopy(module.tokenizer.state_dict())
    fit(module)
    after = module.tokenizer.state_dict()
    assert same(parts(before, "quantizer", "decoder"), parts(after, "quantizer", "decoder")) == []
    assert "encoder.conv.weight" in same(before, after)


def test_a_part_of_a_part():
    module = staged(1, Stage(frozen=["encoder.norm"]))
    trainable = {n for n, p in module.tokenizer.named_parameters() if p.requires_grad}
    assert "encoder.conv.weight" in trainable
    assert not any(name.startswith("encoder.norm") for name in trainable)
    assert not module.train().tokenizer.encoder.norm.training
    assert module.tokenizer.encoder.training


@pytest.mark.parametrize("place", ["", "model", "checkpoints/last.ckpt"])
def test_a_stage_starts_where_the_other_ended(first_stage, place):
    """From a checkpoint with the adversary; the average of the weights in any case."""
    folder, earlier = first_stage
    fresh = tiny.training(4, tokenizer=normed_tokenizer())
    module = staged(4, Stage(EarlierRun(folder / place)))
    assert same(earlier.exported.state_dict(), module.tokenizer.state_dict()) == []
    assert same(earlier.exported.state_dict(), module.exported.state_dict()) == []
    assert same(earlier.tokenizer.state_dict(), module.tokenizer.state_dict()), "not the last ones"
    other = earlier if place.endswith(".ckpt") else fresh
    assert same(other.adversary.state_dict(), module.adversary.state_dict()) == []
    # Steps, optimizers and data begin anew.
    assert module.step == 0


@pytest.mark.parametrize("place", ["model", "checkpoints/last.ckpt"])
def test_trap_44_a_codebook_that_is_set_stays_so_in_the_next_run(first_stage, place):
    """It goes on from the codes of before; k-means would put others in their places."""
    folder, earlier = first_stage
    module = staged(1, Stage(EarlierRun(folder / place)))
    codes = earlier.exported.quantizer.codebook.clone()
    quantizer = module.tokenizer.quantizer
    assert quantizer.initialized
    # Where the codes are, so that they are in use and none is revived.
    latents = codes.repeat(2, 8, 1) + 0.01 * torch.randn(2, 8 * len(codes), codes.shape[1])
    quantizer.train()(latents)
    assert not torch.equal(quantizer.codebook, codes), "it learns"
    assert torch.allclose(quantizer.codebook, codes, atol=0.01)


def test_a_checkpoint_without_what_is_asked_for(tmp_path):
    """No average, no adversary: the weights, and a judge that begins anew."""
    earlier = tiny.training(
        2, gan=False, optimization=tiny.optimization(average_decay=0.0), tokenizer=tiny.tokenizer()
    )
    fit(earlier, callbacks=[Checkpoints(tmp_path)])
    module = staged(2, Stage(EarlierRun(tmp_path / "last.ckpt")), tiny.tokenizer())
    assert same(earlier.tokenizer.state_dict(), module.tokenizer.state_dict()) == []
    without = staged(2, Stage(EarlierRun(tmp_path / "last.ckpt")), tiny.tokenizer(), gan=False)
    assert without.adversary is None


@pytest.mark.slow
def test_a_stage_resumes_exactly(first_stage, tmp_path):
    """N + M steps of a second stage equal N, resume, M."""
    folder, _ = first_stage

    def make():
        return staged(6, Stage(EarlierRun(folder), TOKENS))

    through, interrupted, resumed = make(), make(), make()
    fit(through)
    interrupted.max_steps = 3
    fit(interrupted, callbacks=[Checkpoints(tmp_path)])
    fit(resumed, resume=tmp_path / "last.ckpt")
    assert resumed.step == 6
    assert same(through.state_dict(), resumed.state_dict()) == []


class Unwilling:
    """Of what a checkpoint must not run."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('ran')",))


def test_starts_that_do_not_fit(first_stage, tmp_path):
    folder, _ = first_stage
    with pytest.raises(ConfigError, match=r"encoder.norm.\w+ is not of this network"):
        staged(1, Stage(EarlierRun(folder)), tiny.tokenizer())
    other = tiny.tokenizer(tiny.VectorQuantizer(4, 32))
    fit(
        tiny.training(1, tokenizer=tiny.tokenizer(tiny.VectorQuantizer(4, 16)), gan=False),
        callbacks=[Checkpoints(tmp_path)],
    )
    with pytest.raises(ConfigError, match=r"quantizer.codebook is \[16, 4\], not \[32, 4\]"):
        staged(1, Stage(EarlierRun(tmp_path / "last.ckpt")), other)
    with pytest.raises(ConfigError, match="found none"):
        staged(1, Stage(EarlierRun(tmp_path / "nothing.ckpt")))
    for name, content in (("other", [1]), ("code", Unwilling()), ("bare", {"state_dict": 1})):
        torch.save(content, tmp_path / f"{name}.ckpt")
        with pytest.raises(ConfigError, match="is no checkpoint of a training"):
            staged(1, Stage(EarlierRun(tmp_path / f"{name}.ckpt")))


def test_stages_that_make_no_sense():
    with pytest.raises(ConfigError, match=r"below encoder, quantizer, decoder, got 'encode'"):
        staged(1, Stage(frozen=["encode"]))
    with pytest.raises(ConfigError, match=r"initialised codes in the frozen 'quantizer'"):
        staged(1, Stage(frozen=["quantizer"]))
    fixed = tiny.tokenizer(Factorized(FSQ([5, 5]), 4))
    with pytest.raises(ConfigError, match="expected parameters that are not frozen"):
        staged(1, Stage(frozen=["encoder", "quantizer", "decoder"]), fixed)
    with pytest.raises(ConfigError, match="Set adaptive to false"):
        staged(1, Stage(frozen=["decoder"]), tiny.tokenizer(Factorized(FSQ([5, 5]), 4)))


@pytest.mark.parametrize(
    ("name", "start", "frozen"),
    [
        ("whole", None, ()),
        ("continued", EarlierRun, ()),
        ("decoder", EarlierRun, TOKENS),
        ("inflated", InflatedImages, ()),
    ],
)
def test_stages_as_they_are_configured(name, start, frozen):
    config = OmegaConf.load(config_dir() / "stage" / f"{name}.yaml")
    if start is not None:
        assert OmegaConf.is_missing(config.start, "path")
        config.start.path = "somewhere"
    stage = build(OmegaConf.to_container(config), trusted=["vqkit.training"])
    assert stage == Stage(None if start is None else start("somewhere"), frozen)
    assert len(list((config_dir() / "stage").iterdir())) == 4


SIZES = {"dim": 6, "base_width": 32, "multipliers": [1, 1], "num_res_blocks": 1,
         "attention_levels": [], "latent_width": 8, "middle_attention": False}  # fmt: skip


def clip_tokenizer(**options) -> Tokenizer:
    sizes = {**SIZES, "time_levels": [0], **options}
    encoder, decoder = VideoVQGANEncoder(**sizes), VideoVQGANDecoder(**sizes)
    return Tokenizer(VideoFrontend(), encoder, Factorized(LFQ(4), 6), decoder, "clips")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    torch.manual_seed(7)
    quantizer = Factorized(LFQ(4), 6)
    tokenizer = Tokenizer(
        ImageFrontend(), VQGANEncoder(**SIZES), quantizer, VQGANDecoder(**SIZES), "images"
    ).eval()
    folder = tmp_path_factory.mktemp("images")
    tokenizer.save_pretrained(folder)
    return folder, tokenizer


def test_inflated_images_give_a_single_frame_its_tokens(images):
    """What an image is as a clip of one frame: the same tokens and the same pixels."""
    folder, of_images = images
    clips = clip_tokenizer()
    picture = torch.rand(3, 16, 24) * 2 - 1
    Stage(InflatedImages(folder)).begin(clips)
    tokens = clips.encode([picture[:, None]])
    expected = of_images.encode([picture])
    assert tokens.indices.shape == (1, 1, 8, 12, 1)
    assert torch.equal(tokens.indices[:, 0], expected.indices)
    decoded = clips.decode(tokens)[0]
    assert torch.allclose(decoded[:, 0], of_images.decode(expected)[0], atol=1e-5)
    assert any(parameter.requires_grad for parameter in clips.parameters())


def test_images_that_cannot_be_inflated(images, tmp_path):
    folder, _ = images
    networks = FastEncoder(dim=4, widths=(8, 8)), FastDecoder(dim=4, widths=(8, 8))
    fast = Tokenizer(ImageFrontend(), networks[0], Factorized(LFQ(4), 4), networks[1])
    fast.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r"down.0.block.1.\S+ is missing"):
        Stage(InflatedImages(folder)).begin(clip_tokenizer(num_res_blocks=2))
    with pytest.raises(ConfigError, match=r"expected VQGANEncoder and .* got FastEncoder"):
        Stage(InflatedImages(tmp_path)).begin(clip_tokenizer())
    with pytest.raises(ConfigError, match=r"got VQGANEncoder, VQGANDecoder, TinyEncoder"):
        Stage(InflatedImages(folder)).begin(tiny.tokenizer())
