"""The fault campaign's short form, with its own parts; and that its checks can fail.

`experiments/faults` does the same many times more. Damaged checkpoints are in test_checkpoint.py,
the command that falls back in test_train.py, a lost node of Ray in test_ray_sampler.py.
"""

from __future__ import annotations

import functools
import os
import random
import signal
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from long_forms import long

from experiments.campaign.process import ROOT
from experiments.campaign.revision import modules_behind
from experiments.faults import (
    corruption,
    disk,
    environments,
    identical,
    kills,
    left_behind,
    life_env,
    long_run,
    processes,
    report,
    restored,
    workers,
)
from experiments.faults.damage import HOWS, damage
from experiments.faults.ledger import Ledger
from experiments.faults.left_behind import Picture
from experiments.faults.outcome import Outcome
from experiments.faults.revisions import by_revision
from experiments.faults.training import SMALL, Ended, Training, as_flags
from trpo_tf import checkpoint, command_line, train
from trpo_tf.metrics import COLUMNS
from trpo_tf.progress_file import ProgressFile
from trpo_tf.return_scaling import ReturnScaling
from trpo_tf.samplers import Sampler

# --- corruption ---------------------------------------------------------------------------------

SAVED = 7


class Resumed:
    """In place of a resumed training: takes the damaged table up and goes on by one update."""

    takes_up = staticmethod(lambda table: ProgressFile(table, COLUMNS, after=SAVED))

    def __init__(self, directory: Path, settings: dict[str, Any], outcome: Outcome) -> None:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                with self.takes_up(directory / "run" / "progress.csv") as file:
                    file.append({"update": SAVED + 1})
                self.ended = Ended(128 + signal.SIGTERM, "", "", 1.0)
            except ValueError as error:
                self.ended = Ended(1, "", f"error: {error}\n", 1.0)
        lines = "".join(f"warning: {warning.message}\n" for warning in caught)
        self.ended = self.ended._replace(err=lines + self.ended.err)

    def wait_until(self, is_so: Any) -> bool:
        return bool(is_so())

    def signal(self, number: int) -> None:
        assert number == signal.SIGTERM

    def wait(self) -> Ended:
        return self.ended


def damaged_table(directory: Path, how: str, seed: int) -> None:
    (directory / "run").mkdir(parents=True)
    table = directory / "run" / "progress.csv"
    with ProgressFile(table, COLUMNS) as file:
        for update in range(1, SAVED + 1):
            file.append({"update": update, "kl": update / 1000, "status": "ACCEPTED"})
    damage(table, how, random.Random(seed))


@pytest.mark.parametrize("how", HOWS)
def test_whatever_befalls_the_table_is_told(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corruption, "Training", Resumed)
    for seed in range(40 if how in ("flipped", "truncated") else 1):
        damaged_table(tmp_path / str(seed), how, seed)
        corruption.check_missed(tmp_path / str(seed), SAVED, outcome := Outcome())
        assert outcome.found == [], seed


def in_silence(table: Path) -> ProgressFile:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ProgressFile(table, COLUMNS, after=SAVED)


def keeping_nothing(table: Path) -> ProgressFile:
    file = ProgressFile(table, COLUMNS, after=SAVED)
    table.with_name("damaged-progress.csv").unlink()
    return file


def doubling(table: Path) -> ProgressFile:
    file = ProgressFile(table, COLUMNS, after=SAVED)
    file.append({"update": SAVED + 1})
    return file


def dropping_all(table: Path) -> ProgressFile:
    file = ProgressFile(table, COLUMNS, after=SAVED)
    with table.open("r+") as whole:
        whole.truncate(len(whole.readline()))
    return file


@pytest.mark.parametrize(
    ("takes_up", "kind"),
    [
        (dropping_all, "wrong"),
        (in_silence, "violations"),
        (keeping_nothing, "lost"),
        (doubling, "doubled"),
    ],
)
def test_a_table_that_is_taken_up_badly_is_booked(
    takes_up: Any, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corruption, "Training", Resumed)
    monkeypatch.setattr(Resumed, "takes_up", staticmethod(takes_up))
    damaged_table(tmp_path, "truncated", seed=5)
    corruption.check_missed(tmp_path, SAVED, outcome := Outcome())
    assert getattr(outcome, kind) == 1


