"""Which settings tell runs apart: from their preset, from other groups of seeds, on resume."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from ldm_wrappers.latent_dynamics import LatentDynamicsConfig
from train.config.methods import get_method
from train.config.presets import resolve, resolve_unchecked
from train.config.settings import RunSettings, flattened, nested_kinds

# settings that say where and how a run is made, not what it is
WHERE_NOT_WHAT = frozenset({"run_dir", "overwrite", "device", "num_threads"})
# settings that do not make two runs different groups of seeds
IGNORED_IN_GROUPS = WHERE_NOT_WHAT | {
    "seed",
    "eval_interval",
    "log_interval",
    "checkpoint_interval",
}
# settings of MIER that need relabel_updates
_OF_RELABELLING = frozenset(
    {"adapt_from", "relabel_batch_size", "real_share", "test_context_steps", "test_model_updates"}
)
# settings of ProMP that compare policies before and after an update of the same episodes
_OF_SEVERAL_EPOCHS = frozenset({"clip_range", "inner_kl_coef"})
# settings of MQL that need replay_updates, and those that need snapshot_updates or these
_OF_REPLAY_UPDATES = frozenset(
    {
        "adapt_batch_size",
        "propensity_features",
        "propensity_c",
        "propensity_clip",
        "correct_class_sizes",
        "prox",
    }
)
_OF_ADAPTATION = frozenset({"adapt_from", "adapt_learning_rate", "snapshot_size"})
# settings of the VAE's encoder that a policy's encoder has too
_OF_THE_POLICY_ENCODER = frozenset(
    {"encoder_observation_size", "encoder_action_size", "encoder_reward_size", "latent_dim"}
)
# settings that may change between two sittings of a run
CHANGEABLE_ON_RESUME = WHERE_NOT_WHAT | {"total_timesteps"}


def overrides(config: RunSettings, ignored: frozenset[str] = IGNORED_IN_GROUPS) -> dict[str, Any]:
    """The settings in which a configuration differs from its preset, ``ignored`` ones aside."""
    own, run = flattened(config.to_dict()), (config.env_id, config.method, config.preset)
    kinds = {name: own[name] for name in nested_kinds(type(config))}
    preset = flattened(resolve(*run).to_dict())
    same_kinds = flattened(resolve_unchecked(*run, **kinds).to_dict())
    usual = {**same_kinds, **{k: preset[k] for k in kinds}}
    return {k: own[k] for k in own if k not in ignored and own[k] != usual[k]}


def stands_for_preset(config: RunSettings) -> bool:
    """Whether a run shows what its preset imagines: it differs in dropout and budget at most."""
    return set(overrides(config)) <= {"p_drop", "total_timesteps"}


def override_text(config: RunSettings, ignored: frozenset[str] = IGNORED_IN_GROUPS) -> str:
    """:func:`overrides` as ``name=value`` pairs without spaces in them.

    Nested settings go by their own name: ``beta=2``, not ``mixture.beta=2``.
    """
    found = overrides(config, ignored).items()
    return " ".join(f"{name.rpartition('.')[2]}={value_text(value)}" for name, value in found)


def unused_settings(config: RunSettings) -> frozenset[str]:
    """Settings that have no effect on what the configuration's method trains."""
    chosen = get_method(config.method)
    if chosen.observation is None:  # settings of other learners have an effect, almost all of them
        if hasattr(config, "inner_kl_coef"):  # ProMP and E-MAML
            return _OF_SEVERAL_EPOCHS if getattr(config, "n_epochs", 0) == 1 else frozenset()
        return _unused_of_adaptation(config)
    names = list(flattened(config.to_dict()))
    unused: set[str] = set() if chosen.mixreg else {"mixreg_alpha"}
    if not chosen.imaginary:
        nested = nested_kinds(type(config))
        unused |= {"n_mixture_workers", "return_statistics"}
        unused |= {name for name in names if name.partition(".")[0] in nested}
    if not getattr(config, "normalize_reward", True):
        unused.add("return_statistics")
    if _one_gradient_step(config):  # from the policy that collected: ratios are 1
        unused |= {"clip_range", "target_kl"} | (set() if chosen.mixreg else {"clip_range_vf"})
    if getattr(config, "n_episodes", None) == 1:
        unused.add("cut_at_time_limits")
    if getattr(config, "n_workers", None) == 1:
        unused.add("stagger_workers")
    if chosen.has_latent_dynamics:
        unused |= _unused_of_the_decoder(config) | _unused_of_imagination(config)
    else:
        unused |= set(LatentDynamicsConfig.__dataclass_fields__)
        unused |= {name for name in names if name.startswith("vae_")}
    if getattr(config, "encoder", "gru") == "moments":
        unused |= _OF_THE_POLICY_ENCODER - {"latent_dim"}
    else:
        unused |= {"encoder_features", "encoder_projections"}
    if chosen.observation == "belief":  # a feed-forward policy
        unused |= {"lstm_hidden_size", "value_trains_lstm", "truncate_backpropagation"}
        unused |= {"observation_to_heads", "policy_memory"}
    elif getattr(config, "policy_memory", "lstm") == "encoder":
        unused -= _OF_THE_POLICY_ENCODER
    return frozenset(unused)


