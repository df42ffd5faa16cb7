"""What samplers ask of a vector environment: its autoreset mode, its seeds, its workers."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

import gymnasium as gym
import numpy as np
import pytest
from counting_env import CountingEnv, counting_env_makers

from trpo_tf.environments import make_vector_env
from trpo_tf.samplers import WorkersLost, vector_env

MODES = gym.vector.AutoresetMode


class UnsaidMode(gym.vector.VectorEnv):
    """A vector env that does not say how it resets."""

    num_envs = 2
    metadata: dict = {}  # noqa: RUF012


def atari(**kwargs):
    return make_vector_env("ALE/Pong-v5", 2, env_kwargs=kwargs)


@pytest.mark.parametrize(
    "make",
    [
        lambda: gym.make_vec("CartPole-v1", num_envs=2),
        lambda: gym.make_vec("CartPole-v1", num_envs=2, vectorization_mode="sync"),
        lambda: gym.wrappers.vector.RecordEpisodeStatistics(
            gym.make_vec("CartPole-v1", num_envs=2, vectorization_mode="sync")
        ),
        lambda: make_vector_env("CartPole-v1", 2, "envpool"),
        atari,
    ],
)
def test_environments_that_reset_on_the_next_step_are_taken(make):
    env = make()
    vector_env.validate_vector_env(env)
    assert vector_env.autoreset_mode(env) is MODES.NEXT_STEP
    vector_env.close(env)


@pytest.mark.parametrize("mode", [MODES.SAME_STEP, MODES.DISABLED])
@pytest.mark.parametrize("vectorizer", [gym.vector.SyncVectorEnv, gym.vector.AsyncVectorEnv])
def test_other_modes_are_refused_with_the_way_to_set_it(mode, vectorizer):
    env = vectorizer(counting_env_makers(2), autoreset_mode=mode)
    with pytest.raises(ValueError, match=f"must be NEXT_STEP, got {mode.name}; .*vector_kwargs="):
        vector_env.validate_vector_env(env)
    env.close()


def test_a_mode_that_another_environment_wrote_into_shared_metadata_does_not_count():
    same_step = atari(autoreset_mode=MODES.SAME_STEP)
    next_step = atari()
    assert same_step.metadata is next_step.metadata, "Gymnasium's class attribute"
    vector_env.validate_vector_env(next_step)
    with pytest.raises(ValueError, match="got SAME_STEP"):
        vector_env.validate_vector_env(same_step)


def test_an_unsaid_mode_and_other_objects_are_refused():
    with pytest.raises(ValueError, match="must be NEXT_STEP, got None"):
        vector_env.validate_vector_env(UnsaidMode())
    with pytest.raises(TypeError, match=r"must be a gymnasium.vector.VectorEnv, got .*make_vec"):
        vector_env.validate_vector_env(gym.make("CartPole-v1"))


def test_environments_that_answer_for_a_part_are_refused():
    with pytest.raises(ValueError, match="answers for 1 of its 2 environments"):
        vector_env.validate_vector_env(atari(batch_size=1))
    pool = make_vector_env("CartPole-v1", 3, "envpool", {"batch_size": 2})
    with pytest.raises(ValueError, match="answers for 2 of its 3 environments"):
        vector_env.validate_vector_env(pool)


@pytest.mark.filterwarnings("error")
def test_envpool_is_reset_without_a_seed():
    pool = make_vector_env("CartPole-v1", 2, "envpool")
    assert vector_env.is_envpool(pool)
    assert vector_env.reset(pool, seed=3).shape == (2, 4)
    env = gym.make_vec("CartPole-v1", num_envs=2)
    assert not vector_env.is_envpool(env)
    np.testing.assert_array_equal(vector_env.reset(env, seed=3), env.reset(seed=3)[0])


def test_a_killed_worker_is_named_and_the_others_are_closed():
    env = gym.vector.AsyncVectorEnv(counting_env_makers(3))
    vector_env.reset(env, seed=0)
    processes = list(env.processes)
    os.kill(processes[1].pid, signal.SIGKILL)
    processes[1].join()
    with pytest.raises(WorkersLost, match=r"AsyncVectorEnv are gone: environment 1 \(signal SIGK"):
        for _ in range(3):
            vector_env.step(env, np.zeros([3, 1], np.float32))
    vector_env.close(env)
    assert not any(process.is_alive() for process in processes)


class Stubborn(CountingEnv):
    """Lives through SIGTERM, as a worker does that was forked from a process that notes it."""

    def __init__(self, index=0, hangs_in_close=False):
        super().__init__(index)
        self.hangs_in_close = hangs_in_close

    def reset(self, **settings):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        return super().reset(**settings)

    def close(self):
        if self.hangs_in_close:
            time.sleep(3600)
        super().close()

    def step(self, action):
        if action[0] > 0:
            sys.exit(3)
        if action[0] < 0:
            time.sleep(3600)
        return super().step(action)


def stubborn_env(hangs_in_close=None):
    env = gym.vector.AsyncVectorEnv(
        [lambda index=index: Stubborn(index, index == hangs_in_close) for index in range(3)]
    )
    vector_env.reset(env, seed=0)
    return env


def actions(*numbers):
    return np.array(numbers, np.float32)[:, np.newaxis]


def test_a_worker_that_ends_itself_is_named_with_its_exit_code():
    env = stubborn_env()
    with pytest.raises(WorkersLost, match=r"are gone: environment 2 \(exit code 3\)"):
        for _ in range(3):
            vector_env.step(env, actions(0, 0, 1))
    vector_env.close(env)
    assert not any(process.is_alive() for process in env.processes)


@pytest.mark.parametrize("numbers", [(0, 0, 1), (0, 1, -1)])
def test_those_beside_a_dead_worker_are_killed_even_while_they_hang(numbers):
    """Whether they have answered or not, and though the dead one's end stands in its pipe."""
    env = stubborn_env()
    env.step_async(actions(*numbers))
    dead = env.processes[numbers.index(1)]
    dead.join()
    vector_env.close(env)
    assert env.closed
    assert not any(process.is_alive() for process in env.processes)