# --- kills --------------------------------------------------------------------------------------


def test_a_training_is_killed_twice_and_loses_nothing(tmp_path: Path) -> None:
    for number in range(2):
        outcome = kills.trial("CartPole", number, 4, tmp_path)
        assert outcome.found == []


def test_processes_are_found_by_their_mark_whoever_their_parent_is() -> None:
    mark = processes.new_mark()
    shell = subprocess.run(
        ["sh", "-c", "sleep 60 >/dev/null 2>&1 & echo $!"],
        env={**os.environ, **mark},
        capture_output=True,
        text=True,
        check=True,
    )
    orphan = int(shell.stdout)
    assert orphan not in processes.descendants(os.getpid())
    assert processes.marked(mark) == {orphan}
    assert processes.marked(processes.new_mark()) == set()
    os.kill(orphan, signal.SIGKILL)
    assert processes.wait_for_none(lambda: processes.marked(mark), 30) == set()


@pytest.mark.parametrize("updates_left", [0, 1, 24])
def test_kills_by_rows_wait_for_one_of_the_killed_process(updates_left: int) -> None:
    drawn = [kills.draw_moment(random.Random(seed), updates_left) for seed in range(200)]
    rows = [moment.rows for moment in drawn if moment.kind == "rows"]
    assert len(rows) > 20
    assert min(rows) == 1


def run_in_place(settings: dict[str, Any]) -> int:
    """The training command in this process, whose threads were decided before."""
    train.FLAGS.unparse_flags()
    threads = {"intra_op_threads": 0, "inter_op_threads": 0}
    arguments = ["train", "--progress=none", *as_flags({**settings, **threads})]
    return command_line.run(train.main, train.FLAGS, arguments)


@pytest.mark.long
@pytest.mark.usefixtures("in_a_directory")
def test_what_is_not_restored_or_exported_is_booked(monkeypatch: pytest.MonkeyPatch) -> None:
    places = {"logdir": "run", "export_dir": "model"}
    settings = {**SMALL, **places, "env": "CartPole-v1", "total_steps": 192}
    assert run_in_place(settings) == 0
    assert run_in_place({**settings, "logdir": "other", "export_dir": "others", "seed": 1}) == 0
    logdir, sound = Path("run"), Outcome()
    left_behind.look(logdir, Path("model"), sound)
    left_behind.check_export(logdir, Path("model"), sound)
    restored.check(logdir, sound)
    assert sound.found == []

    left_behind.check_export(logdir, Path("others"), lost := Outcome())
    assert lost.wrong > 0
    left_behind.check_export(logdir, Path("absent"), lost := Outcome())
    assert lost.lost == 1

    with monkeypatch.context() as patch:
        patch.setattr(
            checkpoint, "restore_checkpoint", lambda found, _: checkpoint.read_state(found)
        )
        restored.check(logdir, lost := Outcome())
    assert "variables" in " ".join(lost.found)
    with monkeypatch.context() as patch:
        patch.setattr(Sampler, "go_on", lambda *_: False)
        restored.check(logdir, lost := Outcome())
    assert "the environments begin anew" in " ".join(lost.found)
    with monkeypatch.context() as patch:
        patch.setattr(Sampler, "restore", lambda *_: None)
        restored.check(logdir, lost := Outcome())
    assert "sampler" in " ".join(lost.found)
    with monkeypatch.context() as patch:
        patch.setattr(Sampler, "exact_state", lambda _: None)
        assert run_in_place({**settings, "logdir": "bare", "export_dir": "models"}) == 0
        restored.check(Path("bare"), lost := Outcome())
    assert [found.partition(":")[0] for found in lost.found] == ["lost"]


