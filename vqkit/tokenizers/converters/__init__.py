"""Models of other libraries <-> tokenizers, without running what they pickled."""

from vqkit.tokenizers.converters.audiocraft import audiocraft_from_original
from vqkit.tokenizers.converters.dac import (
    dac_from_original,
    dac_from_transformers,
    dac_to_transformers,
)
from vqkit.tokenizers.converters.diffusers import (
    vqmodel_from_diffusers,
    vqmodel_to_diffusers,
)
from vqkit.tokenizers.converters.encodec import (
    encodec_from_original,
    encodec_from_transformers,
    encodec_to_original,
    encodec_to_transformers,
)
from vqkit.tokenizers.converters.images import ImageChoice
from vqkit.tokenizers.converters.llamagen import llamagen_from_original, llamagen_to_original
from vqkit.tokenizers.converters.mimi import (
    mimi_from_original,
    mimi_from_transformers,
    mimi_to_transformers,
)
from vqkit.tokenizers.converters.open_magvit2 import (
    open_magvit2_from_original,
    open_magvit2_to_original,
)
from vqkit.tokenizers.converters.reading import (
    VocosChoice,
    read_foreign,
    write_diffusers,
    write_transformers,
)
from vqkit.tokenizers.converters.speechtokenizer import (
    speechtokenizer_from_original,
    speechtokenizer_to_original,
)
from vqkit.tokenizers.converters.titok import titok_from_original, titok_to_original
from vqkit.tokenizers.converters.vidtok import (
    vidtok_from_diffusers,
    vidtok_from_original,
    vidtok_to_diffusers,
)
from vqkit.tokenizers.converters.vocos import vocos_from_original
from vqkit.tokenizers.converters.vqgan import (
    ibq_from_original,
    vqgan_from_original,
    vqgan_to_original,
)
from vqkit.tokenizers.converters.wavtokenizer import wavtokenizer_from_original
from vqkit.tokenizers.converters.whisper import (
    load_whisper_encoder,
    read_whisper_encoder,
    whisper_encoder_state,
)
from vqkit.tokenizers.converters.xcodec import xcodec_from_transformers

__all__ = [
    "ImageChoice",
    "VocosChoice",
    "audiocraft_from_original",
    "dac_from_original",
    "dac_from_transformers",
    "dac_to_transformers",
    "encodec_from_original",
    "encodec_from_transformers",
    "encodec_to_original",
    "encodec_to_transformers",
    "ibq_from_original",
    "llamagen_from_original",
    "llamagen_to_original",
    "load_whisper_encoder",
    "mimi_from_original",
    "mimi_from_transformers",
    "mimi_to_transformers",
    "open_magvit2_from_original",
    "open_magvit2_to_original",
    "read_foreign",
    "read_whisper_encoder",
    "speechtokenizer_from_original",
    "speechtokenizer_to_original",
    "titok_from_original",
    "titok_to_original",
    "vidtok_from_diffusers",
    "vidtok_from_original",
    "vidtok_to_diffusers",
    "vocos_from_original",
    "vqgan_from_original",
    "vqgan_to_original",
    "vqmodel_from_diffusers",
    "vqmodel_to_diffusers",
    "wavtokenizer_from_original",
    "whisper_encoder_state",
    "write_diffusers",
    "write_transformers",
    "xcodec_from_transformers",
]
