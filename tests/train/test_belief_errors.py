"""Reward errors of beliefs about evaluated tasks, against one task decoded at a time."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from tiny_runs import build, train_tiny

from ldm_wrappers.vector import MultiEpisodeWrapper, RL2ObservationWrapper
from train.common.belief_error import BeliefErrors
from train.common.evaluation import Evaluator, summary
from train.common.on_policy import sample_beliefs
from train.common.rollout import play
from train.config.presets import resolve
from train.persistence.files import read_csv

SMALL: dict[str, Any] = {
    "n_workers": 4,
    "n_mixture_workers": 2,
    "device": "cpu",
    "n_minibatches": 1,
}
MIX = {"mixture.n_components": 2}


class Wandering:
    """Random actions; the rows' falls end their meta-episodes at different steps."""

    def __init__(self, env: Any) -> None:
        env.action_space.seed(0)
        self.env = env

    def begin(self, n: int) -> None: ...

    def observe(self, step: Any) -> None: ...

    def end(self) -> None: ...

    def act(self, observations: Any, starts: Any) -> Any:
        return self.env.action_space.sample()


def test_with_dropout_it_is_the_error_of_the_mean_over_masks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    learner = build(resolve("LDM-GridNavi-v0", "ldm", **{**SMALL, **MIX}))
    model = learner.latent_dynamics
    assert model is not None
    mode = AutoresetMode.DISABLED
    env = MultiEpisodeWrapper(gym.make_vec("LDM-GridNavi-v0", num_envs=2, autoreset_mode=mode), 1)
    scales = itertools.cycle([0.0, 2.0])  # half of the masks drop everything, half drop nothing
    width = model.decoder.embedding_size
    monkeypatch.setattr(
        model.decoder,
        "dropout_mask",
        lambda *shape, generator: torch.full((*shape, width), next(scales)),
    )
    errors, steps = BeliefErrors(model), []
    for step in play(env, Wandering(env), seed=4):
        errors.add(step)
        steps.append((step.observations, step.actions[:, None], step.infos["next_obs"]))
    rewards = torch.tensor(np.array(errors._rewards))
    s, a, after = (torch.tensor(np.array(part, np.float32)) for part in zip(*steps, strict=True))
    (_, dropped), beliefs = errors.per_row()
    guesses = [
        model.imagine_reward(torch.from_numpy(beliefs), s, a, after, torch.full((1, width), scale))
        for scale in (0.0, 2.0)
    ]
    assert float((guesses[0] - guesses[1]).abs().max()) > 1e-3
    expected = (torch.stack(guesses).mean(0) - rewards).square().mean(0)
    np.testing.assert_allclose(dropped, expected, rtol=1e-4)
    learner.close(), env.close()


def test_the_error_is_that_of_each_tasks_last_belief() -> None:
    learner = build(resolve("LDM-AntDir-v0", "ldm", **{**SMALL, **MIX}))
    model = learner.latent_dynamics
    assert model is not None
    mode = AutoresetMode.DISABLED
    env = MultiEpisodeWrapper(gym.make_vec("LDM-AntDir-v0", num_envs=3, autoreset_mode=mode), 1)
    states, _ = env.reset(seed=4)
    env = RL2ObservationWrapper(env)  # which shows more than the VAE reads
    errors = BeliefErrors(model)
    kept: list[list[tuple[Any, ...]]] = [[], [], []]
    for step in play(env, Wandering(env), seed=4):
        errors.add(step)
        for row in np.flatnonzero(step.running):
            parts = (states, step.actions, step.rewards, step.infos["next_obs"])
            kept[row].append(tuple(np.array(part[row], np.float32) for part in parts))
        states = step.infos["next_obs"]
    (plain, dropped), beliefs = errors.per_row()
    assert len({len(rows) for rows in kept}) > 1  # of different lengths
    for row, transitions in enumerate(kept):
        s, a, r, after = (
            torch.from_numpy(np.stack(column))[:, None] for column in zip(*transitions, strict=True)
        )
        with torch.no_grad():
            belief = model.encoder(a, r, after).mean[-1]
            guess = model.decoder(belief.expand(len(s), 1, -1), s, a, after)
        np.testing.assert_allclose(beliefs[row], belief[0], rtol=1e-4, atol=1e-5)
        expected = float((model.reward_scale.denormalize(guess) - r).square().mean())
        assert plain[row] == pytest.approx(expected, rel=1e-4)
    assert (dropped != plain).all()
    learner.close(), env.close()