@pytest.mark.usefixtures("in_a_directory")
def test_returns_of_episodes_that_were_cut_begin_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {**SMALL, "env": "CartPole-v1", "logdir": "run", "sampler": "async"}
    assert run_in_place({**settings, "total_steps": 192}) == 0
    restored.check(Path("run"), sound := Outcome())
    assert sound.found == []
    monkeypatch.setattr(ReturnScaling, "begin_episodes", lambda _: None)
    restored.check(Path("run"), lost := Outcome())
    assert lost.found == [
        "wrong: variables: ['return_scaling_discounted_return/discounted_return'] were not restored"
    ]


def test_numbers_of_a_checkpoint_that_are_not_finite_are_booked(tmp_path: Path) -> None:
    weight = tf.Variable([0.0, np.nan], name="weight")
    checkpoint.save_checkpoint(tmp_path / "checkpoints", 0, {"weight": weight}, {})
    left_behind.look(tmp_path, tmp_path / "model", outcome := Outcome())
    assert (outcome.wrong, outcome.found[0]) == (
        1,
        "wrong: checkpoint 0: ['weight/weight'] are not finite",
    )


def test_a_chain_without_a_kill_proves_nothing_and_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = iter([0, 0, 2])
    monkeypatch.setattr(identical, "train", lambda *_: Ended(0, "", "", 1.0))
    monkeypatch.setattr(identical, "_train_in_parts", lambda *_: next(counts))
    monkeypatch.setattr(identical, "compare", lambda *_: None)
    assert identical.trial("CartPole", 0, 0, tmp_path).note == "2 kills"


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


