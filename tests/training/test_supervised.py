"""A recogniser learns two words, through its quantizer; resumption is exact."""

from functools import partial

import pytest
import torch

from tests.training import tiny
from vqkit.data import (
    Chain,
    RandomGain,
    RandomSilence,
    TranscribedDataModule,
    TranscribedFiles,
)
from vqkit.errors import ConfigError
from vqkit.evaluation import evaluate_recognition
from vqkit.media import write_audio
from vqkit.nets import (
    AttentionLayers,
    ConvLayers,
    CTCDecoder,
    LogMel,
    Seq2SeqDecoder,
    SpeechContext,
    SpeechEncoder,
)
from vqkit.quantizers import KMeans, ReplaceUnused, VectorQuantizer
from vqkit.tokenizers import AudioFrontend, SpeechRecogniser, Tokenizer
from vqkit.training import Checkpoints, EarlierRun, Optimization, Stage, SupervisedTraining

pytestmark = pytest.mark.filterwarnings(
    # Lightning advises on loaders that the tests choose on purpose.
    "ignore:.*does not have many workers:UserWarning",
)

RATE, DIM = 16_000, 16
WORDS = {"a": 300.0, "b": 2500.0}


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> TranscribedFiles:
    """Two words, each a tone; several takes."""
    folder = tmp_path_factory.mktemp("words")
    paths, texts = [], []
    for take in range(2):
        for word, hertz in WORDS.items():
            time = torch.arange(3000 + 300 * take) / RATE
            tone = 0.3 * torch.sin(2 * torch.pi * hertz * (1 + 0.05 * take) * time)[None]
            paths.append(folder / f"{word}_{take}.wav")
            texts.append(word)
            write_audio(tone, paths[-1], RATE)
    return TranscribedFiles(paths, texts, sample_rate_hz=RATE, cache_size_bytes=1 << 20)


def data(source: TranscribedFiles) -> TranscribedDataModule:
    chain = Chain({"gain": RandomGain(-6, 6), "silence": RandomSilence(600)})
    return TranscribedDataModule(source, chain, validation=source, batch_size=4)


def recogniser(quantized: bool = True, seq2seq: bool = False) -> SpeechRecogniser:
    torch.manual_seed(0)
    context = SpeechContext(ConvLayers(DIM, 1, 32, 3))
    return SpeechRecogniser(
        AudioFrontend(RATE),
        SpeechEncoder(LogMel(num_mels=16), ConvLayers(DIM, 1, 32, 3)),
        VectorQuantizer(DIM, 8, init=KMeans(iterations=3), revive=ReplaceUnused())
        if quantized
        else None,
        Seq2SeqDecoder(context, "ab", 1, 2, 5) if seq2seq else CTCDecoder(context, "ab"),
        "speech/tiny",
    )


def training(model: SpeechRecogniser, max_steps: int, **options) -> SupervisedTraining:
    optimization = Optimization(
        partial(torch.optim.AdamW, lr=options.pop("lr", 3e-2), weight_decay=0.01),
        clip_norm=1.0,
        average_decay=options.pop("average_decay", 0.0),
        stage=options.pop("stage", Stage()),
    )
    return SupervisedTraining(model, optimization, max_steps, log_every=5, **options)


def fit(module, data, resume=None, **options) -> None:
    tiny.trainer(**options).fit(module, datamodule=data, ckpt_path=resume, weights_only=True)


def items(source):
    return ((source.name(i), source.load(i), source.transcript(i)) for i in range(len(source)))


def check_learned(source, quantized: bool, seq2seq: bool = False) -> None:
    module = training(recogniser(quantized, seq2seq), 100, lr=1e-2)
    fit(module, data(source), validate_every=100)
    report = evaluate_recognition(module.exported, items(source), sample_rate_hz=RATE)
    assert report.words.rate == 0.0
    assert module.latest["validation/word_error_rate"] == 0.0
    assert module.latest["loss/transcript"] < 0.5
    assert ("codebook/usage" in module.latest) == quantized
    assert (report.tokens_per_second is not None) == quantized


