"""Memory of a whole training, from its first rows of metrics to its end (bar B6). Linux only.

    python -m benchmarks.memory [--json OUT] -- --env-id LDM-HalfCheetahVel-v0 --run-dir runs/x

Flags after ``--`` are those of ``train.recurrent_ppo``, which runs in a separate process. Its
resident set size is read every few seconds. The stated size of the buffers is the trajectory
buffer's ``nbytes``. Its pages are mapped as they are written, so this much growth is expected.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.result_file import write_result
from train.common.command_line import parse
from train.persistence.files import read_csv
from train.persistence.run_folder import RunFolder
from train.recurrent_ppo import build


def resident_mib(pid: int) -> float | None:
    """Resident set size of a process, or None if it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    values = [int(line.split()[1]) for line in lines if line.startswith("VmRSS:")]
    return values[0] / 1024 if values else None


def main() -> None:
    """Train, watch, and print start, end and growth."""
    flags = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    flags.add_argument("--json", type=Path, default=None)
    flags.add_argument("--every", type=float, default=5.0, help="seconds between readings")
    flags.add_argument("training", nargs="+", help="flags of train.recurrent_ppo, after --")
    given = flags.parse_args()

    config: Any = parse("train.recurrent_ppo", given.training)[0]
    if not config.run_dir:
        raise SystemExit("expected --run-dir among the flags of the training")
    learner = build(config)
    stated = 0.0 if learner.trainer is None else learner.trainer.buffer.nbytes / 2**20
    learner.close()
    folder = RunFolder(config.run_dir, config)
    command = [sys.executable, "-m", "train.recurrent_ppo", *given.training]
    readings: list[tuple[float, float]] = []
    begin = time.monotonic()
    with subprocess.Popen(command) as process:
        while process.poll() is None:
            now = resident_mib(process.pid)
            if now is not None and folder.metrics.exists():
                readings.append((time.monotonic() - begin, now))
            time.sleep(given.every)
    if process.returncode or not readings:
        raise SystemExit(
            f"the training ended with exit status {process.returncode}, after {len(readings)} "
            "readings"
        )

    start, end = readings[0][1], readings[-1][1]
    growth, allowed = end - start, 1.05 * stated
    steps = read_csv(folder.metrics)[-1]["timesteps"]
    print(f"{config.method} on {config.env_id}, {steps} steps")
    print(f"  RSS {start:,.0f} MiB at the first metrics, {end:,.0f} MiB at the end")
    print(
        f"  growth {growth:,.0f} MiB; buffers' stated size {stated:,.0f} MiB, + 5 %: {allowed:,.0f}"
    )
    figures = {
        "config": {**config.to_dict(), "run_dir": ""},
        "stated_mib": stated,
        "seconds_and_rss_mib": [[round(t, 1), round(m, 1)] for t, m in readings],
        "growth_mib": growth,
    }
    write_result(given.json, "memory", figures)


if __name__ == "__main__":
    main()