@pytest.mark.parametrize("name", ["model", "run/best_policy"])
def test_an_export_whose_actions_are_not_finite_is_booked(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def act(observations: Any) -> Any:
        return np.full([len(observations), 1], np.nan)

    act.observation_space = workers.make_policy().observation_space  # type: ignore[attr-defined]
    monkeypatch.setattr(left_behind, "load_policy", lambda path: act)
    (tmp_path / name / "1").mkdir(parents=True)
    left_behind.look(tmp_path / "run", tmp_path / "model", outcome := Outcome())
    assert outcome.wrong == 1


@pytest.mark.parametrize("what", ["rows", "checkpoint", "export", "best policy"])
def test_runs_that_do_not_end_bit_identical_are_booked(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reader(name: str, value: Any, other: Any) -> Any:
        return lambda path: other if name == what and "parts" in path.parts else value

    monkeypatch.setattr(identical.bandit, "rows", reader("rows", [{"kl": "0"}], [{"kl": "1"}]))
    monkeypatch.setattr(identical, "_saved", reader("checkpoint", {"w": 0}, {"w": 1}))
    monkeypatch.setattr(identical, "_exported", reader("export", {"w": 0}, {"w": 1}))
    monkeypatch.setattr(identical, "_best", reader("best policy", {"w": 0}, {}))
    identical.compare(tmp_path / "whole", tmp_path / "parts", outcome := Outcome())
    assert outcome.wrong == 1
    assert what in outcome.found[0]


# --- signals ------------------------------------------------------------------------------------


def test_a_request_to_end_that_all_processes_get_saves_first(tmp_path: Path) -> None:
    assert workers.trial("command, async, SIGTERM to all", 0, 0, tmp_path).found == []


# --- disks --------------------------------------------------------------------------------------


def test_a_full_disk_ends_training_at_once_and_it_goes_on_when_there_is_room(
    tmp_path: Path,
) -> None:
    case = "full while training" if disk.may_mount() else "file size limit"
    assert disk.trial(case, 0, 0, tmp_path).found == []


@pytest.mark.skipif(not disk.may_mount(), reason="file systems cannot be mounted here")
def test_checkpoints_that_become_read_only_end_training_at_once(tmp_path: Path) -> None:
    assert disk.trial("read-only checkpoints", 0, 0, tmp_path).found == []


@pytest.mark.parametrize(
    ("status", "line", "violations"),
    [
        (1, "error: 'disk/run' cannot be written.", 0),
        (1, "error: disk/run: full", 0),
        (0, "error: 'disk/run' cannot be written.", 1),
        (1, "error: disk/run/progress.csv cannot be written.", 1),
        (1, "error: disk/running cannot be written.", 1),
        (1, "error: /a/disk/run cannot be written.", 1),
        (1, "Traceback\nerror: disk/run cannot be written.", 1),
    ],
)
def test_the_whole_path_must_be_named(status: int, line: str, violations: int) -> None:
    disk.require_error(Ended(status, "", line, 1.0), "disk/run", outcome := Outcome())
    assert outcome.violations == violations


# --- workers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", workers.HOWS)
def test_every_transition_is_used_once_whatever_becomes_of_a_process(
    how: str, tmp_path: Path
) -> None:
    sampler = workers.make_async_sampler(str(tmp_path), timeout=2.0)
    outcome = Outcome()
    ledger = workers.replaced(sampler, how, tmp_path, random.Random(1), outcome, 2.0)
    sampler.close()
    assert outcome.found == []
    assert len(ledger.transitions) == sampler.env_steps
    assert ledger.lives >= workers.NUM_ENVS + 1


def test_a_ray_worker_is_replaced(tmp_path: Path, ray_cluster_of_four_cpus: None) -> None:
    sampler = workers.make_ray_sampler(str(tmp_path), timeout=5.0)
    outcome = Outcome()
    workers.replaced(sampler, "stopped", tmp_path, random.Random(1), outcome, 5.0)
    sampler.close()
    assert outcome.found == []


@pytest.mark.parametrize("how", workers.HOWS)
def test_without_a_replacement_the_error_comes_in_time_and_says_which_it_was(
    how: str, tmp_path: Path
) -> None:
    sampler = workers.make_sync_sampler(str(tmp_path), timeout=2.0)
    outcome = Outcome()
    workers.stopped_in_time(sampler, how, tmp_path, random.Random(1), outcome, 2.0)
    sampler.close()
    assert outcome.found == []


@pytest.mark.long
def test_an_error_that_comes_too_late_is_booked(tmp_path: Path) -> None:
    sampler = workers.make_sync_sampler(str(tmp_path), timeout=workers.PROMPT_SECONDS + 2)
    outcome = Outcome()
    workers.stopped_in_time(sampler, "stopped", tmp_path, random.Random(1), outcome, 1.0)
    sampler.close()
    assert outcome.violations == 1


@functools.cache
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


def spoil_kind_of_end(first: Any, second: Any) -> Any:
    return first._replace(terminated=first.truncated, truncated=first.terminated), second


def spoil_end(first: Any, second: Any) -> Any:
    return first._replace(terminated=np.zeros_like(first.terminated)), second


@pytest.mark.parametrize(
    "spoil",
    [
        *(spoil_twice, spoil_order, spoil_column, spoil_mask, spoil_actions, spoil_rewards),
        *(spoil_kind_of_end, spoil_end),
    ],
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
        *("raise", "nan_observation", "observation_shape", "huge_reward", "slow"),
        "hang, processes",
        *long(["raise_in_reset", "observation_none", "observation_int64", "reward_text"]),
    ],
)
@pytest.mark.usefixtures("in_a_directory")
def test_a_fault_of_an_environment_is_told_in_one_line(
    case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status = run_in_place(environments.settings_of(case))
    outcome = Outcome()
    environments.check(case, status, capsys.readouterr().err.splitlines(), outcome)
    assert outcome.found == []


def test_another_end_than_the_expected_one_is_booked() -> None:
    for case, status, errors in (
        ("none", 1, ["error: x"]),
        ("none", 0, ["warning: x"]),
        ("raise", 0, []),
        ("raise", 1, ["error: the simulator has diverged"]),
        ("hang, ray", 0, []),
        ("hang, ray", 0, ["warning: x"]),
        ("hang, ray", 1, ["after 5 s without a step: Ray worker 0 () is gone. It is replaced."]),
    ):
        outcome = Outcome()
        environments.check(case, status, errors, outcome)
        assert outcome.violations > 0


# --- the long run -------------------------------------------------------------------------------


def samples(grown: float = 1.0, slower: float = 1.0, handles: int = 20) -> list[long_run.Sample]:
    """A hundred looks, of which the machine was half as fast in every other one."""
    found, seconds = [], 0.0
    for index in range(100):
        share, load = index / 99, 1 + index % 2
        rate = 1000 / load * (1 + (slower - 1) * share)
        memory = 500 * (1 + (grown - 1) * share)
        seconds += 1000 / rate
        look = (seconds, index * 1000, memory, handles if index == 90 else 20, 8, rate)
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
    judged = long_run.judge(samples(**changes), 100_000, 100_000)
    assert [name for name, (is_met, _) in judged.items() if not is_met] == unmet
    assert list(judged) == ["steps", "memory", "handles", "threads", "speed"]


@pytest.mark.parametrize(
    ("looks", "made"),
    [(100, 99_999), (30, 30_000), (0, 0), (1, 100_000), (90, 100_000)],
)
def test_a_run_that_died_or_was_not_watched_to_its_end_meets_nothing(looks: int, made: int) -> None:
    judged = long_run.judge(samples()[:looks], made, 100_000)
    assert [is_met for is_met, _ in judged.values()] == [False]


def test_a_long_run_is_watched_in_short(tmp_path: Path) -> None:
    asked, path, outcome = 2_000, tmp_path / "long_run.csv", Outcome()
    settings = {**SMALL, "env": "CartPole-v1", "sampler": "async", "total_steps": asked}
    training = Training(tmp_path, {**settings, "logdir": "run"}, outcome)
    found = long_run.watch(training, tmp_path / "run", path, asked, looks=5)
    ended = training.wait()
    assert (ended.status, outcome.found) == (0, [])
    assert long_run.steps_made(tmp_path / "run") >= asked
    assert len(path.read_text().splitlines()) == 1 + len(found)
    assert 1 <= len(found) <= 5
    assert all(min(look) > 0 for look in found)
    long_run.plot(found, tmp_path / "long_run.png")
    assert (tmp_path / "long_run.png").stat().st_size > 1000


# --- the table ----------------------------------------------------------------------------------


def test_the_table_adds_up() -> None:
    bad = Outcome()
    bad.book("lost", "rows 1 to 2", 2)
    bad.require(False, "orphans", "process 7")
    bad.inside_writes = 1
    rows = [
        {"part": part, "case": "one", "trial": "0", **{k: str(v) for k, v in outcome.row().items()}}
        for part, outcome in (("kills", Outcome()), ("kills", bad), ("disk", Outcome()))
    ]
    assert report.table(rows)[2:] == [
        "| kills | 2 | 1 | 2 | 0 | 0 | 0 | 1 | 0 | 1 |",
        "| disk | 1 | 1 | 0 | 0 | 0 | 0 | 0 | 0 | 0 |",
        "| all | 3 | 2 | 2 | 0 | 0 | 0 | 1 | 0 | 1 |",
    ]
    assert rows[1]["found"] == "lost: rows 1 to 2; orphans: process 7"


def test_rows_of_two_revisions_are_never_added_up() -> None:
    rows = [{"revision": name} for name in ("a", "a-dirty", "a")]
    found = by_revision(rows)
    assert {name: len(of) for name, of in found.items()} == {"a": 2, "a-dirty": 1}


def test_the_modules_behind_a_step_are_those_and_no_others() -> None:
    found = modules_behind(ROOT / "tests" / "random_updates.py", ROOT / "tests" / "zoo.py")
    names = {Path(path).stem for path in found}
    assert names >= {"natural_gradient", "conjugate_gradient", "kl_constraint", "heads", "flat"}
    assert names.isdisjoint({"training_loop", "checkpoint", "progress_file"})
