"""Each setting, changed alone, changes what a run leaves, or is named as one without effect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from plane_runs import BASES, configuration, outcome

from train.common.notices import settings_without_use
from train.config.settings import flattened
from train.config.unused import unused_settings

# other values than these of numbers (a little more) and of booleans
OTHER: dict[str, Any] = {
    "env_kwargs": ("gain=0.3",), "max_episode_steps": 4, "eval_interval": 60, "replay_size": 75,
    "imagination.belief_samples": True, "n_workers": 6, "n_steps": 20, "n_episodes": 4,
    "mixture.n_components": 1, "lr_decay_start": 0.0, "policy_ema_decay": 0.5, "gamma": 0.5,
    "gae_lambda": 0.5, "clip_range": 1e-3, "clip_range_vf": 1e-3, "target_kl": 1e-9,
    "max_grad_norm": 0.01, "policy_memory": "encoder", "net_arch": (5,), "optimizer": "rmsprop",
    "return_statistics": "all", "encoder": "moments", "initial_posterior_std": 0.1,
    "decoder_inputs": ("action",), "decoder_hidden_sizes": (5,), "reward_scale": 2.0, "p_drop": 0.2,
    "vae_encoded_lengths": 2, "vae_decoded_steps": 2, "vae_decay_updates": 1, "vae_ema_decay": 0.5,
    "vae_max_grad_norm": 0.01, "vae_buffer_keeps": "oldest", "vae_buffer_trajectories": 2,
    "snapshot_updates": 4, "replay_updates": 4, "test_model_updates": 50,
    "inner_kl_coef": 1.0, "exploration_coef": 0.5, "tau": 0.1, "encoder_hidden_sizes": (4,),
    "adapt_from": 1.0, "propensity_features": "observation-context", "propensity_clip": 0.01,
    "prox": 3.0, "model_hidden_sizes": (4,), "real_share": 0.5,
}  # fmt: skip
# tested in test_settings: what is run and where; refused with this family: heads, Bernoulli
ELSEWHERE = {
    "env_id", "eval_env_id", "method", "preset", "run_dir", "device", "overwrite", "num_threads",
    "total_timesteps", "checkpoint_interval", "log_interval", "observation_keys", "vectorization",
    "flatten_observation", "mixture", "imagination", "decoder_heads", "likelihood",
    "stagger_workers",
}  # fmt: skip
# recorded as it is set; adaptation is at the end of these runs, from whatever share it is
ALWAYS = {"adapt_from", "eval_interval"}


def another(name: str, value: Any) -> Any:
    if name in OTHER:
        return OTHER[name]
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int) else 0.7 * value + 0.01


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("base", BASES)
@pytest.mark.filterwarnings("ignore")
def test_each_setting_has_an_effect_or_is_named(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.fsync", lambda file: None)
    monkeypatch.setenv("LDM_TRUST_MODULES", "plane_env")
    config = configuration(base, device="cpu")
    first = outcome(config, tmp_path / "run")
    named = unused_settings(config) | settings_without_use(config)
    wrong = {}
    for name, value in flattened(config.to_dict()).items():
        if name in ELSEWHERE or (name in ALWAYS and name not in named):
            continue
        other = another(name, value)
        try:
            changed = configuration(base, **{"device": "cpu", name: other})
            differs = outcome(changed, tmp_path / "run") != first
        except ValueError:
            continue  # refused: the user is told
        if other != value and differs == (name in named):
            wrong[name] = (value, other, "changes" if differs else "same")
    assert not wrong
