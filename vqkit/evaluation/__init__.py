"""Measure a tokenizer: quality, rate and codebook use, as a report with pictures."""

from vqkit.evaluation.clip_pictures import save_clips, side_by_side, write_side_by_side
from vqkit.evaluation.codecs import REFERENCE_CODECS, codec_reference, matched_reference
from vqkit.evaluation.coding import ClipTokenizer, MediaTokenizer
from vqkit.evaluation.environment import Environment
from vqkit.evaluation.expected import expected_document, unexpected
from vqkit.evaluation.footage import FileFootage, Footage, SourceFootage, TensorFootage
from vqkit.evaluation.health import CodebookHealthReport, HealthLimits
from vqkit.evaluation.image_quality import ImageQuality, PerceptualMetric
from vqkit.evaluation.item import ItemFailure, ItemResult, LevelResult, Picture
from vqkit.evaluation.measuring import default_quality, evaluate
from vqkit.evaluation.over_time import over_time_figure
from vqkit.evaluation.pictures import save_pictures, save_spectrograms
from vqkit.evaluation.quality import Medium, Metric, Quality, Reconstruction, Scores
from vqkit.evaluation.ranking import extremes
from vqkit.evaluation.rate_curve import RateCurve, RatePoint
from vqkit.evaluation.rate_quality import rate_quality_figure
from vqkit.evaluation.recognition import (
    RecognisedItem,
    RecognitionReport,
    evaluate_recognition,
)
from vqkit.evaluation.reconstruction import reconstruction_figure
from vqkit.evaluation.report import Report, Setting
from vqkit.evaluation.sound_hooks import scorer_metric, word_error_metric
from vqkit.evaluation.sound_metrics import SOUND_METRICS, SoundMetric, SoundPair, sound_metric
from vqkit.evaluation.sound_quality import DEFAULT_SOUND_METRICS, SoundQuality
from vqkit.evaluation.spectrogram import spectrogram_figure, spectrogram_png
from vqkit.evaluation.statistics import MetricSummary, summarise
from vqkit.evaluation.table_health import TableHealth
from vqkit.evaluation.text import text_summary
from vqkit.evaluation.usage import draw_usage, usage_figure
from vqkit.evaluation.video_quality import VideoQuality
from vqkit.evaluation.vmaf import VMAF

__all__ = [
    "DEFAULT_SOUND_METRICS",
    "REFERENCE_CODECS",
    "SOUND_METRICS",
    "VMAF",
    "ClipTokenizer",
    "CodebookHealthReport",
    "Environment",
    "FileFootage",
    "Footage",
    "HealthLimits",
    "ImageQuality",
    "ItemFailure",
    "ItemResult",
    "LevelResult",
    "MediaTokenizer",
    "Medium",
    "Metric",
    "MetricSummary",
    "PerceptualMetric",
    "Picture",
    "Quality",
    "RateCurve",
    "RatePoint",
    "RecognisedItem",
    "RecognitionReport",
    "Reconstruction",
    "Report",
    "Scores",
    "Setting",
    "SoundMetric",
    "SoundPair",
    "SoundQuality",
    "SourceFootage",
    "TableHealth",
    "TensorFootage",
    "VideoQuality",
    "codec_reference",
    "default_quality",
    "draw_usage",
    "evaluate",
    "evaluate_recognition",
    "expected_document",
    "extremes",
    "matched_reference",
    "over_time_figure",
    "rate_quality_figure",
    "reconstruction_figure",
    "save_clips",
    "save_pictures",
    "save_spectrograms",
    "scorer_metric",
    "side_by_side",
    "sound_metric",
    "spectrogram_figure",
    "spectrogram_png",
    "summarise",
    "text_summary",
    "unexpected",
    "usage_figure",
    "word_error_metric",
    "write_side_by_side",
]
