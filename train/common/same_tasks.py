"""Check that a resumed run has the same tasks as before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from train.common.envs import evaluation_batches
from train.common.task_text import task_texts
from train.config.settings import RunSettings
from train.persistence.checkpoint import OtherTasksError
from train.persistence.files import read_csv

Array = NDArray[Any]
_RTOL = 1e-5  # twice the largest error of rounding to six digits
_WAY_OUT = (
    "a run continues only on its own tasks: make the environment have them again (draw them with "
    "a fixed seed), or train a new run in another folder"
)


def equal_as_written(then: Array, now: Array) -> bool:
    """Whether two arrays (n_tasks, task_dim) contain the same tasks in the same order.

    Numbers may differ by rounding to six digits or by rounding on another machine. Whole numbers,
    such as seeds, must be equal.
    """
    one, other = np.asarray(then, np.float64), np.asarray(now, np.float64)
    if one.shape != other.shape:
        return False
    if not other.size:
        return True
    near = np.isclose(one, other, rtol=_RTOL, atol=0.1 * _RTOL * np.abs(other).max(axis=0))
    whole = (one == np.rint(one)) & (other == np.rint(other)) & (np.abs(other) <= 2**24)
    return bool(np.where(whole, one == other, near).all())


def check_train_tasks(config: RunSettings, then: Array, now: Array) -> None:
    """Compare the train tasks (K, task_dim) of a replay with those that its run has now.

    Raises:
        OtherTasksError: If they differ.
    """
    if not equal_as_written(then, now):
        raise OtherTasksError(
            f"the replay has other train tasks than {config.env_id} has now: "
            f"{_listed(task_texts(then))}; now {_listed(task_texts(now))}; {_WAY_OUT}"
        )


def check_evaluated_tasks(config: RunSettings, evaluations: Path) -> None:
    """Compare the tasks of the last evaluation of a run with those that it has now.

    Args:
        config: Settings of the run.
        evaluations: Its evaluations.csv, which need not exist yet.

    Raises:
        OtherTasksError: If a split has other tasks, or there are other splits.
    """
    rows = read_csv(evaluations) if evaluations.exists() else []
    then: dict[str, list[str]] = {}
    for row in rows:
        if row["timesteps"] == rows[-1]["timesteps"] and row["episode"] == "1":
            then.setdefault(row["split"], []).append(row["task"])
    if not then:
        return
    now: dict[str, tuple[str, Array | None]] = {
        split: (one.env_id, tasks)
        for one, by_split in evaluation_batches(config)
        for split, tasks in by_split.items()
    }
    if list(then) != list(now):
        raise OtherTasksError(
            f"{evaluations} has the splits {', '.join(then)}, but {config.env_id} now has "
            f"{', '.join(now)} to evaluate; {_WAY_OUT}"
        )
    for split, (env_id, tasks) in now.items():
        if not _read_as(then[split], tasks):
            raise OtherTasksError(
                f"{evaluations} has other {split} tasks than {env_id} has now: "
                f"{_listed(then[split])}; now {_listed(_texts(tasks, len(then[split])))}; "
                f"{_WAY_OUT}"
            )


def _texts(tasks: Array | None, n: int) -> list[str]:
    """Tasks as written to evaluations.csv; ``n`` empty texts if they cannot be pinned."""
    return [""] * n if tasks is None else task_texts(tasks)


def _read_as(texts: list[str], tasks: Array | None) -> bool:
    """Whether the texts represent the tasks."""
    if tasks is None or texts == task_texts(tasks):
        return tasks is not None or not any(texts)
    try:
        found = np.array([[float(value) for value in text.split()] for text in texts])
    except ValueError:  # not numbers, or rows of different lengths
        return False
    return equal_as_written(found, tasks)


def _listed(texts: list[str]) -> str:
    """The number of tasks, and the first few of them."""
    shown = ", ".join(texts[:8]) + (", …" if len(texts) > 8 else "")
    return f"{len(texts)} tasks ({shown})" if any(texts) else f"{len(texts)} tasks that are unknown"
