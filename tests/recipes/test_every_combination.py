"""The whole cross: every quantizer in the quickstarts of images, sounds and clips, to a file."""

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig
from torch.utils.data import DataLoader

from tests.recipes.test_configurations import choices, composed
from vqkit.errors import ConfigError
from vqkit.files import read_tokens, write_tokens
from vqkit.tokenizers import Tokenizer
from vqkit.training import make_trainer

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning")

QUANTIZERS = choices("quantizer")

# The quickstarts with narrow networks.
SMALL = {
    "image": ["encoder.dim=16", "encoder.widths=[8,8]", "encoder.num_blocks=[1,1]"],
    "audio": ["encoder.dim=16", "encoder.num_filters=2", "decoder.width=32",
              "decoder.hidden_dim=16", "decoder.num_layers=1"],
    "video": ["encoder.dim=16", "encoder.widths=[8,8]", "encoder.num_blocks=[1,1]",
              "decoder.num_blocks=[1,1]"],
}  # fmt: skip
# Media of 4 x 4, of 8 and of 2 x 2 x 2 latents to train on; others to code, of no whole stride.
TRAINED_ON = {"image": (3, 32, 32), "audio": (1, 1600), "video": (3, 5, 16, 16)}
CODED = {"image": (3, 21, 38), "audio": (1, 1490), "video": (3, 7, 20, 13)}
# What takes the encoder's features as they are wants as many as it has.
OF_A_WIDTH = {"fsq_bare": ["encoder.dim=6"]}
# Token maps from coarse to fine are of one grid; in the file it is that of 4 x 4 latents.
OF_A_GRID = {
    "multiscale_vq": {
        "image": [],
        "audio": ["quantizer.scales=[[1],[2],[4],[8]]"],
        "video": ["quantizer.scales=[[1,1,1],[2,1,1],[2,2,2]]"],
    }
}
# One of each modality, and between them a table, levels and no codebook at all.
QUICK = {("vq_small", "image"), ("residual_fsq", "audio"), ("fsq", "video")}
CASES = [(quantizer, modality) for quantizer in QUANTIZERS for modality in SMALL]


def shrink(config) -> None:
    """Few codes per codebook and few levels: two steps are no training."""
    if isinstance(config, DictConfig):
        for key, most in (("codebook_size", 32), ("depth", 2)):
            if config.get(key) is not None:
                config[key] = min(config[key], most)
        for key in config:
            shrink(config[key])
    elif isinstance(config, ListConfig):
        for value in config:
            shrink(value)


def configured(quantizer: str, modality: str, *overrides: str) -> DictConfig:
    config = composed(
        f"recipe={modality}/quickstart",
        f"quantizer={quantizer}",
        *SMALL[modality],
        *OF_A_WIDTH.get(quantizer, []),
        *overrides,
    )
    shrink(config.quantizer)
    config.training.max_steps = 2
    return config


def media(shape: tuple[int, ...], *batch: int) -> torch.Tensor:
    return torch.rand(*batch, *shape) * 1.8 - 0.9


def test_every_combination_is_seen():
    assert len(QUANTIZERS) == 46
    assert len(CASES) == 46 * 3 == len(set(CASES))
    assert set(CASES) > QUICK
    assert {quantizer for quantizer, _ in CASES} >= {*OF_A_WIDTH, *OF_A_GRID}


@pytest.mark.parametrize(
    ("quantizer", "modality"),
    [case if case in QUICK else pytest.param(*case, marks=pytest.mark.slow) for case in CASES],
)
def test_two_steps_a_file_and_back(quantizer, modality, tmp_path):
    of_a_grid = OF_A_GRID.get(quantizer)
    config = configured(quantizer, modality, *(of_a_grid[modality] if of_a_grid else []))
    training = instantiate(config.training, _convert_="all")
    before = {n: p.detach().clone() for n, p in training.tokenizer.encoder.named_parameters()}
    batches = DataLoader([media(TRAINED_ON[modality], 2) for _ in range(2)], batch_size=None)
    make_trainer(accelerator="cpu", devices=1).fit(training, batches, batches)
    assert training.step == 2
    assert int(training.num_skipped) == 0
    after = dict(training.tokenizer.encoder.named_parameters())
    assert any(not torch.equal(before[name], after[name]) for name in before), "nothing is learned"

    tokenizer = training.exported.eval()
    item = media(TRAINED_ON[modality] if of_a_grid else CODED[modality])
    tokens = tokenizer.encode([item])
    assert int(tokens.num_unknown) == 0
    write_tokens(tokens, tmp_path / "item.vqt")
    tokenizer.save_pretrained(tmp_path / "model")
    expected = tokenizer.decode(tokens)[0]

    read = read_tokens(tmp_path / "item.vqt")
    assert torch.equal(read.indices, tokens.indices)
    decoded = Tokenizer.from_pretrained(tmp_path / "model").decode(read)[0]
    assert decoded.shape == item.shape
    assert torch.equal(decoded, expected)
    assert decoded.std() > 0


@pytest.mark.parametrize("modality", [pytest.param("audio", marks=pytest.mark.slow), "video"])
@pytest.mark.parametrize("quantizer", OF_A_GRID)
def test_a_grid_of_other_axes_is_refused_when_it_is_put_together(quantizer, modality):
    config = configured(quantizer, modality)
    with pytest.raises(Exception, match=r"quantizer.grid axes and axes to be equal") as caught:
        instantiate(config.tokenizer, _convert_="all")
    assert isinstance(caught.value.__cause__, ConfigError)


@pytest.mark.parametrize(
    "modality",
    [pytest.param(m, marks=pytest.mark.slow if m != "image" else ()) for m in SMALL],
)
def test_a_width_that_is_not_the_encoder_s_is_refused_when_it_is_put_together(modality):
    config = configured("fsq_bare", modality)
    config.encoder.dim = 8
    with pytest.raises(Exception, match=r"encoder.dim and quantizer.dim to be equal, got 8 and 6"):
        instantiate(config.tokenizer, _convert_="all")
