"""The sampler: every transition once, in every vector environment, from one seed."""

from __future__ import annotations

import itertools
from typing import Any

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from counting_env import (
    Place,
    counting_env_makers,
    episode_end,
    episode_length,
    place_reward,
)

from trpo_tf.environments import make_vector_env
from trpo_tf.execution import Execution
from trpo_tf.policies import make_policy
from trpo_tf.samplers import Inference, Sampler, take_snapshot

tfd = tfp.distributions
tfb = tfp.bijectors

NUM_ENVS = 3
VECTOR_ENVS = {
    "sync": gym.vector.SyncVectorEnv,
    "sync without copies": lambda makers: gym.vector.SyncVectorEnv(makers, copy=False),
    "async": gym.vector.AsyncVectorEnv,
}


def policy_for(env, **settings):
    settings = {"hidden_sizes": (8,), **settings}
    return make_policy(env.single_observation_space, env.single_action_space, **settings)


def collect_counting(make_vector, num_steps, num_collects, dict_observations=False, **settings):
    env = make_vector(counting_env_makers(NUM_ENVS, dict_observations))
    sampler = Sampler(env, policy_for(env), num_steps, seed=3, **settings)
    try:
        return [sampler.collect() for _ in range(num_collects)], sampler
    finally:
        sampler.close()


def joined(rollouts):
    """One long rollout; the last observations of each must be the first of the next."""
    for before, after in itertools.pairwise(rollouts):
        np.testing.assert_array_equal(before.observations[-1], after.observations[0])
    fields = {
        name: np.concatenate([getattr(rollout, name) for rollout in rollouts])
        for name in rollouts[0]._fields
        if name != "observations"
    }
    observations = [rollout.observations[:-1] for rollout in rollouts]
    observations.append(rollouts[-1].observations[-1:])
    return rollouts[0]._replace(observations=np.concatenate(observations), **fields)


def check_counting_env(rollout, index):
    """Compares one environment's rows with what it must have gone through; gives its episodes."""
    episode = step = 0
    action = 0.0
    resets = False
    episodes = []
    for row, observation in enumerate(rollout.observations[:-1, index]):
        assert tuple(observation) == Place(index, episode, step, action)
        assert rollout.mask[row, index] == (not resets)
        flags = rollout.terminated[row, index], rollout.truncated[row, index]
        if resets:
            assert flags == (False, False)
            episode, step, action, resets = episode + 1, 0, 0.0, False
        else:
            step += 1
            action = float(np.clip(rollout.actions[row, index, 0], -10, 10))
            assert rollout.rewards[row, index] == place_reward(index, episode, step)
            resets = step == episode_length(index, episode)
            assert flags == (episode_end(index, episode) if resets else (False, False))
            if resets:
                rewards = [place_reward(index, episode, s + 1) for s in range(step)]
                episodes.append((row, index, sum(rewards), step))
        assert tuple(rollout.observations[row + 1, index]) == Place(index, episode, step, action)
    return episodes


@pytest.mark.parametrize("vectorization", VECTOR_ENVS)
@pytest.mark.parametrize(("num_steps", "num_collects"), [(1, 12), (7, 4), (40, 1)])
def test_every_transition_arrives_once_with_its_true_successor(
    vectorization, num_steps, num_collects
):
    collected, sampler = collect_counting(VECTOR_ENVS[vectorization], num_steps, num_collects)
    rollout = joined([rollout for rollout, _ in collected])
    expected = sorted(
        episode for index in range(NUM_ENVS) for episode in check_counting_env(rollout, index)
    )
    assert 1 in [length for _, _, _, length in expected]
    ends = {
        (bool(rollout.terminated[row, index]), bool(rollout.truncated[row, index]))
        for row, index, _, _ in expected
    }
    assert ends == {(True, False), (False, True), (True, True)} or num_steps == 1
    np.testing.assert_array_equal(
        np.concatenate([episodes.returns for _, episodes in collected]),
        [episode_return for _, _, episode_return, _ in expected],
    )
    np.testing.assert_array_equal(
        np.concatenate([episodes.lengths for _, episodes in collected]),
        [length for _, _, _, length in expected],
    )
    assert sampler.env_steps == rollout.mask.sum()
    assert len(expected) == (rollout.terminated | rollout.truncated).sum()


