"""Sweeps: what is planned, what a trial remembers, and that SIGKILL loses and repeats nothing."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import importlib.util
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import train.recurrent_ppo
import train.sweep
from ldm_wrappers import ExpectedReward
from ldm_wrappers.state_file import StateFileError
from train.analysis.ablations import ABLATIONS
from train.common.command_line import parse as parse_script
from train.common.stopping import TrainingStopped
from train.config.grouping import group_text, override_text
from train.config.methods import get_method
from train.config.presets import resolve
from train.persistence.checkpoint import newest_timesteps
from train.persistence.files import read_csv, write_json
from train.sweep import main, parse, planned
from train.sweeps.progress import SweepTable
from train.sweeps.schedule import check_machines
from train.sweeps.trials import (
    SWEEPS,
    Trial,
    TrialGrid,
    parse_overrides,
    plan,
)
from train.sweeps.worker import (
    TrialState,
    is_running,
    read_state,
    run_so_far,
    run_trial,
    trial_file,
    trial_lock,
    write_state,
)

ROOT = Path(__file__).parents[2]
GRID = "LDM-GridNavi-v0"
TINY = {
    "total_timesteps": (480,), "n_workers": (2,), "log_interval": (1,), "checkpoint_interval": (1,)
}  # fmt: skip


def tiny(methods: tuple[str, ...] = ("rl2",), seeds: int = 2) -> list[Trial]:
    return plan([TrialGrid((GRID,), methods, seeds)], preset="paper", overrides=TINY)


def test_the_mujoco_sweep_has_each_family_method_and_ablation() -> None:
    trials = plan(SWEEPS["mujoco"])
    methods = {"ldm", "ldm-varibad", "rl2", "varibad", "mixreg", "oracle-varibad", "known-task"}
    for env_id, seeds in (("HalfCheetahVel", 4), ("AntDir", 2), ("AntGoal", 2)):
        mine = [t.config for t in trials if t.config.env_id == f"LDM-{env_id}-v0"]
        seen = {m: {c.seed for c in mine if c.method == m} for m in methods}
        assert all(found == set(range(seeds)) for found in seen.values())
        assert {c.method for c in mine} == methods | {"promp", "e-maml", "pearl", "mql", "mier"}
    goal = [t.config for t in trials if t.config.env_id == "LDM-AntGoal-v0"]
    betas = {c.mixture.beta for c in goal if c.method == "ldm"}
    assert betas == {1.0, 1.5, 2.0, 2.5}


def test_every_ablation_of_a_sweep_has_a_figure() -> None:
    varied = [
        name.rpartition(".")[2]
        for sweep in ("mujoco", "paper-ablations")
        for block in SWEEPS[sweep]
        for name in block.overrides
    ]
    assert varied and set(varied) <= set(ABLATIONS)
    cheetah = [b.overrides for b in SWEEPS["mujoco"] if b.env_ids == ("LDM-HalfCheetahVel-v0",)]
    assert [set(o) for o in cheetah if o] == [
        {"n_mixture_workers"},
        {"p_drop"},
    ]  # appendices D and E
    trials = [trial.config for trial in plan(SWEEPS["paper-ablations"])]
    outer = [c for c in trials if c.env_id == "LDM-GridNaviExtrapolation-v0"]
    assert {(c.p_drop, c.mixture.beta) for c in outer} == {(0.5, b) for b in (1.0, 1.5, 2.0, 2.5)}
    assert {c.p_drop for c in trials if c.env_id == GRID} == {0.0, 0.3, 0.5, 0.7}
    assert {c.preset for c in trials} == {"present-beliefs"} and len(trials) == 32


def test_the_published_tasks_are_those_of_the_authors_code() -> None:
    first, *_, last = plan(SWEEPS["paper-tasks"])
    code = resolve(GRID, "ldm", "authors-code")
    published, network, learner = (
        resolve(GRID, "ldm", f"published-{what}") for what in ("tasks", "network", "learner")
    )
    for config in (published, network, learner):
        assert config.imagination == code.imagination and config.mixture.per_dimension
        assert (config.kl_weight, config.vae_buffer_keeps) == (120.0, "oldest")
    assert first.config.imagination.belief_samples is False
    assert network.policy_memory == "encoder" and network.encoder_action_size == 0
    assert not network.normalize_observation and network.imagination == published.imagination
    assert last.config.total_timesteps == 100_000_000
    # the same share of the run that the authors' buffer holds
    per_trajectory = 120 * published.n_workers / (published.n_workers - published.n_mixture_workers)
    assert 0.10 < 5000 * per_trajectory / published.total_timesteps < 0.15


def test_the_gridworld_sweep_is_the_one_of_the_issue() -> None:
    trials = plan(SWEEPS["gridworld"])
    names = [trial.name for trial in trials]
    assert len(set(names)) == len(names)
    default = [t for t in trials if t.config.env_id == GRID and t.config.preset == "default"]
    main_trials = [t for t in default if not override_text(t.config)]
    methods = ["ldm", "rl2", "varibad", "mixreg", "oracle-rl2", "oracle-varibad"]
    assert [t.config.method for t in main_trials] == [m for m in methods for _ in range(8)]
    assert [t.config.seed for t in main_trials] == list(range(8)) * 6
    assert trials[:48] == main_trials
    beta = [t for t in trials if t.config.env_id == "LDM-GridNaviExtrapolation-v0"]
    assert {t.config.mixture.beta for t in beta} == {1.0, 1.5, 2.0, 2.5}
    assert len(beta) == 16
    assert {t.config.p_drop for t in default} == {0.0, 0.3, 0.5, 0.7, 0.9}
    assert "LDM-GridNavi-v0-ldm-p_drop=0.7-seed0" not in names  # the preset's own
    present = [t.config for t in trials if t.config.preset == "present-beliefs"]
    assert [c.imagination for c in present] == (
        [ExpectedReward()] * 8 + [ExpectedReward(1, keep_dropout_masks=True)] * 8
    )


def test_widths_are_given_in_parentheses() -> None:
    assert parse_overrides(["net_arch=(8,),(8,8)"]) == {"net_arch": ((8,), (8, 8))}
    with pytest.raises(ValueError, match=r"net_arch must be tuple\[int, \.\.\.\], got 8"):
        plan([TrialGrid((GRID,), ("rl2",), 1, parse_overrides(["net_arch=8"]))])


def test_a_plan_is_a_product_and_names_what_differs() -> None:
    grid = parse_overrides(["mixture.beta=1,2.5", "net_arch=(8,8)"])
    assert grid == {"mixture.beta": (1.0, 2.5), "net_arch": ((8, 8),)}
    common = {"total_timesteps": (960,), "net_arch": ((4,),)}  # the grid has its own net_arch
    trials = plan([TrialGrid((GRID,), ("ldm", "rl2"), 2, grid)], overrides=common)
    assert len(trials) == 6  # RL² has no beta
    assert trials[2].name == ("LDM-GridNavi-v0-ldm-total_timesteps=960-beta=2.5-net_arch=8x8-seed0")
    config = trials[2].config
    assert (config.mixture.beta, config.net_arch, config.total_timesteps) == (2.5, (8, 8), 960)
    other = plan([TrialGrid((GRID,), ("ldm",), 1)], preset="paper")[0]
    assert other.name == "LDM-GridNavi-v0-ldm-paper-seed0" and other.config.preset == "paper"
    assert plan([TrialGrid((GRID,), ("ldm",), 1, preset="paper")]) == [other]


@pytest.mark.parametrize("method", ["rl2", "varibad", "ldm", "promp", "pearl"])
def test_a_sweep_trains_what_the_script_trains(method: str) -> None:
    """On an environment without presets too, where rollouts are one meta-episode."""
    changes = {"n_episodes": 3, "max_episode_steps": 50}
    (trial,) = plan(
        [TrialGrid(("Pendulum-v1",), (method,), 1)],
        overrides={name: (value,) for name, value in changes.items()},
    )
    flags = "--env-id Pendulum-v1 --seed 0 --n-episodes 3 --max-episode-steps 50"
    config, _ = parse_script(get_method(method).script, [*flags.split(), "--method", method])
    assert dataclasses.replace(trial.config, run_dir="") == config


def test_settings_that_a_method_does_not_use_make_no_group() -> None:
    changes: dict[str, Any] = {
        "mixture.beta": 1.5, "mixture.n_components": 4, "imagination.threshold": 0.8, "p_drop": 0.1,
        "vae_updates": 3, "mixreg_alpha": 0.5, "lstm_hidden_size": 64, "gamma": 0.9,
    }  # fmt: skip
    groups = {
        name: group_text(resolve(GRID, name, **changes)) for name in ("ldm", "rl2", "varibad")
    }
    assert groups["rl2"] == "gamma=0.9 lstm_hidden_size=64"
    assert groups["varibad"] == "gamma=0.9 vae_updates=3"  # its decoder has nothing to drop
    assert set(groups["ldm"].split()) == {
        "beta=1.5", "n_components=4", "threshold=0.8", "p_drop=0.1", "vae_updates=3",
        "lstm_hidden_size=64", "gamma=0.9",
    }  # fmt: skip
    assert group_text(resolve(GRID, "mixreg", **changes)) == (
        "gamma=0.9 lstm_hidden_size=64 mixreg_alpha=0.5"
    )


def test_the_encoder_of_a_policy_has_settings_of_the_vae() -> None:
    changes: dict[str, Any] = {"latent_dim": 4, "encoder_reward_size": 3, "encoder_hidden_size": 9}
    assert group_text(resolve(GRID, "rl2", policy_memory="encoder", **changes)) == (
        "policy_memory=encoder latent_dim=4 encoder_reward_size=3"
    )
    assert group_text(resolve(GRID, "rl2", **changes)) == ""
    assert group_text(resolve(GRID, "varibad", policy_memory="encoder")) == ""


def test_another_kind_of_imaginary_tasks_is_named_with_what_differs_from_its_defaults() -> None:
    grid = parse_overrides(["imagination=expected-reward", "imagination.n_dropout_masks=8,1"])
    trials = plan([TrialGrid((GRID,), ("ldm", "rl2"), 1, grid)])
    assert [t.name.removeprefix(GRID) for t in trials] == [
        "-ldm-imagination=expected-reward-seed0",
        "-ldm-imagination=expected-reward-n_dropout_masks=1-seed0",
        "-rl2-seed0",
    ]
    assert [t.config.imagination for t in trials[:2]] == [ExpectedReward(8), ExpectedReward(1)]
    with pytest.raises(ValueError, match="imagination is plausible-tasks, which has no final_bel"):
        plan([TrialGrid((GRID,), ("ldm",), 1, parse_overrides(["imagination.final_beliefs=True"]))])


def test_several_values_for_a_named_sweep_are_a_product_with_what_its_grids_vary() -> None:
    options = ["validation", "--override", "gamma=0.9,0.95", "--out", "x"]
    trials = planned(parse(options))
    assert [t.config.gamma for t in trials if t.config.method == "rl2"] == [0.9] * 4 + [0.95] * 4
    beta = planned(parse(["gridworld", "--override", "mixture.beta=3", "--out", "x"]))
    found = {t.config.mixture.beta for t in beta if "Extrapolation" in t.config.env_id}
    assert found == {1.0, 1.5, 2.0, 2.5}  # that grid varies it itself
    assert {t.config.mixture.beta for t in beta if t.config.preset == "default"} >= {3.0}


def test_flags_that_are_given_twice_add_their_values() -> None:
    arguments = "--methods ldm --methods rl2 --env-ids LDM-GridNavi-v0 --env-ids LDM-AntGoal-v0"
    overrides = "--override p_drop=0.1 --override mixture.beta=2 --seeds 1 --out x"
    trials = planned(parse([*arguments.split(), *overrides.split()]))
    found = [(t.config.env_id, t.config.method) for t in trials]
    assert found == [(e, m) for e in (GRID, "LDM-AntGoal-v0") for m in ("ldm", "rl2")]
    assert all((t.config.p_drop, t.config.mixture.beta) == (0.1, 2.0) for t in trials)


def test_settings_that_a_method_does_not_use_make_no_trial() -> None:
    trials = plan([TrialGrid((GRID,), ("ldm", "rl2"), 2, parse_overrides(["mixture.beta=1,2"]))])
    assert [t.name.removeprefix(GRID) for t in trials] == [
        "-ldm-seed0", "-ldm-seed1", "-ldm-beta=2-seed0", "-ldm-beta=2-seed1",
        "-rl2-seed0", "-rl2-seed1",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nonsense"], "unknown sweep 'nonsense'"),
        (["gridworld", "--methods", "ldm"], "--methods, not both"),
        (["gridworld", "--env-ids", "LDM-AntGoal-v0"], "--env-ids, not both"),
        (["gridworld", "--seeds", "2"], "--seeds, not both"),
        ([], "needs at least one seed, and methods out of"),
        (["--methods", "ldm", "nonsense"], "unknown method 'nonsense', expected one of"),
        (["--methods", "ldm", "--seeds", "0"], "got --seeds 0"),
        (["--methods", "ldm", "--override", "beta"], "name=value"),
        (["--methods", "ldm", "--override", "bet=1"], "'bet' is not a setting"),
        (
            ["--methods", "ldm", "--override", "p_drop=0.1", "--override", "p-drop=0.2"],
            r"p_drop is given twice, with 0.1 and with 0.2; .*: p_drop=0.1,0.2$",
        ),
        (["--methods", "ldm", "--override", "run_dir=x"], "'run_dir' is not a setting"),
        (["--methods", "ldm", "--override", "mixture.beta=big"], "beta must be float, got 'big'"),
        (["--methods", "ldm", "--override", "mixture.beta=-1"], "beta must be positive"),
        (
            ["--methods", "rl2", "--override", "learning_rate=1" + 400 * "0"],
            "learning_rate must be a finite number, got an integer of 401 digits",
        ),
        (["--methods", "rl2", "--override", "optimizer=5"], "optimizer must be Literal.*, got 5"),
        (["--methods", "rl2", "--override", "p_drop=true"], "p_drop must be float, got 'true'"),
        (["--methods", "ldm", "--preset", "nonsense"], "unknown preset"),
        (
            ["--methods", "ldm", "--cpus-per-trial", "-1"],
            "cpus-per-trial must be at least 0, got -1",
        ),
        (["--methods", "ldm", "--gpus-per-trial", "nan"], "gpus-per-trial must be at least 0, got"),
        (["--methods", "ldm", "--gpus-per-trial", "1.5"], "or a share of a GPU below 1, got 1.5"),
        (["--methods", "ldm", "--num-cpus", "0"], "num-cpus must be at least 1, got 0"),
        (["--methods", "ldm", "--retries", "-1"], "retries must be at least 0, got -1"),
        (["--methods", "ldm", "--device", "foo"], "device must be cpu, cuda, .*, got 'foo'"),
    ],
)
def test_bad_sweeps_are_refused(
    arguments: list[str], message: str, tmp_path: Path, capsys: Any
) -> None:
    options = parse([*arguments, "--out", str(tmp_path / "new")])
    with pytest.raises(ValueError, match=message):
        planned(options)
    with pytest.raises(SystemExit) as stopped:
        main([*arguments, "--out", str(tmp_path / "new")])
    assert stopped.value.code == 1
    assert capsys.readouterr().err.startswith("error: ")
    assert not (tmp_path / "new").exists()


def test_a_dry_run_lists_and_writes_nothing(tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "new"
    assert main(["gridworld", "--out", str(out), "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert "0 of 116 trials finished" in text and "LDM-GridNavi-v0-mixreg-seed7" in text
    assert not out.exists()


def test_a_second_sweep_in_a_folder_says_that_it_waits(
    tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    """It stood still without a word, for as long as the first one took."""
    monkeypatch.setattr(train.sweep, "sweep", lambda *_: 0)
    arguments = ["--methods", "rl2", "--seeds", "1", "--out", str(tmp_path)]
    assert main(arguments) == 0
    says = f"another sweep is running in {tmp_path}; waiting for it to end"
    assert says not in capsys.readouterr().out
    program = "import filelock, sys, time; lock = filelock.FileLock(sys.argv[1]); lock.acquire()"
    first = [sys.executable, "-c", f"{program}; print(flush=True); time.sleep(2)"]
    lock = str(trial_file(tmp_path, "sweep", "lock"))
    with subprocess.Popen([*first, lock], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline()
        assert main(arguments) == 0
    assert says in capsys.readouterr().out


def test_runs_that_the_tables_leave_out_are_named(tmp_path: Path, capsys: Any) -> None:
    arguments = ["--methods", "rl2", "--seeds", "1", "--out", str(tmp_path), "--dry-run"]
    (former,) = planned(parse([*arguments, "--override", "gamma=0.9"]))
    config = {"format": "ldm-run-1", "config": former.config.to_dict()}
    write_json(tmp_path / "runs" / former.name / "config.json", config)
    assert main([*arguments, "--override", "gamma=0.9"]) == 0
    assert "not trials of this command" not in capsys.readouterr().out
    assert main(arguments) == 0
    said = capsys.readouterr().out
    assert "not trials of this command (1 in" in said and said.endswith(f"): {former.name}\n")


def test_an_override_that_no_trial_uses_is_warned_of_and_makes_no_second_trial(
    capsys: Any,
) -> None:
    """RL² mixes no beliefs, and all goals of a grid are evaluated, however many are asked for."""
    flags = "--seeds 1 --out x --dry-run --override mixture.beta=1,2 eval_tasks=3,4 --methods"
    ant = "rl2 --env-ids LDM-AntGoal-v0"
    for more, n_trials, unused in (
        ("rl2", 1, " mixture.beta eval_tasks"), ("rl2 ldm", 3, " eval_tasks"),
        (ant, 2, " mixture.beta"),
    ):  # fmt: skip
        main([*flags.split(), *more.split()])
        said = capsys.readouterr()
        assert said.err == f"warning: no effect on any trial: --override{unused}\n"
        assert f"0 of {n_trials} trials finished" in said.out


@pytest.mark.parametrize(
    ("module", "inside", "says"),
    [
        ("train.sweep", "planned", "interrupted; the same command again resumes the sweep\n"),
        ("train.evaluate", "RunFolder", "interrupted\n"),
        ("train.common.training", "parse", "interrupted before the training began\n"),
    ],
)
def test_an_interrupted_program_names_its_own_way_to_go_on(
    module: str, inside: str, says: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def interrupt(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    program = importlib.import_module(module)
    replaced = interrupt if inside != "RunFolder" else type("Interrupted", (), {"open": interrupt})
    monkeypatch.setattr(program, inside, replaced)
    arguments: dict[str, tuple[Any, ...]] = {
        "train.sweep": (["gridworld"],),
        "train.evaluate": (["run"],),
        "train.common.training": ("train.recurrent_ppo", None, []),
    }
    with pytest.raises(SystemExit) as stopped:
        program.main(*arguments[module])
    assert stopped.value.code == 130
    assert capsys.readouterr().err.startswith(says)


def test_without_ray_a_sweep_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SystemExit):
        main(["--methods", "rl2", "--out", str(tmp_path)])
    assert "pip install ray" in capsys.readouterr().err


def test_a_finished_trial_is_not_run_again(tmp_path: Path, monkeypatch: Any) -> None:
    trial = tiny()[0]
    assert run_trial(trial, tmp_path, "cpu") == "finished"
    state = read_state(tmp_path, trial.name)
    assert len(state.attempts) == 1 and state.finished is not None and not state.error
    monkeypatch.setattr(train.recurrent_ppo, "train", lambda *_: pytest.fail("ran twice"))
    assert run_trial(trial, tmp_path, "cpu") == "finished"
    assert read_state(tmp_path, trial.name) == state
    table = SweepTable(tiny(), tmp_path)
    assert table.update() == 1
    rows = read_csv(tmp_path / "sweep.csv")
    assert [row["status"] for row in rows] == ["finished", "waiting"]
    assert rows[0]["timesteps"] == "480" and float(rows[0]["train_return"]) < 24
    results = read_csv(tmp_path / "results.csv")
    assert {row["split"] for row in results} == {"train", "test"}
    ends = [
        r for r in results if (r["timesteps"], r["episode"], r["split"]) == ("480", "4", "test")
    ]
    assert len(ends) == 1 and ends[0]["return"] == rows[0]["test_return"]
    assert ends[0]["tasks"] == "27"


def test_a_trial_whose_run_was_deleted_is_run_again(tmp_path: Path) -> None:
    trial = tiny()[0]
    assert run_trial(trial, tmp_path, "cpu") == "finished"
    run = Path(trial.with_run_dir(tmp_path).run_dir)
    shutil.rmtree(run)
    table = SweepTable([trial], tmp_path)
    assert table.update(final=True) == 1 and not (tmp_path / "results.csv").exists()
    assert run_trial(trial, tmp_path, "cpu") == "finished"
    assert (run / "policy.safetensors").exists() and table.update(final=True) == 0
    assert [one["from_timesteps"] for one in read_state(tmp_path, trial.name).attempts] == [0, 0]


def test_what_a_kill_left_before_a_run_had_begun_is_no_obstacle(tmp_path: Path) -> None:
    trial = tiny()[0]
    run = Path(trial.with_run_dir(tmp_path).run_dir)
    run.mkdir(parents=True)
    (run / "run.lock").touch()
    (run / ".config.json.abcd1234.tmp").write_text("{")
    assert run_trial(trial, tmp_path, "cpu") == "finished"
    assert (run / "policy.safetensors").exists() and not list(run.glob(".*.tmp"))


def test_a_stopped_trial_goes_on_and_ends_like_an_unbroken_one(
    tmp_path: Path, monkeypatch: Any
) -> None:
    trial = tiny(("mixreg",))[0]
    real = train.recurrent_ppo.train

    def half(config: Any, resume: Any = None) -> Any:
        real(dataclasses.replace(config, total_timesteps=240), resume)
        folder = train.sweeps.worker.RunFolder.open(config.run_dir)
        folder.update(config)
        raise TrainingStopped("SIGTERM")

    monkeypatch.setattr(train.recurrent_ppo, "train", half)
    with pytest.raises(TrainingStopped):
        run_trial(trial, tmp_path / "broken", "cpu")
    table = SweepTable([trial], tmp_path / "broken")
    table.update()
    assert read_csv(tmp_path / "broken" / "sweep.csv")[0]["status"] == "interrupted"
    monkeypatch.setattr(train.recurrent_ppo, "train", real)
    assert run_trial(trial, tmp_path / "broken", "cpu") == "finished"
    attempts = read_state(tmp_path / "broken", trial.name).attempts
    assert [one["from_timesteps"] for one in attempts] == [0, 240]
    assert run_trial(trial, tmp_path / "whole", "cpu") == "finished"
    assert metrics(tmp_path / "broken", trial) == metrics(tmp_path / "whole", trial)


def test_a_trial_of_a_modules_family_goes_on_without_further_trust(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sweep's own command line names the module; other modules stay refused."""
    monkeypatch.delenv("LDM_TRUST_MODULES", raising=False)
    (trial,) = plan([TrialGrid(("examples.reacher:make",), ("rl2",), 1)])
    run = tmp_path / "runs" / trial.name
    config = trial.config.to_dict()
    write_json(run / "config.json", {"format": "ldm-run-1", "config": config})
    begun = run_so_far(trial.with_run_dir(tmp_path))
    assert begun is not None and begun.config == trial.config
    config["eval_env_id"] = "elsewhere:make"
    write_json(run / "config.json", {"format": "ldm-run-1", "config": config})
    with pytest.raises(StateFileError, match="would import the module 'elsewhere'"):
        run_so_far(trial.with_run_dir(tmp_path))