def test_two_words_are_learned(source, tmp_path):
    """Through the quantizer, by CTC; the report and a loaded model say the same."""
    module = training(recogniser(), 60)
    fit(module, data(source), validate_every=60)
    assert module.latest["validation/word_error_rate"] == 0.0
    report = evaluate_recognition(module.exported, items(source), sample_rate_hz=RATE)
    assert report.words.rate == 0.0
    assert '"word_error_rate": 0.0' in report.save(tmp_path).read_text()
    lengths = [source.load(i).shape[1] for i in range(len(source))]
    num_tokens = sum(-(-length // 1280) for length in lengths)
    assert report.tokens_per_second == pytest.approx(num_tokens / (sum(lengths) / RATE))
    assert report.codebooks[0].num_tokens == num_tokens
    assert "word error rate 0.0%" in report.summary()
    module.exported.tokenizer.save_pretrained(tmp_path / "model")
    tokenizer = Tokenizer.from_pretrained(tmp_path / "model")
    tokens = tokenizer.encode([source.load(0), source.load(1)], sample_rate_hz=RATE)
    assert tokenizer.transcribe(tokens) == ["a", "b"]
    with pytest.raises(ConfigError, match="at least one sound"):
        evaluate_recognition(module.exported, [], sample_rate_hz=RATE)


@pytest.mark.slow
def test_a_second_stage_leaves_tokens_as_they_are(source, tmp_path):
    """Of a recogniser, too: another decoder learns to write what the tokens say."""
    first = training(recogniser(), 2)
    fit(first, data(source), callbacks=[Checkpoints(tmp_path)])
    stage = Stage(EarlierRun(tmp_path / "last.ckpt"), ["encoder", "quantizer"])
    second = training(recogniser(), 2, stage=stage)
    fit(second, data(source), validate_every=1)
    before, after = (module.recogniser.state_dict() for module in (first, second))
    assert before.keys() == after.keys()
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert {name.split(".")[0] for name in moved} == {"decoder"}


@pytest.mark.slow
def test_two_words_are_learned_without_a_quantizer(source):
    check_learned(source, quantized=False)


@pytest.mark.slow
def test_two_words_are_learned_by_a_transformer_that_writes(source):
    check_learned(source, quantized=True, seq2seq=True)


def test_resumption_is_exact(source, tmp_path):
    """N + M steps equal N, resume, M."""

    def make():
        return training(recogniser(), 4, average_decay=0.9, accumulate=2)

    through, interrupted, resumed = make(), make(), make()
    torch.manual_seed(5)
    fit(through, data(source), accumulate=2)
    interrupted.max_steps = 2
    torch.manual_seed(5)
    fit(interrupted, data(source), callbacks=[Checkpoints(tmp_path, every=100)], accumulate=2)
    torch.manual_seed(99)
    fit(resumed, data(source), resume=tmp_path / "last.ckpt", accumulate=2)
    assert resumed.step == 4
    state, expected = resumed.state_dict(), through.state_dict()
    assert [name for name in expected if not torch.equal(expected[name], state[name])] == []
    assert resumed.exported is not resumed.recogniser


def test_a_batch_that_is_not_finite_is_skipped(source):
    module = training(recogniser(), 1)
    before = {name: value.clone() for name, value in module.recogniser.named_parameters()}
    with torch.no_grad():
        module.recogniser.decoder.head.bias[0] = torch.nan
    fit(module, data(source))
    assert int(module.num_skipped) == 1
    after = dict(module.recogniser.named_parameters())
    del before["decoder.head.bias"]
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_it_starts_from_whisper(tmp_path):
    """Of a file with the names of transformers; other sizes are refused."""
    from safetensors.torch import save_file

    def make(layers: int = 1) -> SpeechRecogniser:
        attention = [AttentionLayers(DIM, n, 2, 32) for n in (1, layers)]
        return SpeechRecogniser(
            AudioFrontend(RATE),
            SpeechEncoder(LogMel(num_mels=16), attention[0]),
            None,
            CTCDecoder(SpeechContext(attention[1]), "ab"),
        )

    model = make()
    names = {"norm1": "self_attn_layer_norm", "norm2": "final_layer_norm"}
    names |= {"perceptron.0": "fc1", "perceptron.2": "fc2"}
    names |= {f"attention.{a}": f"self_attn.{b}_proj" for a, b in
              (("query", "q"), ("key", "k"), ("value", "v"), ("out", "out"))}  # fmt: skip
    state = {"model.encoder.embed_positions.weight": torch.randn(1500, DIM)}
    for number, layers in enumerate((model.encoder.layers, model.decoder.context.layers)):
        for name, value in layers.layers[0].state_dict().items():
            part, _, leaf = name.rpartition(".")
            key = f"model.encoder.layers.{number}.{names[part]}.{leaf}"
            state[key] = torch.randn_like(value)
    for name in ("conv1", "conv2"):
        for leaf, value in getattr(model.encoder, name).state_dict().items():
            state[f"model.encoder.{name}.{leaf}"] = torch.randn_like(value)
    for leaf in ("weight", "bias"):
        state[f"model.encoder.layer_norm.{leaf}"] = torch.randn(DIM)
    save_file({**state, "model.decoder.x": torch.zeros(1)}, tmp_path / "model.safetensors")
    training(model, 1, whisper_weights=tmp_path)
    expected = state["model.encoder.layers.1.fc1.weight"]
    assert torch.equal(model.decoder.context.layers.layers[0].perceptron[0].weight, expected)
    expected = state["model.encoder.embed_positions.weight"]
    assert torch.equal(model.encoder.positions, expected)
    assert torch.equal(model.decoder.context.position_table, expected[:375])
    with pytest.raises(ConfigError, match="after the quantizer"):
        training(make(2), 1, whisper_weights=str(tmp_path))
    with pytest.raises(ConfigError, match="found none"):
        training(make(), 1, whisper_weights=tmp_path / "nothing")


def test_counts_below_one_are_refused():
    with pytest.raises(ConfigError, match="max_steps"):
        training(recogniser(), 0)
