"""Evaluate finished runs: tables, CSV, pictures and videos.

python -m train.evaluate runs/LDM-GridNavi-v0-ldm-seed0 --video
python -m train.evaluate runs/*-ldm-seed* runs/*-rl2-seed* --out runs/comparison
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path
from typing import Any

if __name__ == "__main__" and __package__ in (None, ""):  # run as a file
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from train.analysis.tables import (
    group_runs,
    joint_rows,
    print_joint_table,
    print_table,
    summary_rows,
    write_csv,
)
from train.common.artifacts import load_artifacts, require_artifact
from train.common.env_source import EnvSource
from train.common.envs import evaluation_tasks
from train.common.evaluation import Evaluator, SplitResult, evaluation_rows
from train.common.learner import Learner
from train.common.stopping import report_errors
from train.common.task_text import task_texts
from train.config.settings import RunSettings
from train.persistence.files import require_folder
from train.persistence.run_folder import RunFolder
from train.plots.joint_curves import plot_joint_curves
from train.plots.mixtures import Mixtures
from train.plots.reward_maps import plot_dropout_comparison
from train.plots.run import RunPlots, plot_run, reported_split
from train.plots.video import RenderingError, choose_renderer, record_video

Array = np.ndarray[Any, np.dtype[Any]]


def evaluate(folder: RunFolder, learner: Learner) -> list[SplitResult]:
    """Play greedy meta-episodes on all tasks of all splits; write ``evaluation/`` of the run."""
    evaluator = Evaluator(learner)
    try:
        results = evaluator.evaluate(learner.actor())
    finally:
        evaluator.close()
    rows = evaluation_rows(0, results)
    tasks = [{k: v for k, v in row.items() if k != "timesteps"} for row in rows]
    write_csv(folder.path / "evaluation" / "summary.csv", summary_rows(results))
    write_csv(folder.path / "evaluation" / "tasks.csv", tasks)
    return results


def chosen_tasks(config: RunSettings, texts: list[str]) -> Array | None:
    """Tasks named by ``--tasks``: indices into the eval split, or components as in ``3,4``, ``2,``.

    Raises:
        ValueError: If an index is out of range, or a task is not of the family.
    """
    if not texts:
        return None
    distribution = EnvSource.of(config).facts().distribution
    if distribution is None:
        raise ValueError(f"--tasks needs tasks to choose from, but {config.env_id} has none")
    by_split = evaluation_tasks(config)
    split = reported_split(by_split)
    known = by_split[split]
    assert known is not None
    tasks = []
    for text in texts:
        if text.isdigit():
            if int(text) >= len(known):
                raise ValueError(
                    f"--tasks {text} is out of range: split {split!r} of {config.env_id} has tasks "
                    f"0 to {len(known) - 1}"
                )
            tasks.append(known[int(text)])
            continue
        try:
            values = [float(value) for value in text.removesuffix(",").split(",")]
        except ValueError:
            raise ValueError(
                f"--tasks {text!r} is neither an index nor components like 1.5,0.2"
            ) from None
        tasks.append(distribution.validate(values))
    return np.stack(tasks)


def record_videos(
    folder: RunFolder, learner: Learner, tasks: Array | None, suffix: str
) -> list[Path]:
    """Write one video per task, by default the eval split's first, to ``videos/`` of the run."""
    if tasks is None:
        known = evaluation_tasks(folder.config)
        first = known[reported_split(known)]
        tasks = None if first is None else first[:1]
    paths = []
    names = ["seeded"] if tasks is None else task_texts(tasks, "_")
    for name, task in zip(names, [None] if tasks is None else list(tasks), strict=True):
        path = folder.path / "videos" / f"task_{name}{suffix}"
        scores = record_video(learner, task, path)
        print(f"  {path} (returns {scores})")
        paths.append(path)
    return paths


