"""The asynchronous sampler with a real learner: its bits, its lag, and that nothing hangs."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf
from counting_env import CountingEnv, counting_env_makers
from fake_collectors import PATIENCE, StillClock, no_thread_left, wait_until

from trpo_tf.advantage import Advantage
from trpo_tf.environments import make_vector_env
from trpo_tf.execution import Execution
from trpo_tf.failure import what_and_where
from trpo_tf.kl_constraint import KLConstraint
from trpo_tf.named_variables import named_variables
from trpo_tf.natural_gradient import NaturalGradientOptimizer
from trpo_tf.policies import make_policy
from trpo_tf.return_scaling import ReturnScaling
from trpo_tf.samplers import (
    AsyncSampler,
    Sampler,
    WorkersLost,
    background,
    collectors,
    take_snapshot,
)
from trpo_tf.samplers.log_probs import log_prob_function
from trpo_tf.trpo import TRPO
from trpo_tf.value_function import make_value_function
from trpo_tf.value_regression import ValueRegression

NUM_ENVS, NUM_STEPS = 2, 16


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    with no_thread_left():
        yield
    assert multiprocessing.active_children() == []


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> StillClock:
    clock = StillClock()
    monkeypatch.setattr(background, "time", clock)
    # A racing clock leaves no time to replace what has died.
    monkeypatch.setattr(background, "_STARTING_SECONDS", float("inf"))
    return clock


class Walk(gym.Env):
    """A drifting random walk, whose statistics change with each rollout; episodes of 11 steps.

    `hook` is called in each step of each environment.
    """

    observation_space = gym.spaces.Box(-np.inf, np.inf, (3,), np.float32)
    action_space = gym.spaces.Box(-1, 1, (2,))

    def __init__(self, hook: Callable[[], None] = lambda: None) -> None:
        self.hook = hook

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.place = self.np_random.normal(size=3)
        self.steps = 0
        return self.place.astype(np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.hook()
        self.steps += 1
        self.place += self.np_random.normal(size=3) + 0.3 + 0.1 * float(action[0])
        return (
            self.place.astype(np.float32),
            -abs(float(action[0]) - 0.3),
            False,
            self.steps == 11,
            {},
        )


class Learner:
    """All that an update changes, with a sampler of its own, which `execution` is for."""

    def __init__(
        self,
        hook: Callable[[], None] = lambda: None,
        execution: Execution = Execution.GRAPH,
        seed: int = 4,
    ) -> None:
        self.env = gym.vector.SyncVectorEnv([lambda: Walk(hook)] * NUM_ENVS)
        spaces = self.env.single_observation_space, self.env.single_action_space
        self.policy = make_policy(*spaces, hidden_sizes=(4,), seed=seed)
        self.trpo = TRPO(
            self.policy,
            make_value_function(spaces[0], hidden_sizes=(4,), seed=seed),
            Advantage(return_scaling=ReturnScaling(0.99, NUM_ENVS)),
            NaturalGradientOptimizer(
                KLConstraint(0.05), cg_steps=3, damping=0.1, execution=Execution.GRAPH
            ),
            ValueRegression(keras.optimizers.Adam(0.01), epochs=1, execution=Execution.GRAPH),
            execution=Execution.GRAPH,
            seed=seed,
        )
        self.sampler = Sampler(self.env, self.policy, NUM_STEPS, seed=seed, execution=execution)

    def variables(self) -> dict[str, np.ndarray]:
        named = named_variables(self.trpo.checkpointables())
        return {name: tf.convert_to_tensor(value).numpy() for name, value in named.items()}


def assert_same(ours: Any, theirs: Any) -> None:
    for found, expected in zip(tf.nest.flatten(ours), tf.nest.flatten(theirs), strict=True):
        np.testing.assert_array_equal(found, expected)


@contextlib.contextmanager
def closing(sampler: AsyncSampler) -> Iterator[AsyncSampler]:
    try:
        yield sampler
    finally:
        sampler.close()


# --- bits and lag -------------------------------------------------------------------------------


def test_with_none_ahead_all_bits_are_those_of_the_synchronous_sampler() -> None:
    ours, theirs = Learner(execution=Execution.XLA), Learner(execution=Execution.XLA)
    with closing(AsyncSampler(ours.sampler, rollouts_ahead=0)) as sampler:
        for update in range(4):
            found, expected = sampler.collect(), theirs.sampler.collect()
            assert_same(found, expected)
            np.testing.assert_array_equal(found[0].policy_version, update)
            infos = ours.trpo.update(found[0]), theirs.trpo.update(expected[0])
            assert_same(*infos)
            assert infos[0].accepted
            assert infos[0].policy_lag == 0
            our_variables, their_variables = ours.variables(), theirs.variables()
            assert our_variables.keys() == their_variables.keys()
            for name, value in our_variables.items():
                np.testing.assert_array_equal(value, their_variables[name], err_msg=name)
            assert sampler.state().items() >= theirs.sampler.state().items()
            assert sampler.env_steps == theirs.sampler.env_steps
    assert (sampler.lost_rollouts, sampler.dropped_rollouts) == (0, 0)


@pytest.mark.parametrize("ahead", [1, 2])
def test_lag_is_the_number_of_rollouts_ahead_and_never_more(ahead: int) -> None:
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    learner = Learner(count)
    lags, collected_ahead = [], []
    with closing(AsyncSampler(learner.sampler, rollouts_ahead=ahead)) as sampler:
        for update in range(5):
            rollout, _ = sampler.collect()
            lag = update - rollout.policy_version
            assert lag.min() == lag.max()
            lags.append(int(lag[0, 0]))
            assert learner.trpo.update(rollout).policy_lag == lags[-1]
            # The collector is fast: it waits at the bound.
            bound = (update + 1 + ahead) * NUM_STEPS
            wait_until(lambda bound=bound: learner.sampler.state()["next_step"] == bound)
            collected_ahead.append(learner.sampler.state()["next_step"] // NUM_STEPS - update - 1)
    assert lags == [min(update, ahead) for update in range(5)]
    assert collected_ahead == [ahead] * 5
    # Resets are no steps of the environments' own.
    assert steps == learner.sampler.env_steps


def test_the_same_seed_gives_the_same_run_with_one_ahead() -> None:
    """One collector's part begins when the last one ends or the learner asks: no race."""
    runs = []
    for _ in range(2):
        learner = Learner()
        with closing(AsyncSampler(learner.sampler)) as sampler:
            for _ in range(4):
                learner.trpo.update(sampler.collect()[0])
        runs.append(learner.variables())
    for name, value in runs[0].items():
        np.testing.assert_array_equal(value, runs[1][name], err_msg=name)


