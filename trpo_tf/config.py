"""The settings of a training run: one frozen record, checked when it is made.

The training command makes a flag of every field, and a run's `config.json` holds them all. No
TensorFlow is imported here, so that a mistyped setting is refused at once.
"""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Mapping
from typing import Any

from trpo_tf import setting_choices as choices
from trpo_tf.setting import checked, choice, explained, kind_of, number, parsed, switch

# Rows of a batch are indexed by 32 bits. That and the largest values of single settings are far
# from what anyone trains with, and near enough that a stranger's file does not exhaust the machine.
_MOST_ROWS = 10**9
_MOST_PROCESSES = 2**10


@dataclasses.dataclass(frozen=True, kw_only=True)
class TRPOConfig:
    """Everything that decides how a run trains, validated when it is made.

    Only `env` has no default. The defaults suit an unknown environment;
    `trpo_tf.presets.resolve` gives the settings known to be good for a known one.

    Raises:
        TypeError: a value of the wrong type.
        ValueError: a value out of range, or settings that contradict each other. The message says
            what came, what was expected and what is usual.

    >>> config = TRPOConfig(env="Walker2d-v5", max_kl=0.02)
    >>> config.batch_rows, config.num_updates
    (2048, 489)
    >>> TRPOConfig.from_json(config.to_json()) == config
    True
    >>> TRPOConfig(env="Walker2d-v5", max_kl=-0.01)
    Traceback (most recent call last):
    ValueError: max_kl must be > 0, got -0.01. Typical values are 0.001 to 0.05.
    """

    env: str = dataclasses.field(metadata=choices.ENV)
    total_steps: int = number(
        1_000_000,
        "Environment steps to train for, all environments together.",
        "100000 to 10000000",
        minimum=1,
    )
    num_envs: int = number(
        16, "Environments that are stepped together.", "1 to 64", minimum=1, maximum=2**16
    )
    num_steps: int = number(
        128,
        "Steps of each environment in one update's rollout.",
        "64 to 2048",
        minimum=1,
        maximum=10**7,
    )
    seed: int = number(
        0, "Seed of environments, draws and networks.", "0, 1, 2", minimum=0, maximum=2**31 - 1
    )
    sampler: str = choice("sync", "How data is collected", choices.SAMPLERS)
    rollouts_ahead: int = number(
        1,
        "Rollouts that async and ray collect ahead of the update under way; with 0 they wait for "
        "its policy, and all bits are those of sync.",
        "0 to 2",
        minimum=0,
    )
    num_workers: int = number(
        2, "Ray workers, among which num_envs are divided.", "1 to 1000", minimum=1, maximum=2**16
    )
    max_workers: int | None = number(
        None,
        "Ray workers that may help when the cluster has CPUs for more than num_workers; none for "
        "no more.",
        "2 to 1000",
        minimum=1,
        maximum=2**16,
    )
    worker_cpus: float = number(
        1.0,
        "CPUs of the cluster that each Ray worker takes.",
        "0.1 to 4",
        minimum=0.01,
    )
    worker_timeout: float = number(
        300.0,
        "Seconds without a step after which environments count as hung: those of async and ray, "
        "and all that step in processes (vectorization=async).",
        "30 to 600",
        minimum=0,
        maximum=1e8,
        exclusive=True,
    )
    ray_address: str | None = dataclasses.field(default=None, metadata=choices.RAY_ADDRESS)
    vectorization: str = choice("auto", "What steps the environments", choices.VECTORIZATIONS)
    env_kwargs: dict[str, Any] = dataclasses.field(
        default_factory=dict, metadata=choices.ENV_KWARGS
    )

    discount: float = number(
        0.99, "Discount of later rewards.", "0.9 to 0.9999", minimum=0, maximum=1
    )
    gae_lambda: float = number(
        0.95, "Lambda of the advantages' GAE.", "0.9 to 0.98", minimum=0, maximum=1
    )
    gae_lambda_final: float | None = number(
        None,
        "gae_lambda at the run's end, reached on a straight line; none keeps it constant.",
        "0.8 to 0.98",
        minimum=0,
        maximum=1,
    )
    normalize_advantages: bool = switch(
        True, "Bring the advantages of each rollout to mean 0 and deviation 1."
    )
    min_advantage: float = number(
        1e-3,
        "Deviation of the advantages, in units of the discounted return's, below which max_kl "
        "shrinks with its square, as noise alone is left to learn from; 0, or without "
        "scale_returns, never.",
        "0.0001 to 0.01",
        minimum=0,
        maximum=1,
    )
    scale_returns: bool = switch(
        True, "Scale the value function by the running deviation of the discounted return."
    )
    normalize_observations: bool = switch(
        True, "Normalise observations in the models by their running mean and deviation."
    )

    max_kl: float = number(
        0.01,
        "Trust region: the largest mean KL(old || new) of an update.",
        "0.001 to 0.05",
        minimum=0,
        exclusive=True,
    )
    max_kl_final: float | None = number(
        None,
        "max_kl at the run's end, reached on a straight line; none keeps it constant.",
        "0.001 to 0.05",
        minimum=0,
        exclusive=True,
    )
    line_search: str = choice("fill", "How long a step is", choices.LINE_SEARCHES)
    cg_steps: int = number(
        10, "Most conjugate gradient iterations.", "10 to 25", minimum=1, maximum=10**6
    )
    cg_tolerance: float = number(
        1e-10, "Relative residual that ends conjugate gradient.", "1e-10 to 1e-4", minimum=0
    )
    damping: float = number(
        0.1, "Added to the diagonal of the Fisher matrix.", "0.001 to 0.1", minimum=0
    )
    fisher_fraction: float = number(
        1.0,
        "Share of the rows that the Fisher matrix takes (the gradient takes all).",
        "0.1 to 1",
        minimum=0,
        maximum=1,
        exclusive=True,
    )
    preconditioner_probes: int = number(
        0,
        "Random probes of the diagonal that preconditions conjugate gradient; 0 for none.",
        "0 to 20",
        minimum=0,
        maximum=10**6,
    )
    chunk_rows: int | None = number(
        None,
        "Rows that an update takes through the policy at once, to save memory; none for all.",
        "256 to 4096",
        minimum=1,
        maximum=10**9,
    )

    value_epochs: int = number(
        20,
        "Passes of the value function's training over each rollout.",
        "5 to 80",
        minimum=1,
        maximum=10**6,
    )
    value_minibatch_size: int = number(
        64,
        "Rows of one step of the value function; 0 for all rows.",
        "32 to 256",
        minimum=0,
        maximum=10**9,
    )
    value_learning_rate: float = number(
        1e-3,
        "Adam's learning rate for the value function.",
        "0.0001 to 0.003",
        minimum=0,
        exclusive=True,
    )
    value_learning_rate_final: float | None = number(
        None,
        "The same at the run's end, reached on a straight line; none keeps it constant.",
        "0 to 0.001",
        minimum=0,
    )

    hidden_sizes: tuple[int, ...] = dataclasses.field(
        default=(64, 64), metadata=choices.HIDDEN_SIZES
    )
    activation: str = choice("tanh", "Activation of the hidden layers", choices.ACTIVATIONS)
    initial_log_std: float = number(
        -0.5,
        "Logarithm of a Gaussian policy's first standard deviation.",
        "-1 to 0",
        minimum=-10,
        maximum=3,
    )
    state_dependent_std: bool = switch(
        False, "Let a Gaussian policy's deviation depend on the observation."
    )
    mean_limit: float | None = number(
        None,
        "How far from the middle of the actions' bounds a Gaussian's mean may be, in half widths.",
        "1 to 2; none lets it go anywhere",
        minimum=0,
        exclusive=True,
    )
    clipped_likelihood: bool = switch(
        False, "Take all actions that are clipped to a bound for one event."
    )
    rescale_actions: bool = switch(
        False, "Map actions from [-1, 1] to the action space's bounds before they are clipped."
    )

    execution: str = choice("auto", "How the update runs", choices.EXECUTIONS)
    correct_traces: bool = switch(
        True, "Correct traces and value targets for rollouts of an older policy."
    )
    correct_weights: bool = switch(
        True, "Weigh the surrogate's rows by the policy's ratio to the older one that drew them."
    )
    correct_centring: bool = switch(
        True, "Centre advantages by their mean under those weights instead of the plain one."
    )
    correct_trust_region: bool = switch(
        True, "Shrink max_kl by the distance that the policy has moved from the older one."
    )
    max_lag: int | None = number(
        None, "Drop rows whose policy is more updates old; none keeps all.", "1 to 10", minimum=0
    )

    replay_rollouts: int = number(
        1,
        "Last rollouts that an update learns from, the new one included; 1 replays none.",
        "1 to 4",
        minimum=1,
        maximum=2**10,
    )
    replay_weights: tuple[float, ...] | None = dataclasses.field(
        default=None, metadata=choices.REPLAY_WEIGHTS
    )
    replay_max_kl: float | None = number(
        None,
        "max_kl of updates with replay, in place of max_kl and max_kl_final; none leaves those.",
        "0.001 to 0.05",
        minimum=0,
        exclusive=True,
    )

    eval_every: int = number(
        0,
        "Environment steps between evaluations of the deterministic policy; 0 for none.",
        "10000 to 100000",
        minimum=0,
    )
    eval_episodes: int = number(
        10, "Episodes of an evaluation.", "5 to 100", minimum=1, maximum=10**6
    )
    checkpoint_every: int = number(10, "Updates between checkpoints.", "1 to 100", minimum=1)
    keep_checkpoints: int = number(3, "Newest checkpoints that are kept.", "2 to 10", minimum=1)
    max_refused_updates: int = number(
        5,
        "Updates in a row refused for non-finite numbers that end the training.",
        "1 to 20",
        minimum=1,
    )
    intra_op_threads: int = number(
        0,
        "TensorFlow's threads inside an operation, which decide the last bits of the results; "
        "0 lets TensorFlow choose.",
        "0 to 16",
        minimum=0,
        maximum=2**12,
    )
    inter_op_threads: int = number(
        0,
        "TensorFlow's operations side by side; 0 lets TensorFlow choose.",
        "0 to 16",
        minimum=0,
        maximum=2**12,
    )

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = checked(field, _HINTS[field.name], getattr(self, field.name))
            object.__setattr__(self, field.name, value)
        self._check_batch()
        self._check_processes()
        self._check_workers()
        self._check_replay()

    def _check_batch(self) -> None:
        batch = f"one batch (num_envs {self.num_envs} x num_steps {self.num_steps}"
        if self.batch_rows > _MOST_ROWS:
            raise ValueError(
                f"num_envs x num_steps must be <= {_MOST_ROWS}, got {self.batch_rows}. "
                "Make the batch smaller."
            )
        if self.total_steps < self.batch_rows:
            raise ValueError(
                f"total_steps must be >= {batch} = {self.batch_rows} steps), got "
                f"{self.total_steps}. Train for longer or make the batch smaller."
            )
        if self.value_minibatch_size > self.batch_rows:
            raise ValueError(
                f"value_minibatch_size must be <= {batch} = {self.batch_rows} rows), got "
                f"{self.value_minibatch_size}. 0 takes all rows in one step."
            )

    def _check_processes(self) -> None:
        if self.vectorization == "async" and self.num_envs > _MOST_PROCESSES:
            raise ValueError(
                f"num_envs must be <= {_MOST_PROCESSES} with vectorization=async, a process for "
                f"each, got {self.num_envs}. Take fewer, or another vectorization."
            )

    def _check_workers(self) -> None:
        if self.sampler == "sync":
            return
        if self.max_lag is not None and self.max_lag < self.rollouts_ahead:
            raise ValueError(
                f"max_lag must be >= rollouts_ahead {self.rollouts_ahead} or none, got "
                f"{self.max_lag}. Rollouts that are made ahead are that many updates old, so all "
                "of them would be dropped."
            )
        if self.sampler != "ray":
            return
        if self.num_envs % self.num_workers:
            raise ValueError(
                f"num_envs must be a multiple of num_workers {self.num_workers}, got "
                f"{self.num_envs}. Each worker steps as many environments as the others."
            )
        if self.max_workers is not None and self.max_workers < self.num_workers:
            raise ValueError(
                f"max_workers must be >= num_workers {self.num_workers} or none, got "
                f"{self.max_workers}."
            )

    def _check_replay(self) -> None:
        count, weights = self.replay_rollouts, self.replay_weights
        if weights is not None and len(weights) != count:
            raise ValueError(
                f"replay_weights must be {count} numbers, one for each of replay_rollouts, got "
                f"{weights}. Give as many, or none to weigh all alike."
            )
        if self.replay_max_kl is not None and count == 1:
            raise ValueError(
                f"replay_max_kl must be none where replay_rollouts is 1, got {self.replay_max_kl}. "
                "Set max_kl, or replay 2 rollouts or more."
            )

    @property
    def batch_rows(self) -> int:
        """Rows of one rollout: num_envs x num_steps."""
        return self.num_envs * self.num_steps

    @property
    def num_updates(self) -> int:
        """Updates of the whole run if no row is masked: total_steps / batch_rows, rounded up."""
        return -(-self.total_steps // self.batch_rows)

    def to_json(self) -> dict[str, Any]:
        """All settings as a dictionary that `json.dump` takes."""
        settings = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in settings.items()
        }

    @classmethod
    def from_json(cls, settings: Any) -> TRPOConfig:
        """The configuration that `to_json` wrote; settings that are absent take their defaults.

        Raises:
            ValueError: not a dictionary, no env, an unknown setting, a value of the wrong type or
                out of range.
        """
        if not isinstance(settings, Mapping):
            given = f"{settings!r:.80}"
            raise ValueError(f"Settings must be a JSON object of names and values, got {given}.")
        for name in settings:
            check_name(name)
        if "env" not in settings:
            raise ValueError("The settings name no env. Add an environment's id, like Walker2d.")
        try:
            return cls(**settings)
        except TypeError as error:
            raise ValueError(str(error)) from None


