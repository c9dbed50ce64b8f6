"""What the presets of PEARL, MQL and MIER share, and why."""

from __future__ import annotations

from typing import Any

# ``paper``: the published sizes, as the authors' configurations have them, and the 5 M environment
# steps after which the paper of LDM compares. Days per run on one core.
PAPER: dict[str, Any] = {"total_timesteps": 5_000_000, "checkpoint_interval": 200_000}
# ``default``: hours on one core. Narrower networks, fewer transitions per gradient step and fewer
# gradient steps per environment step: published learning curves of PEARL are flat after a
# twentieth of the gradient steps of its configuration. Twenty environments at once collect five
# times as many steps per second as five.
DEFAULT: dict[str, Any] = {
    "total_timesteps": 2_000_000,
    "checkpoint_interval": 200_000,
    "eval_interval": 100_000,
    "n_workers": 20,
    "initial_episodes": 5,
    "net_arch": (256, 256),
}
