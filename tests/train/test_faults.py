"""A training that is killed anywhere and resumed ends as one that never stopped."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_runs import ANT, GRID, PROMP, Runner, assert_same_run

CASES = {
    "grid ldm": [*GRID, "--method", "ldm"],
    "ant goal ldm": [*ANT, "--method", "ldm"],
    "ant goal ldm, serial physics": [*ANT, "--method", "ldm"],
    "grid promp": PROMP,
}


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    yield Runner(tmp_path_factory.mktemp("log") / "stderr.txt")


def kill_and_compare(
    runner: Runner, folder: Path, case: str, kills: int, steps: int, seed: int
) -> str:
    """One run per kill, each killed once at a random moment and resumed; then one run killed again
    and again. Returns a line with the counts."""
    flags = [*CASES[case], "--total-timesteps", str(steps)]
    serial, rng = "serial" in case, random.Random(seed)
    whole = folder / "whole"
    seconds = runner.seconds([*flags, "--run-dir", str(whole)], serial)
    killed = beyond_a_checkpoint = amid_a_write = attempts = 0
    while killed < kills:
        run = folder / f"killed-{attempts}"
        own = [*flags, "--run-dir", str(run)]
        start, after = time.monotonic(), rng.uniform(0.02, seconds)
        if runner.run(own, serial, kill_after=after) is None:
            killed += 1
            beyond_a_checkpoint += bool(list(run.glob("checkpoints/step-*.safetensors")))
            amid_a_write += bool(list(run.rglob(".*")))
            runner.finish(run, own, serial)
        else:
            seconds = min(seconds, time.monotonic() - start)  # the machine has become faster
        assert_same_run(run, whole)
        attempts += 1
    run, again = folder / "again", 0
    own = [*flags, "--run-dir", str(run)]
    for _ in range(kills):
        begun = (run / "config.json").exists()
        flags_now = ["--resume", str(run)] if begun else own
        again += runner.run(flags_now, serial, kill_after=rng.uniform(0.02, seconds / 2)) is None
    runner.finish(run, own, serial)
    assert_same_run(run, whole)
    return (
        f"{case}: {killed} runs killed once ({beyond_a_checkpoint} beyond a checkpoint, "
        f"{amid_a_write} amid a write), one run killed {again} times; all end as the whole one"
    )


def test_a_killed_run_ends_as_if_it_had_not_been(runner: Runner, tmp_path: Path) -> None:
    print(kill_and_compare(runner, tmp_path, "grid ldm", kills=2, steps=3600, seed=1))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("case", "kills", "steps"),
    [
        ("grid ldm", 20, 12_000),
        ("ant goal ldm", 5, 4_500),
        ("ant goal ldm, serial physics", 5, 4_500),
        ("grid promp", 5, 8_100),
    ],
)
def test_many_kills(
    case: str,
    kills: int,
    steps: int,
    runner: Runner,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = kill_and_compare(runner, tmp_path, case, kills, steps, seed=kills)
    with capsys.disabled():
        print(f"\n{line}")
