"""C7: Mixreg against a slow second implementation, its formulas, its generator, its arguments."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from wrapper_stubs import scripted_vector

from ldm_wrappers import vector
from ldm_wrappers.sb3 import (
    MixregRecurrentPPO,
    MixregRolloutBuffer,
    SequenceRecurrentPPO,
    VectorEnvAdapter,
    WholeSequenceLstmPolicy,
)

RAGGED = [(3, 5, 2), (4,), (1, 2), (6, 3)]
EQUAL = [(4,)] * 4
STEPS, WORKERS, HIDDEN = 8, 4, 6
CLIP, ENTROPY, VALUE, NORM = 0.1, 0.05, 0.4, 0.3


def learner(
    lengths: Any = RAGGED, cls: Any = MixregRecurrentPPO, action: str = "discrete", **kwargs: Any
) -> Any:
    base = vector.MultiEpisodeWrapper(scripted_vector(*lengths, action=action), 2)
    env = VectorEnvAdapter(vector.RL2ObservationWrapper(base), info_keys=())
    settings: dict[str, Any] = {
        "n_steps": STEPS,
        "batch_size": None,
        "n_epochs": 1,
        "seed": 0,
        "learning_rate": 7e-3,
        "clip_range": CLIP,
        "ent_coef": ENTROPY,
        "vf_coef": VALUE,
        "max_grad_norm": NORM,
        "normalize_advantage": False,
        "device": "cpu",
    }
    policy = {"lstm_hidden_size": HIDDEN, "net_arch": [8]}
    return cls(WholeSequenceLstmPolicy, env, policy_kwargs=policy, **{**settings, **kwargs})


def cut(buffer: Any, worker: int) -> list[dict[str, Any]]:
    """The sequences of a worker, each a dict of rows and its first recurrent state."""
    begins = [t for t in range(STEPS) if t == 0 or buffer.episode_starts[t, worker] > 0.5]
    found = []
    for begin, end in zip(begins, [*begins[1:], STEPS], strict=True):
        rows = {
            name: getattr(buffer, name)[begin:end, worker].astype(np.float32)
            for name in ("observations", "actions", "values", "log_probs", "advantages", "returns")
        }
        four = [torch.zeros(1, 1, HIDDEN) for _ in range(4)]
        if begin == 0 and buffer.episode_starts[0, worker] < 0.5:
            pairs = buffer._initial_states
            four = [state[:, worker : worker + 1] for pair in pairs for state in pair]
        found.append({**rows, "states": four, "length": end - begin})
    return found


def slow_loss(
    policy: Any, old: Any, buffer: Any, workers: Any, rng: Any, alpha: float, ppo: bool
) -> torch.Tensor:
    """Wang et al.'s loss: a loop over mixtures and, inside it, over time.

    The ratio's denominator is the mixture of recorded log probabilities, or with continuous actions
    the density of the policy ``old``, which collected the rollout, at the mixture.
    """
    discrete = policy.action_space.dtype.kind == "i"
    sequences = [sequence for worker in workers for sequence in cut(buffer, worker)]
    for own in () if discrete else sequences:
        states, own["noise"], start = own["states"], [], torch.zeros(1)
        for observed, taken in zip(own["observations"], own["actions"], strict=True):
            with torch.no_grad():
                row = torch.from_numpy(observed).unsqueeze(0)
                mean = old.get_distribution(row, tuple(states[:2]), start)[0].distribution.mean
                own["noise"].append(torch.from_numpy(taken) - mean)
                after = old.forward(row, RNNStates(tuple(states[:2]), tuple(states[2:])), start)[3]
            states = [*after.pi, *after.vf]
    partner = rng.permutation(len(sequences))
    drawn = rng.beta(alpha, alpha, len(sequences))
    rows = []
    for index in range(len(sequences)):
        a, b, share = sequences[index], sequences[partner[index]], drawn[index]
        if share < 0.5:
            a, b, share = b, a, 1.0 - share
        states = [
            share * x + (1.0 - share) * y for x, y in zip(a["states"], b["states"], strict=True)
        ]
        start, old_states = torch.zeros(1), states
        for t in range(a["length"]):
            mixed = {
                name: share * a[name][t] + (1.0 - share) * b[name][t]
                if t < b["length"]
                else a[name][t]
                for name in ("observations", "values", "log_probs", "advantages", "returns")
            }
            pairs = RNNStates((states[0], states[1]), (states[2], states[3]))
            observation = torch.from_numpy(mixed["observations"]).unsqueeze(0)
            action = torch.from_numpy(a["actions"][t])
            if discrete:
                action = action.long()
            else:
                with torch.no_grad():
                    mean = old.get_distribution(observation, tuple(old_states[:2]), start)[0]
                    mean = mean.distribution.mean
                    action = mean + a["noise"][t]  # the standard deviation is the same everywhere
            action = action.reshape(1, -1).squeeze(-1)
            value, log_prob, entropy = policy.evaluate_actions(observation, action, pairs, start)
            if not discrete:
                own = RNNStates((old_states[0], old_states[1]), (old_states[2], old_states[3]))
                with torch.no_grad():
                    mixed["log_probs"] = old.evaluate_actions(observation, action, own, start)[1]
                    after = old.forward(observation, own, start)[3]
                old_states = [*after.pi, *after.vf]
            rows.append((mixed, value.flatten(), log_prob, entropy))
            after = policy.forward(observation, pairs, start)[3]
            states = [*after.pi, *after.vf]
    advantages = np.array([row[0]["advantages"] for row in rows])
    if ppo:
        advantages = (advantages - advantages.mean()) / (advantages.std(ddof=1) + 1e-8)
    total = torch.zeros(1)
    for advantage, (mixed, value, log_prob, entropy) in zip(advantages, rows, strict=True):
        if ppo:
            ratio = torch.exp(log_prob - mixed["log_probs"])
            clipped = ratio.clamp(1.0 - CLIP, 1.0 + CLIP)
            total = total - torch.minimum(advantage * ratio, advantage * clipped)
        else:  # the policy gradient's surrogate, of which the ratio is 1
            total = total - advantage * torch.exp(log_prob - log_prob.detach())
        total = total + VALUE * (mixed["returns"] - value) ** 2 - ENTROPY * entropy
    return total / len(rows)


@pytest.mark.parametrize("lengths", [EQUAL, RAGGED], ids=["equal", "ragged"])
@pytest.mark.parametrize("action", ["discrete", "box"])
@pytest.mark.parametrize("kind", ["a2c", "ppo"])
def test_updates_equal_a_slow_second_implementation(lengths: Any, action: str, kind: str) -> None:
    """Two iterations; the second one of ragged workers begins inside episodes."""
    ppo = kind == "ppo"
    settings = {"n_epochs": 2, "batch_size": 16, "normalize_advantage": True} if ppo else {}
    model = learner(lengths, action=action, mixreg_alpha=0.7, **settings)
    _, callback = model._setup_learn(10_000, None)
    buffer = model.rollout_buffer
    plain, old = (
        RecurrentActorCriticPolicy(
            model.observation_space,
            model.action_space,
            lambda _: 0.0,
            lstm_hidden_size=HIDDEN,
            net_arch=[8],
        )
        for _ in range(2)
    )
    worst = {"value": 0.0, "gradient": 0.0}
    plan: list[Any] = []
    optimizer_step = model.policy.optimizer.step

    def compare(*args: Any, **kwargs: Any) -> Any:
        if not plan:  # an epoch begins
            order = rng.permutation(WORKERS)
            plan.extend(np.split(order, 2) if ppo else [order])
        plain.load_state_dict(model.policy.state_dict())
        loss = slow_loss(plain, old, buffer, plan.pop(0), rng, 0.7, ppo)
        plain.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(plain.parameters(), NORM)
        named = dict(plain.named_parameters())
        for name, parameter in model.policy.named_parameters():
            expected = named[name].grad
            difference = (parameter.grad - expected).abs().max().item()
            worst["gradient"] = max(worst["gradient"], difference)
        losses.append(loss.item())
        return optimizer_step(*args, **kwargs)

    model.policy.optimizer.step = compare
    for _ in range(2):
        model.collect_rollouts(model.env, callback, buffer, STEPS)
        rng, losses = copy.deepcopy(buffer.rng), []
        old.load_state_dict(model.policy.state_dict())
        model.train()
        last = model.logger.name_to_value["train/loss"]
        worst["value"] = max(worst["value"], abs(last - losses[-1]))
        assert len(losses) == (4 if ppo else 1)
    print(f"mixreg {kind}: largest differences {worst}")
    assert worst["value"] <= 1e-5 and worst["gradient"] <= 1e-5


@pytest.mark.parametrize("action", ["discrete", "box"])
@pytest.mark.parametrize("settings", [{}, {"n_epochs": 2}, {"batch_size": 16}])
def test_the_ratio_is_one_before_the_first_step_but_for_the_authors_ppo(
    action: str, settings: dict[str, int]
) -> None:
    """With a mixture as denominator, the standard deviation of continuous actions grew to 10."""
    model = learner(action=action, learning_rate=0.0, mixreg_alpha=5.0, **settings)
    model.policy.action_net.weight.data *= 100.0  # Stable-Baselines3 begins with small weights
    model.learn(STEPS * WORKERS)
    logged = model.logger.name_to_value
    authors = action == "discrete" and bool(settings)
    assert (logged["train/approx_kl"] > 1e-3) == authors
    assert (logged["train/clip_fraction"] > 0.0) == authors


def test_state_dependent_noise_works() -> None:
    """The copy of the collecting policy failed: PyTorch does not copy the matrices of its noise."""
    model = learner(
        action="box", learning_rate=0.0, mixreg_alpha=5.0, n_epochs=2, use_sde=True,
        sde_sample_freq=4,
    )  # fmt: skip
    model.policy.action_net.weight.data *= 100.0
    model.learn(2 * STEPS * WORKERS)
    logged = model.logger.name_to_value
    assert logged["train/approx_kl"] <= 1e-6 and logged["train/clip_fraction"] == 0.0
    noise = model.policy.action_dist
    assert noise.exploration_mat.requires_grad  # the policy's own are as they were


@pytest.mark.parametrize("action", ["discrete", "box"])
def test_values_are_clipped_around_those_of_the_collecting_policy_at_the_mixture(
    action: str,
) -> None:
    """So before the first step clipping changes nothing, but for the authors' PPO."""
    losses = []
    for limit in (None, 1e-6):
        model = learner(
            action=action, n_epochs=2, learning_rate=0.0, mixreg_alpha=5.0, clip_range_vf=limit
        )
        model.policy.value_net.weight.data *= 100.0
        torch.manual_seed(0)  # Stable-Baselines3 samples actions from the global generator
        model.learn(STEPS * WORKERS)
        losses.append(model.logger.name_to_value["train/value_loss"])
    assert (abs(losses[0] - losses[1]) > 1e-4 * losses[0]) == (action == "discrete")


