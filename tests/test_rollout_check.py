"""Datasets of rollouts from anywhere: what comes out, and each bad element by its number."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf
from logged_rollouts import PLAIN, SPACES, assert_equal, logged_rollout

from trpo_tf.advantage import Advantage
from trpo_tf.execution import Execution
from trpo_tf.kl_constraint import KLConstraint
from trpo_tf.natural_gradient import NaturalGradientOptimizer
from trpo_tf.policies import make_policy
from trpo_tf.rollout_check import check_rollout, checked_rollouts
from trpo_tf.rollout_rows import critic_values, make_batch, target_log_probs
from trpo_tf.types import Rollout
from trpo_tf.value_function import make_value_function


def dataset_of(*elements: Any) -> tf.data.Dataset:
    """All sizes known."""
    stacked = tf.nest.map_structure(lambda *arrays: np.stack(arrays), *elements)
    return tf.data.Dataset.from_tensor_slices(stacked)


def generated(*elements: Any) -> tf.data.Dataset:
    """A generator's, of which no size is known."""
    signature = tf.nest.map_structure(
        lambda array: tf.TensorSpec([None] * array.ndim, array.dtype), elements[0]
    )

    def generate() -> Iterator[Any]:
        yield from elements

    return tf.data.Dataset.from_generator(generate, output_signature=signature)


def without_versions(rollout: Rollout) -> Rollout:
    return rollout._replace(policy_version=np.full(rollout.mask.shape, -1))


def spoilt(rollout: Rollout, field: str, number: Any) -> Rollout:
    array = np.array(getattr(rollout, field))
    array[2, 1] = number
    return rollout._replace(**{field: array})


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("source", [dataset_of, generated])
def test_sound_rollouts_pass(name: str, source: Any) -> None:
    rollouts = [logged_rollout(*SPACES[name], seed=seed) for seed in range(3)]
    found = list(checked_rollouts(source(*rollouts), *SPACES[name]))
    assert len(found) == 3
    for one, expected in zip(found, rollouts, strict=True):
        assert_equal(one, without_versions(expected))
        assert_equal(check_rollout(expected, *SPACES[name]), expected)


def test_known_sizes_stay_known() -> None:
    rollout = logged_rollout(*PLAIN)
    dataset = checked_rollouts(dataset_of(rollout, rollout), *PLAIN)
    assert dataset.element_spec.observations.shape == (4, 2, 3)
    assert dataset.element_spec.mask.shape == (3, 2)
    assert len(dataset) == 2
    spec = checked_rollouts(generated(rollout), *PLAIN).element_spec
    assert spec.observations.shape.as_list() == [None, None, 3]
    assert spec.mask.shape.as_list() == [None, None]


def test_one_field_with_known_sizes_tells_those_of_all() -> None:
    rollout = logged_rollout(*PLAIN)
    dataset = generated(rollout).map(
        lambda rollout: rollout._replace(mask=tf.ensure_shape(rollout.mask, [3, 2]))
    )
    assert checked_rollouts(dataset, *PLAIN).element_spec.observations.shape == (4, 2, 3)


def test_a_dictionary_without_mask_and_versions() -> None:
    rollout = logged_rollout(*SPACES["dict"])
    bare = rollout._replace(mask=None, policy_version=None)
    every = without_versions(rollout)._replace(mask=np.ones((3, 2), bool))
    names = {name: array for name, array in bare._asdict().items() if array is not None}
    for source in (dataset_of(names), generated(names), tf.data.Dataset.from_tensors(bare)):
        [found] = checked_rollouts(source, *SPACES["dict"])
        assert_equal(found, every)
    assert_equal(check_rollout(names, *SPACES["dict"]), every)


def test_versions_are_kept_where_asked_for() -> None:
    rollout = logged_rollout(*PLAIN)
    [found] = checked_rollouts(dataset_of(rollout), *PLAIN, keep_versions=True)
    assert_equal(found, rollout)
    narrow = rollout._replace(policy_version=rollout.policy_version.astype(np.int32))
    [found] = checked_rollouts(dataset_of(narrow), *PLAIN, keep_versions=True)
    assert_equal(found, rollout)
    assert_equal(check_rollout(narrow, *PLAIN), rollout)


FAULTS: dict[str, tuple[str, str, Any, str]] = {
    "observations": ("box", "observations", np.nan, "observations must be finite"),
    "actions": ("box", "actions", np.inf, "actions must be finite"),
    "log_probs": ("box", "behaviour_log_probs", -np.inf, "behaviour_log_probs must be finite"),
    "rewards": ("box", "rewards", np.nan, "rewards must be finite, got NaN or infinity"),
    "choice": ("discrete", "actions", 3, "actions must lie between 0 and 2"),
    "observed_choice": ("discrete", "observations", 2, "observations must lie between -2 and 1"),
    "probability": ("discrete", "behaviour_log_probs", 0.5, "must be logarithms of probabilities"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("source", [dataset_of, generated])
def test_a_bad_rollout_is_named_and_not_given(fault: str, source: Any) -> None:
    name, field, number, message = FAULTS[fault]
    good = logged_rollout(*SPACES[name])
    bad = spoilt(good, field, number)
    rows = iter(checked_rollouts(source(good, bad, good), *SPACES[name]))
    assert_equal(next(rows), without_versions(good))
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=f"rollout 1 cannot be used: .*{message}"
    ):
        next(rows)
    with pytest.raises(ValueError, match=message):
        check_rollout(bad, *SPACES[name])


def test_sizes_that_come_to_light_later() -> None:
    good = logged_rollout(*PLAIN)
    for name in ("observations", "actions", "mask"):
        bad = good._replace(**{name: getattr(good, name)[:2]})
        with pytest.raises(
            tf.errors.InvalidArgumentError,
            match=rf"rollout 1 cannot be used: {name} must have shape .* where rewards have \[T, B",
        ):
            list(checked_rollouts(generated(good, bad), *PLAIN))
    empty = tf.nest.map_structure(lambda array: array[:0], good)
    empty = empty._replace(observations=good.observations[:1])
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"rollout 0 .* it has no rows"):
        list(checked_rollouts(generated(empty), *PLAIN))
    with pytest.raises(ValueError, match="T >= 1 steps of B >= 1 environments"):
        check_rollout(empty, *PLAIN)


