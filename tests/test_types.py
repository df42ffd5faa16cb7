"""The records' names are a contract that logs, experiments and samplers rely on."""

from __future__ import annotations

import pytest

from trpo_tf.types import (
    AdvantageEstimate,
    Batch,
    EpisodeStats,
    Rollout,
    StepStatus,
    UpdateInfo,
)


def test_rollout_fields() -> None:
    assert Rollout._fields == (
        "observations",
        "actions",
        "behaviour_log_probs",
        "rewards",
        "terminated",
        "truncated",
        "mask",
        "policy_version",
    )


def test_batch_fields() -> None:
    required = ("observations", "actions", "advantages", "behaviour_log_probs", "weights")
    assert Batch._fields[:5] == required
    assert set(Batch._field_defaults) == set(Batch._fields[5:])


def test_estimate_and_episode_fields() -> None:
    assert AdvantageEstimate._fields == ("advantages", "value_targets")
    assert EpisodeStats._fields == ("returns", "lengths")


def test_update_info_fields() -> None:
    required = (
        "surrogate_before",
        "surrogate_after",
        "kl",
        "accepted",
        "status",
        "num_backtracks",
        "cg_residual_norm",
    )
    assert UpdateInfo._fields[:7] == required
    assert {"policy_lag", "effective_sample_size"} <= set(UpdateInfo._fields)
    assert set(UpdateInfo._field_defaults) == set(UpdateInfo._fields[7:])


@pytest.mark.parametrize("status", list(StepStatus))
def test_every_status_has_a_remedy(status: StepStatus) -> None:
    assert status.remedy.endswith(".")
    assert len(status.remedy) > 15


def test_only_accepted_is_zero() -> None:
    assert StepStatus.ACCEPTED == 0
    assert len({status.remedy for status in StepStatus}) == len(StepStatus)