def test_the_ratio_compares_with_the_policy_that_collected() -> None:
    """And not with the one of the step before: with a KL limit, the first steps are the last."""
    updates = {}
    for limit in (None, 1e-6):
        model = learner(action="box", n_epochs=10, learning_rate=0.01, target_kl=limit)
        steps: list[None] = []
        step = model.policy.optimizer.step
        model.policy.optimizer.step = lambda *args, step=step, n=steps: (n.append(None), step())
        model.learn(STEPS * WORKERS)
        updates[limit] = len(steps)
    assert updates[None] == 10 and updates[1e-6] == 1


@pytest.mark.parametrize("changes", [{"n_epochs": 2}, {"batch_size": 16}])
def test_an_update_follows_settings_that_were_changed_later(changes: dict[str, int]) -> None:
    """As in Stable-Baselines3, whose attributes such as ``n_epochs`` may be set at any time."""
    made, changed = learner(EQUAL, mixreg_alpha=5.0, **changes), learner(EQUAL, mixreg_alpha=5.0)
    for name, value in changes.items():
        setattr(changed, name, value)
    for model in (made, changed):
        torch.manual_seed(0)  # Stable-Baselines3 samples actions from the global generator
        model.learn(STEPS * WORKERS)
    for one, other in zip(made.policy.parameters(), changed.policy.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("target_kl", 0.03, r"expected target_kl = None, got 0\.03"),
        ("batch_size", STEPS, "at least two workers in each, got 1"),
        ("batch_size", 3 * STEPS, r"batch_size must be a multiple of n_steps=8 that divides .* 32"),
    ],
)
def test_what_is_refused_at_construction_is_refused_later(
    name: str, value: float, message: str
) -> None:
    model = learner(EQUAL)
    setattr(model, name, value)
    with pytest.raises(ValueError, match=message):
        model.learn(STEPS * WORKERS)


