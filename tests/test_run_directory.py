from __future__ import annotations

import os
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

import trpo_tf
from trpo_tf import assembly, checkpoint, run_directory
from trpo_tf.config import TRPOConfig
from trpo_tf.run_directory import RunDirectory
from trpo_tf.run_record import RunRecord

SPACES = gym.spaces.Box(-1, 1, (3,)), gym.spaces.Box(-1, 1, (2,))
CONFIG = TRPOConfig(env="Pendulum-v1", hidden_sizes=(4,), num_envs=2, num_steps=32, seed=7)
RECORD = RunRecord(CONFIG, {"seed": "flag"}, *SPACES)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "runs" / "first"


def snapshot(directory: Path) -> dict[str, bytes]:
    files = (file for file in directory.rglob("*") if file.is_file() and file.name != ".lock")
    return {str(file.relative_to(directory)): file.read_bytes() for file in files}


def test_create_then_resume(path):
    with RunDirectory.create(path, RECORD) as run:
        assert sorted(os.listdir(path)) == [".lock", "config.json"]
        assert run.progress_path == path / "progress.csv"
        assert run.checkpoints_path == path / "checkpoints"
        assert run.tensorboard_path == path / "tensorboard"
        assert run.best_policy_path == path / "best_policy"
        assert run.learning_curve_path == path / "learning_curve.png"
    with RunDirectory.resume(path) as run:
        assert vars(run.record) == vars(RECORD)
        run.rewrite_record(RECORD.resumed({"command_line": ["--resume"]}))
    with RunDirectory.resume(path) as run:
        assert [session["command_line"] for session in run.record.sessions] == [["--resume"]]


@pytest.mark.parametrize(
    "name", ["config.json", "progress.csv", "checkpoints", "best_policy", "learning_curve.png"]
)
def test_directory_with_a_run_is_refused_and_untouched(path, name):
    path.mkdir(parents=True)
    (path / name).write_text("mine")
    with pytest.raises(FileExistsError, match=f"already holds a run .{name}.. Continue it with"):
        RunDirectory.create(path, RECORD)
    assert snapshot(path) == {name: b"mine"}
    assert os.listdir(path) == [name]


def test_what_a_killed_beginning_left_does_not_block(path):
    path.mkdir(parents=True)
    (path / ".lock").write_text("123\n")
    (path / ".tmp-config.json-abc").write_text("{")
    (path / "notes.txt").write_text("of the user")
    RunDirectory.create(path, RECORD).close()
    RunDirectory.resume(path).close()
    assert sorted(os.listdir(path)) == [".lock", "config.json", "notes.txt"]


def test_no_run_to_resume(path):
    with pytest.raises(FileNotFoundError, match=f"{path} holds no run"):
        RunDirectory.resume(path)
    assert not path.exists()
    path.mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="holds no run"):
        RunDirectory.resume(path)
    assert os.listdir(path) == []


@pytest.mark.parametrize("below", ["", "/inner"])
def test_file_in_the_way(tmp_path, below):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError, match=f"{tmp_path}/file.* cannot be used.*Choose another logdir"):
        RunDirectory.create(f"{tmp_path}/file{below}", RECORD)
    with pytest.raises(OSError, match="holds no run"):
        RunDirectory.resume(f"{tmp_path}/file{below}")


@pytest.mark.parametrize("call", ["mkdir", "open", "replace"])
def test_directory_that_cannot_be_written(path, monkeypatch, call):
    def fail(*_args, **_kwargs):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(PermissionError, match=f"run directory {path} cannot be used: Permission"):
        RunDirectory.create(path, RECORD)
    monkeypatch.undo()
    assert snapshot(path) == {}
    RunDirectory.create(path, RECORD).close()


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/proc/self/mem").exists(), reason="needs /proc")
def test_file_system_that_takes_no_directories():
    with pytest.raises(OSError, match="run directory /proc/run cannot be used"):
        RunDirectory.create("/proc/run", RECORD)


def test_two_trainings_in_one_process_are_refused(path):
    with RunDirectory.create(path, RECORD):
        for _ in range(2):
            with pytest.raises(BlockingIOError, match=f"Process {os.getpid()} is training in"):
                RunDirectory.resume(path)
    RunDirectory.resume(path).close()


@pytest.mark.parametrize(
    "name", ["config.json", "progress.csv", "learning_curve.png", "checkpoints", "tensorboard"]
)
@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_links_and_pipes_are_refused(path, tmp_path, name, kind):
    RunDirectory.create(path, RECORD).close()
    entry = path / name
    if entry.exists():
        entry.rename(tmp_path / name)
    if kind == "link":
        entry.symlink_to(tmp_path / name)
    else:
        os.mkfifo(entry)
    for call in (RunDirectory.resume, run_directory.load_run):
        with pytest.raises(ValueError, match=f"{name} must be a"):
            call(path)


def test_linked_lock_is_refused(path, tmp_path):
    RunDirectory.create(path, RECORD).close()
    (tmp_path / "target").write_text("precious")
    (path / ".lock").unlink()
    (path / ".lock").symlink_to(tmp_path / "target")
    with pytest.raises(OSError, match="cannot be used"):
        RunDirectory.resume(path)
    assert (tmp_path / "target").read_text() == "precious"


def test_damaged_config_frees_the_lock(path):
    RunDirectory.create(path, RECORD).close()
    whole = (path / "config.json").read_text()
    (path / "config.json").write_text(whole[:100])
    with pytest.raises(ValueError, match=r"config\.json cannot be used"):
        RunDirectory.resume(path)
    (path / "config.json").write_text(whole)
    RunDirectory.resume(path).close()


def test_load_run_gives_back_the_models(path):
    models = assembly.make_models(CONFIG, *SPACES)
    trpo = assembly.make_trpo(CONFIG, models)
    random = np.random.default_rng(0)
    for model in models:
        for variable in model.variables:
            variable.assign(random.uniform(0.5, 2.0, variable.shape))
    trpo.policy_version.assign(5)
    with RunDirectory.create(path, RECORD) as run:
        with pytest.raises(FileNotFoundError, match="holds no checkpoint yet"):
            run_directory.load_run(path)
        state = {"env_steps": 40}
        checkpoint.save_checkpoint(run.checkpoints_path, 5, trpo.checkpointables(), state)
        loaded = run_directory.load_run(path)
    assert vars(loaded.record) == vars(RECORD)
    assert (loaded.config, loaded.step, loaded.state) == (CONFIG, 5, state)
    for saved, restored in zip(models, (loaded.policy, loaded.value_function), strict=True):
        before = [variable.numpy().tobytes() for variable in saved.variables]
        assert [variable.numpy().tobytes() for variable in restored.variables] == before
    assert loaded.trpo.policy_version.numpy() == 5
    observations = random.normal(size=(4, 3)).astype(np.float32)
    assert (loaded.policy(observations).mean() == models.policy(observations).mean()).numpy().all()


def test_load_run_of_other_shapes(path):
    wide = TRPOConfig.from_json(CONFIG.to_json() | {"hidden_sizes": [5]})
    trpo = assembly.make_trpo(wide, assembly.make_models(wide, *SPACES))
    with RunDirectory.create(path, RECORD) as run:
        checkpoint.save_checkpoint(run.checkpoints_path, 1, trpo.checkpointables(), {})
    with pytest.raises(ValueError, match=r"policy/.* has shape .* in it and .* here"):
        trpo_tf.run_directory.load_run(path)