def test_shapes_and_dtypes():
    ((rollout, episodes), _), _ = collect_counting(gym.vector.SyncVectorEnv, 6, 2)
    assert {name: (array.shape, array.dtype) for name, array in rollout._asdict().items()} == {
        "observations": ((7, NUM_ENVS, 4), np.float64),
        "actions": ((6, NUM_ENVS, 1), np.float32),
        "behaviour_log_probs": ((6, NUM_ENVS), np.float32),
        "rewards": ((6, NUM_ENVS), np.float32),
        "terminated": ((6, NUM_ENVS), np.bool_),
        "truncated": ((6, NUM_ENVS), np.bool_),
        "mask": ((6, NUM_ENVS), np.bool_),
        "policy_version": ((6, NUM_ENVS), np.int64),
    }
    assert episodes.returns.dtype == np.float64
    assert episodes.lengths.dtype == np.int64


def test_dict_observations_keep_their_structure():
    plain, _ = collect_counting(gym.vector.SyncVectorEnv, 9, 2)
    nested, _ = collect_counting(gym.vector.SyncVectorEnv, 9, 2, dict_observations=True)
    for (rollout, _), (expected, _) in zip(nested, plain, strict=True):
        assert set(rollout.observations) == {"place", "step"}
        np.testing.assert_array_equal(
            rollout.observations["place"][..., :3], expected.observations[..., :3]
        )
        np.testing.assert_array_equal(
            rollout.observations["step"], rollout.observations["place"][..., 2]
        )
        assert rollout.observations["step"].dtype == np.int64
        np.testing.assert_array_equal(rollout.rewards, expected.rewards)


def test_a_rollout_handed_out_is_never_written_again():
    env = gym.make_vec("CartPole-v1", num_envs=2)
    sampler = Sampler(env, policy_for(env), num_steps=5)
    first, _ = sampler.collect()
    copies = [array.copy() for array in first]
    first.observations[-1] = np.nan
    second, _ = sampler.collect()
    assert np.isfinite(second.observations).all()
    for array, copy in zip(first[1:], copies[1:], strict=True):
        np.testing.assert_array_equal(array, copy)


# --- environments that step themselves ----------------------------------------------------------


def recorded(env, first_observations, env_actions):
    """What a plain loop over `step` sees."""
    rows = [env.step(actions)[:4] for actions in env_actions]
    observations, rewards, terminated, truncated = zip(*rows, strict=True)
    ended = np.logical_or(terminated, truncated)
    after_an_end = np.concatenate([np.zeros_like(ended[:1]), ended[:-1]])
    return {
        "observations": np.stack([first_observations, *observations]),
        "rewards": np.array(rewards, np.float32),
        "terminated": np.array(terminated),
        "truncated": np.array(truncated),
        "mask": ~after_an_end,
    }


@pytest.mark.parametrize(
    ("env_id", "vectorization", "env_kwargs", "num_steps", "ends"),
    [
        ("CartPole-v1", "envpool", {}, 40, {"terminated"}),
        ("CartPole-v1", "envpool", {"max_episode_steps": 12}, 40, {"terminated", "truncated"}),
        ("Pendulum-v1", "envpool", {"max_episode_steps": 15}, 40, {"truncated"}),
        ("Walker2d-v5", "envpool", {}, 40, {"terminated"}),
        ("FrozenLake-v1", "envpool", {}, 40, {"terminated"}),
        ("CartPole-v1", "native", {"max_episode_steps": 12}, 40, {"terminated", "truncated"}),
        (
            "ALE/Breakout-v5",
            "native",
            {"max_num_frames_per_episode": 280, "episodic_life": True},
            50,
            {"terminated", "truncated"},
        ),
    ],
)
def test_rollouts_equal_a_plain_recording(env_id, vectorization, env_kwargs, num_steps, ends):
    env, twin = (make_vector_env(env_id, 3, vectorization, env_kwargs, seed=8) for _ in range(2))
    sampler = Sampler(env, policy_for(env, initial_log_std=0.5), num_steps, seed=8)
    rollout = joined([sampler.collect()[0] for _ in range(3)])
    first, _ = twin.reset() if vectorization == "envpool" else twin.reset(seed=8)
    space = twin.single_action_space
    env_actions = rollout.actions
    if isinstance(space, gym.spaces.Box):
        env_actions = np.clip(env_actions, space.low, space.high)
    expected = recorded(twin, first, env_actions.astype(space.dtype))
    for name, array in expected.items():
        np.testing.assert_array_equal(getattr(rollout, name), array, err_msg=name)
    assert ends <= {name for name in ("terminated", "truncated") if expected[name].any()}
    assert rollout.observations.dtype == env.single_observation_space.dtype
    sampler.close()
    twin.close()


