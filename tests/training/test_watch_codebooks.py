"""The live report on codebooks: what it counts, writes, logs, and does about broken limits."""

import copy
import json
import logging

import pytest
import torch

from tests.training.tiny import data, tokenizer, trainer, training, vector_quantizer
from vqkit.errors import ConfigError
from vqkit.evaluation import HealthLimits
from vqkit.quantizers import Residual
from vqkit.training import WatchCodebooks

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning"),
]


def fit(callback: WatchCodebooks, max_steps: int = 4, quantizer=None, **options):
    torch.manual_seed(0)
    module = training(max_steps, gan=False, tokenizer=tokenizer(quantizer))
    runner = trainer(callbacks=[callback], **options)
    runner.fit(module, datamodule=data())
    return module


def test_reports_on_all_tokens_since_the_last_report(tmp_path):
    fit(WatchCodebooks(tmp_path, every=2))
    content = json.loads((tmp_path / "usage.json").read_text())
    (level,) = content["codebooks"]["levels"]
    # 2 steps of 4 images of 8 x 8 positions.
    assert level["num_tokens"] == 2 * 4 * 64
    assert content["name"] == "tiny, step 4"
    assert content["tables"][0]["num_codes"] == 16
    assert (tmp_path / "usage.png").is_file()


def test_levels_share_information_and_have_tables(tmp_path):
    fit(WatchCodebooks(tmp_path, every=6), max_steps=6, quantizer=Residual(vector_quantizer(), 2))
    content = json.loads((tmp_path / "usage.json").read_text())
    assert len(content["codebooks"]["levels"]) == 2
    (pair,) = content["mutual_information"]
    assert 0 <= pair["shared"] <= 1
    assert [table["name"] for table in content["tables"]] == ["levels.0", "levels.1"]


def test_watching_changes_nothing(tmp_path):
    watched = fit(WatchCodebooks(tmp_path, every=2))
    torch.manual_seed(0)
    module = training(4, gan=False, tokenizer=tokenizer())
    trainer().fit(module, datamodule=data())
    for name, value in module.tokenizer.state_dict().items():
        assert torch.equal(value, watched.tokenizer.state_dict()[name]), name


def test_broken_limits_are_said_after_the_patience(tmp_path, caplog):
    impossible = HealthLimits(min_perplexity=17)
    with caplog.at_level(logging.WARNING, logger="vqkit"):
        fit(WatchCodebooks(tmp_path, every=1, limits=impossible, patience=3))
    assert [record.message.partition(":")[0] for record in caplog.records] == ["step 3", "step 4"]
    assert "perplexity: expected at least 17" in caplog.text


def test_stop_ends_the_training(tmp_path):
    impossible = HealthLimits(min_perplexity=17)
    callback = WatchCodebooks(tmp_path, every=1, limits=impossible, patience=2, broken="stop")
    assert fit(callback, max_steps=50).step == 2


def test_limits_that_hold_say_nothing(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, logger="vqkit"):
        callback = WatchCodebooks(
            tmp_path, every=1, limits=HealthLimits(min_perplexity=1.01), patience=1, broken="stop"
        )
        assert fit(callback).step == 4
    assert not caplog.records


def test_the_hook_is_gone_after_the_training(tmp_path):
    module = fit(WatchCodebooks(tmp_path))
    quantizer = copy.deepcopy(module.tokenizer.quantizer)
    assert not quantizer._forward_hooks


@pytest.mark.parametrize("wrong", [{"every": 0}, {"patience": 0}, {"broken": "ignore"}])
@pytest.mark.usefixtures("unchecked_shapes")
def test_settings_that_make_no_sense(wrong, tmp_path):
    with pytest.raises(ConfigError, match="WatchCodebooks"):
        WatchCodebooks(tmp_path, **wrong)
