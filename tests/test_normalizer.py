"""The running normaliser against NumPy's moments of all rows seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from trpo_tf.execution import Execution
from trpo_tf.normalizer import RunningNormalizer

ALL_WAYS = pytest.mark.parametrize("execution", list(Execution))


def built(size: int, dtype: str = "float64", mask: np.ndarray | None = None) -> RunningNormalizer:
    normalizer = RunningNormalizer(mask, dtype=dtype)
    normalizer.build((None, size))
    return normalizer


def statistics(normalizer: RunningNormalizer) -> list[np.ndarray]:
    return [v.numpy() for v in (normalizer.count, normalizer.mean, normalizer.variance)]


@ALL_WAYS
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_moments_of_everything_seen(execution: Execution, dtype: str) -> None:
    rng = np.random.default_rng(0)
    normalizer = built(3, dtype)
    update = execution.compile(normalizer.update)
    seen = []
    for size, offset in ((5, 0.0), (1, 100.0), (5, -3.0), (5, 1.0)):
        rows = rng.normal(loc=offset, scale=[1.0, 5.0, 0.1], size=(size, 3))
        weights = (rng.random(size) < 0.7).astype(float)
        seen.append(rows[weights > 0])
        update(tf.constant(rows, dtype), tf.constant(weights, dtype))
    everything = np.concatenate(seen)
    tolerance = 1e-4 if dtype == "float32" else 1e-10
    assert float(normalizer.count) == len(everything)
    np.testing.assert_allclose(normalizer.mean, everything.mean(axis=0), rtol=tolerance)
    np.testing.assert_allclose(normalizer.variance, everything.var(axis=0), rtol=tolerance)
    probe = rng.normal(size=(4, 3))
    expected = (probe - everything.mean(axis=0)) / np.sqrt(everything.var(axis=0) + 1e-8)
    output = execution.compile(normalizer)(tf.constant(probe, dtype))
    np.testing.assert_allclose(output, np.clip(expected, -10, 10), rtol=10 * tolerance, atol=1e-3)
    assert output.dtype == dtype


def test_moments_do_not_drift_over_many_updates() -> None:
    rng = np.random.default_rng(1)
    normalizer = built(2, "float32")
    update = Execution.XLA.compile(normalizer.update)
    rows = rng.normal(loc=[50.0, -2.0], scale=[0.5, 3.0], size=(300, 16, 2)).astype(np.float32)
    for part in rows:
        update(part, tf.ones([16]))
    everything = rows.reshape(-1, 2).astype(np.float64)
    np.testing.assert_allclose(normalizer.mean, everything.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(normalizer.variance, everything.var(axis=0), rtol=1e-3)


@ALL_WAYS
def test_identity_before_data(execution: Execution) -> None:
    rows = np.random.default_rng(2).uniform(-9, 9, size=(6, 3))
    np.testing.assert_allclose(execution.compile(built(3))(tf.constant(rows)), rows, rtol=1e-7)


@ALL_WAYS
def test_rows_of_no_weight_change_nothing(execution: Execution) -> None:
    normalizer = built(2)
    normalizer.update(tf.constant([[1.0, 2.0], [3.0, 5.0]], tf.float64), tf.ones([2], tf.float64))
    before = statistics(normalizer)
    rows = tf.constant([[np.nan, np.inf], [7.0, 7.0]], tf.float64)
    execution.compile(normalizer.update)(rows, tf.zeros([2], tf.float64))
    for old, new in zip(before, statistics(normalizer), strict=True):
        np.testing.assert_array_equal(old, new)
    assert np.isfinite(statistics(normalizer)[1]).all()


def test_padding_with_rows_of_no_weight_is_no_data() -> None:
    rows = np.random.default_rng(3).normal(size=(8, 2))
    padded = np.concatenate([rows, np.full((5, 2), 1e6)])
    plain, with_padding = built(2), built(2)
    plain.update(rows, np.ones(8))
    with_padding.update(padded, np.concatenate([np.ones(8), np.zeros(5)]))
    for a, b in zip(statistics(plain), statistics(with_padding), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_clips() -> None:
    normalizer = built(1)
    normalizer.update(np.array([[0.0], [2.0]]), np.ones(2))
    np.testing.assert_array_equal(normalizer(np.array([[1e9], [-1e9]])), [[10.0], [-10.0]])


def test_constant_observations_give_zero() -> None:
    normalizer = built(2)
    normalizer.update(np.full((10, 2), 3.0), np.ones(10))
    np.testing.assert_allclose(normalizer(np.full((2, 2), 3.0)), np.zeros((2, 2)), atol=1e-6)
    assert np.isfinite(normalizer(np.full((1, 2), 4.0))).all()


def test_entries_outside_the_mask_pass() -> None:
    normalizer = built(3, mask=np.array([True, False, True]))
    rows = np.array([[1.0, 0.0, 5.0], [3.0, 1.0, 9.0]])
    normalizer.update(rows, np.ones(2))
    np.testing.assert_allclose(normalizer(rows), [[-1, 0, -1], [1, 1, 1]], rtol=1e-6)
    assert normalizer(np.array([[0.0, 1e6, 0.0]]))[0, 1] == 1e6


def test_a_call_changes_no_statistics() -> None:
    normalizer = built(2)
    before = statistics(normalizer)
    normalizer(np.random.default_rng(4).normal(size=(10, 2)))
    for old, new in zip(before, statistics(normalizer), strict=True):
        np.testing.assert_array_equal(old, new)
    assert normalizer.trainable_variables == []
    assert len(normalizer.non_trainable_variables) == 3


def test_statistics_live_in_checkpoints(tmp_path: Path) -> None:
    source, target = built(2), built(2)
    source.update(np.random.default_rng(5).normal(size=(10, 2)), np.ones(10))
    path = tf.train.Checkpoint(normalizer=source).write(str(tmp_path / "normalizer"))
    tf.train.Checkpoint(normalizer=target).read(path).assert_consumed()
    for a, b in zip(statistics(source), statistics(target), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("clip", "epsilon"), [(0.0, 1e-8), (-1.0, 1e-8), (10.0, 0.0)])
def test_bad_arguments(clip: float, epsilon: float) -> None:
    with pytest.raises(ValueError, match="must be > 0"):
        RunningNormalizer(clip=clip, epsilon=epsilon)