def test_rows_ahead_follow_on_each_other() -> None:
    learner = Learner()
    with closing(AsyncSampler(learner.sampler, rollouts_ahead=2)) as sampler:
        rollouts = [sampler.collect()[0] for _ in range(4)]
    for before, after in itertools.pairwise(rollouts):
        np.testing.assert_array_equal(before.observations[-1], after.observations[0])


def test_a_rollout_under_way_is_of_the_policy_handed_over_at_its_start() -> None:
    """Weights, statistics and version change while it is held in its middle."""
    held, release = threading.Event(), threading.Event()
    steps = 0

    def hold_in_the_second() -> None:
        nonlocal steps
        steps += 1
        if steps == NUM_ENVS * NUM_STEPS + 5:
            held.set()
            assert release.wait(PATIENCE)

    learner = Learner(hold_in_the_second)
    old = take_snapshot(learner.policy)
    with closing(AsyncSampler(learner.sampler)) as sampler:
        first, _ = sampler.collect()
        assert held.wait(PATIENCE)
        assert learner.trpo.update(first).accepted
        new = take_snapshot(learner.policy)
        release.set()
        second, _ = sampler.collect()
        assert learner.trpo.update(second).accepted
        third, _ = sampler.collect()
    for before, after in ((old.parameters, new.parameters), (old.state, new.state)):
        assert any((one != other).any() for one, other in zip(before, after, strict=True))
    log_probs = log_prob_function(learner.policy, Walk.observation_space, Execution.GRAPH)
    for rollout, snapshot, another in ((first, old, new), (second, old, new), (third, new, old)):
        np.testing.assert_array_equal(rollout.policy_version, snapshot.version)
        observations, actions = rollout.observations[:-1], rollout.actions
        of_it, of_another = (log_probs(one, observations, actions) for one in (snapshot, another))
        np.testing.assert_array_equal(rollout.behaviour_log_probs, of_it)
        assert np.abs(rollout.behaviour_log_probs - of_another).max() > 1e-4
    assert (old.version, new.version) == (0, 1)


