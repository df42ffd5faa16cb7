from __future__ import annotations

import json
import math

import numpy as np
import pytest
import tensorflow as tf

from trpo_tf import metrics
from trpo_tf.metrics import ProgressLog
from trpo_tf.progress_file import read_progress
from trpo_tf.types import EpisodeStats, StepStatus, UpdateInfo

NO_EPISODES = EpisodeStats(np.zeros(0), np.zeros(0, np.int64))


class Recorder:
    def __init__(self) -> None:
        self.rows, self.notes, self.is_closed = [], [], False

    def show(self, row):
        self.rows.append(row)

    def note(self, text):
        self.notes.append(text)

    def close(self):
        self.is_closed = True


def info(kl=0.01, status=StepStatus.ACCEPTED):
    """As `TRPO.update` gives it: scalars of NumPy."""
    return UpdateInfo(
        surrogate_before=np.float32(0.0),
        surrogate_after=np.float32(0.5),
        kl=np.float32(kl),
        accepted=np.bool_(status == StepStatus.ACCEPTED),
        status=np.int32(status),
        num_backtracks=np.int32(2),
        cg_residual_norm=np.float32(1e-3),
        entropy=np.float32(1.5),
        max_kl=0.02,
    )


def episodes(*returns):
    return EpisodeStats(np.array(returns, np.float64), np.full(len(returns), 10, np.int64))


def record(log, update, **more):
    given = {"episodes": episodes(float(update)), "info": info(update / 100)} | more
    return log.record(update=update, env_steps=100 * update, **given)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "progress.csv"


def test_row_holds_everything(path):
    now = 50.0
    with ProgressLog(path, clock=lambda: now) as log:
        now = 52.0
        evaluation = EpisodeStats(np.array([1.0, 3.0]), np.array([5, 5]))
        row = record(
            log,
            1,
            evaluation=evaluation,
            collect_seconds=0.5,
            update_seconds=0.25,
            lost_rollouts=3,
            dropped_rollouts=4,
        )
        now = 53.0
        record(log, 2, episodes=NO_EPISODES, info=info(0.0, StepStatus.NO_IMPROVEMENT))
    assert set(row) == set(metrics.COLUMNS)
    columns = read_progress(path)
    assert tuple(columns) == metrics.COLUMNS
    first = {name: values[0] for name, values in columns.items()}
    assert first["status"] == "ACCEPTED"
    del first["status"]
    expected = {
        "update": 1,
        "env_steps": 100,
        "wall_time": 2.0,
        "steps_per_second": 50.0,
        "collect_seconds": 0.5,
        "update_seconds": 0.25,
        "episodes": 1,
        "episode_return_mean": 1.0,
        "episode_length_mean": 10.0,
        "eval_return_mean": 2.0,
        "eval_return_std": 1.0,
        "kl": 0.01,
        "accepted": 1.0,
        "entropy": 1.5,
        "num_backtracks": 2,
        "max_kl": 0.02,
        "lost_rollouts": 3,
        "dropped_rollouts": 4,
    }
    assert {name: first[name] for name in expected} == pytest.approx(expected)
    assert columns["status"].tolist() == ["ACCEPTED", "NO_IMPROVEMENT"]
    assert columns["accepted"].tolist() == [1.0, 0.0]
    assert columns["lost_rollouts"].tolist() == [3, 0]
    assert columns["steps_per_second"][1] == 100.0
    assert columns["episode_return_mean"][1] == 1.0
    assert math.isnan(columns["eval_return_mean"][1])


def test_no_episode_yet_leaves_cells_empty(path):
    with ProgressLog(path) as log:
        row = record(log, 1, episodes=NO_EPISODES)
    assert row["episode_return_mean"] is None
    assert math.isnan(read_progress(path)["episode_return_mean"][0])


