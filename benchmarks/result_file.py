"""What a benchmark measured, as a file that says where it was measured."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import torch

from train.atomic_file import write_json
from train.run_folder import commit, versions


def write_result(path: Path | None, benchmark: str, figures: dict[str, Any]) -> None:
    """Write ``figures`` with threads, machine, versions and commit; nothing for no path."""
    if path is None:
        return
    place = {
        "torch_threads": torch.get_num_threads(),
        "machine": platform.processor() or platform.machine(),
        "versions": versions(),
        "commit": commit(),
    }
    write_json(path, {"benchmark": benchmark, **figures, **place})
