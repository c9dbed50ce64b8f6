"""The committed policy: small, complete, and what ``make demo`` shows of it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from train.evaluate import main
from train.persistence.files import read_csv

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "demo"


def test_the_committed_run_is_small_and_holds_nothing_that_runs() -> None:
    files = [file for file in DEMO.iterdir() if file.suffix != ".md"]
    assert {file.suffix for file in files} == {".json", ".csv", ".safetensors"}
    assert sum(file.stat().st_size for file in files) < 2**20


def test_make_demo_shows_it_on_unseen_goals(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (tasks,) = re.findall(r"^TASKS .*= (.*)$", makefile, re.MULTILINE)
    (flags,) = re.findall(r"train.evaluate runs/demo (.*) --tasks \$\(TASKS\)", makefile)
    run = tmp_path / "demo"
    shutil.copytree(DEMO, run)
    assert main([str(run), *flags.split(), "--tasks", *tasks.split()]) == 0
    rows = read_csv(run / "evaluation" / "tasks.csv")
    reached = [r for r in rows if (r["split"], r["episode"], r["reached"]) == ("test", "4", "1")]
    assert len(reached) >= 18  # 21 where it was trained
    assert re.search(r"test +27 ", capsys.readouterr().out)
    assert (run / "pictures" / "film_strip.png").stat().st_size > 10_000
    films = [run / "videos" / f"task_{task.replace(',', '_')}.gif" for task in tasks.split()]
    assert all(film.read_bytes().startswith(b"GIF89a") for film in films)
