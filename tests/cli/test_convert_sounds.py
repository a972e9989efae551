"""``vqkit convert`` on models of sound that need more than their own file."""

from pathlib import Path

import torch

from tests.cli.conftest import Run
from tests.tokenizers.converters import originals, peers
from vqkit.nets import VocosDecoder
from vqkit.tokenizers import Tokenizer


def test_vocos_beside_its_encodec(run: Run, tmp_path: Path) -> None:
    """The EnCodec may be another library's file or a model folder."""
    with torch.no_grad():
        bandwidths = [1.5, 3.0, 6.0, 12.0]
        model = peers.encodec(codebook_size=1024, target_bandwidths=bandwidths)
        torch.save(originals.encodec(model), tmp_path / "encodec.th")
        decoder = VocosDecoder(16, 32, 48, 1, hop=320, n_fft=1280, position_net=False)
        state = originals.vocos(decoder, num_bandwidths=4, row=2)
    books = torch.cat([layer.codebook.embed for layer in model.quantizer.layers])
    torch.save(state | {"feature_extractor.codebook_weights": books}, tmp_path / "vocos.bin")
    command = ("convert", tmp_path / "vocos.bin", tmp_path / "vocos")
    ran = run(*command)
    assert ran.status != 0
    assert "EnCodec at 24 kHz beside Vocos" in ran.err
    ran = run(*command, "--encodec", tmp_path / "encodec.th")
    assert ran.status == 0, ran.err
    six = Tokenizer.from_pretrained(tmp_path / "vocos")
    assert six.quantizer.codebook_sizes == (1024,) * 8
    assert torch.equal(six.decoder.norm.weight, decoder.norm.weight)
    assert run("convert", tmp_path / "encodec.th", tmp_path / "encodec").status == 0
    ran = run(*command, "--encodec", tmp_path / "encodec", "--bandwidth", "12", "-f")
    assert ran.status == 0, ran.err
    twelve = Tokenizer.from_pretrained(tmp_path / "vocos")
    assert twelve.quantizer.codebook_sizes == (1024,) * 16
    assert run(*command, "--encodec", tmp_path / "encodec", "--bandwidth", "5", "-f").status != 0