# --- one seed -----------------------------------------------------------------------------------


def assert_same(first, second):
    for name in first._fields:
        tf.nest.map_structure(
            np.testing.assert_array_equal, getattr(first, name), getattr(second, name)
        )


@pytest.mark.parametrize("inference", ["litert", "tensorflow"])
def test_the_same_seed_gives_the_same_rollouts(inference):
    def rollouts(seed):
        env = gym.make_vec("CartPole-v1", num_envs=4)
        sampler = Sampler(env, policy_for(env), num_steps=30, seed=seed, inference=inference)
        return joined([sampler.collect()[0] for _ in range(2)])

    assert_same(rollouts(5), rollouts(5))
    assert (rollouts(5).actions != rollouts(6).actions).any()


def test_rows_do_not_depend_on_where_rollouts_are_cut():
    def rollout(num_steps, num_collects):
        env = gym.make_vec("CartPole-v1", num_envs=3)
        sampler = Sampler(env, policy_for(env), num_steps, seed=1)
        return joined([sampler.collect()[0] for _ in range(num_collects)])

    whole, parts = rollout(30, 1), rollout(10, 3)
    assert_same(whole._replace(behaviour_log_probs=0), parts._replace(behaviour_log_probs=0))
    np.testing.assert_allclose(whole.behaviour_log_probs, parts.behaviour_log_probs, atol=1e-6)


def test_restored_samplers_go_on_alike():
    def sampler():
        env = gym.make_vec("CartPole-v1", num_envs=3)
        return Sampler(env, policy_for(env), num_steps=25, seed=2)

    original = sampler()
    first, _ = original.collect()
    state = original.state()
    assert state == {"next_step": 25, "env_steps": int(first.mask.sum())}
    second, third = sampler(), sampler()
    second.restore(state)
    third.collect()
    third.restore(state)
    resumed, episodes = second.collect()
    again, _ = third.collect()
    assert_same(resumed, again)
    assert (resumed.observations[0] != first.observations[0]).any(), "reset with new seeds"
    assert resumed.mask[0].all()
    assert episodes.lengths.max() <= 25
    assert second.state() == third.state()
    assert second.state()["next_step"] == 50
    for nonsense in ({}, {"next_step": -1, "env_steps": 0}, {"next_step": "x", "env_steps": 0}):
        with pytest.raises(ValueError, match="state must"):
            second.restore(nonsense)


def cartpoles(**settings):
    env = gym.make_vec("CartPole-v1", num_envs=3, vectorization_mode="sync")
    return Sampler(env, policy_for(env), num_steps=25, seed=2, **settings)


def test_environments_go_on_where_another_sampler_left_them():
    original, second = cartpoles(), cartpoles()
    assert original.exact_state() is None, "there is no rollout to go on from"
    ends = []
    for _ in range(6):
        ended = original.collect()[0]
        ends.append((ended.terminated[-1] | ended.truncated[-1]).any())
        counters, state = original.state(), original.exact_state()
        kept = {name: array.copy() for name, array in state.items()}
        second.restore(counters)
        assert second.go_on(state)
        (expected, expected_episodes), (rollout, episodes) = original.collect(), second.collect()
        assert_same(rollout, expected)
        np.testing.assert_array_equal(episodes.returns, expected_episodes.returns)
        np.testing.assert_array_equal(episodes.lengths, expected_episodes.lengths)
        for name, array in state.items():
            np.testing.assert_array_equal(array, kept[name], err_msg=name)
    assert set(ends) == {True, False}


def test_a_state_that_does_not_fit_is_refused_and_the_next_rollout_starts_with_a_reset():
    original, second = cartpoles(), cartpoles()
    first, _ = original.collect()
    counters, state = original.state(), original.exact_state()
    second.restore(counters)
    expected, _ = second.collect()
    for spoilt, message in (
        ({}, "'autoreset' must be"),
        ({**state, "observations": state["observations"][:, :2]}, "'observations' must be"),
        ({**state, "ended": state["ended"][:1]}, "'ended' must be"),
        ({name: state[name] for name in state if name != "episode_returns"}, "episode_returns"),
        ({**state, "more": state["ended"]}, "'more' must be absent"),
    ):
        second.restore(counters)
        with pytest.raises(ValueError, match=message):
            second.go_on(spoilt)
        assert second.exact_state() is None
        assert_same(second.collect()[0], expected)
    assert (expected.observations[0] != first.observations[-1]).any()


