"""What rollouts are made of: names, shapes, dtypes, ranges, and each fault by its name."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf
from logged_rollouts import PLAIN, SPACES, assert_equal, logged_rollout

from trpo_tf.rollout_form import NOT_CURRENT, RolloutForm
from trpo_tf.types import Rollout

ROWS = Rollout._fields[1:]


def faults(form: RolloutForm, rollout: Rollout) -> list[str]:
    leaves = form.leaves(rollout)
    return [text for text, is_sound in form.number_faults(leaves) if not is_sound]


@pytest.mark.parametrize("name", SPACES)
def test_apart_and_together_again(name: str) -> None:
    form = RolloutForm(*SPACES[name])
    rollout = logged_rollout(*SPACES[name])
    leaves = form.leaves(rollout)
    assert set(leaves) == set(form.fields)
    assert form.leaves(leaves) == leaves
    assert_equal(form.rollout(leaves), rollout)
    assert form.check_structure(leaves) == (3, 2)
    assert all(is_sound for _, is_sound in form.size_faults(leaves))
    assert faults(form, rollout) == []
    assert_equal(form.rollout(form.mended(leaves)), rollout)


def test_leaves_are_named_by_the_way_that_leads_to_them() -> None:
    parts = ("['eye']", "['limb']['0']", "['limb']['1']")
    names = [f"observations{part}" for part in parts]
    assert list(RolloutForm(*SPACES["dict"]).fields) == [*names, *ROWS]
    assert list(RolloutForm(*SPACES["box"]).fields) == ["observations", *ROWS]


def test_spaces_that_are_not_supported() -> None:
    with pytest.raises(ValueError, match="not supported"):
        RolloutForm(gym.spaces.Text(3), PLAIN[1])
    with pytest.raises(ValueError, match="not supported"):
        RolloutForm(PLAIN[0], SPACES["dict"][0])


@pytest.mark.parametrize(
    ("rollout", "message"),
    [
        ({}, r"must have behaviour_log_probs, the log-probabilities .* Log them while acting\.$"),
        (
            logged_rollout(*PLAIN)._replace(behaviour_log_probs=None),
            "must have behaviour_log_probs",
        ),
        (
            logged_rollout(*PLAIN)._replace(rewards=None, observations=None),
            r"missing: \['observations', 'rewards'\], unknown: \[\]",
        ),
        (
            {**logged_rollout(*PLAIN)._asdict(), "reward": 1},
            r"missing: \[\], unknown: \['reward'\]",
        ),
    ],
)
def test_names_that_are_missing_or_unknown(rollout: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RolloutForm(*PLAIN).leaves(rollout)


def test_what_is_no_rollout() -> None:
    with pytest.raises(TypeError, match=r"must be a trpo_tf\.Rollout or a dictionary .* got list"):
        RolloutForm(*PLAIN).leaves([1, 2])
    rollout = logged_rollout(*PLAIN)
    with pytest.raises(ValueError, match="observations must be a dictionary, got ndarray"):
        RolloutForm(*SPACES["dict"]).leaves(rollout)


@pytest.mark.parametrize("name", ROWS)
def test_a_field_of_another_shape(name: str) -> None:
    form = RolloutForm(*PLAIN)
    leaves = form.leaves(logged_rollout(*PLAIN))
    with pytest.raises(ValueError, match=rf"{name} must have shape \[T, B\], got \[6\]\."):
        form.check_structure({**leaves, name: leaves[name].reshape(6)})
    with pytest.raises(ValueError, match=r"T >= 1 steps of B >= 1 .* got observations \[4, 2\], "):
        form.check_structure({**leaves, name: leaves[name][:2]})
    with pytest.raises(ValueError, match=r"T >= 1 steps of B >= 1 .* got observations \[4, 2\], "):
        form.check_structure({**leaves, name: leaves[name][:, :1]})


@pytest.mark.parametrize("name", ["observations", *ROWS])
@pytest.mark.parametrize("dtype", ["complex64", "S3", "O", ">f4", ">i8"])
def test_a_field_of_another_dtype(name: str, dtype: str) -> None:
    form = RolloutForm(*PLAIN)
    leaves = form.leaves(logged_rollout(*PLAIN))
    with pytest.raises(ValueError, match=rf"^{name} must be of dtype "):
        form.check_structure({**leaves, name: np.zeros(leaves[name].shape, dtype)})


@pytest.mark.parametrize(
    ("name", "dtype", "expected"),
    [
        ("actions", "float32", "int32 or int64, got float32"),
        ("rewards", "int64", "float16 or float32 or float64, got int64"),
        ("terminated", "int8", "bool, got int8"),
        ("observations", "uint8", "float16 or float32 or float64, got uint8"),
    ],
)
def test_dtypes_that_are_wanted(name: str, dtype: str, expected: str) -> None:
    form = RolloutForm(*PLAIN)
    leaves = form.leaves(logged_rollout(*PLAIN))
    with pytest.raises(ValueError, match=f"{name} must be of dtype {expected}"):
        form.check_structure({**leaves, name: leaves[name].astype(dtype)})


def test_sizes_that_are_not_known_yet() -> None:
    form = RolloutForm(*PLAIN)
    specs = form.leaves(tf.nest.map_structure(tf.TensorSpec.from_tensor, as_tensors(PLAIN)))

    def with_shape(name: str, shape: Any) -> dict[str, tf.TensorSpec]:
        return {**specs, name: tf.TensorSpec(shape, specs[name].dtype)}

    assert form.check_structure(specs) == (3, 2)
    unknown = {name: tf.TensorSpec([None] * len(s.shape), s.dtype) for name, s in specs.items()}
    assert form.check_structure(unknown) == (None, None)
    assert form.check_structure({**unknown, "mask": tf.TensorSpec([None, 2], bool)}) == (None, 2)
    assert form.check_structure(with_shape("rewards", [None, None])) == (3, 2)
    with pytest.raises(ValueError, match=r"T, B\], got a tensor whose rank is not known\. Say it"):
        form.check_structure(with_shape("rewards", None))
    with pytest.raises(ValueError, match="rewards must be an array or a tensor, got RaggedTensorS"):
        form.check_structure({**specs, "rewards": tf.RaggedTensorSpec([None, None])})


def as_tensors(spaces: tuple[gym.Space, gym.Space]) -> Any:
    return tf.nest.map_structure(tf.convert_to_tensor, logged_rollout(*spaces))


@pytest.mark.parametrize(
    ("name", "field"),
    [
        *(("box", field) for field in ("observations", *ROWS[:3])),
        *(("discrete", field) for field in ROWS[1:3]),
    ],
)
@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite(name: str, field: str, number: float) -> None:
    form = RolloutForm(*SPACES[name])
    rollout = logged_rollout(*SPACES[name])
    array = np.array(getattr(rollout, field))
    array[2, 1] = number
    message = f"{field} must be finite, got NaN or infinity"
    assert message in faults(form, rollout._replace(**{field: array}))


@pytest.mark.parametrize(
    ("name", "field", "number", "text"),
    [
        ("discrete", "observations", -3, "observations must lie between -2 and 1"),
        ("discrete", "observations", 2, "observations must lie between -2 and 1"),
        ("discrete", "actions", 3, "actions must lie between 0 and 2"),
        ("discrete", "actions", -1, "actions must lie between 0 and 2"),
        (
            "multi_discrete",
            "observations",
            [9, 1],
            "observations must lie between [ 7 -1] and [9 0]",
        ),
        (
            "multi_discrete",
            "actions",
            [[1, 2], [4, 4]],
            "actions must lie between [[0 0] [0 0]] and [[1 2] [3 4]]",
        ),
        ("multi_binary", "observations", 2, "observations must lie between 0 and 1"),
        ("multi_binary", "actions", [0, 1, -1], "actions must lie between 0 and 1"),
    ],
)
def test_numbers_out_of_range(name: str, field: str, number: Any, text: str) -> None:
    form = RolloutForm(*SPACES[name])
    rollout = logged_rollout(*SPACES[name])
    array = np.array(getattr(rollout, field))
    array[2, 1] = number
    assert faults(form, rollout._replace(**{field: array})) == [text]


def test_probabilities_in_the_place_of_their_logarithms() -> None:
    rollout = logged_rollout(*SPACES["discrete"])
    rollout = rollout._replace(behaviour_log_probs=np.exp(rollout.behaviour_log_probs))
    text = "behaviour_log_probs must be logarithms of probabilities, <= 0"
    assert faults(RolloutForm(*SPACES["discrete"]), rollout) == [text]
    # A density may be larger than 1, and a rounded probability too.
    assert faults(RolloutForm(*PLAIN[:1], SPACES["box"][1]), box_rollout(0.9)) == []
    certain = logged_rollout(*PLAIN)._replace(behaviour_log_probs=np.full((3, 2), 1e-6, np.float32))
    assert faults(RolloutForm(*PLAIN), certain) == []


def box_rollout(log_prob: float) -> Rollout:
    log_probs = np.full((3, 2), log_prob, np.float32)
    return logged_rollout(*SPACES["box"])._replace(behaviour_log_probs=log_probs)


@pytest.mark.parametrize("name", ["box", "discrete", "multi_discrete", "multi_binary"])
def test_rows_that_do_not_count_may_hold_anything(name: str) -> None:
    form = RolloutForm(*SPACES[name])
    rollout = logged_rollout(*SPACES[name])
    worst = {np.dtype(np.float32): np.nan, np.dtype(np.int32): -7}
    fields = {}
    for field in ("actions", "behaviour_log_probs", "rewards"):
        array = np.array(getattr(rollout, field))
        array[1, 0] = worst[array.dtype]
        fields[field] = array
    leaves = form.leaves(rollout._replace(**fields))
    assert faults(form, rollout._replace(**fields)) == []
    mended = form.rollout(form.mended(leaves))
    for field in fields:
        expected = np.array(getattr(rollout, field))
        expected[1, 0] = 0
        np.testing.assert_array_equal(getattr(mended, field), expected)
    everywhere = rollout._replace(**fields, mask=np.ones((3, 2), bool))
    assert len(faults(form, everywhere)) >= 3


def test_what_is_missing_is_filled_in() -> None:
    form = RolloutForm(*PLAIN)
    rollout = logged_rollout(*PLAIN)
    bare = form.leaves(rollout._replace(mask=None, policy_version=None))
    filled = form.filled(bare)
    np.testing.assert_array_equal(filled["mask"], np.ones((3, 2), bool))
    np.testing.assert_array_equal(filled["policy_version"], np.full((3, 2), NOT_CURRENT))
    assert_equal(form.rollout(form.filled(form.leaves(rollout))), rollout)
