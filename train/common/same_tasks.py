"""Whether a resumed run meets the tasks that it met before."""

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
_RTOL = 1e-5  # six digits are off by half of that at most
_WAY_OUT = (
    "a run continues on its own tasks: let the environment have those again (draw them with a "
    "fixed seed), or train a new run in another folder"
)


def equal_as_written(then: Array, now: Array) -> bool:
    """Whether two arrays (n_tasks, task_dim) hold the same tasks in the same order.

    Numbers may differ by what six digits leave of them, or by rounding on another machine. Whole
    numbers, such as seeds, have to be equal.
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
        OtherTasksError: They differ.
    """
    if not equal_as_written(then, now):
        raise OtherTasksError(
            f"the replay is of other train tasks than {config.env_id} has now: "
            f"{_listed(task_texts(then))}; now {_listed(task_texts(now))}; {_WAY_OUT}"
        )


def check_evaluated_tasks(config: RunSettings, evaluations: Path) -> None:
    """Compare the tasks of the last evaluation of a run with those that it has now.

    Args:
        config: Settings of the run.
        evaluations: Its evaluations.csv; there may be none yet.

    Raises:
        OtherTasksError: A split has other tasks, or there are other splits.
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
            f"{evaluations} has the splits {', '.join(then)}, and {config.env_id} has "
            f"{', '.join(now)} to evaluate now; {_WAY_OUT}"
        )
    for split, (env_id, tasks) in now.items():
        if not _read_as(then[split], tasks):
            raise OtherTasksError(
                f"{evaluations} has other {split} tasks than {env_id} has now: "
                f"{_listed(then[split])}; now {_listed(_texts(tasks, len(then[split])))}; "
                f"{_WAY_OUT}"
            )


def _texts(tasks: Array | None, n: int) -> list[str]:
    """Tasks as evaluations.csv has them; ``n`` empty texts where they cannot be pinned."""
    return [""] * n if tasks is None else task_texts(tasks)


def _read_as(texts: list[str], tasks: Array | None) -> bool:
    """Whether the texts are those of the tasks."""
    if tasks is None or texts == task_texts(tasks):
        return tasks is not None or not any(texts)
    try:
        found = np.array([[float(value) for value in text.split()] for text in texts])
    except ValueError:  # not numbers, or not as many in every row
        return False
    return equal_as_written(found, tasks)


def _listed(texts: list[str]) -> str:
    """Their number, and the first of them."""
    shown = ", ".join(texts[:8]) + (", …" if len(texts) > 8 else "")
    return f"{len(texts)} tasks ({shown})" if any(texts) else f"{len(texts)} tasks that are unknown"
