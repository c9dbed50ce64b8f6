"""Short trainings in processes of their own, to be killed, and what two runs must share."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shlex
import time
from pathlib import Path
from typing import Any

import numpy as np

from ldm_wrappers.state_file import load_state
from train.persistence.files import read_csv

GRID = shlex.split("""
--env-id LDM-GridNavi-v0 --preset paper --n-workers 5 --n-mixture-workers 2 --mixture.n-components 2
--n-steps 120 --vae-buffer-trajectories 20 --vae-updates 2 --vae-encoded-lengths 4
--eval-interval 1800 --checkpoint-interval 600 --log-interval 1 --device cpu
""")
ANT = shlex.split("""
--env-id LDM-AntGoal-v0 --preset paper --n-workers 3 --n-mixture-workers 1 --mixture.n-components 2
--n-steps 100 --n-minibatches 3 --vae-buffer-trajectories 4 --vae-encoded-lengths 3
--vae-decoded-steps 20 --eval-tasks 1 --eval-interval 1500 --checkpoint-interval 300
--log-interval 1
--log-interval 1 --num-threads 1 --device cpu
""")
PROMP = shlex.split("""
--env-id LDM-GridNavi-v0 --method promp --n-tasks 3 --n-episodes 3 --net-arch 8
--eval-interval 1080 --checkpoint-interval 540 --log-interval 2 --device cpu
""")
ARTIFACTS = ("policy", "latent_dynamics", "beliefs", "normalization")


def work(flags: list[str], serial: bool, log: str) -> None:
    """Body of a process: the training script, MuJoCo batches in plain mujoco if asked for."""
    import torch

    torch.set_num_threads(1)
    if serial:
        from ldm_envs import mujoco_batch

        mujoco_batch.mjbatch_available = lambda: False  # type: ignore[assignment]
    from tiny_runs import main

    with Path(log).open("a") as file, contextlib.redirect_stderr(file):
        code = main(flags)
    os._exit(code)


class Runner:
    """Starts trainings from one server process that has everything imported."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["train.recurrent_ppo", "train.promp", "torch._dynamo"])
        warm = self.context.Process(target=len, args=("",))  # imports take seconds, once
        warm.start()
        warm.join()

    def run(
        self, flags: list[str], serial: bool = False, kill_after: float | None = None
    ) -> int | None:
        """Exit status of a training, ``None`` if it was killed ``kill_after`` seconds in."""
        process = self.context.Process(target=work, args=(flags, serial, str(self.log)))
        process.start()
        process.join(300 if kill_after is None else kill_after)
        process.kill()  # one that ends at this very moment was not killed
        process.join()
        killed = process.exitcode == -9
        assert not killed or kill_after is not None, f"the training hangs:\n{self.log.read_text()}"
        assert killed or process.exitcode == 0, self.log.read_text()
        return None if killed else process.exitcode

    def seconds(self, flags: list[str], serial: bool = False) -> float:
        """How long a whole run takes."""
        start = time.monotonic()
        self.run(flags, serial)
        return time.monotonic() - start

    def finish(self, path: Path, flags: list[str], serial: bool = False) -> None:
        """What a user does after a kill: resume, or start again where nothing was written yet."""
        begun = (path / "config.json").exists()
        self.run(["--resume", str(path)] if begun else flags, serial)


def assert_same_run(found: Path, expected: Path) -> None:
    """Metrics (times aside), evaluations, final weights and last checkpoint are identical."""
    for name in ("metrics.csv", "evaluations.csv"):
        rows = [_without_times(read_csv(run / name)) for run in (found, expected)]
        assert rows[0] == rows[1], name
        assert rows[0]
    decoded = [run / "decoded_goals.csv" for run in (found, expected)]
    assert decoded[0].exists() == decoded[1].exists()
    if decoded[0].exists():
        assert decoded[0].read_text() == decoded[1].read_text()
    for name in ARTIFACTS:
        files = [run / f"{name}.safetensors" for run in (found, expected)]
        assert files[0].exists() == files[1].exists(), name
        if files[0].exists():
            assert files[0].read_bytes() == files[1].read_bytes(), name
    states = [last_state(run) for run in (found, expected)]
    for state in states:
        del state["logs"]["metrics"]["seconds"]
        del state["config"]  # the intervals of two runs may differ
    assert_equal(*states)
    assert not list(found.rglob(".*")), "temporary files are left"


def last_state(run: Path) -> Any:
    """The newest checkpoint of a run."""
    return load_state(sorted((run / "checkpoints").glob("step-*.safetensors"))[-1])


def assert_equal(found: Any, expected: Any, place: str = "state") -> None:
    """Bit equality of nested state."""
    assert type(found) is type(expected), place
    if isinstance(expected, dict):
        assert list(found) == list(expected), place
        for key in expected:
            assert_equal(found[key], expected[key], f"{place}.{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), place
        for index, (one, other) in enumerate(zip(found, expected, strict=True)):
            assert_equal(one, other, f"{place}.{index}")
    elif isinstance(expected, np.ndarray):
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape), place
        assert found.tobytes() == expected.tobytes(), place
    else:
        assert found == expected or found != found, place


def _without_times(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    return [{k: v for k, v in row.items() if not k.startswith("time/")} for row in rows]