def test_environments_of_which_the_state_is_not_known_are_reset():
    env = gym.vector.SyncVectorEnv(counting_env_makers(2))
    sampler = Sampler(env, policy_for(env), num_steps=4)
    sampler.collect()
    assert sampler.exact_state() is None
    assert not sampler.go_on({})
    rollout, _ = sampler.collect()
    np.testing.assert_array_equal(rollout.observations[0, :, 2], 0)


# --- policies -----------------------------------------------------------------------------------


def recomputed_log_probs(policy, rollout):
    observations = tf.nest.map_structure(
        lambda leaf: leaf[:-1].reshape([-1, *leaf.shape[2:]]), rollout.observations
    )
    actions = rollout.actions.reshape([-1, *rollout.actions.shape[2:]])
    return policy(observations).log_prob(actions).numpy().reshape(rollout.rewards.shape)


class SpaceEnv(gym.Env):
    """Ten steps with random observations; refuses actions outside its space."""

    def __init__(self, observation_space, action_space):
        self.observation_space = observation_space
        self.action_space = action_space

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        self.steps = 0
        return self.observation_space.sample(), {}

    def step(self, action: Any):
        assert action in self.action_space
        self.steps += 1
        return self.observation_space.sample(), 1.0, self.steps == 10, False, {}


def space_env(observation_space, action_space, num_envs=2):
    return gym.vector.SyncVectorEnv(
        [lambda: SpaceEnv(observation_space, action_space) for _ in range(num_envs)]
    )


VECTOR = gym.spaces.Box(-1, 1, (3,))
SPACES = {
    "box": (VECTOR, gym.spaces.Box(-0.5, 2, (2, 3))),
    "unbounded box": (VECTOR, gym.spaces.Box(-np.inf, np.inf, (2,))),
    "float64 box": (VECTOR, gym.spaces.Box(-0.5, 2, (2,), np.float64)),
    "discrete with start": (VECTOR, gym.spaces.Discrete(3, start=5)),
    "multi-discrete": (VECTOR, gym.spaces.MultiDiscrete([[2, 4], [3, 1]], start=[[0, 1], [2, 3]])),
    "multi-binary": (VECTOR, gym.spaces.MultiBinary((2, 2))),
    "discrete observations": (gym.spaces.Discrete(6, start=-2), gym.spaces.Discrete(2)),
    "nested observations": (
        gym.spaces.Dict(
            b=gym.spaces.Tuple([VECTOR, gym.spaces.MultiDiscrete([2, 3])]),
            a=gym.spaces.Dict(c=gym.spaces.MultiBinary(4), b=gym.spaces.Discrete(3)),
        ),
        gym.spaces.Discrete(2),
    ),
    "image": (gym.spaces.Box(0, 255, (4, 36, 36), np.uint8), gym.spaces.Discrete(3)),
}


@pytest.mark.parametrize("kind", SPACES)
def test_log_probs_are_those_of_the_policy_and_actions_fit_the_space(kind):
    observation_space, action_space = SPACES[kind]
    env = space_env(observation_space, action_space)
    policy = policy_for(env)
    sampler = Sampler(env, policy, num_steps=15, seed=4)
    assert sampler.inference is Inference.LITERT
    rollout, _ = sampler.collect()
    assert rollout.mask.sum() == 15 * 2 - 2
    np.testing.assert_allclose(
        rollout.behaviour_log_probs, recomputed_log_probs(policy, rollout), atol=1e-5
    )


@pytest.mark.parametrize("kind", ["box", "nested observations"])
def test_litert_and_tensorflow_collect_the_same(kind):
    collected = []
    for inference in ("litert", "tensorflow"):
        env = space_env(*SPACES[kind])
        sampler = Sampler(env, policy_for(env), num_steps=15, seed=4, inference=inference)
        assert sampler.inference is Inference(inference)
        collected.append(sampler.collect()[0])
    np.testing.assert_allclose(collected[0].actions, collected[1].actions, atol=1e-5)
    tf.nest.map_structure(
        lambda first, second: np.testing.assert_allclose(first, second, atol=1e-5),
        collected[0].observations,
        collected[1].observations,
    )