def test_a_vanishing_alpha_leaves_every_sequence_as_it_is() -> None:
    """Beta(α, α) of a tiny α is 0 or 1, so that RL²'s own sequences are all that comes out."""
    model = learner(EQUAL, mixreg_alpha=1e-4, n_epochs=2)
    _, callback = model._setup_learn(10_000, None)
    buffer = model.rollout_buffer
    model.collect_rollouts(model.env, callback, buffer, STEPS)
    samples = next(buffer.get(None))
    originals = buffer.observations.transpose(1, 0, 2).reshape(4, -1)
    for row in samples.observations.reshape(4, -1).numpy():
        assert (np.abs(originals - row).max(1) < 1e-6).any()


def test_nothing_of_a_longer_partner_lies_behind_the_end_of_a_mixture() -> None:
    """Ratios of steps that nobody took could overflow, and their gradients are not a number."""
    model = learner(RAGGED, mixreg_alpha=5.0, n_epochs=2)
    _, callback = model._setup_learn(10_000, None)
    model.collect_rollouts(model.env, callback, model.rollout_buffer, STEPS)
    for _ in range(20):
        samples = next(model.rollout_buffer.get(None))
        behind = samples.mask == 0
        for name in ("observations", "old_values", "old_log_prob", "advantages", "returns"):
            values = getattr(samples, name)
            assert not values[behind].any() and values[~behind].any()