def test_rollouts_of_many_policies_are_each_of_their_own() -> None:
    """As the learner goes on without a stop; the log-probabilities tell."""
    learner = Learner()
    log_probs = log_prob_function(learner.policy, Walk.observation_space, Execution.GRAPH)
    with closing(AsyncSampler(learner.sampler, rollouts_ahead=2)) as sampler:
        snapshots = []
        for _ in range(6):
            snapshots.append(take_snapshot(learner.policy))
            rollout, _ = sampler.collect()
            snapshot = snapshots[rollout.policy_version[0, 0]]
            np.testing.assert_array_equal(
                rollout.behaviour_log_probs,
                log_probs(snapshot, rollout.observations[:-1], rollout.actions),
            )
            learner.trpo.update(rollout)


# --- errors, deaths, hangs ----------------------------------------------------------------------


def test_errors_of_an_environment_come_with_their_own_traceback() -> None:
    steps = 0

    def simulator_fault() -> None:
        nonlocal steps
        steps += 1
        if steps > NUM_ENVS * NUM_STEPS:
            raise ArithmeticError("the simulator's own")

    learner = Learner(simulator_fault)
    with closing(AsyncSampler(learner.sampler)) as sampler:
        with pytest.raises(ArithmeticError, match="the simulator's own") as raised:
            for _ in range(2):
                sampler.collect()
        names = [frame.name for frame in traceback.extract_tb(raised.value.__traceback__)]
        assert names[-2:] == ["step", "simulator_fault"]


class Faulty(CountingEnv):
    """Raises in its step 2 of episode 4."""

    def step(self, action: Any) -> Any:
        if self.episode == 4 and self.steps == 2:
            raise ArithmeticError(f"environment {self.index} is broken")
        return super().step(action)


class Hanging(CountingEnv):
    """Never answers in its step 2 of episode 4, and does not let SIGTERM end it."""

    hangs = multiprocessing.Event()

    def step(self, action: Any) -> Any:
        if self.episode == 4 and self.steps == 2:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            self.hangs.set()
            while True:
                time.sleep(3600)
        return super().step(action)


def counting_sampler(env: Any) -> Sampler:
    policy = make_policy(env.single_observation_space, env.single_action_space, hidden_sizes=(4,))
    return Sampler(env, policy, 10, seed=3, execution=Execution.EAGER)


def in_processes(*kinds: type[CountingEnv]) -> gym.vector.AsyncVectorEnv:
    return gym.vector.AsyncVectorEnv(
        [lambda index=index, kind=kind: kind(index) for index, kind in enumerate(kinds)]
    )


def make_env(num_envs: int, seed: int) -> gym.vector.AsyncVectorEnv:
    return gym.vector.AsyncVectorEnv(counting_env_makers(num_envs))


def assert_gone(processes: list[Any]) -> None:
    for process in processes:
        wait_until(lambda process=process: not process.is_alive())
        with pytest.raises(ProcessLookupError):
            os.kill(process.pid, 0)


@pytest.mark.parametrize("remake", [None, make_env])
@pytest.mark.filterwarnings("ignore:.*(Received the following|Traceback|Raising the last)")
def test_errors_in_a_process_of_an_environment_reach_the_learner(remake: Any) -> None:
    """They are no deaths: another life would meet them again."""
    env = in_processes(CountingEnv, Faulty)
    with closing(AsyncSampler(counting_sampler(env), make_env=remake)) as sampler:
        with pytest.raises(ArithmeticError, match="environment 1 is broken") as caught:
            for _ in range(5):
                sampler.collect()
        place = what_and_where(caught.value)[1]
        assert place.startswith(__file__)
        assert place.endswith("environment 1")
        assert sampler.lost_rollouts == 0
    assert_gone(env.processes)


@pytest.mark.parametrize("ahead", [0, 1])
def test_a_killed_process_is_replaced_and_its_rollout_never_seen(ahead: int) -> None:
    lives = [in_processes(CountingEnv, CountingEnv, CountingEnv)]

    def remake(num_envs: int, seed: int) -> gym.vector.AsyncVectorEnv:
        lives.append(make_env(num_envs, seed))
        return lives[-1]

    sampler = AsyncSampler(counting_sampler(lives[0]), ahead, make_env=remake)
    with closing(sampler):
        rollouts = [sampler.collect()[0] for _ in range(2)]
        victim = lives[0].processes[1]
        os.kill(victim.pid, signal.SIGKILL)
        victim.join()
        rollouts += [sampler.collect()[0] for _ in range(4)]
        assert sampler.lost_rollouts == 1
        assert sampler.env_steps == sum(int(rollout.mask.sum()) for rollout in rollouts)
        assert sampler.state()["next_step"] == 60
        assert len(lives) == 2
    for env in lives:
        assert_gone(env.processes)
    begun_anew = 0
    for before, after in itertools.pairwise(rollouts):
        if not np.array_equal(before.observations[-1], after.observations[0]):
            begun_anew += 1
            # Place: environment, episode, step, action.
            np.testing.assert_array_equal(after.observations[0, :, 1:3], 0)
            assert after.mask[0].all()
    assert begun_anew == 1


