"""The fault campaign's short form, with its own parts; and that its checks can fail.

`experiments/faults` does the same many times more. Damaged checkpoints are in test_checkpoint.py,
the command that falls back in test_train.py, a lost node of Ray in test_ray_sampler.py.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.faults import (
    disk,
    environments,
    kills,
    left_behind,
    life_env,
    long_run,
    report,
    workers,
)
from experiments.faults.ledger import Ledger
from experiments.faults.left_behind import Picture
from experiments.faults.outcome import Outcome
from experiments.faults.training import as_flags
from trpo_tf import command_line, train
from trpo_tf.samplers import Sampler

# --- kills --------------------------------------------------------------------------------------


def test_a_training_is_killed_twice_and_loses_nothing(tmp_path: Path) -> None:
    for number in range(2):
        outcome = kills.trial("CartPole", number, 4, tmp_path)
        assert outcome.found == []


def picture(rows: str, step: int) -> Picture:
    return Picture(list(rows), list(range(1, len(rows) + 1)), step, [])


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        (picture("abc", 2), picture("abcd", 2), None),
        (picture("abc", 2), picture("abXY", 4), None),
        (picture("", -1), picture("ab", 0), None),
        (picture("abc", 2), picture("XYZ", 2), "silent_restarts"),
        (picture("abcd", 4), picture("abXYZ", 4), "lost"),
        (picture("abcd", 4), picture("abc", 2), "lost"),
        (picture("ab", 2), picture("abcde", 2), "lost"),
        (picture("ab", 2), picture("abc", 4), "wrong"),
    ],
)
def test_what_a_life_lost_is_booked(before: Picture, after: Picture, kind: str | None) -> None:
    outcome = Outcome()
    kills.compare(before, after, 2, outcome)
    assert {found.split(":")[0] for found in outcome.found} == ({kind} if kind else set())
    assert outcome.survived == (kind is None)


@pytest.mark.parametrize(
    ("rows", "kind"), [("1,a\n2,b\n2,c\n", "doubled"), ("1,a\n3,b\n", "wrong"), ("1,a\n2,", None)]
)
def test_rows_twice_and_gaps_are_booked(rows: str, kind: str | None, tmp_path: Path) -> None:
    (tmp_path / "progress.csv").write_text(f"update,x\n{rows}")
    outcome = Outcome()
    left_behind.look(tmp_path, tmp_path / "model", outcome)
    assert {found.split(":")[0] for found in outcome.found} == ({kind} if kind else set())


@pytest.mark.parametrize("name", ["1", "half"])
def test_an_export_that_does_not_load_is_booked(name: str, tmp_path: Path) -> None:
    (tmp_path / "model" / ".tmp-2-writing").mkdir(parents=True)
    outcome = Outcome()
    left_behind.look(tmp_path / "run", tmp_path / "model", outcome)
    assert outcome.survived
    (tmp_path / "model" / name).mkdir()
    left_behind.look(tmp_path / "run", tmp_path / "model", outcome)
    assert outcome.wrong == 1


# --- disks --------------------------------------------------------------------------------------


def test_a_full_disk_ends_training_at_once_and_it_goes_on_when_there_is_room(
    tmp_path: Path,
) -> None:
    case = "full while training" if disk.may_mount() else "file size limit"
    assert disk.trial(case, 0, 0, tmp_path).found == []


# --- workers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", workers.HOWS)
def test_every_transition_is_used_once_whatever_becomes_of_a_process(
    how: str, tmp_path: Path
) -> None:
    sampler = workers.make_async_sampler(str(tmp_path), timeout=2.0)
    outcome = Outcome()
    ledger = workers.replaced(sampler, how, tmp_path, random.Random(1), outcome)
    sampler.close()
    assert outcome.found == []
    assert len(ledger.transitions) == sampler.env_steps
    assert ledger.lives >= workers.NUM_ENVS + 1


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_a_ray_worker_is_replaced(how: str, tmp_path: Path, ray_cluster_of_four_cpus: None) -> None:
    sampler = workers.make_ray_sampler(str(tmp_path), timeout=5.0)
    outcome = Outcome()
    workers.replaced(sampler, how, tmp_path, random.Random(1), outcome)
    sampler.close()
    assert outcome.found == []


@pytest.mark.parametrize("how", workers.HOWS)
def test_without_a_replacement_the_error_comes_in_time_and_says_which_it_was(
    how: str, tmp_path: Path
) -> None:
    sampler = workers.make_sync_sampler(str(tmp_path), timeout=2.0)
    outcome = Outcome()
    workers.stopped_in_time(sampler, how, tmp_path, random.Random(1), outcome)
    sampler.close()
    assert outcome.found == []


def rollouts() -> tuple[Any, Any]:
    sampler = Sampler(life_env.make_life_envs(2, 0), workers.make_policy(), num_steps=20)
    return sampler.collect()[0], sampler.collect()[0]


def test_the_ledger_takes_what_a_sampler_collects() -> None:
    ledger = Ledger()
    for rollout in rollouts():
        ledger.book(rollout)
    assert ledger.lives == 2
    assert len(ledger.transitions) > 50


def spoil_twice(first: Any, second: Any) -> Any:
    return first, first


def spoil_order(first: Any, second: Any) -> Any:
    return second, first


def spoil_column(first: Any, second: Any) -> Any:
    observations = first.observations.copy()
    observations[5:] = observations[5:, ::-1]
    return first._replace(observations=observations), second


def spoil_mask(first: Any, second: Any) -> Any:
    mask = first.mask.copy()
    mask[4] = False
    return first._replace(mask=mask), second


def spoil_actions(first: Any, second: Any) -> Any:
    return first._replace(actions=np.roll(first.actions, 1, axis=0)), second


def spoil_rewards(first: Any, second: Any) -> Any:
    return first._replace(rewards=first.rewards + 1), second


@pytest.mark.parametrize(
    "spoil",
    [spoil_twice, spoil_order, spoil_column, spoil_mask, spoil_actions, spoil_rewards],
)
def test_the_ledger_refuses_what_does_not_add_up(spoil: Any) -> None:
    ledger = Ledger()
    with pytest.raises(AssertionError):
        for rollout in spoil(*rollouts()):
            ledger.book(rollout)


# --- environments -------------------------------------------------------------------------------


@pytest.fixture
def in_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield
    train.FLAGS.unparse_flags()


@pytest.mark.parametrize(
    "case",
    [
        "raise",
        "raise_in_reset",
        "nan_observation",
        "huge_reward",
        "observation_shape",
        "observation_none",
        "reward_text",
        "hang, processes",
    ],
)
@pytest.mark.usefixtures("in_a_directory")
def test_a_fault_of_an_environment_is_told_in_one_line(
    case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    # The threads are those of this process, whatever was decided before.
    settings = {**environments.settings_of(case), "intra_op_threads": 0, "inter_op_threads": 0}
    train.FLAGS.unparse_flags()
    arguments = ["train", "--progress=none", *as_flags(settings)]
    status = command_line.run(train.main, train.FLAGS, arguments)
    outcome = Outcome()
    environments.check(case, status, capsys.readouterr().err.splitlines(), outcome)
    assert outcome.found == []


def test_another_end_than_the_expected_one_is_booked() -> None:
    for case, status, errors in (
        ("none", 1, ["error: x"]),
        ("none", 0, ["warning: x"]),
        ("raise", 0, []),
        ("raise", 1, ["error: the simulator has diverged"]),
    ):
        outcome = Outcome()
        environments.check(case, status, errors, outcome)
        assert outcome.violations > 0


# --- the long run -------------------------------------------------------------------------------


def samples(grown: float = 1.0, slower: float = 1.0, handles: int = 20) -> list[long_run.Sample]:
    """A hundred looks, of which the machine was half as fast in every other one."""
    found = []
    for index in range(100):
        share, load = index / 99, 1 + index % 2
        rate = 1000 / load * (1 + (slower - 1) * share)
        memory = 500 * (1 + (grown - 1) * share)
        look = (index * 10.0, index * 1000, memory, handles if index == 90 else 20, 8, rate)
        found.append(long_run.Sample(*look, raw_steps_per_second=50_000 / load))
    return found


@pytest.mark.parametrize(
    ("changes", "unmet"),
    [
        ({}, []),
        ({"grown": 1.02}, []),
        ({"grown": 1.04}, ["memory"]),
        ({"handles": 21}, ["handles"]),
        ({"slower": 0.8}, ["speed"]),
    ],
)
def test_what_grows_or_slows_down_is_found(changes: dict[str, Any], unmet: list[str]) -> None:
    judged = long_run.judge(samples(**changes))
    assert [name for name, (is_met, _) in judged.items() if not is_met] == unmet


# --- the table ----------------------------------------------------------------------------------


def test_the_table_adds_up() -> None:
    bad = Outcome()
    bad.book("lost", "rows 1 to 2", 2)
    bad.require(False, "orphans", "process 7")
    rows = [
        {"part": part, "case": "one", "trial": "0", **{k: str(v) for k, v in outcome.row().items()}}
        for part, outcome in (("kills", Outcome()), ("kills", bad), ("disk", Outcome()))
    ]
    assert report.table(rows)[2:] == [
        "| kills | 2 | 1 | 2 | 0 | 0 | 0 | 1 | 0 |",
        "| disk | 1 | 1 | 0 | 0 | 0 | 0 | 0 | 0 |",
        "| all | 3 | 2 | 2 | 0 | 0 | 0 | 1 | 0 |",
    ]
    assert rows[1]["found"] == "lost: rows 1 to 2; orphans: process 7"