@pytest.mark.parametrize(
    ("dataset", "error", "message"),
    [
        (
            dataset_of(logged_rollout(*PLAIN)._asdict() | {"behaviour_log_probs": np.zeros(2)}),
            ValueError,
            r"behaviour_log_probs must have shape \[T, B\], got \[2\]",
        ),
        (dataset_of({"rewards": np.zeros([3, 2])}), ValueError, "must have behaviour_log_probs"),
        (dataset_of(logged_rollout(*SPACES["image"])), ValueError, "observations must be of dtype"),
        (dataset_of(logged_rollout(*SPACES["box"])), ValueError, "actions must be of dtype int32"),
        (
            dataset_of(logged_rollout(gym.spaces.Box(-1, 1, (4,)), PLAIN[1])),
            ValueError,
            r"observations must have shape \[T\+1, B, 3\], got \[4, 2, 4\]",
        ),
        (dataset_of(np.zeros(3)), TypeError, "must be a trpo_tf.Rollout or a dictionary"),
    ],
)
def test_another_structure_is_refused_at_once(
    dataset: tf.data.Dataset, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as raised:
        checked_rollouts(dataset, *PLAIN)
    assert "\n" not in str(raised.value)


def test_rollouts_without_log_probs_are_refused_in_every_form() -> None:
    bare = logged_rollout(*PLAIN)._replace(behaviour_log_probs=None)
    names = {name: array for name, array in bare._asdict().items() if array is not None}
    message = "must have behaviour_log_probs.* Log them while acting"
    for dataset in (tf.data.Dataset.from_tensors(bare), dataset_of(names), generated(names)):
        with pytest.raises(ValueError, match=message):
            checked_rollouts(dataset, *PLAIN)
    for rollout in (bare, names):
        with pytest.raises(ValueError, match=message):
            check_rollout(rollout, *PLAIN)


def test_what_is_no_array() -> None:
    rollout = logged_rollout(*PLAIN)
    with pytest.raises(ValueError, match="rewards must be an array, got rows of different lengths"):
        check_rollout(rollout._replace(rewards=[[0.0], [1.0, 2.0]]), *PLAIN)
    with pytest.raises(ValueError, match=r"rewards must be of dtype .* got object"):
        check_rollout(rollout._replace(rewards=np.full((3, 2), None)), *PLAIN)
    assert_equal(
        check_rollout(tf.nest.map_structure(tf.convert_to_tensor, rollout), *PLAIN), rollout
    )


@pytest.mark.parametrize("name", ["box", "discrete", "multi_discrete", "multi_binary"])
def test_a_row_that_does_not_count_may_hold_anything(name: str) -> None:
    rollout = logged_rollout(*SPACES[name])
    fields = {}
    for field in ("actions", "behaviour_log_probs", "rewards"):
        array = np.array(getattr(rollout, field))
        array[1, 0] = np.nan if array.dtype.kind == "f" else 10**9
        fields[field] = array
    wild = rollout._replace(**fields)
    for field in fields:
        fields[field] = np.array(fields[field])
        fields[field][1, 0] = 0
    [found] = checked_rollouts(dataset_of(wild), *SPACES[name])
    assert_equal(found, without_versions(rollout)._replace(**fields))
    assert_equal(check_rollout(wild, *SPACES[name]), rollout._replace(**fields))


@pytest.mark.parametrize("name", SPACES)
def test_what_passes_drives_the_parts(name: str) -> None:
    observation_space, action_space = SPACES[name]
    rollout = logged_rollout(*SPACES[name], steps=8, envs=4)
    if rollout.actions.dtype.kind == "i":
        rollout = rollout._replace(actions=rollout.actions.astype(np.int64))
    wild = np.array(rollout.rewards)
    wild[1, 0] = np.nan
    policy = make_policy(observation_space, action_space, hidden_sizes=(4,))
    critic = make_value_function(observation_space, hidden_sizes=(4,))
    optimizer = NaturalGradientOptimizer(KLConstraint(0.01), cg_steps=2, execution=Execution.EAGER)
    pipeline = generated(rollout._replace(rewards=wild))
    for one in checked_rollouts(pipeline, *SPACES[name]):
        log_probs = target_log_probs(policy, one)
        estimate = Advantage()(one, critic_values(critic, one), target_log_probs=log_probs)
        info = optimizer.step(policy, make_batch(one, estimate))
    assert np.isfinite(log_probs).all()
    assert np.isfinite(estimate.value_targets).all()
    assert info.accepted
    assert info.behaviour_kl > 0


def test_inside_a_pipeline() -> None:
    rollouts = [logged_rollout(*PLAIN, seed=seed) for seed in range(4)]
    dataset = checked_rollouts(dataset_of(*rollouts), *PLAIN)
    found = list(dataset.repeat(2).prefetch(1).take(6))
    for one, seed in zip(found, [0, 1, 2, 3, 0, 1], strict=True):
        assert_equal(one, without_versions(rollouts[seed]))
