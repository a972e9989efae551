"""Load jaxtyping and beartype before vqkit, so that every annotated signature is checked."""

import os
from collections.abc import Iterator
from pathlib import Path

import beartype
import jaxtyping

# An int where a float is asked for is fine, as everywhere in Python.
check = beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))

# torch.compile does not trace through the checker: the compile tests switch it off.
if os.environ.get("VQKIT_CHECK_SHAPES", "1") == "1":
    jaxtyping.install_import_hook("vqkit", "tests.conftest.check")

import pytest  # noqa: E402
import torch  # noqa: E402

# The tensors of the tests are small: a second thread costs more than it brings, and on a busy
# machine the threads' waiting for each other made the run ten times longer.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def unchecked_shapes() -> Iterator[None]:
    """Switch the shape checks off, to see what a user sees who passes something wrong."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def development_media() -> Path:
    """Real photos, speech and clips beside the checkout; a test that needs them skips without."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the development media are not beside this checkout (../shared/data)")
    return folder
