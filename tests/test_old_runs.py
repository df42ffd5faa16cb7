"""Run directories of every release so far are loaded, and go on; `record_run` adds them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from record_run import RUNS, answers

import trpo_tf
from trpo_tf import training_session
from trpo_tf.interruption import Interruption
from trpo_tf.metrics import ProgressLog
from trpo_tf.progress_file import read_progress
from trpo_tf.run_comparison import compare_runs
from trpo_tf.training_loop import TrainingLoop

RELEASES = sorted(path.stem for path in RUNS.glob("*.json"))


def test_this_release_is_among_them() -> None:
    assert trpo_tf.__version__ in RELEASES


@pytest.mark.parametrize("release", RELEASES)
def test_its_models_answer_as_they_did(release: str) -> None:
    recorded = json.loads((RUNS / f"{release}.json").read_text())
    run = trpo_tf.load_run(RUNS / release)
    assert run.step == run.trpo.policy_version.numpy() >= 3
    found = answers(run, np.array(recorded["observations"], np.float32))
    for name, values in found.items():
        np.testing.assert_allclose(values, recorded[name], rtol=1e-4, atol=1e-6, err_msg=name)
    assert np.ptp(recorded["values"]) > 0


@pytest.mark.parametrize("release", RELEASES)
def test_it_goes_on(release: str, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(RUNS / release, copy)
    before = read_progress(copy / "progress.csv")
    config = trpo_tf.load_run(copy).config
    more = {"total_steps": config.total_steps + 2 * config.batch_rows}
    session = training_session.resume(more, copy, ["train", "--resume"])
    assert isinstance(session, training_session.Session)
    with (
        ProgressLog(
            session.run.progress_path,
            tensorboard_dir=session.run.tensorboard_path,
            resume_state=session.state["progress"],
        ) as log,
        Interruption() as interruption,
    ):
        assert TrainingLoop(session, log).run(interruption)
    session.close()
    after = read_progress(copy / "progress.csv")
    np.testing.assert_array_equal(after["update"], np.arange(1, len(before["update"]) + 3))
    np.testing.assert_array_equal(after["kl"][:-2], before["kl"])
    assert after["env_steps"][-1] >= more["total_steps"]
    assert trpo_tf.load_run(copy).step == len(after["update"])


@pytest.mark.parametrize("release", RELEASES)
def test_it_is_small_and_names_no_place(release: str) -> None:
    files = [path for path in (RUNS / release).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 300_000
    for path in files:
        assert not any(word in path.read_bytes() for word in (b"/home/", b"/tmp/", b"/root/"))
    assert compare_runs(RUNS / release, RUNS / release).parting is None
