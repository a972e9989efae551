"""``docs/traps.md`` names every trap, and tests that exist."""

import ast
import re
from pathlib import Path

import pytest

from vqkit.testing import quantizer_checks

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "traps.md"
NUM_TRAPS = 49


def rows(text: str) -> dict[int, list[str]]:
    """Names of tests and checks, by the number of the trap."""
    found = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 3 and cells[0].isdigit():
            assert int(cells[0]) not in found, f"two rows of trap {cells[0]}"
            found[int(cells[0])] = re.findall(r"`([^`]+)`", cells[2])
    return found


def functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def exists(name: str) -> bool:
    """Whether there is such a check of the contract, or such a test."""
    path, _, test = name.partition("::")
    if not test:
        return name in {check.__name__ for check in quantizer_checks()}
    return (ROOT / path).is_file() and test.startswith("test_") and test in functions(ROOT / path)


def test_every_trap_has_a_row_of_tests_that_exist():
    table = rows(PAGE.read_text())
    assert sorted(table) == list(range(1, NUM_TRAPS + 1))
    assert all(table.values()), [number for number, names in table.items() if not names]
    missing = [name for names in table.values() for name in names if not exists(name)]
    assert not missing


def test_every_test_that_names_a_trap_is_in_its_row():
    table = rows(PAGE.read_text())
    missing = []
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for test in functions(path):
            named = re.search(r"(?<![a-z])trap_(\d+)", test)
            name = f"{path.relative_to(ROOT)}::{test}"
            if test.startswith("test_") and named and name not in table[int(named.group(1))]:
                missing.append((int(named.group(1)), name))
    assert not missing, "add these to docs/traps.md"


def test_tests_that_any_page_names_exist():
    pages = [p for p in PAGE.parent.rglob("*.md") if "_build" not in p.parts]
    named = {
        name for page in pages for name in re.findall(r"`(tests/[^`]+::[^`]+)`", page.read_text())
    }
    assert len(named) > 50
    assert not [name for name in sorted(named) if not exists(name)]


@pytest.mark.parametrize(
    "name",
    [
        "check_nothing",
        "tests/quantizers/test_traps.py::test_trap_0",
        "tests/quantizers/test_nothing.py::test_trap_1",
        "tests/quantizers/test_traps.py::step",
    ],
)
def test_a_name_that_does_not_exist_is_noticed(name):
    assert not exists(name)


def test_a_row_that_is_missing_or_doubled_is_noticed():
    assert rows("| 1 | a | `check_loss` |\n| 3 | b | none |") == {1: ["check_loss"], 3: []}
    with pytest.raises(AssertionError, match="two rows"):
        rows("| 1 | a | `b` |\n| 1 | a | `b` |")