def _one_gradient_step(config: RunSettings) -> bool:
    return getattr(config, "n_epochs", 0) == 1 and getattr(config, "n_minibatches", 0) == 1


def _unused_of_adaptation(config: RunSettings) -> frozenset[str]:
    """What belongs to gradient steps at test that there are none of."""
    unused = frozenset() if getattr(config, "relabel_updates", 1) else _OF_RELABELLING
    if getattr(config, "real_share", 0.0) == 1.0:  # nothing is relabelled
        unused |= {"test_model_updates"}
    if getattr(config, "replay_updates", 1) < getattr(config, "policy_freq", 1):
        unused |= _OF_REPLAY_UPDATES  # too few to move the actor
    if not getattr(config, "test_updates", 1):
        unused |= _OF_ADAPTATION
    return unused


def _unused_of_the_decoder(config: RunSettings) -> set[str]:
    """Embeddings of what it does not see, outcomes, and masks of a dropout that is off."""
    seen: set[str] = set(getattr(config, "decoder_inputs", ()))
    if getattr(config, "decoder_heads", 1) > 1:
        seen.discard("next_observation")  # which picks a head
    unused = set() if "action" in seen else {"decoder_action_size"}
    if not seen & {"observation", "next_observation"}:
        unused.add("decoder_observation_size")
    if not seen:
        unused.add("p_drop")  # nothing to drop
    if getattr(config, "likelihood", "") == "gaussian":
        unused |= {"reward_low", "reward_high"}
    p_drop: float = getattr(config, "p_drop", 0.0)
    if seen and p_drop > 0.0:
        return unused
    return unused | {"imagination.n_dropout_masks", "imagination.keep_dropout_masks"}


def _unused_of_imagination(config: RunSettings) -> set[str]:
    """What is of masks that are not drawn, memories that nobody asks, mixtures of one belief."""
    tasks, unused = getattr(config, "imagination", None), set[str]()
    mixed = getattr(getattr(config, "mixture", None), "n_components", 0)
    if 1 in (mixed, getattr(config, "n_normal_workers", 0)):
        unused.add("mixture.beta")  # one belief weighs 1, whatever β is
    if not getattr(tasks, "n_dropout_masks", 1):
        unused.add("imagination.keep_dropout_masks")
    if not getattr(tasks, "relative", True) and getattr(tasks, "n_candidates", 1) == 1:
        unused.add("imagination.n_remembered_transitions")
    return unused


def group_text(config: RunSettings) -> str:
    """What tells a group of seeds from its preset; unused settings do not."""
    return override_text(config, IGNORED_IN_GROUPS | unused_settings(config))


def run_identity(config: RunSettings) -> str:
    """The same text for all sittings of a run with one version, another for any other run."""
    own = flattened(config.to_dict())
    ignored = CHANGEABLE_ON_RESUME | (IGNORED_IN_GROUPS - {"seed"})
    fixed = {name: value for name, value in own.items() if name not in ignored}
    text = json.dumps(fixed, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def value_text(value: Any) -> str:
    """A setting's value as names of runs and of groups have it, without spaces of its own."""
    if isinstance(value, tuple):
        return "x".join(map(value_text, value))
    if not isinstance(value, float):
        return str(value)
    short = f"{value:g}"
    return short if float(short) == value else repr(value)  # six digits may stand for two values