def test_without_a_way_to_make_them_anew_a_death_ends_it() -> None:
    env = in_processes(CountingEnv, CountingEnv, CountingEnv)
    with closing(AsyncSampler(counting_sampler(env), rollouts_ahead=0)) as sampler:
        sampler.collect()
        os.kill(env.processes[2].pid, signal.SIGKILL)
        env.processes[2].join()
        with pytest.raises(WorkersLost, match=r"environment 2 \(signal SIGKILL\)"):
            sampler.collect()
        assert sampler.lost_rollouts == 0
    assert_gone(env.processes)


def test_processes_that_die_in_every_life_end_it() -> None:
    def remake(num_envs: int, seed: int) -> gym.vector.AsyncVectorEnv:
        env = make_env(num_envs, seed)
        env.processes[0].kill()
        env.processes[0].join()
        return env

    with closing(AsyncSampler(counting_sampler(remake(2, 0)), make_env=remake)) as sampler:
        with pytest.raises(WorkersLost, match=r"was lost 3 times .*environment 0 \(signal SIGK"):
            sampler.collect()
        assert sampler.lost_rollouts == 3


@pytest.mark.parametrize("how", ["stopped", "hanging"])
def test_processes_that_hang_are_replaced(how: str, clock: StillClock) -> None:
    lives = [in_processes(CountingEnv, Hanging if how == "hanging" else CountingEnv)]

    def remake(num_envs: int, seed: int) -> gym.vector.AsyncVectorEnv:
        clock.is_racing = False
        Hanging.hangs.clear()
        lives.append(make_env(num_envs, seed))
        return lives[-1]

    clock.alarm = Hanging.hangs
    inner = counting_sampler(lives[0])
    with closing(AsyncSampler(inner, 0, timeout=0.1, make_env=remake)) as sampler:
        sampler.collect()
        if how == "stopped":
            os.kill(lives[0].processes[0].pid, signal.SIGSTOP)
            clock.is_racing = True
        for _ in range(3):
            sampler.collect()
        assert sampler.lost_rollouts == 1
        assert len(lives) == 2
        assert sampler.state()["next_step"] == 40
    for env in lives:
        assert_gone(env.processes)


def test_a_process_that_hangs_and_cannot_be_replaced_is_named_and_killed_at_the_end(
    clock: StillClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "_CLOSING_SECONDS", 0.5)
    env = in_processes(CountingEnv, CountingEnv)
    sampler = AsyncSampler(counting_sampler(env), rollouts_ahead=0, timeout=0.1)
    sampler.collect()
    os.kill(env.processes[1].pid, signal.SIGSTOP)
    clock.is_racing = True
    with pytest.raises(
        TimeoutError, match=r"AsyncVectorEnv \(2 environments .*hangs at .*:\d+, in"
    ):
        sampler.collect()
    clock.is_racing = False
    wait_until(lambda: closes(sampler))
    assert_gone(env.processes)


def closes(sampler: AsyncSampler) -> bool:
    """Closing gives a thread some seconds, which are few here."""
    sampler.close()
    return not any(thread.name.startswith("the sampler") for thread in threading.enumerate())


def test_an_environment_that_blocks_in_this_process_is_named_with_its_line(
    clock: StillClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "_CLOSING_SECONDS", 0.05)
    release = threading.Event()
    steps = 0

    def block() -> None:
        nonlocal steps
        steps += 1
        if steps > NUM_ENVS * NUM_STEPS:
            clock.is_racing = True
            while not release.is_set():
                time.sleep(0.01)

    sampler = AsyncSampler(Learner(block).sampler, rollouts_ahead=0, timeout=0.1)
    try:
        sampler.collect()
        with pytest.raises(TimeoutError) as raised:
            sampler.collect()
        message = str(raised.value)
        assert "the sampler of SyncVectorEnv (2 environments from number 0, seed 4)" in message
        assert "test_asynchronous.py:" in message
        assert "in block" in message
        clock.is_racing = False
        sampler.close()
    finally:
        release.set()
        wait_until(lambda: closes(sampler))


