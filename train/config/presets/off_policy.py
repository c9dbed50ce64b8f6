"""What the presets of PEARL, MQL and MIER share, and the reasons for it."""

from __future__ import annotations

from typing import Any

# ``paper``: the sizes of the authors' configurations, and the 5 M environment steps of the LDM
# paper's comparison. Days per run on one core.
PAPER: dict[str, Any] = {"total_timesteps": 5_000_000, "checkpoint_interval": 200_000}
# ``default``: 6 to 44 minutes on one core. Small networks, few transitions per gradient step and
# few gradient steps per environment step; a smaller discount factor, a larger learning rate and
# faster target updates make the most of such runs. Chosen on HalfCheetahVel with PEARL, by its
# returns on train tasks, and kept for the other methods and families (results/off_policy). Twenty
# environments in parallel collect five times as many steps per second as five.
DEFAULT: dict[str, Any] = {
    "total_timesteps": 700_000,
    "checkpoint_interval": 200_000,
    "eval_interval": 40_000,
    "n_workers": 20,
    "initial_episodes": 5,
    "net_arch": (128, 128),
    "learning_rate": 1e-3,
    "gamma": 0.95,
    "tau": 0.01,
    "updates_per_step": 0.1,
}
# the Ants' simulation and MQL's longer histories take more time per step
ANT: dict[str, Any] = {"total_timesteps": 400_000}
# four train directions, so more episodes of each before the first gradient step
ANT_DIR: dict[str, Any] = {**ANT, "initial_episodes": 20}
