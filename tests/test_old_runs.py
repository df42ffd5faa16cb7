"""Run directories of every release so far are loaded, and go on; `record_run` adds them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from record_run import RUNS, answers, model_of

import trpo_tf
from trpo_tf import checkpoint, training_session
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
def test_its_served_model_answers_as_it_did(release: str) -> None:
    recorded = json.loads((RUNS / f"{release}.json").read_text())
    observations = np.array(recorded["observations"], np.float32)
    policy = trpo_tf.load_policy(model_of(release))
    assert policy.env_id == "CartPole-v1"
    close = {"rtol": 1e-4, "atol": 1e-5}
    np.testing.assert_array_equal(policy(observations), np.argmax(recorded["logits"], axis=-1))
    np.testing.assert_allclose(policy.value(observations), recorded["values"], **close)
    log_probs = policy.sample(observations, np.zeros([len(observations), 2], np.int32)).log_probs
    assert np.all(log_probs < 0)


def train(session: Any) -> None:
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


def resumed(run: Path, **changes: Any) -> training_session.Session:
    """With its environments exactly where they were, where they are the same ones."""
    found = checkpoint.latest_checkpoint(run / "checkpoints")
    assert found is not None
    arrays = checkpoint.read_arrays(found)
    assert arrays is not None
    session = training_session.resume(changes, run, ["train", "--resume"])
    assert isinstance(session, training_session.Session)
    made_with = arrays["packages"].tobytes().decode()
    assert session.environments_go_on == (made_with == f"gymnasium {gym.__version__}")
    return session


@pytest.mark.parametrize("release", RELEASES)
def test_its_last_update_comes_again(release: str, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(RUNS / release, copy)
    shutil.rmtree(max((copy / "checkpoints").iterdir()))
    before = read_progress(copy / "progress.csv")
    session = resumed(copy)
    is_the_same = session.environments_go_on
    train(session)
    after = read_progress(copy / "progress.csv")
    if is_the_same:
        for name in ("update", "env_steps", "episodes", "episode_return_mean"):
            np.testing.assert_array_equal(after[name], before[name], err_msg=name)
        # The learner's last bits are those of the machine.
        np.testing.assert_allclose(after["kl"], before["kl"], rtol=0.05)


@pytest.mark.parametrize("release", RELEASES)
def test_it_goes_on(release: str, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(RUNS / release, copy)
    before = read_progress(copy / "progress.csv")
    config = trpo_tf.load_run(copy).config
    more = {"total_steps": config.total_steps + 2 * config.batch_rows}
    train(resumed(copy, **more))
    after = read_progress(copy / "progress.csv")
    np.testing.assert_array_equal(after["update"], np.arange(1, len(before["update"]) + 3))
    np.testing.assert_array_equal(after["kl"][:-2], before["kl"])
    assert after["env_steps"][-1] >= more["total_steps"]
    assert trpo_tf.load_run(copy).step == len(after["update"])


@pytest.mark.parametrize("release", RELEASES)
def test_it_is_small_and_names_no_place(release: str) -> None:
    places = RUNS / release, model_of(release)
    files = [path for place in places for path in place.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 300_000
    for path in files:
        assert not any(word in path.read_bytes() for word in (b"/home/", b"/tmp/", b"/root/"))
    assert compare_runs(RUNS / release, RUNS / release).parting is None