_HINTS = typing.get_type_hints(TRPOConfig)
_FIELDS = {field.name: field for field in dataclasses.fields(TRPOConfig)}


def setting_names() -> tuple[str, ...]:
    """The names of all settings, in their order."""
    return tuple(_FIELDS)


def check_name(name: str) -> None:
    """Raises ValueError, with the nearest known name, if there is no such setting."""
    if name not in _FIELDS:
        near = difflib.get_close_matches(str(name), _FIELDS, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else "train --helpfull lists them all."
        raise ValueError(f"There is no setting {name!r}. {hint}")


def setting_help(name: str) -> str:
    """What a setting means and what it is by default, in one line.

    >>> setting_help("cg_steps")
    'Most conjugate gradient iterations. Default 10.'
    """
    check_name(name)
    return explained(_FIELDS[name])


def is_switch(name: str) -> bool:
    """Whether a setting is true or false."""
    check_name(name)
    return kind_of(_HINTS[name])[0] is bool


def parse_setting(name: str, text: str) -> Any:
    """A setting's value from the words of a command line.

    Whole numbers may be written 1e6 or 1_000_000, lists 64,64, dictionaries as JSON, no value none.

    Raises:
        ValueError: there is no such setting, or the text is no value of its type.

    >>> parse_setting("total_steps", "1e6"), parse_setting("hidden_sizes", "64,32")
    (1000000, (64, 32))
    >>> parse_setting("max_kl", "small")
    Traceback (most recent call last):
    ValueError: max_kl must be a number, got 'small'. Typical values are 0.001 to 0.05.
    """
    check_name(name)
    return parsed(_FIELDS[name], _HINTS[name], text)
