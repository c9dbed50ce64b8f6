"""The trials of a sweep: methods × environments × seeds × overrides, as data."""

from __future__ import annotations

import ast
import dataclasses
import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from train.common.envs import whole_meta_episodes
from train.common.notices import settings_without_use
from train.config.grouping import WHERE_NOT_WHAT, override_text
from train.config.methods import METHODS, settings_class
from train.config.old_runs import present_name
from train.config.presets import resolve
from train.config.settings import RunSettings, flattened, known_settings
from train.config.unused import unused_settings
from train.persistence.files import file_name


@dataclasses.dataclass(frozen=True)
class TrialGrid:
    """A product of environments, methods, overrides and seeds; the seeds vary fastest.

    Attributes:
        env_ids: Environments.
        methods: Methods.
        seeds: Number of seeds, counted from 0.
        overrides: Values of settings; the product is taken over several.
        preset: Preset of the environments; empty for that of the sweep.
    """

    env_ids: tuple[str, ...]
    methods: tuple[str, ...]
    seeds: int
    overrides: dict[str, tuple[Any, ...]] = dataclasses.field(default_factory=dict)
    preset: str = ""


_GRID, _EXTRAPOLATION = ("LDM-GridNavi-v0",), ("LDM-GridNaviExtrapolation-v0",)
_CHEETAH, _ANTS = ("LDM-HalfCheetahVel-v0",), ("LDM-AntDir-v0", "LDM-AntGoal-v0")
_MUJOCO_METHODS = (
    "ldm", "ldm-varibad", "rl2", "varibad", "mixreg", "oracle-varibad", "known-task",
)  # fmt: skip
SWEEPS: dict[str, tuple[TrialGrid, ...]] = {
    # Figure 3 with 8 seeds, then the ablations with 4, as in the paper
    "gridworld": (
        TrialGrid(_GRID, ("ldm", "rl2", "varibad", "mixreg", "oracle-rl2", "oracle-varibad"), 8),
        # imaginary tasks as in the paper, then with one dropout mask per task
        TrialGrid(_GRID, ("ldm",), 8, preset="present-beliefs"),
        TrialGrid(
            _GRID,
            ("ldm",),
            8,
            {
                "imagination.n_dropout_masks": (1,),
                "imagination.keep_dropout_masks": (True,),
                "mixture.beta": (2.0,),
                "p_drop": (0.5,),
            },
            "present-beliefs",
        ),
        TrialGrid(_GRID, ("ldm",), 8, {"imagination.n_candidates": (1,)}),
        TrialGrid(_EXTRAPOLATION, ("ldm",), 4, {"mixture.beta": (1.0, 1.5, 2.0, 2.5)}),
        TrialGrid(_GRID, ("ldm",), 4, {"p_drop": (0.0, 0.3, 0.5, 0.7, 0.9)}),
        TrialGrid(_GRID, ("ldm",), 4, {"n_mixture_workers": (4, 8, 16, 32)}),
    ),
    # Figure 7, and with its runs Figure 8b–d; then appendices D and E (with the paper's encoder), C
    "mujoco": (
        TrialGrid(_CHEETAH, _MUJOCO_METHODS, 4),
        TrialGrid(_ANTS, _MUJOCO_METHODS, 2),
        TrialGrid((*_CHEETAH, *_ANTS), ("promp", "e-maml", "pearl", "mql", "mier"), 2),
        TrialGrid(_CHEETAH, ("ldm",), 4, {"n_mixture_workers": (4, 8, 16, 32)}, "recurrent"),
        TrialGrid(_CHEETAH, ("ldm",), 4, {"p_drop": (0.0, 0.3, 0.5, 0.7)}, "recurrent"),
        TrialGrid(("LDM-AntGoal-v0",), ("ldm",), 2, {"mixture.beta": (1.0, 1.5, 2.0, 2.5)}),
    ),
    # why the paper's imaginary tasks do not reach the 19 goals that it reports
    "paper-tasks": (
        TrialGrid(_GRID, ("ldm",), 8, preset="present-beliefs"),
        TrialGrid(_GRID, ("ldm",), 8, preset="published-tasks"),
        TrialGrid(_GRID, ("ldm",), 8, preset="published-network"),
        TrialGrid(_GRID, ("ldm",), 2, preset="published-learner"),
    ),
    # Figure 4 and appendix E, then Figure 6, with the paper's own imaginary tasks
    "paper-ablations": (
        TrialGrid(_GRID, ("ldm",), 4, {"p_drop": (0.0, 0.3, 0.5, 0.7)}, "present-beliefs"),
        TrialGrid(
            _EXTRAPOLATION, ("ldm",), 4, {"mixture.beta": (1.0, 1.5, 2.0, 2.5)}, "present-beliefs"
        ),
    ),
    # for design choices: none of these tasks is a test task
    "validation": (TrialGrid(("LDM-GridNaviValidation-v0",), ("ldm", "rl2"), 4),),
}


