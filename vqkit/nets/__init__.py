"""Encoders, decoders and discriminators, channels first; media are in [-1, 1]."""

from vqkit.nets.causal_transformer import CausalTransformer
from vqkit.nets.clip_conv import ClipConv
from vqkit.nets.clip_discriminators import ClipPatchDiscriminator, FrameDiscriminator
from vqkit.nets.clip_network import ClipDecoder, ClipEncoder
from vqkit.nets.cosmos import CosmosDecoder, CosmosEncoder
from vqkit.nets.ctc_decoder import CTCDecoder
from vqkit.nets.dac import DACDecoder, DACEncoder, Snake
from vqkit.nets.discriminator import (
    DiscriminatorEnsemble,
    DiscriminatorOutput,
    FrozenDiscriminator,
    PeakNormalisation,
)
from vqkit.nets.fast import FastDecoder, FastEncoder
from vqkit.nets.frame_layers import AttentionLayers, ConvLayers, FrameLayers
from vqkit.nets.istft import ISTFTHead
from vqkit.nets.light import LightDecoder, LightEncoder
from vqkit.nets.light_video import LightVideoDecoder, LightVideoEncoder
from vqkit.nets.log_mel import LogMel
from vqkit.nets.magvit2 import MAGVIT2Decoder, MAGVIT2Encoder
from vqkit.nets.maskgit import MaskGITDecoder
from vqkit.nets.mimi import MimiDecoder, MimiEncoder, mimi_decoder, mimi_encoder
from vqkit.nets.omnitokenizer import OmniTokenizerDecoder, OmniTokenizerEncoder
from vqkit.nets.padded_conv import ConvStyle, PaddedConv, PaddedTransposedConv
from vqkit.nets.patch_discriminator import PatchDiscriminator
from vqkit.nets.seanet import BidirectionalLSTM, SEANetDecoder, SEANetEncoder
from vqkit.nets.seq2seq_decoder import Seq2SeqDecoder
from vqkit.nets.speech_encoder import SpeechEncoder, TimePooling
from vqkit.nets.stft_discriminators import (
    MultiBandSTFTDiscriminator,
    MultiResolutionDiscriminator,
    MultiScaleSTFTDiscriminator,
)
from vqkit.nets.stream import SteppedStream, Stream
from vqkit.nets.streaming import open_stream
from vqkit.nets.text_decoder import SpeechContext, TextDecoder
from vqkit.nets.titok import TiTokDecoder, TiTokEncoder, TiTokTwoStageDecoder
from vqkit.nets.videogpt import VideoGPTDecoder, VideoGPTEncoder
from vqkit.nets.vidtok import VidTokDecoder, VidTokEncoder
from vqkit.nets.vocos import VocosDecoder
from vqkit.nets.vqgan import VQGANDecoder, VQGANEncoder
from vqkit.nets.vqgan_video import (
    VideoVQGANDecoder,
    VideoVQGANEncoder,
    inflated_decoder,
    inflated_encoder,
)
from vqkit.nets.waveform_discriminators import MultiPeriodDiscriminator, MultiScaleDiscriminator
from vqkit.nets.xcodec import XCodecDecoder, XCodecEncoder

__all__ = [
    "AttentionLayers",
    "BidirectionalLSTM",
    "CTCDecoder",
    "CausalTransformer",
    "ClipConv",
    "ClipDecoder",
    "ClipEncoder",
    "ClipPatchDiscriminator",
    "ConvLayers",
    "ConvStyle",
    "CosmosDecoder",
    "CosmosEncoder",
    "DACDecoder",
    "DACEncoder",
    "DiscriminatorEnsemble",
    "DiscriminatorOutput",
    "FastDecoder",
    "FastEncoder",
    "FrameDiscriminator",
    "FrameLayers",
    "FrozenDiscriminator",
    "ISTFTHead",
    "LightDecoder",
    "LightEncoder",
    "LightVideoDecoder",
    "LightVideoEncoder",
    "LogMel",
    "MAGVIT2Decoder",
    "MAGVIT2Encoder",
    "MaskGITDecoder",
    "MimiDecoder",
    "MimiEncoder",
    "MultiBandSTFTDiscriminator",
    "MultiPeriodDiscriminator",
    "MultiResolutionDiscriminator",
    "MultiScaleDiscriminator",
    "MultiScaleSTFTDiscriminator",
    "OmniTokenizerDecoder",
    "OmniTokenizerEncoder",
    "PaddedConv",
    "PaddedTransposedConv",
    "PatchDiscriminator",
    "PeakNormalisation",
    "SEANetDecoder",
    "SEANetEncoder",
    "Seq2SeqDecoder",
    "Snake",
    "SpeechContext",
    "SpeechEncoder",
    "SteppedStream",
    "Stream",
    "TextDecoder",
    "TiTokDecoder",
    "TiTokEncoder",
    "TiTokTwoStageDecoder",
    "TimePooling",
    "VQGANDecoder",
    "VQGANEncoder",
    "VidTokDecoder",
    "VidTokEncoder",
    "VideoGPTDecoder",
    "VideoGPTEncoder",
    "VideoVQGANDecoder",
    "VideoVQGANEncoder",
    "VocosDecoder",
    "XCodecDecoder",
    "XCodecEncoder",
    "inflated_decoder",
    "inflated_encoder",
    "mimi_decoder",
    "mimi_encoder",
    "open_stream",
]
