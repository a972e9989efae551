"""The page of the audio metrics names everything that is public."""

import re
from pathlib import Path

import vqkit.metrics
from vqkit.metrics import (
    audio,
    audio_metric,
    item_scores,
    scorers,
    spectral,
    speech,
    speech_metric,
    transcripts,
    visqol_score,
)

PAGE = Path(__file__).resolve().parents[2] / "docs" / "audio_metrics.md"
MODULES = [
    audio,
    audio_metric,
    item_scores,
    scorers,
    spectral,
    speech,
    speech_metric,
    transcripts,
    visqol_score,
]


def test_every_public_name_is_on_the_page():
    words = set(re.findall(r"\w+", PAGE.read_text()))
    public = {name for module in MODULES for name in module.__all__} & set(vqkit.metrics.__all__)
    assert len(public) > 30
    assert public - words == {"AudioMetric"}  # the base of the classes
