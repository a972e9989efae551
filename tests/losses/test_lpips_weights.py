"""Where LPIPS finds its weights, and what it says when it does not."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from vqkit.errors import ConfigError, MissingExtraError
from vqkit.losses import LPIPS
from vqkit.losses.lpips_weights import STAGE_WIDTHS, load_weights


@pytest.fixture
def empty_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("nothing may be downloaded")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    return tmp_path / "hub" / "checkpoints" / "vgg16-397923af.pth"


def random_weights(prefix: str) -> dict[str, Tensor]:
    weights = load_weights("random", "random", download=False, seed=5)
    return {name: weight for name, weight in weights.items() if name.startswith(prefix)}


def test_offline_error_says_what_to_fetch_and_where_to_put_it(empty_hub: Path, tmp_path: Path):
    with pytest.raises(MissingExtraError) as caught:
        LPIPS(heads=str(tmp_path / "heads.pth"))
    text = str(caught.value)
    assert "expected 2 more file(s)" in text
    assert f"fetch https://download.pytorch.org/models/{empty_hub.name} to that path" in text
    assert str(empty_hub) in text
    assert "pass backbone=FILE, or download=True" in text
    assert "lpips/weights/v0.1/vgg.pth and pass heads=FILE" in text
    assert str(tmp_path / "heads.pth") in text
    assert "Nothing is downloaded unless download=True" in text


def test_only_what_is_absent_is_named(empty_hub: Path):
    with pytest.raises(MissingExtraError, match=r"expected 1 more file") as caught:
        LPIPS(heads="random")
    assert "linear heads" not in str(caught.value)


def test_download_goes_through_torchvision_and_only_if_allowed(
    empty_hub: Path, monkeypatch: pytest.MonkeyPatch
):
    fetched = []

    def download(url: str, destination: str, *args: object, **kwargs: object) -> None:
        fetched.append(url)
        torch.save(random_weights("features"), destination)

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    lpips = LPIPS(heads="random", download=True)
    assert fetched == [f"https://download.pytorch.org/models/{empty_hub.name}"]
    name = "features.28.weight"
    assert torch.equal(lpips._weights[name], random_weights("features")[name])
    LPIPS(heads="random", download=True)
    assert len(fetched) == 1


def test_backbone_is_found_in_the_hub_folder(empty_hub: Path):
    empty_hub.parent.mkdir(parents=True)
    torch.save(random_weights("features"), empty_hub)
    name = "features.10.bias"
    found = LPIPS(heads="random")._weights[name]
    assert torch.equal(found, random_weights("features")[name])


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_files_in_both_formats(tmp_path: Path, suffix: str):
    files = {part: tmp_path / f"{part}{suffix}" for part in ("features", "lin")}
    for part, file in files.items():
        weights = random_weights(part) | {"classifier.0.bias": torch.zeros(3)}
        (save_file if suffix == ".safetensors" else torch.save)(weights, file)
    lpips = LPIPS(backbone=str(files["features"]), heads=str(files["lin"]))
    for name, weight in (random_weights("features") | random_weights("lin")).items():
        assert torch.equal(lpips._weights[name], weight)


def test_pretrained_heads_come_with_torchmetrics():
    """The published version 0.1 heads of VGG16: their extent, as read from the authors' file."""
    weights = load_weights("random", "pretrained", download=False, seed=0)
    heads = [weights[f"lin{stage}.model.1.weight"] for stage in range(5)]
    assert [head.shape[1] for head in heads] == list(STAGE_WIDTHS)
    least = [round(float(head.min()), 4) for head in heads]
    assert least == [0.0210, 0.0095, 0.0377, 0.0391, 0.0193]


def test_refuses_negative_heads(tmp_path: Path):
    heads = random_weights("lin")
    heads["lin2.model.1.weight"][0, 7] = -0.25
    torch.save(heads, tmp_path / "heads.pth")
    with pytest.raises(ConfigError, match=r"'lin2.model.1.weight' without negative .* got -0.25"):
        LPIPS(backbone="random", heads=str(tmp_path / "heads.pth"))


def test_refuses_other_networks(tmp_path: Path):
    heads = random_weights("lin")
    heads["lin0.model.1.weight"] = torch.ones(1, 63, 1, 1)
    torch.save(heads, tmp_path / "alex.pth")
    with pytest.raises(ConfigError, match=r"shape \[1, 64, 1, 1\], got \[1, 63, 1, 1\] .*alex.pth"):
        LPIPS(backbone="random", heads=str(tmp_path / "alex.pth"))
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ConfigError, match="got nothing"):
        LPIPS(backbone="random", heads=str(tmp_path / "list.pth"))


class Hostile:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("hostile"),))


def test_refuses_pickles_and_rubbish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"lin0.model.1.weight": Hostile()}, "hostile.pth")
    Path("rubbish.pth").write_bytes(b"no weights at all")
    Path("rubbish.safetensors").write_bytes(b"\xff" * 100)
    for name in ("hostile.pth", "rubbish.pth", "rubbish.safetensors"):
        with pytest.raises(ConfigError, match=f"unreadable one .*{name}"):
            LPIPS(backbone="random", heads=name)
    assert not Path("hostile").exists()
