"""Warm-up requests as TensorFlow Serving reads them."""

from __future__ import annotations

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf

from trpo_tf import warmup

SPACES = {
    "free box": (gym.spaces.Box(-np.inf, np.inf, (3,)), 0),
    "box above zero": (gym.spaces.Box(1, 2, (2,), np.float64), 1),
    "box below zero": (gym.spaces.Box(-2, -1, (2,)), -1),
    "image": (gym.spaces.Box(0, 255, (8, 8, 3), np.uint8), 0),
    "discrete": (gym.spaces.Discrete(3, start=-5), -5),
    "binary": (gym.spaces.MultiBinary([2, 2]), 0),
}


@pytest.mark.parametrize("name", SPACES)
def test_examples_lie_in_their_space(name: str) -> None:
    space, expected = SPACES[name]
    example = warmup.example_observation(space)
    assert space.contains(example if example.shape else space.dtype.type(example))
    np.testing.assert_array_equal(example, np.full(space.shape or (), expected))


def test_examples_of_nested_spaces_lie_in_them() -> None:
    space = gym.spaces.Tuple(
        [gym.spaces.MultiDiscrete([3, 4], start=[1, 2]), gym.spaces.Dict(a=gym.spaces.Box(0, 1))]
    )
    assert space.contains(warmup.example_observation(space))


def test_what_is_written_is_read_with_every_signature_and_batch_size(tmp_path: Path) -> None:
    rows = {"observations": np.array([1.5, 2.5, 3.5]), "seeds": np.array([7, 8], np.int32)}
    inputs = {"serving_default": {"observations": rows["observations"]}, "sample": rows}
    requests = warmup.warmup_requests("walker", inputs, batch_sizes=(1, 4))
    path = warmup.write_warmup(tmp_path, requests)
    assert path == tmp_path / "assets.extra" / "tf_serving_warmup_requests"
    read = [log.predict_log.request for log in warmup.read_warmup(tmp_path)]
    assert [request.model_spec.name for request in read] == ["walker"] * 4
    assert [request.model_spec.signature_name for request in read] == [
        "serving_default",
        "serving_default",
        "sample",
        "sample",
    ]
    for request, size in zip(read, [1, 4, 1, 4], strict=True):
        for name, proto in request.inputs.items():
            values = tf.make_ndarray(proto)
            assert values.dtype == rows[name].dtype
            np.testing.assert_array_equal(values, np.tile(rows[name], (size, 1)))


def test_equal_numbers_are_written_once() -> None:
    image = {"serving_default": {"observations": np.full((84, 84, 4), 3, np.uint8)}}
    for request in warmup.warmup_requests("atari", image):
        assert request.ByteSize() < 200
        values = tf.make_ndarray(request.predict_log.request.inputs["observations"])
        assert values.dtype == np.uint8
        assert (values == 3).all()


def test_a_version_without_warmup_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(tf.errors.NotFoundError):
        warmup.read_warmup(tmp_path)
