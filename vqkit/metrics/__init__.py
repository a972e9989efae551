"""Quality of images, audio and clips, codebook use, rate: functions and torchmetrics of them.

The torchmetrics classes load on first use: importing torchmetrics takes seconds (it loads
torchvision, scipy and matplotlib) and the functions do without.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from vqkit.metrics.audio import SDR_CAP_DB, SILENCE_RMS, si_sdr, snr, waveform_l1
from vqkit.metrics.codebook import (
    CodebookLevel,
    CodeHistogram,
    bitrate_efficiency,
    codebook_level,
    divergence_bits,
    uniform_usage,
)
from vqkit.metrics.codebook_vectors import (
    CodebookDrift,
    codebook_drift,
    distinct_vectors,
    twin_vectors,
)
from vqkit.metrics.disentanglement import InfoMEC, info_mec
from vqkit.metrics.frechet import frechet_distance
from vqkit.metrics.image import (
    MSSSIM_MINIMUM_SIDE,
    PSNR_CAP_DB,
    SSIM_MINIMUM_SIDE,
    mean_squared_error,
    ms_ssim,
    psnr,
    psnr_from_error,
    round_to_eight_bits,
    ssim,
)
from vqkit.metrics.item_scores import ItemScores, Unmeasured
from vqkit.metrics.motion import Motion, warping_error
from vqkit.metrics.mutual_information import PairInformation
from vqkit.metrics.optical_flow import LucasKanade, OpticalFlow
from vqkit.metrics.rate import RateTotals
from vqkit.metrics.scorers import ReferenceFreeScorer, Transcriber
from vqkit.metrics.spectral import (
    DAC_MEL,
    DAC_STFT,
    VOCOS_MEL,
    SpectralDefinition,
    mel_distance,
    stft_distance,
)
from vqkit.metrics.speech import pesq, stoi
from vqkit.metrics.transcripts import (
    EditCount,
    character_edits,
    character_error_rate,
    normalise_transcript,
    word_edits,
    word_error_rate,
)
from vqkit.metrics.video import (
    clip_psnr,
    flicker,
    frame_errors,
    frame_ms_ssim,
    frame_psnr,
    frame_ssim,
)
from vqkit.metrics.visqol_score import visqol

if TYPE_CHECKING:
    from vqkit.metrics.audio_metric import (
        SISDR,
        SNR,
        AudioMetric,
        MelDistance,
        STFTDistance,
        WaveformL1,
    )
    from vqkit.metrics.codebook_metric import CodebookUsage
    from vqkit.metrics.image_metric import MSSSIM, PSNR, SSIM, ImageMetric, PooledPSNR
    from vqkit.metrics.mutual_information_metric import LevelInformation
    from vqkit.metrics.rate_metric import Rate
    from vqkit.metrics.speech_metric import (
        PESQ,
        STOI,
        ReferenceFreeScore,
        ViSQOL,
        WordErrorRate,
    )
    from vqkit.metrics.transcript_metric import TranscriptErrors
    from vqkit.metrics.video_metric import (
        ClipMetric,
        ClipPSNR,
        Flicker,
        FrameDistance,
        FrameMSSSIM,
        FramePSNR,
        FrameSSIM,
        FrechetVideoDistance,
        WarpingError,
    )

__all__ = [
    "DAC_MEL",
    "DAC_STFT",
    "MSSSIM",
    "MSSSIM_MINIMUM_SIDE",
    "PESQ",
    "PSNR",
    "PSNR_CAP_DB",
    "SDR_CAP_DB",
    "SILENCE_RMS",
    "SISDR",
    "SNR",
    "SSIM",
    "SSIM_MINIMUM_SIDE",
    "STOI",
    "VOCOS_MEL",
    "AudioMetric",
    "ClipMetric",
    "ClipPSNR",
    "CodeHistogram",
    "CodebookDrift",
    "CodebookLevel",
    "CodebookUsage",
    "EditCount",
    "Flicker",
    "FrameDistance",
    "FrameMSSSIM",
    "FramePSNR",
    "FrameSSIM",
    "FrechetVideoDistance",
    "ImageMetric",
    "InfoMEC",
    "ItemScores",
    "LevelInformation",
    "LucasKanade",
    "MelDistance",
    "Motion",
    "OpticalFlow",
    "PairInformation",
    "PooledPSNR",
    "Rate",
    "RateTotals",
    "ReferenceFreeScore",
    "ReferenceFreeScorer",
    "STFTDistance",
    "SpectralDefinition",
    "Transcriber",
    "TranscriptErrors",
    "Unmeasured",
    "ViSQOL",
    "WarpingError",
    "WaveformL1",
    "WordErrorRate",
    "bitrate_efficiency",
    "character_edits",
    "character_error_rate",
    "clip_psnr",
    "codebook_drift",
    "codebook_level",
    "distinct_vectors",
    "divergence_bits",
    "flicker",
    "frame_errors",
    "frame_ms_ssim",
    "frame_psnr",
    "frame_ssim",
    "frechet_distance",
    "info_mec",
    "mean_squared_error",
    "mel_distance",
    "ms_ssim",
    "normalise_transcript",
    "pesq",
    "psnr",
    "psnr_from_error",
    "round_to_eight_bits",
    "si_sdr",
    "snr",
    "ssim",
    "stft_distance",
    "stoi",
    "twin_vectors",
    "uniform_usage",
    "visqol",
    "warping_error",
    "waveform_l1",
    "word_edits",
    "word_error_rate",
]

_LAZY = {
    "AudioMetric": "vqkit.metrics.audio_metric",
    "MelDistance": "vqkit.metrics.audio_metric",
    "SISDR": "vqkit.metrics.audio_metric",
    "SNR": "vqkit.metrics.audio_metric",
    "STFTDistance": "vqkit.metrics.audio_metric",
    "WaveformL1": "vqkit.metrics.audio_metric",
    "PESQ": "vqkit.metrics.speech_metric",
    "ReferenceFreeScore": "vqkit.metrics.speech_metric",
    "STOI": "vqkit.metrics.speech_metric",
    "ViSQOL": "vqkit.metrics.speech_metric",
    "WordErrorRate": "vqkit.metrics.speech_metric",
    "CodebookUsage": "vqkit.metrics.codebook_metric",
    "LevelInformation": "vqkit.metrics.mutual_information_metric",
    "ImageMetric": "vqkit.metrics.image_metric",
    "MSSSIM": "vqkit.metrics.image_metric",
    "PSNR": "vqkit.metrics.image_metric",
    "PooledPSNR": "vqkit.metrics.image_metric",
    "Rate": "vqkit.metrics.rate_metric",
    "SSIM": "vqkit.metrics.image_metric",
    "TranscriptErrors": "vqkit.metrics.transcript_metric",
    "ClipMetric": "vqkit.metrics.video_metric",
    "ClipPSNR": "vqkit.metrics.video_metric",
    "Flicker": "vqkit.metrics.video_metric",
    "FrameDistance": "vqkit.metrics.video_metric",
    "FrameMSSSIM": "vqkit.metrics.video_metric",
    "FramePSNR": "vqkit.metrics.video_metric",
    "FrameSSIM": "vqkit.metrics.video_metric",
    "FrechetVideoDistance": "vqkit.metrics.video_metric",
    "WarpingError": "vqkit.metrics.video_metric",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)
