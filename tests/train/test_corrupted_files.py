"""Truncated, flipped and half-written files are found, and the run goes on from a good one."""

from __future__ import annotations

import dataclasses
import errno
import os
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fault_runs import GRID, assert_same_run, last_state
from safetensors import SafetensorError
from tiny_runs import main, train_tiny

from ldm_wrappers import LatentDynamics, SavedBeliefs, state_file
from ldm_wrappers.atomic_file import atomic_path
from ldm_wrappers.state_file import StateFileError, load_state, save_state
from train.common.artifacts import load_artifacts
from train.config.presets import resolve
from train.persistence.run_folder import RunFolder

FLAGS = [*GRID, "--method", "ldm", "--n-workers", "3", "--n-mixture-workers", "1"]
FLAGS += ["--checkpoint-interval", "360"]
Damage = Callable[[bytes, random.Random], bytes]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three iterations, of which the last two checkpoints are kept."""
    path = tmp_path_factory.mktemp("runs") / "run"
    assert main([*FLAGS, "--total-timesteps", "1080", "--run-dir", str(path)]) == 0
    return path


def copied(run: Path, tmp_path: Path) -> Path:
    """A copy of the run, which a test may damage."""
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    return copy


def newest_checkpoint(run: Path) -> Path:
    return sorted((run / "checkpoints").iterdir())[-1]


def truncate(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content))]


def flip(content: bytes, rng: random.Random) -> bytes:
    place, damaged = rng.randrange(len(content)), bytearray(content)
    damaged[place] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def head_flip(content: bytes, rng: random.Random) -> bytes:
    """The header and the metadata, which a flip anywhere would seldom meet."""
    return flip(content[:400], rng) + content[400:]


@pytest.mark.parametrize("damage", [truncate, flip, head_flip])
def test_a_hundred_damages_of_a_checkpoint_are_all_found(
    damage: Damage, run: Path, tmp_path: Path
) -> None:
    good = newest_checkpoint(run)
    content, rng = good.read_bytes(), random.Random(f"checkpoint {damage.__name__}")
    file = tmp_path / good.name
    for _ in range(100):
        damaged = damage(content, rng)
        assert damaged != content
        file.write_bytes(damaged)
        with pytest.raises(StateFileError, match=str(file)):
            load_state(file)


@pytest.mark.parametrize("damage", [truncate, flip, head_flip])
def test_a_damaged_checkpoint_is_passed_over(
    damage: Damage, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = copied(run, tmp_path)
    newest = newest_checkpoint(copy)
    newest.write_bytes(damage(newest.read_bytes(), random.Random(5)))
    assert main(["--resume", str(copy)]) == 0
    warnings = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert len(warnings) == 1 and str(newest) in warnings[0]
    assert_same_run(copy, run)  # the last iteration was made again


@pytest.mark.parametrize(
    "state", [None, {"format": "ldm-checkpoint-1"}, "config", "logs", "learner"]
)
def test_a_file_that_is_no_checkpoint_is_passed_over(
    state: Any, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = copied(run, tmp_path)
    newest = newest_checkpoint(copy)
    save_state(newest, {**load_state(newest), state: None} if isinstance(state, str) else state)
    assert main(["--resume", str(copy)]) == 0
    assert f"passed over a damaged checkpoint: {newest}" in capsys.readouterr().err
    assert_same_run(copy, run)


def garbled(text: str) -> str:
    lines = text.splitlines(keepends=True)
    return "".join([lines[0], "garbage\n", *lines[2:]])


DAMAGED_LOGS = [
    (lambda text: "", "has 0 rows, but had "),
    (lambda text: text.replace(",", ";"), "row 1 of"),
    (garbled, "row 1 of"),
]


@pytest.mark.parametrize(("damage", "says"), DAMAGED_LOGS)
def test_a_damaged_log_is_named_and_the_checkpoints_are_not_blamed(
    damage: Callable[[str], str],
    says: str,
    run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    copy = copied(run, tmp_path)
    log = copy / "metrics.csv"
    whole = log.read_text(encoding="utf-8")
    log.write_text(damage(whole), encoding="utf-8")
    with pytest.raises(SystemExit):
        main(["--resume", str(copy)])
    said = capsys.readouterr().err
    last = said.strip().splitlines()[-1]
    assert says in last and str(log) in last and "damaged checkpoint" not in said
    assert "The checkpoint itself is intact: restore that file" in last
    log.write_text(whole, encoding="utf-8")
    assert main(["--resume", str(copy)]) == 0
    assert_same_run(copy, run)


@pytest.mark.parametrize(("damage", "says"), DAMAGED_LOGS)
def test_a_checkpoint_from_before_the_damaged_rows_is_taken(
    damage: Callable[[str], str],
    says: str,
    run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nothing had been evaluated when it was written, so no row of it is missed."""
    copy = copied(run, tmp_path)
    log = copy / "evaluations.csv"
    log.write_text(damage(log.read_text(encoding="utf-8")), encoding="utf-8")
    assert main(["--resume", str(copy)]) == 0
    (told,) = (line for line in capsys.readouterr().err.splitlines() if "warning" in line)
    assert "passed over" in told and says in told
    assert_same_run(copy, run)


