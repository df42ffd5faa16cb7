from __future__ import annotations

import pytest

from trpo_tf.counts import checked_count


@pytest.mark.parametrize("count", [0, 1, 2**62 - 1])
def test_counts(count):
    assert checked_count(count) == count


@pytest.mark.parametrize(
    "value", [-1, 2**62, 10**400, 1.0, float("inf"), float("nan"), True, "1", None, [1]]
)
def test_what_is_no_count(value):
    with pytest.raises(ValueError, match="a count must be a whole number from 0 to 2"):
        checked_count(value)
