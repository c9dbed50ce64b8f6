"""Which settings have no effect on what a method trains."""

from __future__ import annotations

from ldm_wrappers.latent_dynamics import LatentDynamicsConfig
from train.config.methods import get_method
from train.config.settings import RunSettings, flattened, nested_kinds

# settings of MIER that need relabel_updates
_OF_RELABELLING = frozenset(
    {"adapt_from", "relabel_batch_size", "real_share", "test_context_steps", "test_model_updates"}
)
# settings of ProMP that compare policies before and after an update of the same episodes
_OF_SEVERAL_EPOCHS = frozenset({"clip_range", "inner_kl_coef"})
# settings of MQL that need replay_updates; below, those that need it or snapshot_updates
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
# settings of the VAE's encoder that a policy's encoder shares
_OF_THE_POLICY_ENCODER = frozenset(
    {"encoder_observation_size", "encoder_action_size", "encoder_reward_size", "latent_dim"}
)


def unused_settings(config: RunSettings) -> frozenset[str]:
    """Settings that have no effect on what the configuration's method trains."""
    chosen = get_method(config.method)
    if chosen.observation is None:  # almost all settings of other learners have an effect
        if hasattr(config, "inner_kl_coef"):  # ProMP and E-MAML
            return _unused_of_meta_gradient(config)
        return _unused_of_adaptation(config)
    names = list(flattened(config.to_dict()))
    unused: set[str] = set() if chosen.mixreg else {"mixreg_alpha"}
    if not chosen.imaginary:
        nested = nested_kinds(type(config))
        unused |= {"n_mixture_workers", "return_statistics"}
        unused |= {name for name in names if name.partition(".")[0] in nested}
    if not getattr(config, "normalize_reward", True):
        unused.add("return_statistics")
    if _one_gradient_step(config):  # from the policy that collected the rollout: ratios are 1
        unused |= {"clip_range", "target_kl", "clip_range_vf"}
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


def _unused_of_meta_gradient(config: RunSettings) -> frozenset[str]:
    """Settings that need a second update or, since E-MAML's term compares tasks, a second task."""
    unused = _OF_SEVERAL_EPOCHS if getattr(config, "n_epochs", 0) == 1 else frozenset()
    return unused | {"exploration_coef"} if getattr(config, "n_tasks", 0) == 1 else unused


def _unused_of_adaptation(config: RunSettings) -> frozenset[str]:
    """Settings of gradient steps at test time that are never taken."""
    unused = frozenset() if getattr(config, "relabel_updates", 1) else _OF_RELABELLING
    if getattr(config, "real_share", 0.0) == 1.0:  # nothing is relabelled
        unused |= {"test_model_updates"}
    if getattr(config, "replay_updates", 1) < getattr(config, "policy_freq", 1):
        unused |= _OF_REPLAY_UPDATES  # too few to move the actor
    if not getattr(config, "test_updates", 1):
        unused |= _OF_ADAPTATION
    return unused


def _unused_of_the_decoder(config: RunSettings) -> set[str]:
    """Embedding sizes of inputs it does not see, reward values, and masks if dropout is off."""
    seen: set[str] = set(getattr(config, "decoder_inputs", ()))
    if getattr(config, "decoder_heads", 1) > 1:
        seen.discard("next_observation")  # it selects a head instead
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
    """Settings of masks that are not drawn, of unused memories, and of mixtures of one belief."""
    tasks, unused = getattr(config, "imagination", None), set[str]()
    mixed = getattr(getattr(config, "mixture", None), "n_components", 0)
    if 1 in (mixed, getattr(config, "n_normal_workers", 0)):
        unused.add("mixture.beta")  # a single belief has weight 1 for any β
    if not getattr(tasks, "n_dropout_masks", 1):
        unused.add("imagination.keep_dropout_masks")
    if not getattr(tasks, "relative", True) and getattr(tasks, "n_candidates", 1) == 1:
        unused.add("imagination.n_remembered_transitions")
    return unused
