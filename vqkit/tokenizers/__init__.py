"""Tokenizers: media to tokens and back."""

from vqkit.tokenizers.audio_frontend import AudioFrontend
from vqkit.tokenizers.build import build, describe
from vqkit.tokenizers.channel_policy import ChannelPolicy, MidSide, MixChannels, SplitChannels
from vqkit.tokenizers.chunking import Chunking
from vqkit.tokenizers.codebook_file import CodebookFile, read_codebook, read_index_map
from vqkit.tokenizers.frontend import Frontend, ImageFrontend
from vqkit.tokenizers.level import Level, LoudnessLevel, PeakLevel, RMSLevel
from vqkit.tokenizers.media_part import MediaPart
from vqkit.tokenizers.replacing import codebook_of, map_tokens, with_codebook, with_frontend
from vqkit.tokenizers.spec import TokenizerSpec
from vqkit.tokenizers.speech_recogniser import RecogniserOutput, SpeechRecogniser
from vqkit.tokenizers.streaming import (
    DecoderStream,
    EncoderStream,
    StreamOutput,
    TokenizerStream,
)
from vqkit.tokenizers.tiling import Tiling
from vqkit.tokenizers.tokenizer import Tokenizer, TokenizerOutput
from vqkit.tokenizers.tokens import Tokens, TokenStream
from vqkit.tokenizers.video_frontend import VideoFrontend

__all__ = [
    "AudioFrontend",
    "ChannelPolicy",
    "Chunking",
    "CodebookFile",
    "DecoderStream",
    "EncoderStream",
    "Frontend",
    "ImageFrontend",
    "Level",
    "LoudnessLevel",
    "MediaPart",
    "MidSide",
    "MixChannels",
    "PeakLevel",
    "RMSLevel",
    "RecogniserOutput",
    "SpeechRecogniser",
    "SplitChannels",
    "StreamOutput",
    "Tiling",
    "TokenStream",
    "Tokenizer",
    "TokenizerOutput",
    "TokenizerSpec",
    "TokenizerStream",
    "Tokens",
    "VideoFrontend",
    "build",
    "codebook_of",
    "describe",
    "map_tokens",
    "read_codebook",
    "read_index_map",
    "with_codebook",
    "with_frontend",
]