@pytest.mark.parametrize("trouble", ["stopped", "hung in close", "hung in step", "raised"])
def test_workers_that_do_not_end_when_asked_are_killed(trouble, monkeypatch):
    monkeypatch.setattr(vector_env, "_END_SECONDS", 0.3)
    env = stubborn_env(1 if trouble == "hung in close" else None)
    if trouble == "stopped":
        os.kill(env.processes[1].pid, signal.SIGSTOP)
    if trouble == "hung in step":
        env.step_async(actions(0, -1, 0))
    if trouble == "raised":
        with pytest.raises(AttributeError):
            env.call("no_such_method")
    closing = threading.Thread(target=vector_env.close, args=(env,), daemon=True)
    closing.start()
    closing.join(30)
    is_over, left = not closing.is_alive(), [each for each in env.processes if each.is_alive()]
    vector_env.kill_workers(env)
    assert is_over
    assert not left


def test_workers_that_wait_are_not_killed():
    env = stubborn_env()
    vector_env.close(env)
    assert [process.exitcode for process in env.processes] == [0, 0, 0]
    vector_env.close(env)


def test_a_death_is_an_error_of_the_next_reset_too():
    env = stubborn_env()
    os.kill(env.processes[0].pid, signal.SIGKILL)
    env.processes[0].join()
    with pytest.raises(WorkersLost, match=r"environment 0 \(signal SIGKILL\).*make the vector env"):
        for _ in range(3):
            vector_env.reset(env, seed=1)
    vector_env.close(env)