def run_path(out: Path, name: str) -> Path:
    """The run folder of a trial in the sweep's folder ``out``."""
    return out / "runs" / name


@dataclasses.dataclass(frozen=True)
class Trial:
    """One run of a sweep.

    Attributes:
        name: Its file name, made from everything that distinguishes it.
        config: Its configuration; ``run_dir`` is empty until the folder is known.
    """

    name: str
    config: RunSettings

    def with_run_dir(self, out: Path, **changes: Any) -> RunSettings:
        """The configuration with its run folder in the sweep's folder ``out``."""
        return dataclasses.replace(self.config, run_dir=str(run_path(out, self.name)), **changes)


def plan(
    grids: Iterable[TrialGrid],
    *,
    preset: str = "default",
    overrides: dict[str, tuple[Any, ...]] | None = None,
) -> list[Trial]:
    """All trials in order, each once.

    A value that equals that of the preset does not make a new run; neither does a setting without
    effect on the method and environment.

    Args:
        grids: The grids to run.
        preset: Preset of all environments, for grids without their own.
        overrides: Values of settings, for grids that do not vary these settings themselves.

    Raises:
        ValueError: If a method, preset or setting is unknown, or a value does not fit.
    """
    trials: dict[str, Trial] = {}
    for grid in grids:
        varied = {**(overrides or {}), **grid.overrides}
        for env_id, method, values, seed in itertools.product(
            grid.env_ids, grid.methods, itertools.product(*varied.values()), range(grid.seeds)
        ):
            changes = {**dict(zip(varied, values, strict=True)), "seed": seed}
            config = resolve(env_id, method, grid.preset or preset, **changes)
            if "n_steps" not in varied:
                config = whole_meta_episodes(config)
            name = _name(config)
            trials.setdefault(name, Trial(name, config))
    return list(trials.values())


def _name(config: RunSettings) -> str:
    """A file name made from everything that distinguishes a trial."""
    preset = "" if config.preset == "default" else config.preset
    differing = override_text(config, WHERE_NOT_WHAT | {"seed"} | without_effect(config))
    parts = [file_name(config.env_id), config.method, preset, differing.replace(" ", "-")]
    return "-".join([*filter(None, parts), f"seed{config.seed}"]).replace("/", "-")


def overrides_without_use(trials: Iterable[Trial], overrides: Iterable[str]) -> list[str]:
    """The settings among ``overrides`` that have no effect on the training of any trial."""
    useful: set[str] = set()
    for trial in trials:
        useful |= flattened(trial.config.to_dict()).keys() - without_effect(trial.config)
    return [name for name in overrides if name not in useful]


def without_effect(config: RunSettings) -> frozenset[str]:
    """Settings without effect on a run, because of its method or its environment."""
    return unused_settings(config) | settings_without_use(config)


def parse_overrides(texts: Iterable[str]) -> dict[str, tuple[Any, ...]]:
    """``["beta=1,1.5", "net_arch=(64,64)"]`` as values per setting; types are checked later.

    Raises:
        ValueError: If a text is not ``name=value``, or a setting is unknown or given twice.
    """
    known = {k: v for method in METHODS for k, v in known_settings(settings_class(method)).items()}
    found: dict[str, tuple[Any, ...]] = {}
    for text in texts:
        name, _, content = text.partition("=")
        name = present_name(name.strip().lstrip("-").replace("-", "_"))
        if not content:
            raise ValueError(f"an override must be name=value[,value…], got {text!r}")
        if name not in known or name in WHERE_NOT_WHAT | {"env_id", "method", "seed", "preset"}:
            raise ValueError(f"{name!r} is not a setting that can be overridden")
        if name in found:
            given = ",".join(str(value) for value in found[name])
            raise ValueError(
                f"{name} is given twice, with {given} and with {content}; expected all its values "
                f"in one: {name}={given},{content}"
            )
        try:
            values = ast.literal_eval(f"[{content}]")
        except (ValueError, SyntaxError):
            values = [part.strip() for part in content.split(",")]
        if isinstance(known[name], float):  # 1 as 1.0, so that both have the same name
            values = [_as_float(name, v) if type(v) is int else v for v in values]
        found[name] = tuple(values)
    return found


def _as_float(name: str, value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        raise ValueError(
            f"{name} must be a finite number, got an integer of {len(str(value))} digits"
        ) from None
