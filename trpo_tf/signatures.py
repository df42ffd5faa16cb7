"""The functions of plain tensors that a served policy offers, as concrete TensorFlow graphs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
import tensorflow as tf
import tensorflow_probability as tfp

from trpo_tf import draws, spaces
from trpo_tf.action_map import to_env_actions
from trpo_tf.distribution_parameters import named_parameters
from trpo_tf.graph_checks import check_servable
from trpo_tf.space_structure import map_arrays

DETERMINISTIC = "serving_default"
SAMPLE = "sample"
DISTRIBUTION = "distribution"
VALUE = "value"


def trace_signatures(
    policy: Any,
    observation_space: gym.Space,
    action_space: gym.Space,
    *,
    rescale_actions: bool,
    value_function: Any | None = None,
) -> dict[str, Any]:
    """Traces what a server answers: actions, draws, distribution parameters, values.

    Every array of the observation space is an input of its own name, every input and output has
    a leading batch dimension of unknown size, and observations that are not finite are refused by
    an error that names the input. Nothing is compiled by XLA, which servers have disabled.

    | signature | inputs | outputs |
    |---|---|---|
    | `serving_default` | observations | actions, deterministic |
    | `sample` | observations, seeds int32 [N, 2] | actions, raw_actions, log_probs [N] |
    | `distribution` | observations | the distribution's parameters by name |
    | `value` | observations | values [N]; only with a value function |

    Args:
        policy: a Keras model from observations to a `tfd.Distribution`.
        observation_space: what it takes.
        action_space: what `actions` is sent to; `raw_actions` is as drawn.
        rescale_actions: as in `to_env_actions`.
        value_function: a Keras model from observations to [N], or None.

    Returns:
        Name to `tf.types.experimental.ConcreteFunction`.

    Raises:
        TypeError: if the policy returns no distribution.
        ValueError: if actions do not fit the space, an output has no batch dimension, or the
            graph holds what no server can run.
    """
    functions = signature_functions(
        policy, action_space, rescale_actions=rescale_actions, value_function=value_function
    )
    return {name: _trace(name, function, observation_space) for name, function in functions.items()}


def signature_functions(
    policy: Any,
    action_space: gym.Space,
    *,
    rescale_actions: bool,
    value_function: Any | None = None,
) -> dict[str, Callable[..., dict[str, Any]]]:
    """What the signatures compute, as functions of the models in this process.

    Args:
        policy: as `trace_signatures` takes it, and so the rest.
        action_space: what `actions` is sent to.
        rescale_actions: as in `to_env_actions`.
        value_function: or None.

    Returns:
        Name to a function of `observations`, in the observation space's structure (and `seeds` for
        `sample`), that gives tensors by name.
    """

    def actions(observations: Any) -> dict[str, Any]:
        raw_actions = draws.deterministic_action(_distribution(policy, observations))
        _check_actions(raw_actions, action_space)
        return {"actions": to_env_actions(action_space, raw_actions, rescale_actions)}

    def sample(observations: Any, seeds: Any) -> dict[str, Any]:
        distribution = policy(observations)
        raw_actions = draws.draw_rows(distribution, seeds)
        return {
            "actions": to_env_actions(action_space, raw_actions, rescale_actions),
            "raw_actions": raw_actions,
            "log_probs": distribution.log_prob(raw_actions),
        }

    def parameters(observations: Any) -> dict[str, Any]:
        num_rows = tf.shape(tf.nest.flatten(observations)[0])[0]
        return named_parameters(policy(observations), num_rows)

    functions: dict[str, Callable[..., dict[str, Any]]] = {
        DETERMINISTIC: actions,
        SAMPLE: sample,
        DISTRIBUTION: parameters,
    }
    if value_function is not None:
        functions[VALUE] = lambda observations: {"values": value_function(observations)}
    return functions


def named_inputs(observation_space: gym.Space, observations: Any) -> dict[str, Any]:
    """Observations in the space's structure as the inputs of a signature, by name.

    Raises:
        ValueError: if they have another structure.

    >>> named_inputs(gym.spaces.Tuple([gym.spaces.Discrete(2), gym.spaces.Discrete(3)]), ("a", "b"))
    {'observations_0': 'a', 'observations_1': 'b'}
    """
    named: dict[str, Any] = {}
    names = iter(_input_specs(observation_space))

    def name(path: Any, part: Any, value: Any) -> None:
        named[next(names).name] = value

    map_arrays(name, observation_space, observations)
    return named


def _input_specs(observation_space: gym.Space) -> list[tf.TensorSpec]:
    specs: list[tf.TensorSpec] = []
    structure = spaces.observation_specs(observation_space)
    map_arrays(lambda path, part, spec: specs.append(spec), observation_space, structure)
    return specs


def _trace(name: str, function: Callable[..., dict[str, Any]], space: gym.Space) -> Any:
    specs = _input_specs(space)
    if name == SAMPLE:
        specs.append(tf.TensorSpec([None, 2], tf.int32, "seeds"))

    # Keras does not convert a model's Python control flow either.
    @tf.function(autograph=False)
    def signature(**tensors: Any) -> dict[str, Any]:
        observations = _finite_observations(space, tensors)
        seeds = {"seeds": tensors["seeds"]} if name == SAMPLE else {}
        return function(observations, **seeds)

    concrete = signature.get_concrete_function(**{spec.name: spec for spec in specs})
    for output, tensor in concrete.structured_outputs.items():
        if tensor.shape.rank == 0 or (tensor.shape.rank and tensor.shape[0] is not None):
            raise ValueError(
                f"output {output!r} of signature {name!r} has shape {tensor.shape}, expected a "
                "leading batch dimension of unknown size: does the model fix its batch size?"
            )
    check_servable(name, concrete.graph.as_graph_def(), draws=name == SAMPLE)
    return concrete


def _finite_observations(space: gym.Space, tensors: Mapping[str, Any]) -> Any:
    def checked(path: Any, part: Any, spec: tf.TensorSpec) -> Any:
        tensor = tensors[spec.name]
        if not tensor.dtype.is_floating:
            return tensor
        return tf.debugging.check_numerics(tensor, f"input {spec.name!r} must be finite")

    return map_arrays(checked, space, spaces.observation_specs(space))


def _distribution(policy: Any, observations: Any) -> Any:
    distribution = policy(observations)
    if not isinstance(distribution, tfp.distributions.Distribution):
        raise TypeError(
            "a policy must return a tfp.distributions.Distribution, got "
            f"{type(distribution).__name__}; wrap its outputs, as in tfd.Categorical(logits=…)."
        )
    return distribution


def _check_actions(raw_actions: Any, action_space: gym.Space) -> None:
    expected = (None, *(action_space.shape or ()))
    if not raw_actions.shape.is_compatible_with(expected):
        raise ValueError(
            f"the policy's actions have shape {raw_actions.shape}, the action space "
            f"{action_space} needs {tf.TensorShape(expected)}."
        )
