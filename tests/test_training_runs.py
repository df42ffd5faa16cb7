"""Whole runs of the real command: it learns, repeats itself, and survives interruptions."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import bandit
import gymnasium as gym
import numpy as np
import pytest
from conftest import REPOSITORY, RunCli

from experiments.faults import processes
from trpo_tf.evaluation import evaluate
from trpo_tf.loaded_policy import load_policy

# Enough of a run to be interrupted, cheap enough to be begun three times.
SHORT = (
    "--env=CartPole",
    "--total_steps=8192",
    "--num_envs=2",
    "--num_steps=32",
    "--hidden_sizes=8",
    "--value_epochs=1",
    "--execution=graph",
    "--checkpoint_every=1",
    "--logdir=run",
)


@pytest.fixture(scope="module")
def solved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The preset's runs of three seeds, and the first of them once more."""
    directory = tmp_path_factory.mktemp("cartpole")
    for name, seed in (("0", 0), ("1", 1), ("2", 2), ("again", 0)):
        arguments = ("--env=CartPole", f"--seed={seed}", f"--logdir={name}")
        with start(directory, *arguments, f"--export_dir=model/{name}") as process:
            output, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        assert errors == ""
        assert "\x1b" not in output
    return directory


def start(directory: Path, *arguments: str) -> subprocess.Popen[str]:
    """Starts the training command without waiting for it."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    return subprocess.Popen(
        [sys.executable, "-m", "trpo_tf.train", *arguments],
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_rows(process: subprocess.Popen[str], logdir: Path, count: int) -> None:
    deadline = time.monotonic() + 120
    while not (logdir / "progress.csv").exists() or len(bandit.rows(logdir)) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_cartpole_is_solved_within_100k_steps(solved: Path, seed: int) -> None:
    steps = int(bandit.rows(solved / str(seed))[-1]["env_steps"])
    assert 100_000 <= steps < 100_000 + 8 * 256
    policy = load_policy(solved / "model" / str(seed))
    returns = evaluate(policy, lambda: gym.make("CartPole-v1"), episodes=20, seed=1000).returns
    assert returns.mean() >= 475


def test_the_same_seed_gives_the_same_run(solved: Path) -> None:
    assert bandit.rows(solved / "again") == bandit.rows(solved / "0")
    assert bandit.rows(solved / "1") != bandit.rows(solved / "0")
    ours, theirs = bandit.variables(solved / "again"), bandit.variables(solved / "0")
    for name, value in ours.items():
        np.testing.assert_array_equal(value, theirs[name], err_msg=name)


@pytest.mark.parametrize(
    ("flags", "num_children", "lag"),
    [((), 0, 0), (("--sampler=async", "--vectorization=async"), 2, 1)],
    ids=["sync", "async"],
)
def test_ctrl_c_and_kill_lose_nothing(
    flags: tuple[str, ...], num_children: int, lag: int, tmp_path: Path, run_cli: RunCli
) -> None:
    logdir = tmp_path / "run"
    threads = "--intra_op_threads=1", "--inter_op_threads=2"
    with start(tmp_path, *SHORT, *flags, *threads) as process:
        wait_for_rows(process, logdir, 3)
        workers = processes.descendants(process.pid)
        assert len(workers) == num_children
        for worker in workers:
            # A terminal sends it to all of them.
            os.kill(worker, signal.SIGINT)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert errors == ""
    assert not processes.alive(workers)
    assert "SIGINT: stopped after" in output
    assert "python -m trpo_tf.train --resume --logdir=run" in output
    stopped_at = bandit.state(logdir)["env_steps"]
    assert int(bandit.rows(logdir)[-1]["env_steps"]) == stopped_at
    (session,) = json.loads((logdir / "config.json").read_text())["sessions"]
    assert (session["intra_op_threads"], session["inter_op_threads"]) == (1, 2)

    with start(tmp_path, "--resume", "--logdir=run") as process:
        stopped_after = len(bandit.rows(logdir))
        wait_for_rows(process, logdir, stopped_after + 3)
        workers = processes.descendants(process.pid)
        assert len(workers) == num_children
        process.kill()
        process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    # Those whose parent was killed end by themselves, as soon as they hear of it.
    assert not processes.wait_for_end(workers, 60)
    assert bandit.state(logdir)["env_steps"] > stopped_at

    end = str(bandit.state(logdir)["env_steps"] + 256)
    bandit.damage_newest(logdir)
    finished = run_cli("train", "--resume", "--logdir=run", f"--total_steps={end}")
    assert finished.returncode == 0, finished.stderr
    (warning,) = finished.stderr.splitlines()
    assert warning.startswith("warning: Passed over damaged checkpoints")
    rows = bandit.rows(logdir)
    assert [int(row["update"]) for row in rows] == list(range(1, len(rows) + 1))
    steps = [int(row["env_steps"]) for row in rows]
    assert all(0 < after - before <= 64 for before, after in zip([0, *steps], steps, strict=False))
    found = [float(row["policy_lag"]) for row in rows]
    # What was collected ahead of a checkpoint is collected anew, by the policy in it.
    assert found[0] == found[stopped_after] == 0
    assert sorted(found) == [0] * 3 + [lag] * (len(found) - 3)
    assert {row["lost_rollouts"] for row in rows} == {"0"}


def test_a_run_that_is_killed_twice_ends_as_if_it_had_not_been(
    tmp_path: Path, run_cli: RunCli
) -> None:
    settings = (*SHORT, "--checkpoint_every=3")
    whole = run_cli("train", *settings, "--logdir=whole")
    assert whole.returncode == 0, whole.stderr
    arguments = settings
    for num_rows in (5, 20):
        with start(tmp_path, *arguments) as process:
            wait_for_rows(process, tmp_path / "run", num_rows)
            process.kill()
            process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL
        arguments = ("--resume", "--logdir=run")
    finished = run_cli("train", *arguments)
    assert finished.returncode == 0, finished.stderr
    opening = "Continuing in run; its environments go on exactly where they were.\n"
    assert opening in finished.stdout
    assert bandit.rows(tmp_path / "run") == bandit.rows(tmp_path / "whole")
    ours, theirs = bandit.variables(tmp_path / "run"), bandit.variables(tmp_path / "whole")
    for name, value in ours.items():
        np.testing.assert_array_equal(value, theirs[name], err_msg=name)


def test_a_refusal_is_one_line_without_a_traceback(run_cli: RunCli) -> None:
    refused = run_cli("train", "--env=CartPole", "--total_steps=10", "--intra_op_threads=1")
    assert refused.returncode == 1
    assert refused.stdout == ""
    assert refused.stderr.startswith("error: total_steps must be >= one batch")
    assert refused.stderr.count("\n") == 1


def test_what_runs_leave_behind_is_ignored_by_git(repository: Path) -> None:
    left = ["runs/CartPole-0-20260101-000000/config.json", "saved_models/CartPole/1/saved_model.pb"]
    found = subprocess.run(
        ["git", "check-ignore", *left], cwd=repository, capture_output=True, text=True
    )
    assert found.stdout.split() == left
