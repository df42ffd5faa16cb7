"""Which environment, which step and which number: the first that spoils a rollout."""

from __future__ import annotations

import numpy as np
import pytest

from trpo_tf.rollout_fault import first_fault
from trpo_tf.types import Rollout

STEPS, ENVS = 4, 3


def sound():
    row, flag = np.zeros([STEPS, ENVS], np.float32), np.zeros([STEPS, ENVS], bool)
    observations = {
        "eye": np.zeros([STEPS + 1, ENVS, 2, 2], np.float32),
        "id": np.zeros([STEPS + 1, ENVS], np.int64),
    }
    version = np.zeros([STEPS, ENVS], np.int64)
    return Rollout(
        observations, row[..., None].copy(), row.copy(), row.copy(), flag, flag, ~flag, version
    )


def test_nothing_is_found_where_all_is_sound():
    assert first_fault(sound()) is None


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_a_reward_is_named_with_its_place(value):
    rollout = sound()
    rollout.rewards[2, 1] = value
    expected = f"environment 1 gave the reward {value:g} in step 2 of the rollout"
    assert first_fault(rollout) == expected


def test_the_first_of_several_is_named_whatever_it_is():
    rollout = sound()
    rollout.rewards[2, 0] = np.nan
    rollout.observations["eye"][2, 2, 0, 1] = np.inf
    rollout.behaviour_log_probs[3, 0] = np.nan
    assert first_fault(rollout) == (
        "environment 2 gave the observation [0, 1] inf after step 1 of the rollout"
    )
    rollout.actions[0, 0, 0] = np.nan
    assert first_fault(rollout) == "environment 0 gave the action [0] nan in step 0 of the rollout"
    rollout.observations["eye"][0, 1, 1, 1] = 1e20
    assert first_fault(rollout) == (
        "environment 1 gave the observation [1, 1] 1e+20 before the rollout"
    )


def test_rows_that_do_not_count_are_not_looked_at():
    rollout = sound()
    mask = rollout.mask.copy()
    mask[1:3, 0] = False
    rollout.rewards[1, 0] = np.nan
    rollout.observations["eye"][2, 0] = np.nan
    assert first_fault(rollout._replace(mask=mask)) is None
    rollout.observations["eye"][3, 0] = np.nan
    assert "after step 2" in first_fault(rollout._replace(mask=mask))


def test_infinity_is_seen_in_narrow_types_too():
    rollout = sound()
    eye = rollout.observations["eye"].astype(np.float16)
    assert first_fault(rollout._replace(observations={"eye": eye})) is None
    eye[1, 0, 1, 0] = np.inf
    expected = "environment 0 gave the observation [1, 0] inf after step 0 of the rollout"
    assert first_fault(rollout._replace(observations={"eye": eye})) == expected