# --- the end, and going on ----------------------------------------------------------------------


@pytest.mark.parametrize("collects", [0, 1, 3])
def test_closing_at_any_moment_and_twice(collects: int) -> None:
    env = in_processes(CountingEnv, CountingEnv)
    sampler = AsyncSampler(counting_sampler(env), rollouts_ahead=3)
    for _ in range(collects):
        sampler.collect()
    sampler.close()
    sampler.close()
    assert_gone(env.processes)
    if collects:
        with pytest.raises(RuntimeError, match="closed"):
            sampler.collect()


def test_a_learner_that_fails_leaves_nothing_behind() -> None:
    learner = Learner()
    with (
        pytest.raises(ZeroDivisionError),
        closing(AsyncSampler(learner.sampler, rollouts_ahead=2)) as sampler,
    ):
        sampler.collect()
        raise ZeroDivisionError


def test_counters_go_on_as_those_of_the_synchronous_sampler() -> None:
    original, resumed, twin = (
        counting_sampler(gym.vector.SyncVectorEnv(counting_env_makers(2))) for _ in range(3)
    )
    original.collect()
    state = original.state()
    with closing(AsyncSampler(resumed, rollouts_ahead=0)) as sampler:
        for nonsense in ({}, {"next_step": -1, "env_steps": 0}):
            with pytest.raises(ValueError, match="state must"):
                sampler.restore(nonsense)
        sampler.restore(state)
        assert sampler.state().items() >= state.items()
        twin.restore(state)
        for _ in range(2):
            assert_same(sampler.collect(), twin.collect())
            assert sampler.state().items() >= twin.state().items()
        with pytest.raises(RuntimeError, match="before the first collect"):
            sampler.restore(state)


def test_a_sampler_that_has_collected_goes_on_counting() -> None:
    learner = Learner()
    rollout, _ = learner.sampler.collect()
    with closing(AsyncSampler(learner.sampler)) as sampler:
        counters = {"next_step": NUM_STEPS, "env_steps": int(rollout.mask.sum())}
        assert sampler.state().items() >= counters.items()
        following, _ = sampler.collect()
    np.testing.assert_array_equal(following.observations[0], rollout.observations[-1])


def test_arguments_out_of_range() -> None:
    sampler = counting_sampler(gym.vector.SyncVectorEnv(counting_env_makers(2)))
    with pytest.raises(ValueError, match="rollouts_ahead must be >= 0, got -2"):
        AsyncSampler(sampler, -2)
    with pytest.raises(ValueError, match="timeout must be > 0 seconds, got -1"):
        AsyncSampler(sampler, timeout=-1)


def test_a_process_that_forgets_to_close_ends_cleanly(run_code: Any) -> None:
    source = """
import gymnasium
import trpo_tf
env = gymnasium.make_vec("CartPole-v1", num_envs=2, vectorization_mode="sync")
policy = trpo_tf.make_policy(env.single_observation_space, env.single_action_space)
sampler = trpo_tf.AsyncSampler(trpo_tf.Sampler(env, policy, num_steps=2000), rollouts_ahead=3)
sampler.collect()
print("collected")
"""
    done = run_code(source)
    assert (done.returncode, done.stdout, done.stderr) == (0, "collected\n", "")


@pytest.mark.parametrize(
    ("env_id", "vectorization", "name"),
    [
        ("CartPole-v1", "envpool", "CartPole"),
        ("CartPole-v1", "sync", "CartPole-v1"),
        ("CartPole-v1", "native", "CartPole-v1"),
        ("ALE/Pong-v5", "native", "Pong"),
    ],
)
def test_every_kind_of_vector_environment_collects_in_a_thread(
    env_id: str, vectorization: str, name: str
) -> None:
    env = make_vector_env(env_id, 2, vectorization)
    policy = make_policy(env.single_observation_space, env.single_action_space, hidden_sizes=(4,))
    sampler = Sampler(env, policy, num_steps=3, execution=Execution.EAGER)
    with closing(AsyncSampler(sampler)) as asynchronous:
        assert name in collectors.describe(sampler)
        assert asynchronous.collect()[0].rewards.shape == (3, 2)
