"""Presets of ProMP and E-MAML, and the reasons for them."""

from __future__ import annotations

from typing import Any

# Everything but the number of tasks is as in the published runs, whose values are the defaults of
# the settings: 20 episodes before and 20 after adaptation, unlike the family's other methods. A
# `default` run of 5 to 10 M steps has fewer tasks per iteration, to get enough updates: each goal
# of the grid once, each heading of AntDir twice. On MuJoCo, an evaluation with 20 episodes per task
# takes as long as 0.2 M training steps, so there are fewer evaluations.
_R: dict[str, Any] = {"n_episodes": 20}
_PAPER: dict[str, Any] = {**_R, "n_tasks": 40, "net_arch": (64, 64)}


def _family(n_tasks: int, eval_interval: int = 1_000_000) -> dict[str, dict[str, Any]]:
    default = {**_R, "n_tasks": n_tasks, "eval_interval": eval_interval}
    return {"default": default, "paper": _PAPER}


PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "LDM-GridNavi-v0": _family(18, 250_000),
    "LDM-GridNaviExtrapolation-v0": _family(16, 250_000),
    "LDM-GridNaviValidation-v0": _family(11, 250_000),
    "LDM-AntDir-v0": _family(8),
    "LDM-AntGoal-v0": _family(20),
    "LDM-HalfCheetahVel-v0": _family(10),
}
METHODS = ("promp", "e-maml")
