from __future__ import annotations

import math
import resource

import pytest
import tensorflow as tf

from trpo_tf.event_file import EventFile


def events(path):
    records = tf.data.TFRecordDataset(str(path))
    return [tf.compat.v1.Event.FromString(record.numpy()) for record in records]


def test_scalars_are_on_the_file_at_once(tmp_path):
    with EventFile(tmp_path / "tensorboard") as file:
        file.write(2048, {"update/kl": 0.01, "returns/mean": 5.0, "missing": math.nan})
        version, event = events(file.path)
        assert version.file_version == "brain.Event:2"
        assert event.step == 2048
        values = {value.tag: value.simple_value for value in event.summary.value}
        assert values == {"update/kl": pytest.approx(0.01), "returns/mean": 5.0}
    file.close()


def test_resumed_run_takes_later_steps_back(tmp_path):
    with EventFile(tmp_path) as first:
        first.write(100, {"kl": 1.0})
    with EventFile(tmp_path, resume_step=50) as second:
        second.write(100, {"kl": 2.0})
    assert sorted(tmp_path.iterdir()) == [first.path, second.path]
    _, start, _ = events(second.path)
    assert start.session_log.status == tf.compat.v1.SessionLog.START
    assert start.step == 51


def test_write_errors_name_the_path(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError, match="file"):
        EventFile(tmp_path / "file")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    file = EventFile(tmp_path)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match=r"tfevents\.\d+ cannot be written"):
            file.write(1, {f"scalar_{index}": 1.0 for index in range(1000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_tensorboard_shows_no_step_twice(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with EventFile(tmp_path) as file:
        for step in range(1, 6):
            file.write(step, {"update/kl": float(step)})
    with EventFile(tmp_path, resume_step=3) as file:
        for step in range(4, 7):
            file.write(step, {"update/kl": 10.0 * step})
    shown = accumulator.EventAccumulator(str(tmp_path)).Reload().Scalars("update/kl")
    assert [(event.step, event.value) for event in shown] == [
        (1, 1.0),
        (2, 2.0),
        (3, 3.0),
        (4, 40.0),
        (5, 50.0),
        (6, 60.0),
    ]
