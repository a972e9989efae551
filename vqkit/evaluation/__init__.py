"""Measure a tokenizer: quality, rate and codebook use, as a report with pictures."""

from vqkit.evaluation.codecs import CodecCurve, CodecPoint, codec_reference
from vqkit.evaluation.environment import Environment
from vqkit.evaluation.health import CodebookHealthReport, HealthLimits, TableHealth
from vqkit.evaluation.item import ItemFailure, ItemResult, Picture
from vqkit.evaluation.measuring import ImageTokenizer, PerceptualMetric, evaluate
from vqkit.evaluation.pictures import save_pictures
from vqkit.evaluation.rate_quality import rate_quality_figure
from vqkit.evaluation.recognition import (
    RecognisedItem,
    RecognitionReport,
    evaluate_recognition,
)
from vqkit.evaluation.reconstruction import reconstruction_figure
from vqkit.evaluation.report import Report, Setting
from vqkit.evaluation.spectrogram import spectrogram_figure, spectrogram_png
from vqkit.evaluation.statistics import MetricSummary, summarise
from vqkit.evaluation.text import text_summary
from vqkit.evaluation.usage import draw_usage, usage_figure

__all__ = [
    "CodebookHealthReport",
    "CodecCurve",
    "CodecPoint",
    "Environment",
    "HealthLimits",
    "ImageTokenizer",
    "ItemFailure",
    "ItemResult",
    "MetricSummary",
    "PerceptualMetric",
    "Picture",
    "RecognisedItem",
    "RecognitionReport",
    "Report",
    "Setting",
    "TableHealth",
    "codec_reference",
    "draw_usage",
    "evaluate",
    "evaluate_recognition",
    "rate_quality_figure",
    "reconstruction_figure",
    "save_pictures",
    "spectrogram_figure",
    "spectrogram_png",
    "summarise",
    "text_summary",
    "usage_figure",
]