def evaluate_run(path: Path, arguments: argparse.Namespace) -> tuple[list[SplitResult], RunPlots]:
    """Print the table of one run, and write its files, pictures and videos."""
    folder = RunFolder.open(path)
    config = folder.config
    if (arguments.video or arguments.gif) and ":" in config.env_id:
        with contextlib.suppress(RenderingError):  # it may not be of MuJoCo
            choose_renderer()  # before the module is imported, which may import dm_control
    tasks = chosen_tasks(config, arguments.tasks)
    learner = load_artifacts(folder, arguments.device)
    try:
        print(f"{path}: {config.env_id}, {config.method}, seed {config.seed}")
        results = evaluate(folder, learner)
        print_table(results)
        drawn = plot_run(folder, learner, results, tasks)
        for note in drawn.notes:
            print(f"  {note}")
        for picture in [folder.path / "evaluation" / "summary.csv", *drawn.paths]:
            print(f"  {picture}")
        if arguments.video or arguments.gif:
            record_videos(folder, learner, tasks, ".gif" if arguments.gif else ".mp4")
    finally:
        learner.close()
    return results, drawn


def compare(
    runs: list[tuple[RunFolder, list[SplitResult]]], mixtures: list[Mixtures | None], out: Path
) -> None:
    """Print a joint table; draw learning curves, and reward maps for several dropout rates."""
    print("together:")
    print_joint_table(runs)
    folders = [folder for folder, _ in runs]
    paths = [
        write_csv(out / "summary.csv", joint_rows(runs)),
        plot_joint_curves(folders, out / "learning_curves.png"),
    ]
    comparable: dict[tuple[str, str], list[tuple[str, Mixtures]]] = {}
    for folder, found in zip(folders, mixtures, strict=True):
        if found is not None:
            name = f"{folder.config.method}, seed {folder.config.seed}"
            group = (folder.config.env_id, found.scheme)  # only these share their mixtures
            comparable.setdefault(group, []).append((name, found))
    for older in out.glob("reward_maps_p_drop*.png"):  # of other runs
        older.unlink()
    several = [group for group in comparable.values() if len({m.p_drop for _, m in group}) > 1]
    for index, alike in enumerate(several, 1):
        name = "reward_maps_p_drop" + (f"_{index}" if len(several) > 1 else "")
        paths.append(plot_dropout_comparison(alike, out / f"{name}.png"))
    for path in paths:
        print(f"  {path}")


def parser() -> argparse.ArgumentParser:
    """Flags of this script."""
    flags = argparse.ArgumentParser(
        prog="python -m train.evaluate",
        description="Evaluate finished runs greedily: tables, CSV files, pictures and videos.",
    )
    flags.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folders")
    film = flags.add_mutually_exclusive_group()
    film.add_argument("--video", action="store_true", help="film the chosen tasks as MP4")
    film.add_argument("--gif", action="store_true", help="film them as GIF")
    flags.add_argument(
        "--tasks", nargs="+", action="extend", default=[], metavar="TASK",
        help="tasks to show, as indices into the eval split (5) or as components (3,4 or 2.5; "
        "2, for a whole number; --tasks=-3,4 for a leading minus sign)",
    )  # fmt: skip
    flags.add_argument(
        "--out", type=Path, default=None, metavar="DIR",
        help="folder for the joint table and figures of several runs (default runs/comparison)",
    )  # fmt: skip
    flags.add_argument("--device", default="cpu", help="device of policy and VAE (default cpu)")
    return flags


def main(arguments: list[str] | None = None) -> int:
    """Evaluate each run, then all of them together."""
    given = parser().parse_args(arguments)
    with report_errors():
        if given.out is not None:
            require_folder("--out", given.out)
        folders = [RunFolder.open(path) for path in given.runs]
        group_runs(folders)  # refuses copied runs before anything is evaluated
        for folder in folders:
            require_artifact(folder, "policy")
        evaluated = [evaluate_run(path, given) for path in given.runs]
        if len(folders) > 1 or given.out is not None:
            runs = [(f, results) for f, (results, _) in zip(folders, evaluated, strict=True)]
            mixtures = [drawn.mixtures for _, drawn in evaluated]
            compare(runs, mixtures, given.out or Path("runs/comparison"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