def metrics(out: Path, trial: Trial) -> list[dict[str, str]]:
    """What a trial's updates reported."""
    rows = read_csv(out / "runs" / trial.name / "metrics.csv")
    return [{k: v for k, v in row.items() if k.startswith(("train/", "timesteps"))} for row in rows]


def test_a_failure_is_reported_and_tried_again_next_time(tmp_path: Path, monkeypatch: Any) -> None:
    trial = tiny()[0]

    def fail(*_: Any) -> Any:
        raise FloatingPointError("iteration 3: loss is nan")

    monkeypatch.setattr(train.recurrent_ppo, "train", fail)
    assert run_trial(trial, tmp_path, "cpu") == "failed"
    SweepTable([trial], tmp_path).update(final=True)
    row = read_csv(tmp_path / "sweep.csv")[0]
    assert row["status"] == "failed"
    assert row["error"] == "FloatingPointError: iteration 3: loss is nan"
    assert "loss is nan" in (tmp_path / "trials" / f"{trial.name}.log").read_text()
    monkeypatch.undo()
    assert run_trial(trial, tmp_path, "cpu") == "finished"
    assert read_state(tmp_path, trial.name).error == ""


def test_runs_with_other_settings_and_damaged_states_are_refused(tmp_path: Path) -> None:
    trial = tiny()[0]
    write_json(
        tmp_path / "runs" / trial.name / "config.json",
        {"format": "ldm-run-1", "config": trial.config.to_dict()},
    )
    write_state(tmp_path, trial.name, TrialState(finished=1.0))
    changed = Trial(trial.name, dataclasses.replace(trial.config, gamma=0.5))
    with pytest.raises(ValueError, match=r"other settings: gamma 0.95 \(now 0.5\)"):
        train.sweep.sweep([changed], tmp_path, parse(["--out", str(tmp_path)]))
    (tmp_path / "trials" / f"{trial.name}.json").write_text("{}")
    with pytest.raises(ValueError, match="is damaged"):
        read_state(tmp_path, trial.name)