def test_continuous_actions_at_mixtures_are_as_likely_as_those_that_were_taken() -> None:
    """An action of one sequence, or a mixture of two, could be far from what the policy does.

    The ratios of a narrow policy overflowed there.
    """
    model = learner(EQUAL, action="box", mixreg_alpha=5.0, n_epochs=2)
    model.policy.log_std.data[:] = -5.0
    model.policy.action_net.weight.data *= 100.0  # means that differ by many standard deviations
    _, callback = model._setup_learn(10_000, None)
    buffer = model.rollout_buffer
    model.collect_rollouts(model.env, callback, buffer, STEPS)
    buffer.collecting = copy.deepcopy(model.policy)
    for _ in range(20):
        samples = next(buffer.get(None))
        likely = samples.old_log_prob.sort().values.numpy()
        taken = np.sort(buffer.log_probs.reshape(-1))
        assert taken[0] - 1e-3 <= likely[0] and likely[-1] <= taken[-1] + 1e-3


def test_alpha_decides_how_much_is_mixed() -> None:
    distance = {}
    for alpha in (0.01, 10.0):
        model = learner(EQUAL, mixreg_alpha=alpha, n_epochs=2)
        _, callback = model._setup_learn(10_000, None)
        buffer = model.rollout_buffer
        model.collect_rollouts(model.env, callback, buffer, STEPS)
        originals = buffer.observations.transpose(1, 0, 2).reshape(4, -1)
        gaps = []
        for _ in range(20):
            mixed = next(buffer.get(None)).observations.reshape(4, -1).numpy()
            gaps += [np.abs(originals - row).max(1).min() for row in mixed]
        distance[alpha] = np.mean(gaps)
    assert distance[10.0] > 3 * distance[0.01]


def test_the_generator_is_the_one_that_a_resume_restores() -> None:
    model = learner(n_epochs=2)
    _, callback = model._setup_learn(10_000, None)
    buffer = model.rollout_buffer
    model.collect_rollouts(model.env, callback, buffer, STEPS)
    state = copy.deepcopy(model.rollout_rng.bit_generator.state)
    torch.manual_seed(1)
    first = [samples.observations for samples in buffer.get(16)]
    model.rollout_rng.bit_generator.state = state
    torch.manual_seed(2)
    np.random.seed(2)
    second = [samples.observations for samples in buffer.get(16)]
    third = [samples.observations for samples in buffer.get(16)]
    for a, b, c in zip(first, second, third, strict=True):
        assert torch.equal(a, b)
        assert a.shape != c.shape or not torch.equal(a, c)


def test_it_learns_something_else_than_rl2_and_repeats_itself() -> None:
    outcomes = []
    for cls, seed in (
        (MixregRecurrentPPO, 0),
        (MixregRecurrentPPO, 0),
        (SequenceRecurrentPPO, 0),
    ):
        model = learner(cls=cls, seed=seed)
        model.learn(STEPS * WORKERS * 3)
        outcomes.append(torch.cat([p.detach().ravel() for p in model.policy.parameters()]))
    assert torch.equal(outcomes[0], outcomes[1])
    assert not torch.equal(outcomes[0], outcomes[2])
    assert torch.isfinite(outcomes[0]).all()


def test_a_model_file_keeps_alpha(tmp_path: Path) -> None:
    model = learner(mixreg_alpha=0.9)
    model.learn(STEPS * WORKERS)
    model.save(tmp_path / "model.zip")
    again = MixregRecurrentPPO.load(tmp_path / "model.zip", env=model.env, device="cpu")
    assert isinstance(again.rollout_buffer, MixregRolloutBuffer)
    assert again.rollout_buffer.alpha == 0.9
    with pytest.raises(ValueError, match="would train further without mixing"):
        SequenceRecurrentPPO.load(tmp_path / "model.zip", env=model.env, device="cpu")


def test_a_kl_limit_is_refused_where_no_update_would_be_made() -> None:
    with pytest.raises(ValueError, match=r"expected target_kl = None, got 0\.03"):
        learner(target_kl=0.03)
    learner(action="box", target_kl=0.03)


@pytest.mark.parametrize("alpha", [0.0, -1.0, float("nan"), float("inf")])
def test_a_bad_alpha_is_refused(alpha: float) -> None:
    with pytest.raises(ValueError, match="alpha must be positive, got"):
        learner(mixreg_alpha=alpha)


@pytest.mark.parametrize("sizes", [{"batch_size": STEPS}, {"lengths": [(4,)]}])
def test_a_minibatch_without_a_partner_is_refused(sizes: Any) -> None:
    with pytest.raises(ValueError, match="expected at least two workers in each, got 1"):
        learner(**sizes)
    learner(**sizes, cls=SequenceRecurrentPPO)
