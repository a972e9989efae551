"""Codecs of the recipes, of reduced width: what they are whole they are in pieces and streams."""

import itertools

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from tests.recipes.test_sound_recipes import SHRUNK
from vqkit.cli.train import to_hydra
from vqkit.data import Voices
from vqkit.errors import StreamingError
from vqkit.media import read_audio
from vqkit.paths import config_dir
from vqkit.tokenizers import Tokenizer
from vqkit.tokenizers.streaming import EncoderStream, TokenizerStream

WHOLE_ENCODERS = {"audio/encodec-48k"}  # group norm
WHOLE_DECODERS = {  # group norm, attention to all frames
    "audio/encodec-48k",
    "audio/fsq-single",
    "audio/quickstart",
    "audio/wavtokenizer-40",
    "audio/wavtokenizer-75",
    "audio/wavtokenizer-small",
}
QUICK = "audio/encodec-small"
RECIPES = [name if name == QUICK else pytest.param(name, marks=pytest.mark.slow) for name in SHRUNK]


def tokenizer_of(recipe: str) -> Tokenizer:
    torch.manual_seed(0)
    overrides = [f"recipe={recipe}", *(x for x in SHRUNK[recipe] if not x.startswith("data."))]
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        config = compose("train", overrides=to_hydra(overrides))
    tokenizer = instantiate(config.tokenizer, _convert_="all")
    # A batch of training, for codes that lie where latents do.
    hop, channels = tokenizer.stride[0], tokenizer.frontend.channels
    tokenizer(torch.randn(4, channels, 40 * hop).cumsum(-1).mul(0.02).clamp(-1, 1))
    return tokenizer.eval()


def pieces_of(sound: torch.Tensor, seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    cuts = torch.randint(sound.shape[-1], (7,), generator=generator).sort().values.tolist()
    return [sound[:, a:b] for a, b in itertools.pairwise([0, *cuts, sound.shape[-1]])]


def check(recipe: str, tokenizer: Tokenizer, sound: torch.Tensor, rate: int) -> None:
    whole = tokenizer.encode([sound], sample_rate_hz=rate, chunk_seconds=float("inf"))
    for seed, seconds in enumerate((0.04, 0.21)):
        pieces = pieces_of(sound, seed)
        chunked = tokenizer.encode_pieces(pieces, sample_rate_hz=rate, chunk_seconds=seconds)
        assert chunked.same_as(whole)
        if recipe in WHOLE_ENCODERS:
            continue
        stream = EncoderStream(tokenizer, 1, rate, len(sound))
        indices = [stream.push(piece[None]) for piece in pieces]
        assert torch.equal(torch.cat([*indices, stream.finish()], dim=1), whole.indices)
    sound_of_whole = tokenizer.decode(whole, chunk_seconds=float("inf"))[0]
    decoded = torch.cat(list(tokenizer.decode_pieces(whole, chunk_seconds=0.05)), dim=-1)
    torch.testing.assert_close(decoded, sound_of_whole, atol=1e-5, rtol=1e-5)
    if recipe not in WHOLE_DECODERS:
        both = TokenizerStream(tokenizer, 1, rate, len(sound))
        heard = [both.push(piece[None]).samples for piece in pieces_of(sound, 2)]
        samples = torch.cat([*heard, both.finish().samples], dim=-1)[0]
        torch.testing.assert_close(samples, sound_of_whole, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("recipe", RECIPES)
def test_voices_in_pieces(recipe: str) -> None:
    tokenizer = tokenizer_of(recipe)
    sound = Voices(1, seconds=0.7, sample_rate_hz=22_050, seed=3)[0]
    check(recipe, tokenizer, sound, 22_050)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", SHRUNK)
def test_real_speech_in_pieces(recipe: str, development_media) -> None:
    tokenizer = tokenizer_of(recipe)
    files = sorted((development_media / "audio" / "speech" / "vctk").glob("*.flac"))
    assert files
    for file in files[::12]:
        audio = read_audio(file)
        check(recipe, tokenizer, audio.samples[:, : 2 * audio.sample_rate_hz], audio.sample_rate_hz)


def test_the_recipes_that_need_the_whole_say_so() -> None:
    for recipe in ("audio/encodec-48k", "audio/wavtokenizer-75"):
        with pytest.raises(StreamingError):
            tokenizer_of(recipe).stream()
