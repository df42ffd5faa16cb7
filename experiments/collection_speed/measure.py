"""How much of an environment's raw stepping speed a sampler keeps.

Two identically seeded vector environments go through the same steps: one under the sampler, the
other in a bare loop with the actions that the sampler has just sent. They alternate rollout by
rollout, so that whatever else the machine does meets both. Processor time is given beside the
clock's: on a busy machine it is the one to go by. Prints one line.

    python experiments/collection_speed/measure.py --env=Walker2d --num_envs=16
"""

from __future__ import annotations

import time

import gymnasium as gym
import numpy as np
from absl import app, flags

import trpo_tf
from trpo_tf.environments import make_vector_env

_ENV = flags.DEFINE_string("env", "Walker2d", "Gymnasium id.")
_NUM_ENVS = flags.DEFINE_integer("num_envs", 16, "Environments stepped at once.")
_NUM_STEPS = flags.DEFINE_integer("num_steps", 128, "Steps of each environment in a rollout.")
_ROLLOUTS = flags.DEFINE_integer("rollouts", 40, "How many rollouts are timed.")
_VECTORIZATION = flags.DEFINE_string("vectorization", "sync", "sync, async or native.")
_INFERENCE = flags.DEFINE_string("inference", "auto", "auto, litert or tensorflow.")


def main(_: list[str]) -> None:
    env, bare = (
        make_vector_env(_ENV.value, _NUM_ENVS.value, _VECTORIZATION.value) for _ in range(2)
    )
    space = env.single_action_space
    policy = trpo_tf.make_policy(env.single_observation_space, space)
    sampler = trpo_tf.Sampler(
        env, policy, num_steps=_NUM_STEPS.value, seed=0, inference=_INFERENCE.value
    )
    bare.reset(seed=0)
    collecting, stepping = [], []
    # The first rollout compiles.
    for rollout_number in range(_ROLLOUTS.value + 1):
        start = clocks()
        rollout, _episodes = sampler.collect()
        collected = clocks() - start
        actions = sent_actions(space, rollout.actions)
        start = clocks()
        for row in actions:
            bare.step(row)
        if rollout_number:
            collecting.append(collected)
            stepping.append(clocks() - start)
    rows = _NUM_STEPS.value * _NUM_ENVS.value
    wall_clock, processor = np.sum(stepping, axis=0) / np.sum(collecting, axis=0)
    print(
        f"{_ENV.value}, {_NUM_ENVS.value} {_VECTORIZATION.value} environments, actions by "
        f"{sampler.inference.value}: {rows / np.median(collecting, axis=0)[0]:.0f} of "
        f"{rows / np.median(stepping, axis=0)[0]:.0f} steps a second, {wall_clock:.1%} by the "
        f"clock, {processor:.1%} by processor time"
    )
    sampler.close()
    bare.close()


def clocks() -> np.ndarray:
    """Seconds of the wall clock and of this process on all processors."""
    return np.array([time.perf_counter(), time.process_time()])


def sent_actions(space: gym.Space, actions: np.ndarray) -> np.ndarray:
    """What the sampler has sent for the actions that it drew."""
    if isinstance(space, gym.spaces.Box):
        actions = np.clip(actions, space.low, space.high)
    else:
        actions = actions + np.asarray(getattr(space, "start", 0))
    return actions.astype(space.dtype)


if __name__ == "__main__":
    app.run(main)