def test_return_is_the_mean_of_the_last_hundred(path):
    with ProgressLog(path) as log:
        record(log, 1, episodes=episodes(*range(60)))
        row = record(log, 2, episodes=episodes(*range(100, 160)))
    assert row["episode_return_mean"] == np.mean([*range(20, 60), *range(100, 160)])
    assert row["episodes"] == 60


def test_interrupted_run_reports_as_an_undisturbed_one(tmp_path):
    whole, cut = tmp_path / "whole.csv", tmp_path / "cut.csv"
    with ProgressLog(whole) as log:
        for update in range(1, 8):
            record(log, update)
    log = ProgressLog(cut)
    for update in range(1, 4):
        record(log, update)
    state = json.loads(json.dumps(log.state()))
    for update in range(4, 6):
        record(log, update, info=info(0.5))
    log.close()
    with cut.open("a") as file:
        file.write("6,600,1.2")
    with ProgressLog(cut, resume_state=state) as log:
        for update in range(4, 8):
            record(log, update)
    expected, got = read_progress(whole), read_progress(cut)
    for name in set(metrics.COLUMNS) - set(metrics.WALL_CLOCK_COLUMNS):
        np.testing.assert_array_equal(got[name], expected[name], name)


def test_wall_time_continues(path):
    now = 0.0
    log = ProgressLog(path, clock=lambda: now)
    now = 10.0
    record(log, 1)
    now = 12.0
    state = log.state()
    log.close()
    now = 1000.0
    with ProgressLog(path, resume_state=state, clock=lambda: now) as log:
        now = 1005.0
        row = record(log, 2)
    assert row["wall_time"] == 17.0
    assert row["steps_per_second"] == 20.0


def test_run_that_died_before_its_first_checkpoint_begins_again(path):
    with ProgressLog(path) as log:
        record(log, 1)
        record(log, 2)
    with pytest.raises(FileExistsError):
        ProgressLog(path)
    with ProgressLog(path, resume_state={}) as log:
        record(log, 1)
    assert read_progress(path)["update"].tolist() == [1]


@pytest.mark.parametrize(
    "state",
    [
        {"update": 1},
        *({"update": update} for update in ("x", 1e400, None, -1, 2**62)),
        *({"env_steps": steps} for steps in (-1, 1.5)),
        *({"wall_time": seconds} for seconds in (-1.0, math.inf, math.nan, 10**400)),
        {"recent_returns": ["x"]},
        {"recent_lengths": [-1]},
    ],
)
def test_damaged_state(path, tmp_path, state):
    if state != {"update": 1}:
        with ProgressLog(tmp_path / "whole.csv") as log:
            state = {**log.state(), **state}
    with pytest.raises(ValueError, match="state is damaged"):
        ProgressLog(path, resume_state=state)
    assert not path.exists()


def test_tensorboard_gets_the_same_numbers(path, tmp_path):
    directory = tmp_path / "tensorboard"
    with ProgressLog(path, tensorboard_dir=directory) as log:
        record(log, 1)
    with ProgressLog(path, tensorboard_dir=directory, resume_state=log.state()) as log:
        record(log, 2)
    first, second = (
        [
            tf.compat.v1.Event.FromString(event.numpy())
            for event in tf.data.TFRecordDataset(str(file))
        ]
        for file in sorted(directory.iterdir())
    )
    values = {value.tag: value.simple_value for value in first[1].summary.value}
    assert first[1].step == 100
    assert values["update/kl"] == np.float32(0.01)
    assert values["returns/episode_return_mean"] == 1.0
    assert "speed/steps_per_second" in values
    assert values["update/accepted"] == 1.0
    assert not [tag for tag in values if "status" in tag or "eval" in tag]
    assert second[1].step == 101
    assert second[2].step == 200


def test_display_sees_rows_and_notes(path):
    display = Recorder()
    with ProgressLog(path, display) as log:
        row = record(log, 1)
        log.note("saved")
        log.sync()
    log.close()
    assert (display.rows, display.notes, display.is_closed) == ([row], ["saved"], True)
