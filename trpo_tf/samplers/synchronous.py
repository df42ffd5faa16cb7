"""The synchronous sampler: steps a vector environment with the present policy."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
import keras
import numpy as np
import tensorflow as tf

from trpo_tf import spaces
from trpo_tf.execution import Execution
from trpo_tf.samplers import acting, env_state, vector_env
from trpo_tf.samplers.acting import Inference, Snapshot
from trpo_tf.samplers.action_noise import ActionNoise
from trpo_tf.samplers.counters import read_counters
from trpo_tf.samplers.episodes import EpisodeTracker, valid_rows
from trpo_tf.samplers.log_probs import log_prob_function
from trpo_tf.samplers.policy_fit import fitting_distribution
from trpo_tf.samplers.recording import Recording
from trpo_tf.types import EpisodeStats, Rollout

_SEED_LIMIT = 2**31
_MOST_ENVS = 2**20


class Sampler:
    """Collects rollouts of a fixed length from a vector environment.

    Rows follow on each other from one rollout to the next. While stepping only actions are
    computed; the log-probabilities of the whole rollout come from one compiled call. A row's draw
    depends on the seed, the index of its environment and the number of its step alone, so the same
    seed gives the same rollouts. EnvPool is seeded when it is made, not by this seed.

    Args:
        env: B environments in NEXT_STEP autoreset (Gymnasium's default).
        policy: a Keras model from raw observations to a `tfd.Distribution`.
        num_steps: T, rows of each environment in a rollout, ≥ 1.
        seed: of the environments and of the actions, 0 ≤ seed < 2³¹ − B − first_env.
        first_env: index of the first of these environments among all that a run steps, where
            several samplers share them; the rows are those of one sampler with all of them.
        inference: what runs the policy while stepping: "auto", "litert" or "tensorflow".
        execution: how the log-probabilities of a rollout are computed.
        timeout: seconds that the processes of an AsyncVectorEnv have for one step, > 0; None: no
            end. Nothing else can be interrupted from here; see `AsyncSampler`.

    Attributes:
        inference: what runs the policy, `Inference.LITERT` or `Inference.TENSORFLOW`.
        env_steps: real environment steps collected so far; dummy rows are none.
        lost_rollouts, dropped_rollouts: 0; what other samplers can lose or find too old.
        on_step: called after each step of the environments; what it raises ends the rollout.

    Raises:
        TypeError: for an env that is no vector env, or a policy whose output is no distribution
            that the trust region can use.
        ValueError: for another autoreset mode, unsupported spaces, spaces that differ from the
            policy's, a policy that LiteRT is asked to run and cannot, or an argument out of range.

    >>> from trpo_tf.policies import make_policy
    >>> env = gym.make_vec("CartPole-v1", num_envs=2)
    >>> policy = make_policy(env.single_observation_space, env.single_action_space)
    >>> rollout, episodes = Sampler(env, policy, num_steps=50).collect()
    >>> rollout.observations.shape, rollout.actions.shape
    ((51, 2, 4), (50, 2))
    """

    lost_rollouts = 0
    dropped_rollouts = 0

    def __init__(
        self,
        env: gym.vector.VectorEnv,
        policy: keras.Model,
        num_steps: int,
        *,
        seed: int = 0,
        first_env: int = 0,
        inference: Inference | str = Inference.AUTO,
        execution: Execution = Execution.XLA,
        timeout: float | None = None,
    ) -> None:
        vector_env.validate_vector_env(env)
        _check_arguments(num_steps, seed, first_env, env.num_envs, inference)
        if timeout is not None and not timeout > 0:
            raise ValueError(f"timeout must be > 0 seconds, got {timeout}. 300 is typical.")
        self.env = env
        self.policy = policy
        self.num_steps = num_steps
        self.seed = seed
        self.first_env = first_env
        self.env_steps = 0
        self.on_step: Callable[[], None] | None = None
        self._timeout = timeout
        self._last_reset_seed = seed + first_env
        self._next_step = 0
        self._observations: Any = None
        self._ended = np.zeros(env.num_envs, bool)
        self._episodes = EpisodeTracker(env.num_envs)
        observation_space, action_space = env.single_observation_space, env.single_action_space
        self._observation_specs = spaces.observation_specs(observation_space, env.num_envs)
        distribution = fitting_distribution(policy, observation_space, action_space, env.num_envs)
        self._noise = ActionNoise(distribution, seed, first_env)
        self._log_probs = log_prob_function(policy, observation_space, execution)
        function = acting.trace_action_function(
            policy, observation_space, action_space, self._noise
        )
        self._action_spec = function.structured_outputs[0]
        self._actor = acting.make_actor(function, self._example_call(), Inference(inference))
        self.inference = self._actor.inference

    def collect(self, snapshot: Snapshot | None = None) -> tuple[Rollout, EpisodeStats]:
        """Steps every environment `num_steps` times.

        If the environment raises, the next call starts with a reset.

        Args:
            snapshot: the policy to act with; None: the policy as it is now.

        Returns:
            The rollout, in arrays that are never written again, and the episodes that ended in it.

        Raises:
            WorkersLost: if a worker process of the environment has died or hangs.
            ValueError: if the environment's answers have another shape than its spaces say.
        """
        snapshot = snapshot or acting.take_snapshot(self.policy)
        self._actor.set_weights([*snapshot.parameters, *snapshot.state])
        recording = Recording(self._observation_specs, self._action_spec, self.num_steps)
        recording.start(self._first_observations())
        noise = self._noise.rows(self._next_step, self.num_steps)
        for row in range(self.num_steps):
            actions, env_actions = self._actor.act(recording.leaves(row), noise[row])
            answers = vector_env.step(self.env, env_actions, self._last_reset_seed, self._timeout)
            recording.add(row, actions, *answers)
            if self.on_step is not None:
                self.on_step()
        return self._finish(recording, snapshot)

    def state(self) -> dict[str, int]:
        """The counters that decide how the next rollout is drawn, fit for JSON."""
        return {"next_step": self._next_step, "env_steps": self.env_steps}

    def restore(self, state: Mapping[str, int]) -> None:
        """Takes up the counters of `state()`; the next rollout starts with a reset.

        The environments are then reset with seeds made of the sampler's seed and its step.

        Raises:
            ValueError: if `state` does not come from `state()`.
        """
        counters = read_counters(state)
        self._next_step, self.env_steps = counters.next_step, counters.env_steps
        self._observations = None

    def exact_state(self) -> dict[str, np.ndarray] | None:
        """Where the environments and their episodes stand, for `go_on`.

        Returns:
            Plain numbers by name; None before the first rollout, after one that the environment
            ended by raising, and for environments of which `env_state.capture` cannot say it.
        """
        if self._observations is None:
            return None
        environments = env_state.capture(self.env)
        if environments is None:
            return None
        return {**environments, **self._bookkeeping(self._observations)}

    def go_on(self, state: Mapping[str, np.ndarray]) -> bool:
        """Puts environments and episodes where `exact_state()` found them; after `restore`.

        The next rollout is then, bit for bit, the one that would have followed.

        Returns:
            Whether it was done (see `env_state.restore`); if not, the next rollout starts with a
            reset.

        Raises:
            ValueError: if `state` is of other environments; the next rollout starts with a reset.
        """
        self._observations = None
        own = {name: state[name] for name in self._bookkeeping(None) if name in state}
        environments = {name: array for name, array in state.items() if name not in own}
        if not env_state.restore(self.env, environments):
            return False
        spec = self._observation_specs
        observations = np.empty(spec.shape, spec.dtype.as_numpy_dtype)
        env_state.check_form(own, self._bookkeeping(observations))
        self._observations, self._ended = own["observations"], own["ended"]
        self._episodes.restore(own)
        return True

    def replace_env(self, env: gym.vector.VectorEnv) -> None:
        """Goes on in other environments of the same kind, with a reset; for those that have died.

        Raises:
            ValueError: if their number or their spaces differ.
        """
        vector_env.validate_vector_env(env)
        for name in ("num_envs", "single_observation_space", "single_action_space"):
            before, here = getattr(self.env, name), getattr(env, name)
            if before != here:
                raise ValueError(f"the new environments must have {name} {before}, got {here}.")
        self.env = env
        self._observations = None

    def close(self) -> None:
        """Closes the environment, worker processes beside a dead one included."""
        vector_env.close(self.env)

    def _bookkeeping(self, observations: Any) -> dict[str, Any]:
        """What belongs to the environments' state outside of them, by name."""
        return {"observations": observations, "ended": self._ended, **self._episodes.state()}

    def _first_observations(self) -> Any:
        """Those where the last rollout ended, or of a reset."""
        observations, self._observations = self._observations, None
        if observations is None:
            self._last_reset_seed = self._reset_seed()
            observations = vector_env.reset(self.env, self._last_reset_seed, self._timeout)
            self._ended = np.zeros(self.env.num_envs, bool)
            self._episodes = EpisodeTracker(self.env.num_envs)
        return observations

    def _reset_seed(self) -> int:
        if self._next_step == 0:
            return self.seed + self.first_env
        words = np.random.SeedSequence([self.seed, self._next_step]).generate_state(1)
        return int(words[0]) % (_SEED_LIMIT - _MOST_ENVS) + self.first_env

    def _finish(self, recording: Recording, snapshot: Snapshot) -> tuple[Rollout, EpisodeStats]:
        observations = recording.observations
        mask = valid_rows(recording.terminated, recording.truncated, self._ended)
        terminated, truncated = recording.terminated & mask, recording.truncated & mask
        ended = terminated | truncated
        rollout = Rollout(
            observations=observations,
            actions=recording.actions,
            behaviour_log_probs=self._log_probs(
                snapshot,
                tf.nest.map_structure(lambda leaf: leaf[:-1], observations),
                recording.actions,
            ),
            rewards=recording.rewards.astype(np.float32),
            terminated=terminated,
            truncated=truncated,
            mask=mask,
            policy_version=np.full(mask.shape, snapshot.version, np.int64),
        )
        episodes = self._episodes.add(recording.rewards, ended, mask)
        self._next_step += self.num_steps
        self.env_steps += int(mask.sum())
        self._ended = ended[-1]
        self._observations = tf.nest.map_structure(lambda leaf: leaf[-1].copy(), observations)
        return rollout, episodes

    def _example_call(self) -> tuple[Any, Any, Any]:
        """Arguments for one call of the action function, the observations drawn at random."""
        snapshot = acting.take_snapshot(self.policy)
        space = copy.deepcopy(self.env.single_observation_space)
        space.seed(self.seed)
        batch = [space.sample() for _ in range(self.env.num_envs)]
        empty: Any = gym.vector.utils.create_empty_array(space, len(batch))
        observations = gym.vector.utils.concatenate(space, batch, empty)
        weights = [*snapshot.parameters, *snapshot.state]
        return weights, tf.nest.flatten(observations), self._noise.rows(0, 1)[0]


def _check_arguments(
    num_steps: int, seed: int, first_env: int, num_envs: int, inference: Inference | str
) -> None:
    if num_steps < 1:
        raise ValueError(f"num_steps must be >= 1, got {num_steps}. Typical values are 64 to 2048.")
    if not 0 <= first_env <= _MOST_ENVS - num_envs:
        raise ValueError(
            f"first_env must be >= 0 and <= {_MOST_ENVS - num_envs} (2^20 - num_envs), got "
            f"{first_env}."
        )
    most = _SEED_LIMIT - first_env - num_envs
    if not 0 <= seed < most:
        raise ValueError(
            f"seed must be >= 0 and < {most} (2^31 - first_env - num_envs), got {seed}."
        )
    kinds = [kind.value for kind in Inference]
    if inference not in [*Inference, *kinds]:
        raise ValueError(f"inference must be one of {', '.join(kinds)}, got {inference!r}.")
