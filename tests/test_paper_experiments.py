"""The table of the paper's experiments names commands and files that exist."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from train.sweeps.trials import SWEEPS

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "paper_experiments.md"
EXPERIMENTS = [
    "Table 1", "Figures 1 and 5", "Figure 3", "Figure 4", "Figure 6", "Figure 7", "Figure 8a",
    "Figure 8b to 8d", *(f"Appendix {letter}" for letter in "ABCDEF"),
]  # fmt: skip
ROWS = [
    [cell.strip() for cell in line.strip("|\n").split("|")]
    for line in PAGE.read_text(encoding="utf-8").splitlines()
    if line.startswith("| ") and not line.startswith("| experiment")
]


def test_every_experiment_has_a_row() -> None:
    named = " ".join(row[0] for row in ROWS)
    assert [name for name in EXPERIMENTS if name not in named] == []


@pytest.mark.parametrize("row", ROWS, ids=[row[0].partition(":")[0] for row in ROWS])
def test_a_row_is_a_command_a_file_and_a_sentence(row: list[str]) -> None:
    assert len(row) == 4
    _, command, committed, agreement = row
    modules = re.findall(r"`python -m ([\w.]+)(?: ([^\s`]+))?[^`]*`", command)
    assert modules
    for module, first in modules:
        assert importlib.util.find_spec(module) is not None, module
        if module == "train.sweep":
            assert first in SWEEPS
        if module == "pytest":
            assert (ROOT / first).exists()
    links = re.findall(r"\]\(([^)#:]+)\)", committed)
    assert [target for target in links if not (PAGE.parent / target).exists()] == []
    # what has no file is said not to have been run
    assert links or "not run yet" in agreement.lower()
    assert agreement.endswith(".")