def test_a_trial_is_one_process_at_a_time(tmp_path: Path) -> None:
    name = tiny()[0].name
    assert not is_running(tmp_path, name)
    with trial_lock(tmp_path, name):
        assert is_running(tmp_path, name)
    assert not is_running(tmp_path, name)
    state = read_state(tmp_path, name)
    write_state(tmp_path, name, state)
    assert read_state(tmp_path, name) == state


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs the extra sweep")
@pytest.mark.parametrize("victim", ["driver", "group"])
def test_c5_sigkill_loses_no_trial_and_repeats_none(tmp_path: Path, victim: str) -> None:
    """Two kills at random, of the sweep alone or with all its processes, then a third start."""
    out, rng = tmp_path / "sweep", random.Random(victim)
    arguments = ["--methods", "rl2", "mixreg", "varibad", "--seeds", "2", "--out", str(out)]
    arguments += ["--preset", "paper"]
    overrides = [
        "total_timesteps=24000",
        "n_workers=4",
        "checkpoint_interval=2400",
        "vae_updates=1",
        "vae_encoded_lengths=4",
    ]
    command = [sys.executable, "-m", "train.sweep", *arguments, "--override", *overrides]
    command += ["--num-cpus", "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_worker_niceness": "0"}
    trials = planned(parse([*arguments, "--override", *overrides]))
    kills = 0
    for kill in (True, True, False):
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, start_new_session=True, stdout=subprocess.DEVNULL
        )
        if not kill:
            assert process.wait(timeout=600) == 0
            break
        before = sum(len(read_state(out, trial.name).attempts) for trial in trials)
        while sum(len(read_state(out, trial.name).attempts) for trial in trials) == before:
            assert process.poll() is None
            time.sleep(0.2)
        time.sleep(rng.uniform(2.0, 20.0))
        if process.poll() is None:
            if victim == "driver":
                process.kill()
            else:
                os.killpg(process.pid, signal.SIGKILL)
            kills += 1
        process.wait()
    attempts = 0
    for trial in trials:
        state = read_state(out, trial.name)
        assert state.finished is not None, f"{trial.name} is lost"
        assert max(one["started"] for one in state.attempts) < state.finished, "run twice"
        attempts += len(state.attempts)
        rows = read_csv(out / "runs" / trial.name / "evaluations.csv")
        keys = [(r["timesteps"], r["split"], r["task"], r["episode"]) for r in rows]
        assert len(set(keys)) == len(keys)
        timesteps = [int(row["timesteps"]) for row in metrics(out, trial)]
        assert timesteps == sorted(set(timesteps)) and timesteps[-1] >= 24000 - 4800
    statuses = [row["status"] for row in read_csv(out / "sweep.csv")]
    assert statuses == ["finished"] * 6
    print(f"C5 ({victim}): {kills} kills, {attempts} attempts at 6 trials, 0 lost, 0 run twice")
    interrupted = max(trials, key=lambda trial: len(read_state(out, trial.name).attempts))
    assert run_trial(interrupted, tmp_path / "whole", "cpu") == "finished"
    assert metrics(out, interrupted) == metrics(tmp_path / "whole", interrupted)


