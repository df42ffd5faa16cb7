"""From a configuration to the parts that train: the one place that knows them all."""

from __future__ import annotations

import dataclasses
import functools
from typing import NamedTuple

import gymnasium as gym
import keras
import tensorflow as tf

from trpo_tf import environments, spaces
from trpo_tf.advantage import Advantage
from trpo_tf.config import TRPOConfig
from trpo_tf.execution import Execution
from trpo_tf.interruption import workers_ignore_ctrl_c
from trpo_tf.kl_constraint import KLConstraint
from trpo_tf.line_search import Backtracking, FillTrustRegion
from trpo_tf.natural_gradient import NaturalGradientOptimizer
from trpo_tf.policies import make_policy
from trpo_tf.preconditioner import DiagonalPreconditioner
from trpo_tf.replay import Replay
from trpo_tf.return_scaling import ReturnScaling
from trpo_tf.samplers import (
    AsyncSampler,
    BackgroundSampler,
    RaySampler,
    Recipe,
    Sampler,
    vector_env,
)
from trpo_tf.samplers.collectors import life_seed
from trpo_tf.trpo import TRPO
from trpo_tf.types import Correction
from trpo_tf.value_function import make_value_function
from trpo_tf.value_regression import ValueRegression


class Models(NamedTuple):
    """The two networks of a run."""

    policy: keras.Model
    value_function: keras.Model


class Components(NamedTuple):
    """All that a run is made of."""

    policy: keras.Model
    value_function: keras.Model
    sampler: Sampler | BackgroundSampler
    trpo: TRPO


def set_up_tensorflow(config: TRPOConfig) -> None:
    """Sets the threads of a configuration; before anything is computed."""
    threading = tf.config.threading
    if config.intra_op_threads:
        threading.set_intra_op_parallelism_threads(config.intra_op_threads)
    if config.inter_op_threads:
        threading.set_inter_op_parallelism_threads(config.inter_op_threads)
    for device in tf.config.list_physical_devices("GPU"):
        # Otherwise TensorFlow takes all of the memory, the environments' share included.
        tf.config.experimental.set_memory_growth(device, True)


def make_models(
    config: TRPOConfig, observation_space: gym.Space, action_space: gym.Space
) -> Models:
    """Makes the policy and the value function of a configuration, with its seed's weights.

    Raises:
        ValueError: for spaces that are not supported.

    >>> config = TRPOConfig(env="CartPole-v1", hidden_sizes=(8,))
    >>> spaces = gym.spaces.Box(-1, 1, (4,)), gym.spaces.Discrete(2)
    >>> make_models(config, *spaces).policy.count_params()
    67
    """
    policy = _make_config_policy(config, observation_space, action_space)
    value_function = make_value_function(
        observation_space,
        hidden_sizes=config.hidden_sizes,
        activation=config.activation,
        normalize_observations=config.normalize_observations,
        seed=config.seed,
    )
    return Models(policy, value_function)


def _make_config_policy(
    config: TRPOConfig, observation_space: gym.Space, action_space: gym.Space
) -> keras.Model:
    return make_policy(
        observation_space,
        action_space,
        hidden_sizes=config.hidden_sizes,
        activation=config.activation,
        initial_log_std=config.initial_log_std,
        state_dependent_std=config.state_dependent_std,
        mean_limit=config.mean_limit,
        clipped_likelihood=config.clipped_likelihood,
        normalize_observations=config.normalize_observations,
        rescale_actions=config.rescale_actions,
        seed=config.seed,
    )


def make_trpo(config: TRPOConfig, models: Models) -> TRPO:
    """Makes the algorithm of a configuration around two networks."""
    execution = choose_execution(config, models.policy.observation_space)
    # To the critic, an update of M rollouts is one of a rollout M times as long.
    merged = dataclasses.replace(
        config,
        num_steps=config.num_steps * config.replay_rollouts,
        total_steps=config.total_steps * config.replay_rollouts,
    )
    return TRPO(
        models.policy,
        models.value_function,
        make_advantage(config),
        make_optimizer(config, execution),
        value_regression=make_value_regression(merged, execution),
        correction=Correction(
            traces=config.correct_traces,
            weights=config.correct_weights,
            centring=config.correct_centring,
            trust_region=config.correct_trust_region,
        ),
        max_lag=config.max_lag,
        execution=execution,
        seed=config.seed,
        replay=Replay(config.replay_rollouts, config.replay_weights, config.replay_max_kl),
        min_advantage=config.min_advantage,
    )


def choose_execution(config: TRPOConfig, observation_space: gym.Space) -> Execution:
    """How the compiled functions of a run are run; "auto" looks at the observations.

    XLA's convolutions on a CPU took 30 times as long as the graph's (measured on 84×84×4 images).

    >>> image = gym.spaces.Box(0, 255, (4, 84, 84), "uint8")
    >>> choose_execution(TRPOConfig(env="ALE/Pong-v5"), image).value
    'graph'
    """
    if config.execution != "auto":
        return Execution(config.execution)
    return Execution.GRAPH if spaces.is_image(observation_space) else Execution.XLA


def make_advantage(config: TRPOConfig) -> Advantage:
    """Makes the advantages of a configuration, with return scaling if it is on.

    λ is a linear schedule if a last value is given.
    """
    scaling = ReturnScaling(config.discount, config.num_envs) if config.scale_returns else None
    return Advantage(
        discount=config.discount,
        gae_lambda=_straight_line(config.gae_lambda, config.gae_lambda_final, config.num_updates),
        normalize=config.normalize_advantages,
        return_scaling=scaling,
    )


