"""Which families are grids: only those get maps of cells, decoded goals and crosses on goals."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_runs import train_tiny

from ldm_envs import ENV_IDS
from train import evaluate, imaginary_goals, imaginary_tasks
from train.analysis.tables import write_csv
from train.common.env_source import EnvSource
from train.common.places import Places
from train.persistence.files import read_csv
from train.plots import results_folder
from train.plots.grid import Grid

SIZES = ("--n-episodes", "2", "--total-timesteps", "64")


@pytest.fixture(autouse=True)
def trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LDM_TRUST_MODULES", "foreign_envs")


@pytest.mark.parametrize("env_id", ENV_IDS)
def test_our_grids_are_the_only_grids_of_our_families(env_id: str) -> None:
    found = Grid.of(EnvSource(env_id))
    assert found == (Grid((0, 0), (6, 6)) if "GridNavi" in env_id else None)


def test_a_grid_of_the_users_says_so_and_shows_its_cells() -> None:
    assert Grid.of(EnvSource("foreign_envs:cells")) == Grid((0, 0), (3, 3))
    assert results_folder._on_grid(EnvSource("foreign_envs:cells"))  # figures of returns per task


@pytest.mark.parametrize("name", ["counts", "beyond", "plane", "flat"])
def test_whole_numbers_do_not_make_a_grid(name: str) -> None:
    """Tasks of another meaning or outside, positions between cells, other units."""
    source = EnvSource(f"foreign_envs:{name}")
    assert Grid.of(source) is None and Places.of(source) is None
    assert not results_folder._on_grid(source)


@pytest.mark.parametrize("name", ["cells", "counts"])
def test_only_a_grid_gets_pictures_and_decoded_goals(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train_tiny(tmp_path / "run", "ldm", *SIZES, env_id=f"foreign_envs:{name}")
    assert evaluate.main([str(run)]) == 0
    text = capsys.readouterr().out
    drawn = {path.name for path in (run / "pictures").iterdir()}
    maps = {"film_strip.png", "reward_maps.png"}
    decoded = run / "decoded_goals.csv"
    if name == "cells":
        assert drawn == {"learning_curves.png", *maps}
        assert {row["task"] for row in read_csv(decoded)} == {"1 2", "3 1", "2 1"}
        assert imaginary_goals.main([str(run), "--mixtures", "2"]) == 0
    else:
        assert drawn == {"learning_curves.png"} and not (decoded.exists() and read_csv(decoded))
        assert "no figure of behaviour" in text and "('x (cell)', 'y (cell)')" in text
        with pytest.raises(SystemExit):
            imaginary_goals.main([str(run)])
        assert "neither goals at positions" in capsys.readouterr().err
    with pytest.raises(SystemExit):  # their moves are not known
        imaginary_tasks.main([str(run)])
    assert "is not GridNavi" in capsys.readouterr().err


def test_decoded_goals_of_former_runs_of_no_grid_are_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [
        "run",
        "p_drop",
        "timesteps",
        "split",
        "task",
        "dropout",
        "x",
        "y",
        "distance",
        "rewards",
    ]
    row = {"env_id": "foreign_envs:counts", **dict.fromkeys(names, "0")}
    write_csv(tmp_path / "decoded_goals.csv", [row])
    assert results_folder._draw_tables(tmp_path, tmp_path, {}) == []
    assert "decoded goals of foreign_envs:counts are left out" in capsys.readouterr().err
