"""Warm-up requests as TensorFlow Serving reads them."""

from __future__ import annotations

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf

from trpo_tf import warmup

SPACES = {
    "free box": gym.spaces.Box(-np.inf, np.inf, (3,)),
    "box above zero": gym.spaces.Box(1, 2, (2,), np.float64),
    "box of meaningless bounds": gym.spaces.Box(-3.4e38, 3.4e38, (2,)),
    "half a box": gym.spaces.Box(np.float32([0, -np.inf]), np.float32([np.inf, -5])),
    "image": gym.spaces.Box(0, 255, (8, 8, 3), np.uint8),
    "discrete": gym.spaces.Discrete(3, start=-5),
    "many discrete": gym.spaces.MultiDiscrete([[3, 4], [5, 6]], start=[[1, 2], [3, -4]]),
    "binary": gym.spaces.MultiBinary([2, 2]),
}


@pytest.mark.parametrize("name", SPACES)
def test_examples_lie_in_their_space_and_differ(name: str) -> None:
    space = SPACES[name]
    examples = warmup.example_observations(space, 20)
    for example in examples:
        assert space.contains(example if example.shape else space.dtype.type(example))
    assert len(np.unique(examples, axis=0)) > 1
    assert np.abs(examples.astype(np.float64)).max() < 1000


def test_examples_of_nested_spaces_lie_in_them_and_are_the_same_again() -> None:
    space = gym.spaces.Tuple(
        [gym.spaces.MultiDiscrete([3, 4], start=[1, 2]), gym.spaces.Dict(a=gym.spaces.Box(0, 1))]
    )
    first, again = (warmup.example_observations(space, 5, seed=3) for _ in range(2))
    assert all(space.contains((first[0][i], {"a": first[1]["a"][i]})) for i in range(5))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1]["a"], again[1]["a"])


def test_what_is_written_is_read_in_its_order_with_the_answers(tmp_path: Path) -> None:
    inputs = {"observations": np.array([[1.5, 2.5]]), "seeds": np.array([[7, 8]], np.int32)}
    outputs = {"actions": np.array([3], np.int64)}
    calls = [
        warmup.Call("sample", inputs, outputs),
        warmup.Call("serving_default", {"observations": np.zeros([4, 2])}, {}),
    ]
    path = warmup.write_warmup(tmp_path, warmup.warmup_requests("walker", calls))
    assert path == tmp_path / "assets.extra" / "tf_serving_warmup_requests"
    read = [log.predict_log for log in warmup.read_warmup(tmp_path)]
    assert [log.request.model_spec.name for log in read] == ["walker"] * 2
    assert [log.request.model_spec.signature_name for log in read] == ["sample", "serving_default"]
    for got, call in zip(read, calls, strict=True):
        for tensors, wanted in (
            (got.request.inputs, call.inputs),
            (got.response.outputs, call.outputs),
        ):
            assert set(tensors) == set(wanted)
            for name, value in wanted.items():
                assert tf.make_ndarray(tensors[name]).dtype == value.dtype
                np.testing.assert_array_equal(tf.make_ndarray(tensors[name]), value)


def test_a_version_without_warmup_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(tf.errors.NotFoundError):
        warmup.read_warmup(tmp_path)
