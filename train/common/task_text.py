"""Tasks as text, for tables and file names."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def task_texts(tasks: NDArray[Any], separator: str = " ") -> list[str]:
    """One text per row of (n_tasks, task_dim), different for different tasks.

    Numbers have six digits, or all digits of a float32 if two tasks would otherwise look alike.
    Whole numbers, such as seeds, keep all their digits.
    """
    for digits in (6, 9):
        texts = [separator.join(_number(value, digits) for value in task) for task in tasks]
        if len(set(texts)) == len(np.unique(tasks, axis=0)):
            break
    return texts


def _number(value: float, digits: int) -> str:
    whole = float(value).is_integer() and 1e6 <= abs(value) <= 2**24
    return str(int(value)) if whole else f"{value:.{digits}g}"
