"""Result files of benchmarks, which record where they were measured."""

from __future__ import annotations

import platform
import resource
import sys
import time
from pathlib import Path
from typing import Any

import torch

from ldm_envs.mujoco_vector import available_cores
from train.persistence.files import write_json
from train.persistence.run_folder import commit, versions


def write_result(path: Path | None, benchmark: str, figures: dict[str, Any]) -> None:
    """Write ``figures`` with date, threads, machine, versions and commit, if there is a path."""
    if path is None:
        return
    place = {
        "date": time.strftime("%Y-%m-%d"),
        "torch_threads": torch.get_num_threads(),
        "machine": _processor(),
        "cores": available_cores(),
        "system": platform.platform(),
        "versions": versions(),
        "commit": commit(),
    }
    write_json(path, {"benchmark": benchmark, **figures, **place})


def peak_memory_mib() -> float:
    """Peak memory of this process in MiB; systems count in bytes or in kilobytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def _processor() -> str:
    """Name of the processor, or its architecture if the system does not tell more."""
    table = Path("/proc/cpuinfo")
    if table.exists():
        for line in table.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