@pytest.mark.parametrize("is_stopped", [True, False])
def test_workers_that_do_not_answer_in_time_are_named_and_killed(is_stopped):
    env = stubborn_env()
    vector_env.step(env, actions(0, 0, 0), 7, timeout=60)
    if is_stopped:
        os.kill(env.processes[1].pid, signal.SIGSTOP)
    pid = env.processes[1].pid
    expected = rf"hang: environment 1 \(no answer for 0.3 s\) of seed 8 in process {pid}\."
    with pytest.raises(WorkersLost, match=expected):
        vector_env.step(env, actions(0, 0 if is_stopped else -1, 0), 7, timeout=0.3)
    vector_env.close(env)
    assert not any(process.is_alive() for process in env.processes)


def test_a_reset_that_does_not_end_is_a_hang_too():
    env = stubborn_env()
    os.kill(env.processes[2].pid, signal.SIGSTOP)
    with pytest.raises(WorkersLost, match=r"environment 2 \(no answer for 0.3 s\) of seed 5"):
        vector_env.reset(env, seed=3, timeout=0.3)
    vector_env.close(env)
    assert not any(process.is_alive() for process in env.processes)


def test_an_observation_that_does_not_fit_is_named_with_its_environment():
    env = gym.vector.SyncVectorEnv(counting_env_makers(2))
    vector_env.reset(env, seed=0)
    step = env.envs[1].step
    env.envs[1].step = lambda action: (np.zeros(7), *step(action)[1:])
    expected = r"environment 1 gave an observation .* array of shape \[7\] and dtype float64"
    with pytest.raises(ValueError, match=expected):
        vector_env.step(env, np.zeros([2, 1], np.float32))


def test_errors_of_a_reset_pass_through():
    env = gym.vector.SyncVectorEnv(counting_env_makers(2))
    env.envs[0].reset = lambda **settings: 1 / 0
    with pytest.raises(ZeroDivisionError):
        vector_env.reset(env, seed=0)


def test_killing_the_workers_ends_the_wait_for_them():
    env = stubborn_env()
    errors = []

    def wait():
        try:
            vector_env.step(env, actions(-1, 0, -1))
        except WorkersLost as error:
            errors.append(str(error))

    waiting = threading.Thread(target=wait)
    waiting.start()
    assert vector_env.kill_workers(env)
    waiting.join(60)
    assert not waiting.is_alive()
    (error,) = errors
    assert "environment 0 (signal SIGKILL)" in error
    vector_env.close(env)
    assert not any(process.is_alive() for process in env.processes)


def test_only_processes_can_be_killed():
    for env in (gym.make_vec("CartPole-v1", num_envs=2), make_vector_env("CartPole-v1", 2, "sync")):
        assert not vector_env.kill_workers(env)
        vector_env.reset(env, seed=0)
        vector_env.close(env)


def test_environments_have_names():
    assert vector_env.name(gym.make_vec("CartPole-v1", num_envs=2)) == "CartPole-v1"
    assert vector_env.name(gym.vector.SyncVectorEnv(counting_env_makers(2))) == "SyncVectorEnv"


def test_errors_of_an_environment_pass_through():
    env = gym.vector.SyncVectorEnv(counting_env_makers(2))
    with pytest.raises(RuntimeError, match="stepped outside an episode"):
        vector_env.step(env, np.zeros([2, 1], np.float32))

    def broken(action):
        raise BrokenPipeError("the simulator's own")

    env.envs[0].step = broken
    with pytest.raises(BrokenPipeError, match="the simulator's own"):
        vector_env.step(env, np.zeros([2, 1], np.float32))


def test_closing_after_a_step_that_was_cut_short_does_not_wait_for_answers_already_taken():
    env = gym.make_vec("CartPole-v1", num_envs=2, vectorization_mode="async")
    env.reset(seed=0)
    workers = env.unwrapped.processes
    env.unwrapped.step_async(np.zeros(2, np.int64))
    env.unwrapped.parent_pipes[0].recv()
    vector_env.close(env)
    assert [worker.is_alive() for worker in workers] == [False, False]