def make_optimizer(config: TRPOConfig, execution: Execution) -> NaturalGradientOptimizer:
    """Makes the policy's optimiser, with a linear schedule of max_kl if a last value is given."""
    probes = config.preconditioner_probes
    search = FillTrustRegion() if config.line_search == "fill" else Backtracking()
    max_kl = _straight_line(config.max_kl, config.max_kl_final, config.num_updates)
    return NaturalGradientOptimizer(
        KLConstraint(max_kl=max_kl),
        cg_steps=config.cg_steps,
        damping=config.damping,
        cg_tolerance=config.cg_tolerance,
        fisher_fraction=config.fisher_fraction,
        preconditioner=DiagonalPreconditioner(probes) if probes else None,
        line_search=search,
        chunk_rows=config.chunk_rows,
        execution=execution,
    )


def _straight_line(
    first: float, last: float | None, num_steps: int
) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """A schedule over so many steps; the first value itself if there is no last one."""
    if last is None:
        return first
    return keras.optimizers.schedules.PolynomialDecay(first, num_steps, end_learning_rate=last)


def make_value_regression(config: TRPOConfig, execution: Execution) -> ValueRegression:
    """Makes the critic's regression, its rate on a straight line to the last one if that is given.

    A rate without a last one is a schedule too, a level one: Keras keeps a plain number among the
    optimiser's variables, where a checkpoint would undo a change of the setting.
    """
    minibatch_size = config.value_minibatch_size or config.batch_rows
    steps_per_update = config.value_epochs * -(-config.batch_rows // minibatch_size)
    first, last = config.value_learning_rate, config.value_learning_rate_final
    learning_rate = _straight_line(
        first, first if last is None else last, config.num_updates * steps_per_update
    )
    return ValueRegression(
        keras.optimizers.Adam(learning_rate),
        epochs=config.value_epochs,
        minibatch_size=config.value_minibatch_size or None,
        chunk_rows=config.chunk_rows,
        execution=execution,
    )


def make_env(config: TRPOConfig, num_envs: int, seed: int) -> gym.vector.VectorEnv:
    """Makes some of the environments of a configuration.

    Their processes ignore Ctrl-C, and none outlives the thread that calls this.
    """
    with workers_ignore_ctrl_c():
        return environments.make_vector_env(
            config.env,
            num_envs,
            config.vectorization,
            config.env_kwargs,
            seed,
            end_with_thread=True,
        )


def make_sampler(
    config: TRPOConfig, policy: keras.Model, env: gym.vector.VectorEnv
) -> Sampler | BackgroundSampler:
    """Makes what collects for a configuration.

    Args:
        config: of the run.
        policy: the learner's.
        env: all environments; Ray's workers make their own, so it is closed then.

    Raises:
        ImportError, ConnectionError, ValueError: Ray is missing, unreachable or too small.
    """
    execution = choose_execution(config, env.single_observation_space)
    if config.sampler == "ray":
        vector_env.close(env)
        return _make_ray_sampler(config, policy, execution)
    sampler = Sampler(
        env,
        policy,
        config.num_steps,
        seed=config.seed,
        execution=execution,
        timeout=config.worker_timeout,
    )
    if config.sampler == "sync":
        return sampler
    return AsyncSampler(
        sampler,
        config.rollouts_ahead,
        config.worker_timeout,
        functools.partial(make_env, config),
    )


def _make_ray_sampler(
    config: TRPOConfig, policy: keras.Model, execution: Execution
) -> BackgroundSampler:
    spaces_of_policy = policy.observation_space, policy.action_space
    recipe = Recipe(
        make_env=functools.partial(make_env, config),
        make_policy=functools.partial(_make_config_policy, config, *spaces_of_policy),
        num_envs=config.num_envs // config.num_workers,
        num_steps=config.num_steps,
        seed=config.seed,
        execution=execution,
        intra_op_threads=config.intra_op_threads,
        timeout=config.worker_timeout,
    )
    return RaySampler(
        policy,
        recipe,
        config.num_workers,
        config.rollouts_ahead,
        config.worker_timeout,
        config.max_lag,
        config.ray_address,
        config.worker_cpus,
        config.max_workers,
    )


def assemble(config: TRPOConfig, next_step: int = 0) -> Components:
    """Makes everything that trains, environments included.

    Args:
        config: of the run.
        next_step: of a sampler's state that will be restored; environments that are seeded when
            they are made (EnvPool's) then begin other episodes than at the start of the run.

    Raises:
        ValueError: the environment's spaces are not supported, or its autoreset mode is another
            than NEXT_STEP.
        ImportError: the environment or the sampler needs an extra that is not installed.
        ConnectionError: there is no Ray cluster at the address.
    """
    num_envs = 1 if config.sampler == "ray" else config.num_envs
    env = make_env(config, num_envs, life_seed(config.seed, 0, 0, next_step))
    try:
        models = make_models(config, env.single_observation_space, env.single_action_space)
        sampler = make_sampler(config, models.policy, env)
    except BaseException:
        vector_env.close(env)
        raise
    return Components(models.policy, models.value_function, sampler, make_trpo(config, models))