class OwnPolicy(keras.Model):
    """A user's policy: no spaces, not built, whatever distribution it is given."""

    def __init__(self, size, to_distribution, dtype="float32"):
        super().__init__(dtype=dtype)
        self.dense = keras.layers.Dense(size, dtype=dtype)
        self.to_distribution = to_distribution

    def call(self, observations):
        return self.to_distribution(self.dense(observations))


def independent_beta(outputs):
    return tfd.Independent(tfd.Beta(*tf.split(1 + tf.nn.softplus(outputs), 2, axis=-1)), 1)


def squashed_normal(outputs):
    normal = tfd.MultivariateNormalDiag(outputs[:, :2], 0.1 + tf.nn.softplus(outputs[:, 2:]))
    return tfd.TransformedDistribution(normal, tfb.Sigmoid())


@pytest.mark.parametrize(
    ("to_distribution", "execution"),
    [
        (independent_beta, Execution.XLA),
        (independent_beta, Execution.EAGER),
        (squashed_normal, Execution.GRAPH),
    ],
)
def test_distributions_of_ones_own_are_drawn_row_by_row(to_distribution, execution):
    def collected():
        env = space_env(VECTOR, gym.spaces.Box(0, 1, (2,)))
        keras.utils.set_random_seed(3)
        policy = OwnPolicy(4, to_distribution)
        sampler = Sampler(env, policy, num_steps=12, seed=1, execution=execution)
        assert sampler.inference is Inference.TENSORFLOW
        return policy, sampler.collect()[0]

    policy, rollout = collected()
    assert ((rollout.actions > 0) & (rollout.actions < 1)).all()
    assert len(np.unique(rollout.actions)) == rollout.actions.size
    np.testing.assert_allclose(
        rollout.behaviour_log_probs, recomputed_log_probs(policy, rollout), atol=1e-5
    )
    np.testing.assert_array_equal(rollout.actions, collected()[1].actions)
    np.testing.assert_array_equal(rollout.policy_version, 0)


def test_one_environment_acts_as_it_does_among_others():
    """Of float64 observations, too, which LiteRT cannot concatenate."""
    rollouts = []
    for num_envs in (1, 2):
        env = make_vector_env("InvertedPendulum-v5", num_envs)
        sampler = Sampler(env, policy_for(env), num_steps=20, seed=4)
        assert sampler.inference is Inference.LITERT
        rollouts.append(sampler.collect()[0])
        sampler.close()
    alone, among = rollouts
    assert alone.observations.dtype == np.float64
    np.testing.assert_array_equal(alone.actions[:, 0], among.actions[:, 0])
    np.testing.assert_array_equal(alone.observations[:, 0], among.observations[:, 0])


def test_float64_policies():
    env = space_env(gym.spaces.Box(-1, 1, (3,), np.float64), gym.spaces.Box(-1, 1, (2,)))
    policy = policy_for(env, dtype="float64")
    sampler = Sampler(env, policy, num_steps=12)
    rollout, _ = sampler.collect()
    assert rollout.actions.dtype == np.float64
    assert rollout.behaviour_log_probs.dtype == np.float32
    np.testing.assert_allclose(
        rollout.behaviour_log_probs, recomputed_log_probs(policy, rollout), rtol=1e-6
    )


def test_new_weights_are_used_at_the_next_collect():
    env = space_env(VECTOR, gym.spaces.Box(-100, 100, (1,)))
    policy = policy_for(env, initial_log_std=-9.0)
    sampler = Sampler(env, policy, num_steps=5)
    sampler.collect()
    before = take_snapshot(policy)
    policy.head.mean.bias.assign([50.0])
    policy.policy_version.assign(7)
    rollout, _ = sampler.collect()
    np.testing.assert_allclose(rollout.actions, 50, atol=1)
    np.testing.assert_array_equal(rollout.policy_version, 7)
    rollout, _ = sampler.collect(before)
    np.testing.assert_allclose(rollout.actions, 0, atol=1)
    np.testing.assert_array_equal(rollout.policy_version, 0)
    assert (rollout.behaviour_log_probs > 0).all(), "of the snapshot, not of the policy now"


# --- what goes wrong ----------------------------------------------------------------------------


