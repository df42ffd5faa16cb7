"""From settings to parts: each setting arrives where it belongs, and the whole trains."""

from __future__ import annotations

import multiprocessing
from typing import Any

import gymnasium as gym
import keras
import numpy as np
import pytest

from trpo_tf import assembly
from trpo_tf.clipped_normal import ClippedNormal
from trpo_tf.config import TRPOConfig
from trpo_tf.execution import Execution
from trpo_tf.line_search import Backtracking, FillTrustRegion
from trpo_tf.samplers import AsyncSampler, Sampler
from trpo_tf.samplers.collectors import ThreadCollector
from trpo_tf.types import Correction

SMALL: dict[str, Any] = {
    "env": "Test-v0",
    "total_steps": 64,
    "num_envs": 2,
    "num_steps": 16,
    "value_minibatch_size": 10,
    "value_epochs": 3,
    "hidden_sizes": (4,),
    "execution": "eager",
    "cg_steps": 2,
}
SPACES = gym.spaces.Box(-1, 1, (3,)), gym.spaces.Box(-2, 2, (2,))


def config(**settings: Any) -> TRPOConfig:
    return TRPOConfig(**{**SMALL, **settings})


def test_networks_follow_the_settings() -> None:
    models = assembly.make_models(
        config(
            hidden_sizes=(5, 6),
            initial_log_std=-1.5,
            rescale_actions=True,
            mean_limit=1.0,
            clipped_likelihood=True,
        ),
        *SPACES,
    )
    shapes = [tuple(variable.shape) for variable in models.value_function.trainable_variables]
    assert shapes[:4] == [(3, 5), (5,), (5, 6), (6,)]
    distribution = models.policy(np.zeros((1, 3), np.float32))
    np.testing.assert_allclose(distribution.stddev(), np.exp(np.full((1, 2), -1.5)), rtol=1e-6)
    assert models.policy.rescale_actions
    assert isinstance(distribution.distribution, ClippedNormal)
    models.policy.head.mean.bias.assign([9, -9])
    limited = models.policy(np.zeros((1, 3), np.float32)).mean()
    np.testing.assert_allclose(limited, [[1, -1]], rtol=1e-6)


def test_the_seed_decides_the_weights() -> None:
    one, again, other = (assembly.make_models(config(seed=seed), *SPACES) for seed in (1, 1, 2))
    for ours, same, different in zip(
        one.policy.get_weights(),
        again.policy.get_weights(),
        other.policy.get_weights(),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, same)
        assert ours.ndim < 2 or not np.array_equal(ours, different)


def test_the_optimiser_follows_the_settings() -> None:
    plain = assembly.make_optimizer(
        config(damping=0.3, fisher_fraction=0.5, chunk_rows=8), Execution.EAGER
    )
    assert isinstance(plain.line_search, FillTrustRegion)
    assert (plain.damping, plain.fisher_fraction, plain.chunk_rows) == (0.3, 0.5, 8)
    assert plain.preconditioner is None
    assert plain.cg_steps == 2
    classic = assembly.make_optimizer(
        config(line_search="classic", preconditioner_probes=7), Execution.EAGER
    )
    assert isinstance(classic.line_search, Backtracking)
    assert classic.preconditioner is not None
    assert classic.preconditioner.num_probes == 7


def test_lambda_falls_on_a_straight_line_over_the_updates() -> None:
    advantage = assembly.make_advantage(config(gae_lambda=0.99, gae_lambda_final=0.8))
    found = [float(advantage.gae_lambda_at(update)) for update in range(4)]
    np.testing.assert_allclose(found, [0.99, 0.895, 0.8, 0.8], rtol=1e-5)
    assert assembly.make_advantage(config(gae_lambda=0.9)).gae_lambda_at(3) == 0.9