def test_saved_beliefs_are_those_along_the_newest_tasks() -> None:
    """Each encoded alone; after the end of a shorter task its last belief stays."""
    learner = build(resolve("LDM-GridNavi-v0", "ldm", **{**SMALL, **MIX}))
    trainer, rng, lengths = learner.trainer, np.random.default_rng(0), [2, 5, 3, 1]
    assert trainer is not None
    tasks = {
        "observations": rng.integers(0, 7, (4, 5, 2)).astype(np.float32),
        "actions": rng.integers(0, 5, (4, 5, 1)).astype(np.float32),
        "rewards": rng.normal(size=(4, 5)).astype(np.float32),
        "next_observations": rng.integers(0, 7, (4, 5, 2)).astype(np.float32),
    }
    trainer.buffer.add(tasks, np.array(lengths))
    found = sample_beliefs(trainer, 3)
    assert found.shape[:2] == (3, 6)
    for row, (task, length) in enumerate(list(enumerate(lengths))[1:]):
        _, a, r, after = (
            torch.from_numpy(part[task, :length]).unsqueeze(1) for part in tasks.values()
        )
        alone = trainer.model.encoder(a, r, after).mean[:, 0].detach().numpy()
        expected = alone[np.minimum(np.arange(6), length)]
        np.testing.assert_allclose(found[row], expected, atol=1e-5)
    learner.close()


def test_each_split_has_the_errors_and_beliefs_of_its_own_tasks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Row i of the batch has the error i, with dropout 100 + i; the belief is i, too."""
    config = resolve("LDM-GridNavi-v0", "varibad", n_workers=4, n_episodes=1, device="cpu")
    learner, first = build(config), 0
    rows = np.arange(18.0 + 27.0)
    monkeypatch.setattr(
        BeliefErrors, "per_row", lambda _: (np.stack([rows, 100 + rows]), rows[:, None])
    )
    evaluator = Evaluator(learner)
    results = evaluator.evaluate(learner.actor())
    for result in results:
        own = rows[first : first + len(result.returns)]
        first += len(own)
        assert result.reward_errors == (own.mean(), 100 + own.mean())
        assert result.beliefs is not None
        np.testing.assert_array_equal(result.beliefs[:, 0], own)
    assert [len(result.returns) for result in results] == [18, 27]
    evaluator.close(), learner.close()


def test_evaluations_report_it_per_split(tmp_path: Path) -> None:
    learner = build(resolve("LDM-GridNavi-v0", "varibad", n_workers=4, device="cpu"))
    evaluator = Evaluator(learner)
    first, again = (summary(evaluator.evaluate(learner.actor())) for _ in range(2))
    assert first == again
    for split in ("train", "test"):
        assert 0.0 < first[f"{split}_reward_error"] < 2.0
        # variBAD drops nothing
        both = first[f"{split}_reward_error"], first[f"{split}_reward_error_with_dropout"]
        assert both[0] == both[1]
    evaluator.close(), learner.close()
    without = build(resolve("LDM-GridNavi-v0", "rl2", n_workers=4, device="cpu"))
    evaluator = Evaluator(without)
    assert not [n for n in summary(evaluator.evaluate(without.actor())) if "error" in n]
    evaluator.close(), without.close()
    rows = read_csv(train_tiny(tmp_path / "run", "ldm") / "metrics.csv")
    assert any(float(row["eval/test_reward_error_with_dropout"] or 0) > 0 for row in rows)
