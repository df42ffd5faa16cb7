"""Processes killed in the middle of a rollout: no transition twice, none with a wrong successor.

`experiments/worker_kills` does the same many times more.
"""

from __future__ import annotations

import numpy as np
import pytest

from experiments.worker_kills import life_env
from experiments.worker_kills.ledger import Ledger
from experiments.worker_kills.run import MAKERS, collect_under_kills, make_policy
from trpo_tf.samplers import Sampler

KILLS = 3


@pytest.mark.parametrize("name", MAKERS)
def test_every_transition_is_used_once_and_the_lost_rollouts_are_counted(name, request):
    if name == "ray":
        request.getfixturevalue("ray_cluster_of_four_cpus")
    sampler = MAKERS[name]()
    counts = collect_under_kills(sampler, KILLS, seed=1)
    sampler.close()
    assert counts["lost_rollouts"] == KILLS
    assert counts["transitions"] == counts["env_steps"]
    assert counts["lives"] >= 4 + KILLS


def rollouts():
    sampler = Sampler(life_env.make_life_envs(2, 0), make_policy(), num_steps=20)
    return sampler.collect()[0], sampler.collect()[0]


def test_the_ledger_takes_what_a_sampler_collects():
    ledger = Ledger()
    for rollout in rollouts():
        ledger.book(rollout)
    assert ledger.lives == 2
    assert len(ledger.transitions) > 50


def spoil_twice(first, second):
    return first, first


def spoil_order(first, second):
    return second, first


def spoil_column(first, second):
    observations = first.observations.copy()
    observations[5:] = observations[5:, ::-1]
    return first._replace(observations=observations), second


def spoil_mask(first, second):
    mask = first.mask.copy()
    mask[4] = False
    return first._replace(mask=mask), second


def spoil_actions(first, second):
    return first._replace(actions=np.roll(first.actions, 1, axis=0)), second


def spoil_rewards(first, second):
    return first._replace(rewards=first.rewards + 1), second


@pytest.mark.parametrize(
    "spoil",
    [spoil_twice, spoil_order, spoil_column, spoil_mask, spoil_actions, spoil_rewards],
)
def test_the_ledger_refuses_what_does_not_add_up(spoil):
    ledger = Ledger()
    with pytest.raises(AssertionError):
        for rollout in spoil(*rollouts()):
            ledger.book(rollout)