def test_max_kl_falls_on_a_straight_line_over_the_updates() -> None:
    constraint = assembly.make_optimizer(
        config(max_kl=0.05, max_kl_final=0.01), Execution.EAGER
    ).constraint
    found = [float(constraint.max_kl_at(update)) for update in range(4)]
    np.testing.assert_allclose(found, [0.05, 0.03, 0.01, 0.01], rtol=1e-5)
    constant = assembly.make_optimizer(config(max_kl=0.05), Execution.EAGER).constraint
    assert float(constant.max_kl_at(3)) == pytest.approx(0.05)


def test_the_critics_rate_falls_on_a_straight_line_over_its_steps() -> None:
    regression = assembly.make_value_regression(
        config(value_learning_rate=1e-2, value_learning_rate_final=0.0), Execution.EAGER
    )
    assert (regression.epochs, regression.minibatch_size) == (3, 10)
    # Two updates of three epochs of ceil(32 / 10) minibatches.
    schedule = keras.optimizers.schedules.deserialize(
        regression.optimizer.get_config()["learning_rate"]
    )
    np.testing.assert_allclose(
        [float(schedule(step)) for step in (0, 12, 24, 30)], [1e-2, 5e-3, 0, 0], atol=1e-9
    )
    full_batch = assembly.make_value_regression(config(value_minibatch_size=0), Execution.EAGER)
    assert full_batch.minibatch_size is None


def test_a_level_rate_teaches_as_a_plain_number_and_is_no_variable() -> None:
    ours = assembly.make_value_regression(config(value_learning_rate=3e-3), Execution.EAGER)
    plain = keras.optimizers.Adam(3e-3)
    found = []
    for optimizer in (ours.optimizer, plain):
        weights = keras.Variable(np.linspace(-1, 1, 7, dtype=np.float32), name="weights")
        # More steps than the run has: the rate stays where it is.
        for step in range(40):
            gradient = np.sin(np.arange(7, dtype=np.float32) + step)
            optimizer.apply_gradients([(keras.ops.convert_to_tensor(gradient), weights)])
        found.append(weights.numpy())
    np.testing.assert_array_equal(*found)
    names = {variable.name for variable in ours.optimizer.variables}
    assert names == {variable.name for variable in plain.variables} - {"learning_rate"}


def test_replay_follows_the_settings() -> None:
    models = assembly.make_models(config(), *SPACES)
    off = assembly.make_trpo(config(), models).replay
    assert (off.num_rollouts, off.max_kl) == (1, None)
    settings = {"replay_rollouts": 2, "replay_weights": (2.0, 1.0), "replay_max_kl": 0.02}
    on = assembly.make_trpo(config(**settings), models).replay
    assert (on.num_rollouts, on.weights, on.max_kl) == (2, (1.0, 0.5), 0.02)