def test_an_environment_that_raises_leaves_a_sampler_that_starts_again():
    makers = counting_env_makers(2)
    env = gym.vector.SyncVectorEnv(makers)
    sampler = Sampler(env, policy_for(env), num_steps=4)
    first, _ = sampler.collect()
    inner = env.envs[1]
    step, inner.step = inner.step, lambda action: 1 / 0
    with pytest.raises(ZeroDivisionError):
        sampler.collect()
    inner.step = step
    rollout, _ = sampler.collect()
    np.testing.assert_array_equal(rollout.observations[0], first.observations[0])
    assert rollout.mask[0].all()
    assert sampler.env_steps == first.mask.sum() + rollout.mask.sum()


def test_a_sampler_goes_on_in_other_environments_with_a_reset():
    env = gym.vector.SyncVectorEnv(counting_env_makers(2))
    sampler = Sampler(env, policy_for(env), num_steps=4)
    sampler.collect()
    before, _ = sampler.collect()
    counters = sampler.state()
    sampler.replace_env(gym.vector.SyncVectorEnv(counting_env_makers(2)))
    assert sampler.state() == counters
    rollout, episodes = sampler.collect()
    assert (before.observations[-1, :, 1] > 0).any()
    # Place: environment, episode, step, action.
    np.testing.assert_array_equal(rollout.observations[0, :, 1:3], 0)
    assert rollout.mask[0].all()
    assert episodes.lengths.max() <= 4, "no episode goes on in another environment"
    assert sampler.state()["next_step"] == 12
    twin = Sampler(gym.vector.SyncVectorEnv(counting_env_makers(2)), sampler.policy, num_steps=4)
    twin.restore(counters)
    assert_same(twin.collect()[0], rollout)


def test_environments_of_another_kind_do_not_replace():
    env = gym.vector.SyncVectorEnv(counting_env_makers(2))
    sampler = Sampler(env, policy_for(env), num_steps=4)
    with pytest.raises(ValueError, match="must have num_envs 2, got 3"):
        sampler.replace_env(gym.vector.SyncVectorEnv(counting_env_makers(3)))
    with pytest.raises(ValueError, match=r"must have single_observation_space Box.*got Dict"):
        sampler.replace_env(gym.vector.SyncVectorEnv(counting_env_makers(2, True)))
    with pytest.raises(ValueError, match="must have single_observation_space"):
        sampler.replace_env(gym.make_vec("CartPole-v1", num_envs=2))
    with pytest.raises(TypeError, match=r"must be a gymnasium.vector.VectorEnv"):
        sampler.replace_env(gym.make("CartPole-v1"))
    assert sampler.env is env


def test_each_step_is_told_and_may_end_the_rollout():
    env = gym.vector.SyncVectorEnv(counting_env_makers(2))
    sampler = Sampler(env, policy_for(env), num_steps=4)
    told = []
    sampler.on_step = lambda: told.append(1)
    sampler.collect()
    assert len(told) == 4
    sampler.on_step = lambda: 1 / 0
    with pytest.raises(ZeroDivisionError):
        sampler.collect()
    assert sampler.state()["next_step"] == 4


def test_bad_arguments():
    env = gym.make_vec("CartPole-v1", num_envs=2)
    policy = policy_for(env)
    with pytest.raises(ValueError, match="num_steps must be >= 1, got 0"):
        Sampler(env, policy, num_steps=0)
    with pytest.raises(ValueError, match="seed must be >= 0 and < 2147483646"):
        Sampler(env, policy, num_steps=5, seed=-1)
    with pytest.raises(ValueError, match="timeout must be > 0 seconds, got 0"):
        Sampler(env, policy, num_steps=5, timeout=0)
    with pytest.raises(ValueError, match="inference must be one of auto, litert, tensorflow, got"):
        Sampler(env, policy, num_steps=5, inference="fast")
    with pytest.raises(ValueError, match="autoreset mode must be NEXT_STEP, got SAME_STEP"):
        Sampler(
            gym.make_vec(
                "CartPole-v1",
                num_envs=2,
                vectorization_mode="sync",
                vector_kwargs={"autoreset_mode": gym.vector.AutoresetMode.SAME_STEP},
            ),
            policy,
            num_steps=5,
        )
    with pytest.raises(TypeError, match=r"env must be a gymnasium.vector.VectorEnv, got"):
        Sampler(gym.make("CartPole-v1"), policy, num_steps=5)
    with pytest.raises(ValueError, match=r"LiteRT cannot take this policy.*inference='tensorflow'"):
        own = OwnPolicy(4, independent_beta)
        box = space_env(VECTOR, gym.spaces.Box(0, 1, (2,)))
        Sampler(box, own, num_steps=5, inference="litert")