@pytest.mark.parametrize("tail", [b"1440,0.5", b"1440,\xff\xfe\x00\n\xfe,\n", b"\x00" * 10_000])
@pytest.mark.parametrize("checkpoints", [True, False])
def test_what_a_crash_leaves_at_the_end_of_logs_is_cut_off(
    checkpoints: bool, tail: bytes, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Zeros, or bytes that are no text, and --resume refused; without a checkpoint it begins."""
    copy = copied(run, tmp_path)
    if not checkpoints:  # as if it had been killed in its first iteration
        shutil.rmtree(copy / "checkpoints")
        for file in copy.glob("*.safetensors"):
            file.unlink()
        lines = (copy / "metrics.csv").read_text().splitlines(keepends=True)
        (copy / "metrics.csv").write_text("".join(lines[:2]))
    for name in ("metrics.csv", "evaluations.csv"):
        log = copy / name
        log.write_bytes(log.read_bytes() + tail)
    assert main(["--resume", str(copy)]) == 0
    assert "warning" not in capsys.readouterr().err
    assert_same_run(copy, run)


def test_bytes_that_are_no_text_in_rows_of_a_checkpoint_are_damage(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = copied(run, tmp_path)
    log = copy / "metrics.csv"
    whole = log.read_bytes()
    log.write_bytes(whole.replace(b"\n360,", b"\n36\xff,").replace(b",360,", b",36\xff,"))
    assert log.read_bytes() != whole
    with pytest.raises(SystemExit):
        main(["--resume", str(copy)])
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert str(log) in last and "The checkpoint itself is intact: restore that file" in last


def test_if_all_checkpoints_are_damaged_it_says_so(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = copied(run, tmp_path)
    for file in (copy / "checkpoints").glob("*.safetensors"):
        file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(SystemExit) as stopped:
        main(["--resume", str(copy)])
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert stopped.value.code == 1
    assert last.startswith("error: no checkpoint of") and str(copy) in last


@pytest.mark.parametrize("name", ["policy", "latent_dynamics", "beliefs"])
def test_fifty_damages_of_what_training_leaves_are_all_found(
    name: str, run: Path, tmp_path: Path
) -> None:
    copy = copied(run, tmp_path)
    file, rng = copy / f"{name}.safetensors", random.Random(name)
    content = file.read_bytes()
    load: dict[str, Callable[[Path], object]] = {
        "policy": lambda file: load_artifacts(RunFolder.open(file.parent)),
        "latent_dynamics": LatentDynamics.load,
        "beliefs": SavedBeliefs.load,
    }
    load[name](file)
    for index in range(50):
        file.write_bytes((truncate, flip, head_flip)[index % 3](content, rng))
        with pytest.raises(StateFileError, match=str(file)):
            load_state(file) if index else load[name](file)


def test_leftovers_of_a_killed_writer_are_removed(run: Path, tmp_path: Path) -> None:
    copy = copied(run, tmp_path)
    leftovers = [copy / ".metrics.csv.x.tmp", copy / "checkpoints" / ".step-1.safetensors.y.tmp"]
    leftovers.append(copy / "checkpoints" / ".tmpQ3xZ9a")  # a name that safetensors gives
    for file in leftovers:
        file.write_bytes(b"half")
    assert main(["--resume", str(copy)]) == 0
    assert not any(file.exists() for file in leftovers)


def test_a_run_killed_before_it_had_begun_leaves_nothing_behind(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    half = run / ".config.json.x.tmp"
    half.write_bytes(b"half")
    RunFolder.create(resolve("LDM-GridNavi-v0", "rl2", run_dir=str(run)))
    assert {path.name for path in run.iterdir()} == {"config.json", "run.lock"}
    half.write_bytes(b"half")
    with pytest.raises(FileExistsError, match="--overwrite"):
        RunFolder.create(resolve("LDM-GridNavi-v0", "rl2", run_dir=str(run)))
    assert half.exists()


class Full:
    """A disk that is full after so many bytes; safetensors reports it as this text."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.write = state_file.save_file

    def __call__(self, arrays: Any, path: Path, metadata: dict[str, str]) -> None:
        self.write(arrays, path, metadata)
        self.room -= path.stat().st_size
        if self.room < 0:
            os.truncate(path, path.stat().st_size // 2)
            raise SafetensorError("Error while serializing: I/O error: … (os error 28)")


@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_a_full_disk_leaves_the_previous_checkpoint(
    share: float,
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    size = max(file.stat().st_size for file in (run / "checkpoints").iterdir())
    path = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(state_file, "save_file", Full(int(size * (1 + share))))
        with pytest.raises(SystemExit) as stopped:
            main([*FLAGS, "--total-timesteps", "1080", "--run-dir", str(path)])
    errors = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert stopped.value.code == 1 and len(errors) == 1
    assert errors[0].startswith("error: No space left on device: ") and "step-" in errors[0]
    assert not list(path.rglob(".*"))
    assert len(list((path / "checkpoints").iterdir())) == 1
    assert last_state(path)["learner"]["algorithm"]["num_timesteps"] == 360
    assert main(["--resume", str(path)]) == 0
    assert_same_run(path, run)


@pytest.fixture
def small_disk(run: Path, tmp_path: Path) -> Iterator[Path]:
    """A tmpfs with room for one checkpoint and a half."""
    size = max(file.stat().st_size for file in (run / "checkpoints").iterdir())
    command = ["mount", "-t", "tmpfs", "-o", f"size={int(1.5 * size)}", "tmpfs", str(tmp_path)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"cannot mount a tmpfs: {error}")
    yield tmp_path
    subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def test_a_disk_that_is_really_full(
    run: Path, small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = small_disk / "run"
    with pytest.raises(SystemExit) as stopped:
        main([*FLAGS, "--total-timesteps", "1080", "--run-dir", str(path)])
    errors = [line for line in capsys.readouterr().err.splitlines() if "error" in line.lower()]
    assert stopped.value.code == 1
    assert len(errors) == 1 and "No space left on device" in errors[0]
    assert not list(path.rglob(".*"))
    assert last_state(path)["learner"]["algorithm"]["num_timesteps"] == 360
    subprocess.run(["mount", "-o", "remount,size=100m", str(small_disk)], check=True)
    assert main(["--resume", str(path)]) == 0
    assert_same_run(path, run)


def test_a_run_on_a_read_only_disk(
    run: Path, small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A thread of TensorBoard failed there first, with a traceback."""
    subprocess.run(["mount", "-o", "remount,size=100m", str(small_disk)], check=True)
    copy = copied(run, small_disk)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(SystemExit) as stopped:
        main(["--resume", str(copy)])
    assert stopped.value.code == 1
    said = [line for line in capsys.readouterr().err.splitlines() if "warning" not in line]
    assert said == [f"error: Read-only file system: {copy / 'run.lock'}"]
    assert_same_run(copy, run)


def test_an_atomic_write_names_its_file_and_keeps_the_old_one(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("old")
    with pytest.raises(OSError, match=str(file)), atomic_path(file) as temporary:
        temporary.write_text("new")
        raise OSError(errno.EIO, "Input/output error")
    assert file.read_text() == "old" and list(tmp_path.iterdir()) == [file]


def test_a_run_in_use_is_left_alone(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = copied(run, tmp_path)
    for flags in (["--resume", str(copy)], [*FLAGS, "--run-dir", str(copy), "--overwrite"]):
        with RunFolder.open(copy).lock(), pytest.raises(SystemExit):
            main(flags)
        assert f"run folder {copy} is in use" in capsys.readouterr().err
    assert_same_run(copy, run)


def test_overwriting_keeps_the_lock_while_it_deletes(run: Path, tmp_path: Path) -> None:
    copy = copied(run, tmp_path)
    lock = (copy / "run.lock").stat().st_ino
    config = RunFolder.open(copy).config
    RunFolder.create(dataclasses.replace(config, run_dir=str(copy), overwrite=True))
    assert sorted(file.name for file in copy.iterdir()) == ["config.json", "run.lock"]
    assert (copy / "run.lock").stat().st_ino == lock


def test_a_checkpoint_of_other_settings_is_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = copied(run, tmp_path)
    text = (copy / "config.json").read_text()
    (copy / "config.json").write_text(text.replace('"latent_dim": 32', '"latent_dim": 31'))
    with pytest.raises(SystemExit):
        main(["--resume", str(copy)])
    assert "latent_dim 32 (config.json: 31)" in capsys.readouterr().err


def test_a_checkpoint_of_another_run_does_not_fit(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = train_tiny(tmp_path / "other", "rl2", "--checkpoint-interval", "480")
    shutil.rmtree(other / "checkpoints")
    shutil.copytree(run / "checkpoints", other / "checkpoints")
    with pytest.raises(SystemExit):
        main(["--resume", str(other)])
    assert "method 'ldm' (config.json: 'rl2')" in capsys.readouterr().err