@pytest.mark.parametrize(("minibatch_size", "steps_per_update"), [(10, 10), (0, 1)])
def test_with_replay_the_critics_rate_falls_over_the_steps_that_it_takes(
    minibatch_size: int, steps_per_update: int
) -> None:
    """Three rollouts of 32 rows are ceil(96 / 10) minibatches, in each of two updates."""
    settings = config(
        value_learning_rate=1e-2,
        value_learning_rate_final=0.0,
        value_minibatch_size=minibatch_size,
        replay_rollouts=3,
    )
    trpo = assembly.make_trpo(settings, assembly.make_models(settings, *SPACES))
    schedule = keras.optimizers.schedules.deserialize(
        trpo.value_regression.optimizer.get_config()["learning_rate"]
    )
    end = 2 * 3 * steps_per_update
    np.testing.assert_allclose(
        [float(schedule(step)) for step in (0, end // 2, end)], [1e-2, 5e-3, 0], atol=1e-9
    )


def test_advantages_follow_the_settings() -> None:
    scaled = assembly.make_advantage(config(discount=0.5, gae_lambda=0.25))
    assert (scaled.discount, scaled.gae_lambda, scaled.normalize) == (0.5, 0.25, True)
    assert scaled.return_scaling is not None
    assert scaled.return_scaling.discounted_return.shape == (2,)
    plain = assembly.make_advantage(config(scale_returns=False, normalize_advantages=False))
    assert plain.return_scaling is None
    assert not plain.normalize


def test_the_whole_trains() -> None:
    parts = assembly.assemble(config(env="CartPole-v1", correct_weights=False, max_lag=3, seed=4))
    assert isinstance(parts.sampler, Sampler)
    assert parts.sampler.env.num_envs == 2
    assert (parts.sampler.num_steps, parts.sampler.seed, parts.trpo.seed) == (16, 4, 4)
    assert (parts.trpo.correction, parts.trpo.max_lag) == (Correction(weights=False), 3)
    before = parts.policy.get_weights()
    rollout, _ = parts.sampler.collect()
    assert parts.trpo.update(rollout).accepted
    after = parts.policy.get_weights()
    assert any(not np.array_equal(old, new) for old, new in zip(before, after, strict=True))
    parts.sampler.close()


def test_the_whole_trains_with_replay() -> None:
    env = gym.make_vec("CartPole-v1", num_envs=2)
    settings = config(replay_rollouts=2, execution="graph")
    models = assembly.make_models(settings, env.single_observation_space, env.single_action_space)
    trpo = assembly.make_trpo(settings, models)
    sampler = Sampler(env, models.policy, settings.num_steps)
    replayed = [trpo.update(sampler.collect()[0]).replayed_rows for _ in range(3)]
    assert replayed[0] == 0
    assert min(replayed[1:]) > 20
    sampler.close()


def test_the_asynchronous_sampler_follows_the_settings() -> None:
    settings = config(
        env="CartPole-v1",
        vectorization="async",
        sampler="async",
        rollouts_ahead=2,
        worker_timeout=7.5,
        seed=4,
    )
    sampler = assembly.assemble(settings).sampler
    assert isinstance(sampler, AsyncSampler)
    assert (sampler._rollouts_ahead, sampler._timeout) == (2, 7.5)
    (collector,) = sampler._collectors
    assert isinstance(collector, ThreadCollector)
    assert collector.name == "the sampler of CartPole-v1 (2 environments from number 0, seed 4)"
    assert collector.kill(), "it can make the environments anew"
    assert collector._make_env is not None
    anew = collector._make_env(2, 9)
    assert (anew.num_envs, len(anew.unwrapped.processes)) == (2, 2)
    anew.close()
    rollout, _ = sampler.collect()
    assert rollout.rewards.shape == (16, 2)
    assert sampler.lost_rollouts == 1
    sampler.close()
    assert multiprocessing.active_children() == []


def test_workers_of_ray_follow_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assembly, "RaySampler", lambda policy, recipe, *rest: recipe)
    settings = config(env="CartPole-v1", sampler="ray", worker_timeout=7.5, seed=4)
    recipe: Any = assembly.assemble(settings).sampler
    assert (recipe.num_envs, recipe.seed, recipe.timeout) == (1, 4, 7.5)


def test_environments_do_not_outlive_what_cannot_be_made_with_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise ValueError("refused")

    monkeypatch.setattr(assembly, "AsyncSampler", refuse)
    with pytest.raises(ValueError, match="refused"):
        assembly.assemble(config(env="CartPole-v1", vectorization="async", sampler="async"))
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize(
    ("setting", "for_vectors", "for_images"),
    [
        ("auto", Execution.XLA, Execution.GRAPH),
        ("xla", Execution.XLA, Execution.XLA),
        ("eager", Execution.EAGER, Execution.EAGER),
    ],
)
def test_execution_is_chosen_by_the_observations(
    setting: str, for_vectors: Execution, for_images: Execution
) -> None:
    images = gym.spaces.Box(0, 255, (84, 84, 4), np.uint8)
    assert assembly.choose_execution(config(execution=setting), SPACES[0]) is for_vectors
    assert assembly.choose_execution(config(execution=setting), images) is for_images
