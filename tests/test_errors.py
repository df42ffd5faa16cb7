"""Errors that are no errors of arguments stay apart from those that are."""

from __future__ import annotations

import pytest

from trpo_tf.errors import TrainingStopped


def test_a_stop_carries_its_reason():
    with pytest.raises(TrainingStopped, match="five updates were refused"):
        raise TrainingStopped("five updates were refused")


def test_a_stop_is_not_mistaken_for_a_wrong_argument():
    assert issubclass(TrainingStopped, RuntimeError)
    assert not issubclass(TrainingStopped, ValueError | TypeError | OSError)
