"""The report on codebooks: limits, JSON, text, files."""

import json

import pytest
import torch

from vqkit.errors import ConfigError
from vqkit.evaluation import CodebookHealthReport, HealthLimits, TableHealth
from vqkit.metrics import CodeHistogram, codebook_level
from vqkit.metrics.mutual_information import pair_counts, pair_information


def report(*counts: list[int], twins: int = 0) -> CodebookHealthReport:
    histograms = tuple(CodeHistogram.from_counts(torch.tensor(row)) for row in counts)
    pairs = torch.tensor([[0, 0], [1, 1]] * 100)
    table = TableHealth("levels.0", 10, 4, ((3, 1),) * twins, twins, None)
    return CodebookHealthReport(
        "some tokens",
        levels=tuple(codebook_level(histogram) for histogram in histograms),
        information=(pair_information(pair_counts(pairs)),) if len(counts) > 1 else (),
        tables=(table,),
        histograms=histograms,
    )


EVEN, ONE_SIDED = [50] * 8, [390, 4, 3, 3, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("limits", "sentence"),
    [
        (
            HealthLimits(min_usage=0.6),
            "Codebook 2, corrected usage: expected at least 0.6",
        ),
        (HealthLimits(min_entropy=0.9), "Codebook 2, normalised entropy"),
        (HealthLimits(min_perplexity=4), "Codebook 2, perplexity"),
        (HealthLimits(max_twins=0.1), "Table levels.0, twins: expected at most 0.1, got 0.2."),
        (HealthLimits(max_shared=0.5), "Codebooks 1 and 2, shared information"),
    ],
    ids=["usage", "entropy", "perplexity", "twins", "shared"],
)
def test_a_broken_limit_is_a_sentence(limits, sentence):
    (found,) = report(EVEN, ONE_SIDED, twins=2).broken(limits)
    assert found.startswith(sentence)
    assert limits.asks


def test_overused_codes_break_their_limit():
    counts = [5] * 100
    counts[3] = 500
    (found,) = report(counts).broken(HealthLimits(max_overused=0.4))
    assert found == "Codebook 1, tokens in over-used codes: expected at most 0.4, got 0.5025."
    assert report(counts).broken(HealthLimits(max_overused=0.6)) == ()


def test_limits_that_hold():
    limits = HealthLimits(
        min_usage=1.0, min_entropy=1.0, min_perplexity=8, max_overused=0.0, max_twins=0.0
    )
    assert report(EVEN).broken(limits) == ()
    assert not HealthLimits().asks


def test_no_token_breaks_every_limit_of_use():
    found = report([0] * 8).broken(HealthLimits(min_usage=0.1, min_perplexity=2))
    assert len(found) == 2
    assert "nan" in found[0]


@pytest.mark.parametrize(
    "limits",
    [HealthLimits(min_usage=0.5), HealthLimits(max_twins=0.5), HealthLimits(max_shared=0.5)],
)
def test_a_limit_that_nothing_answers_is_refused(limits):
    with pytest.raises(ConfigError, match="got none"):
        CodebookHealthReport("nothing").broken(limits)


@pytest.mark.parametrize("wrong", [{"min_usage": 1.2}, {"max_twins": -0.1}, {"min_perplexity": 0}])
def test_limits_out_of_range(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        HealthLimits(**wrong)


def test_text_and_json_say_what_was_found(tmp_path):
    counts = [5] * 100
    counts[3], counts[9] = 500, 0
    found = report(counts, EVEN, twins=2)
    text = found.text()
    assert "some tokens" in text
    assert "over-used codes" in text
    assert "1 and 2" in text
    assert "levels.0" in text
    paths = found.save(tmp_path)
    assert [path.name for path in paths] == ["usage.json", "usage.png"]
    content = json.loads(paths[0].read_text())
    assert content["codebooks"]["levels"][0]["dead_codes"] == [9]
    assert content["codebooks"]["levels"][0]["overused_codes"] == [3]
    assert content["mutual_information"][0]["num_tokens"] == 200
    assert content["tables"][0]["twins"] == [[3, 1], [3, 1]]
    assert paths[1].read_bytes().startswith(b"\x89PNG")


def test_a_report_without_tokens_draws_nothing(tmp_path):
    table = TableHealth("", 10, 4, (), 0, None)
    paths = CodebookHealthReport("a model", tables=(table,)).save(tmp_path)
    assert [path.name for path in paths] == ["usage.json"]
