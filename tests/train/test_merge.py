"""``train.figures --merge``: collections combined as if their runs had been collected together."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from test_figures import few_figures, made_up  # noqa: F401

from train.analysis.tables import write_csv
from train.figures import main
from train.persistence.files import read_csv

pytestmark = pytest.mark.usefixtures("few_figures")
CHEETAH, GOAL = "LDM-HalfCheetahVel-v0", "LDM-AntGoal-v0"


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """A family each, collected apart; the second was trained for longer."""
    runs = [
        [made_up(tmp_path, CHEETAH, "rl2", 0, 20.0), made_up(tmp_path, CHEETAH, "pearl", 1, 30.0)],
        [made_up(tmp_path, GOAL, "rl2", 0, 5.0, total_timesteps=2_000_000)],
    ]
    out = [tmp_path / "cheetah", tmp_path / "goal"]
    for folder, own in zip(out, runs, strict=True):
        assert main(["--collect", *map(str, own), "--out", str(folder)]) == 0
    return out


def merged(folders: list[Path], out: Path) -> int:
    return main(["--merge", *map(str, folders), "--out", str(out)])


def test_all_rows_are_those_of_the_folders(folders: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "both"
    for _ in range(2):  # again, when a folder may have grown
        assert merged(folders, out) == 0
        for name in ("runs", "curves", "tasks"):
            expected = [
                {**row, "run": f"{folder.name}/{row['run']}"}
                for folder in folders
                for row in read_csv(folder / f"{name}.csv")
            ]
            assert read_csv(out / f"{name}.csv") == expected
    assert main([str(out), "--check"]) == 0


def test_figure_7_has_one_label_for_a_method_whatever_its_steps(
    folders: list[Path], tmp_path: Path
) -> None:
    assert merged(folders, tmp_path / "both") == 0
    rows = read_csv(tmp_path / "both" / "figure7.csv")
    assert {(row["env_id"], row["group"]) for row in rows} == {
        (CHEETAH, "rl2"), (CHEETAH, "pearl"), (GOAL, "rl2"),
    }  # fmt: skip
    both = [made_up(tmp_path, GOAL, "rl2", 0, 5.0, total_timesteps=n) for n in (10**6, 2 * 10**6)]
    assert main(["--add", str(both[0]), "--out", str(folders[1])]) == 0
    assert merged(folders, tmp_path / "both") == 0
    rows = read_csv(tmp_path / "both" / "figure7.csv")
    assert {row["group"] for row in rows if row["env_id"] == GOAL} == {
        f"rl2 total_timesteps={n}" for n in (1_000_000, 2_000_000)
    }


def test_what_does_not_fit_together_is_refused(
    folders: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(paths: list[Path], out: Path) -> str:
        before: dict[Path, Any] = {f: f.read_bytes() for f in out.glob("*.csv")}
        with pytest.raises(SystemExit):
            merged(paths, out)
        assert {f: f.read_bytes() for f in out.glob("*.csv")} == before
        return capsys.readouterr().err

    assert "are called 'goal'" in refused([folders[1], folders[1]], tmp_path / "out")
    copy = tmp_path / "copy"
    shutil.copytree(folders[1], copy)
    assert "have the same settings and seed 0" in refused([folders[1], copy], tmp_path / "out")
    assert "such as LDM-HalfCheetahVel-v0" in refused(folders, folders[0])  # would lose its runs
    (copy / "tasks.csv").unlink()
    assert "tasks.csv is missing" in refused([folders[0], copy], tmp_path / "out")
    with pytest.raises(SystemExit):
        main(["--merge", str(folders[0]), "--until", "1000", "--out", str(tmp_path / "out")])
    assert "--until cuts runs" in capsys.readouterr().err


def test_seeds_of_different_commits_are_told(
    folders: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    run = made_up(tmp_path, GOAL, "rl2", 1, 5.0, total_timesteps=2_000_000)
    assert main(["--collect", str(run), "--out", str(other)]) == 0
    for folder, commit in ((folders[1], "aaaaaaaaa"), (other, "bbbbbbbbb")):
        rows = [{**row, "commit": commit} for row in read_csv(folder / "runs.csv")]
        write_csv(folder / "runs.csv", rows)
    capsys.readouterr()
    assert merged([folders[1], other], tmp_path / "both") == 0
    assert "seeds of one group were trained with different commits" in capsys.readouterr().err
