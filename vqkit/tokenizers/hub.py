"""Model folders on the Hugging Face hub."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from vqkit.errors import ConfigError, MissingExtraError
from vqkit.tokenizers.folder import CARD_FILE, CODING_FILES, CONFIG_FILE, WEIGHTS_FILE

__all__ = ["download", "upload"]


def download(
    repo_id: str,
    *,
    revision: str | None,
    cache_dir: str | os.PathLike[str] | None,
    force_download: bool,
    local_files_only: bool,
    token: str | bool | None,
) -> Path:
    """Fetch the files of a model folder and nothing else; return the local folder.

    Raises:
        ConfigError: No such folder and no such model on the hub.
        MissingExtraError: huggingface_hub is not installed.
    """
    if repo_id.count("/") != 1 or repo_id.startswith((".", "/", "~")):
        raise ConfigError(
            f"Model {repo_id!r}: expected an existing folder or a hub id 'organisation/name'; the "
            "folder does not exist."
        )
    library = _library(repo_id)
    try:
        path = library.snapshot_download(
            repo_id,
            revision=revision,
            cache_dir=cache_dir,
            force_download=force_download,
            local_files_only=local_files_only,
            token=token,
            allow_patterns=[CONFIG_FILE, WEIGHTS_FILE, CARD_FILE, *CODING_FILES],
        )
    except (OSError, ValueError) as error:  # the library's errors derive from these
        raise ConfigError(
            f"Model {repo_id!r}: neither a folder here nor to be had from the hub ({error})."
        ) from error
    return Path(path)


def upload(
    repo_id: str,
    write: Callable[[Path], None],
    *,
    commit_message: str,
    private: bool | None,
    token: str | bool | None,
    revision: str | None,
) -> str:
    """Create the repository if need be and upload what ``write`` puts into a folder.

    Raises:
        MissingExtraError: huggingface_hub is not installed.
    """
    library = _library(repo_id)
    library.create_repo(repo_id, private=private, token=token, exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        write(Path(directory))
        commit = library.upload_folder(
            repo_id=repo_id,
            folder_path=directory,
            commit_message=commit_message,
            token=token,
            revision=revision,
        )
    return str(commit)


def _library(repo_id: str) -> ModuleType:
    try:
        import huggingface_hub
    except ImportError as error:
        raise MissingExtraError(
            f"Model {repo_id!r}: expected the package huggingface_hub for models on the hub, found "
            'none. Run: pip install "vqkit[hub]"'
        ) from error
    return huggingface_hub
