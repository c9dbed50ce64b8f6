"""Runs, tables and command lines that name settings as they were called before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fault_runs import GRID
from tiny_runs import main, train_tiny

from ldm_wrappers.state_file import load_state, save_state
from train.analysis.aggregate import groups, read_runs
from train.analysis.collect import collect
from train.analysis.tables import write_tables
from train.common.command_line import parse
from train.config.grouping import group_text
from train.config.methods import settings_class
from train.config.old_runs import FORMER_NAMES
from train.config.presets import resolve
from train.persistence.files import write_json
from train.persistence.run_folder import RunFolder
from train.sweeps.trials import parse_overrides

FORMER = {name: former for former, name in FORMER_NAMES.items()}
VALUES = {
    "n_mixture": (3, "n_mixture_workers"),
    "anneal_from": (0.25, "lr_decay_start"),
    "policy_averaging": (0.5, "policy_ema_decay"),
    "vae_averaging": (0.5, "vae_ema_decay"),
}


def as_before(values: dict[str, Any]) -> dict[str, Any]:
    """Settings under their former names."""
    return {FORMER.get(name, name): value for name, value in values.items()}


@pytest.mark.parametrize("former", VALUES)
def test_former_names_are_flags_and_overrides(former: str) -> None:
    value, name = VALUES[former]
    dashed = former.replace("_", "-")
    for arguments in ([f"--{dashed}", str(value)], [f"--{former}={value}"]):
        config, _ = parse("train.recurrent_ppo", arguments)
        assert config == resolve("LDM-GridNavi-v0", "ldm", **{name: value})
    assert parse_overrides([f"{former}={value}"]) == {name: (value,)}


def test_the_committed_demo_is_read() -> None:
    stored = json.loads(Path("demo/config.json").read_text())["config"]
    config = RunFolder.open("demo").config
    assert (config.n_mixture_workers, config.lr_decay_start) == (32, 0.5)
    for former, (_, name) in VALUES.items():
        assert getattr(config, name) == stored.get(former, 0.0)  # vae_averaging is younger


def test_former_defaults_with_the_recurrent_encoder() -> None:
    """Their seeds are no group with those of today's default."""
    env_id = "LDM-AntGoal-v0"
    for method in ("ldm", "varibad", "ldm-varibad", "oracle-varibad"):
        recurrent, today = (resolve(env_id, method, name) for name in ("recurrent", "default"))
        stored = type(recurrent).from_dict({**recurrent.to_dict(), "preset": "default"})
        assert (stored.preset, stored.encoder, today.encoder) == ("default", "gru", "moments")
        assert "encoder=gru" in group_text(stored) and not group_text(today)
    cheetah = "LDM-HalfCheetahVel-v0"
    recurrent, today = resolve(cheetah, "ldm", "recurrent"), resolve(cheetah, "ldm")
    stored = type(recurrent).from_dict({**recurrent.to_dict(), "preset": "default"})
    assert "encoder=gru" in group_text(stored) and not group_text(today)


def test_only_settings_that_are_younger_than_a_run_may_be_missing() -> None:
    """PEARL's reward_scale is as old as PEARL; the VAE's setting of that name is younger."""
    values = resolve("LDM-HalfCheetahVel-v0", "pearl").to_dict()
    del values["reward_scale"]
    with pytest.raises(ValueError, match=r"unknown \[\], missing \['reward_scale'\]"):
        settings_class("pearl").from_dict(values)


def test_a_setting_under_both_of_its_names_is_refused() -> None:
    config = resolve("LDM-GridNavi-v0", "ldm")
    with pytest.raises(ValueError, match="n_mixture is now called n_mixture_workers"):
        type(config).from_dict({**config.to_dict(), "n_mixture": 2})


def test_an_old_run_is_resumed_and_grouped_as_a_new_one(tmp_path: Path) -> None:
    run = tmp_path / "run"
    flags = [*GRID, "--lr-decay-start", "0.5", "--policy-ema-decay", "0.7"]
    train_tiny(run, "rl2", *flags, "--total-timesteps", "600")
    group = group_text(RunFolder.open(run).config)
    assert "lr_decay_start=0.5" in group or "policy_ema_decay=0.7" in group
    file = run / "config.json"
    values = json.loads(file.read_text())
    write_json(file, {**values, "config": as_before(values["config"])})
    assert '"anneal_from": 0.5' in file.read_text()
    (checkpoint,) = (run / "checkpoints").iterdir()
    state = load_state(checkpoint)
    save_state(checkpoint, {**state, "config": as_before(state["config"])})
    assert group_text(RunFolder.open(run).config) == group
    assert main(["--resume", str(run), "--total-timesteps", "1200"]) == 0
    assert json.loads(file.read_text())["config"]["policy_ema_decay"] == 0.7
    assert RunFolder.open(run).config.total_timesteps == 1200


def test_an_old_table_of_runs_has_the_groups_of_a_new_one(tmp_path: Path) -> None:
    config = resolve("LDM-GridNavi-v0", "ldm", n_mixture_workers=8, lr_decay_start=1.0)
    run = tmp_path / "run"
    write_json(run / "config.json", {"format": "ldm-run-1", "config": config.to_dict()})
    (run / "evaluations.csv").write_text(
        "timesteps,split,task,episode,return,reached\n10,train,1 1,4,2.5,1\n"
    )
    write_tables(tmp_path, collect([("run", RunFolder.open(run))]))
    (new,) = read_runs(tmp_path)
    table = tmp_path / "runs.csv"
    old = table.read_text()
    for former, (_, name) in VALUES.items():
        old = old.replace(name, former)
    assert "n_mixture," in old and "n_mixture=8" in old and old != table.read_text()
    table.write_text(old)
    (read,) = read_runs(tmp_path)
    assert read.row == new.row and read.row["n_mixture_workers"] == "8"
    assert list(groups([read])) == ["ldm n_mixture_workers=8 lr_decay_start=1"]