@pytest.mark.parametrize(
    ("flags", "fits"),
    [
        ("--gpus-per-trial 1", False),
        ("--cpus-per-trial 3", False),
        ("--cpus-per-trial 2", True),
        ("--cpus-per-trial 4 --gpus-per-trial 0", False),  # of two machines together
    ],
)
def test_a_sweep_does_not_wait_for_machines_that_there_are_not(
    flags: str, fits: bool, capsys: Any
) -> None:
    nodes = [{"Alive": True, "Resources": {"CPU": 2.0}}] * 2
    nodes.append({"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}})
    options = parse([*flags.split(), "--out", "x"])
    with contextlib.nullcontext() if fits else pytest.raises(ValueError, match="Ray found 2 cores"):
        check_machines(nodes, options)
    options.address = "auto"  # a cluster may grow
    check_machines(nodes, options)
    assert ("warning: a trial asks for" in capsys.readouterr().err) != fits


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs the extra sweep")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_sweep_that_is_told_to_stop_lets_its_trials_write_checkpoints(
    tmp_path: Path, number: signal.Signals
) -> None:
    """Ctrl-C in a terminal goes to the whole group, SIGTERM to the sweep alone."""
    out = tmp_path / "sweep"
    flags = "--methods rl2 --seeds 3 --preset paper --num-cpus 2 --override"
    overrides = "n_workers=2 log_interval=1 checkpoint_interval=1000000"
    arguments = [*flags.split(), *overrides.split(), "--out", str(out)]
    process = subprocess.Popen(
        [sys.executable, "-m", "train.sweep", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # a shell's background process ignores SIGINT, and so would this one
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    trials = planned(parse(arguments))
    logs = [out / "runs" / trial.name / "metrics.csv" for trial in trials[:2]]
    while not all(log.exists() and len(log.read_text().splitlines()) > 2 for log in logs):
        assert process.poll() is None
        time.sleep(0.2)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130
    assert said.endswith("interrupted; the same command again resumes the sweep\n")
    rows = read_csv(out / "sweep.csv")
    assert [row["status"] for row in rows] == ["interrupted", "interrupted", "waiting"]
    for trial, row in zip(trials[:2], rows, strict=False):
        run = out / "runs" / trial.name
        logged = int(read_csv(run / "metrics.csv")[-1]["timesteps"])  # not one step was lost
        assert newest_timesteps(run / "checkpoints") == logged == int(row["timesteps"])


def test_a_named_sweep_has_a_folder_by_default(capsys: Any) -> None:
    assert train.sweep.parse(["gridworld"]).out == Path("runs", "gridworld").resolve()
    with pytest.raises(SystemExit):
        train.sweep.parse(["--methods", "rl2"])
    assert "--out is required" in capsys.readouterr().err


def test_a_trial_goes_on_when_settings_that_it_does_not_use_have_changed(tmp_path: Path) -> None:
    trial = tiny(("rl2",))[0]
    config = trial.with_run_dir(tmp_path, device="cpu", num_threads=1)
    train.recurrent_ppo.train(dataclasses.replace(config, total_timesteps=240))
    folder = train.sweeps.worker.RunFolder.open(config.run_dir)
    folder.update(config)
    mixture = dataclasses.replace(config.mixture, beta=2.0)
    other = dataclasses.replace(trial, config=dataclasses.replace(trial.config, mixture=mixture))
    assert run_trial(other, tmp_path, "cpu") == "finished"
    assert read_state(tmp_path, trial.name).error == ""
