"""Weighted moments against NumPy's."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from trpo_tf.execution import Execution
from trpo_tf.moments import weighted_variance


@pytest.mark.parametrize("execution", list(Execution))
def test_variance(execution: Execution) -> None:
    """Rows that do not count may hold anything."""
    rng = np.random.default_rng(0)
    rows, weights = rng.normal(3, 2, 40), rng.choice([0.0, 0.5, 2.0], 40)
    counting = weights > 0
    mean = np.average(rows[counting], weights=weights[counting])
    expected = np.average((rows[counting] - mean) ** 2, weights=weights[counting])
    rows[~counting] = np.nan
    found = execution.compile(weighted_variance)(tf.constant(rows), tf.constant(weights))
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_no_row_that_counts() -> None:
    assert weighted_variance(tf.constant([1.0, np.nan]), tf.zeros(2)) == 0
