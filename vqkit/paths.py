"""Where the configurations lie: inside the wheel, else in the checkout."""

from pathlib import Path

from vqkit.errors import ConfigError

__all__ = ["config_dir", "recipe_dir"]


def _bundled(name: str) -> Path:
    package = Path(__file__).resolve().parent
    for candidate in (package / name, package.parent / name):
        if candidate.is_dir():
            return candidate
    raise ConfigError(
        f"The folder {name!r} was not found: expected it in {package} (wheel) or beside it "
        f"(checkout). Reinstall vqkit."
    )


def config_dir() -> Path:
    """Folder of the Hydra groups: the wheel's copy if there is one, else the checkout's."""
    return _bundled("configs")


def recipe_dir() -> Path:
    """Folder of the recipes: the wheel's copy if there is one, else the checkout's."""
    return _bundled("recipes")
