"""Configurations and recipes are found in a wheel, an editable install and a bare checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from vqkit.paths import config_dir, recipe_dir

ROOT = Path(__file__).resolve().parents[2]


def run(arguments: list[str], folder: Path, path: Path | None = None) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "COV"))}
    environment["PYTHONSAFEPATH"] = "1"  # the folder itself is not on the path
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    result = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel's contents as installed, without its dependencies, which this environment has."""
    folder = tmp_path_factory.mktemp("wheel")
    run(["-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)], ROOT)
    (archive,) = folder.glob("*.whl")
    with zipfile.ZipFile(archive) as file:
        file.extractall(folder / "site")
    return folder / "site"


def test_the_wheel_holds_configurations_and_no_tests(wheel):
    for source, name in ((config_dir(), "configs"), (recipe_dir(), "recipes")):
        expected = {p.relative_to(source) for p in source.rglob("*.yaml")}
        found = {
            p.relative_to(wheel / "vqkit" / name) for p in (wheel / "vqkit" / name).rglob("*.yaml")
        }
        assert found == expected
        assert expected
    assert (wheel / "vqkit" / "py.typed").is_file()
    assert {p.name for p in wheel.iterdir() if p.suffix != ".dist-info"} == {"vqkit"}


def test_the_wheel_composes_every_recipe_from_an_empty_folder(wheel, tmp_path):
    code = (
        "import vqkit, vqkit.paths, sys; from vqkit.cli.main import main;"
        f"assert vqkit.__file__.startswith({str(wheel)!r}), vqkit.__file__;"
        f"assert str(vqkit.paths.config_dir()).startswith({str(wheel)!r});"
        "sys.exit(main(['train', 'recipe=image/vqgan', '--cfg', 'job']))"
    )
    out = run(["-c", code], tmp_path, wheel)
    assert "vqkit.nets.VQGANEncoder" in out
    assert not list(tmp_path.iterdir())


def test_the_checkout_is_found_without_installation(tmp_path):
    code = "import vqkit.paths; print(vqkit.paths.config_dir())"
    assert Path(run(["-c", code], tmp_path, ROOT).strip()) == ROOT / "configs"
