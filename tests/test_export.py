"""python -m trpo_tf.export: from a run directory to a served model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from trpo_tf import assembly, checkpoint, command_line, export
from trpo_tf.action_map import to_env_actions
from trpo_tf.loaded_policy import load_policy
from trpo_tf.presets import resolve
from trpo_tf.run_directory import RunDirectory, load_run
from trpo_tf.run_record import RunRecord

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def logdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of Pendulum with a checkpoint after 3 updates and one after 5."""
    logdir = tmp_path_factory.mktemp("runs") / "pendulum"
    env = gym.make("Pendulum-v1")
    config, origins = resolve("Pendulum-v1", {"hidden_sizes": (8,), "env_kwargs": {"g": 9.0}})
    record = RunRecord(config, origins, env.observation_space, env.action_space)
    models = assembly.make_models(config, env.observation_space, env.action_space)
    trpo = assembly.make_trpo(config, models)
    with RunDirectory.create(logdir, record) as run:
        for updates in (3, 5):
            for variable in models.policy.trainable_variables:
                variable.assign(variable + 0.1)
            state = {"env_steps": updates * 2048}
            checkpoint.save_checkpoint(run.checkpoints_path, updates, trpo.checkpointables(), state)
    return logdir


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command line in this process: exit status, standard output and error."""

    def run_main(*arguments: str) -> tuple[int, str, str]:
        export.FLAGS.unparse_flags()
        for name in export.FLAGS:
            export.FLAGS[name].unparse()
        status = command_line.run(export.main, export.FLAGS, ["export", *arguments])
        return status, *capsys.readouterr()

    return run_main


def test_the_last_checkpoint_is_exported_with_its_story(
    logdir: Path, tmp_path: Path, run: Run
) -> None:
    base = tmp_path / "Pendulum"
    status, out, err = run(f"--logdir={logdir}", f"--export_dir={base}")
    assert (status, err) == (0, "")
    assert out.splitlines()[0] == f"Exported to {base / '1'}"
    assert f"python -m trpo_tf.evaluate --saved_model={base} --env=Pendulum-v1" in out
    assert """--env=Pendulum-v1 '--env_kwargs={"g": 9.0}' --episodes=20""" in out
    assert f"--model_name=Pendulum --model_base_path={base}" in out
    act, policy = load_policy(base), load_run(logdir).policy
    observations = np.float32([[1, 0, 3], [0, 1, -3]])
    expected = to_env_actions(policy.action_space, policy(observations).mode(), True)
    np.testing.assert_allclose(act(observations), expected, atol=1e-5)
    np.testing.assert_allclose(
        act.value(observations), load_run(logdir).value_function(observations), atol=1e-5
    )
    card = json.loads((base / "1" / "assets.extra" / "metadata.json").read_text())
    training = card["training"]
    assert (training["updates"], training["env_steps"]) == (5, 5 * 2048)
    assert (training["env"], training["preset"]) == ("Pendulum-v1", "Pendulum")
    assert training["config"]["hidden_sizes"] == [8]
    assert run(f"--logdir={logdir}", f"--export_dir={base}")[0] == 0
    assert load_policy(base).path.name == "2"


def test_verify_alone_exports_nothing(logdir: Path, tmp_path: Path, run: Run) -> None:
    base = tmp_path / "Pendulum"
    for _ in range(3):
        assert run(f"--logdir={logdir}", f"--export_dir={base}", "--keep_versions=2")[0] == 0
    assert sorted(path.name for path in base.iterdir()) == ["2", "3"]
    assert run("--verify", f"--saved_model={base}") == (0, f"Verified {base / '3'}\n", "")
    warmup_file = base / "3" / "assets.extra" / "tf_serving_warmup_requests"
    warmup_file.write_bytes((base / "2" / warmup_file.relative_to(base / "3")).read_bytes()[:-9])
    status, out, err = run("--verify", f"--saved_model={base}")
    assert (status, out) == (1, "")
    assert err.startswith("error: check 'load' on the model: ")
    assert sorted(path.name for path in base.iterdir()) == ["2", "3"]


def test_without_export_dir_the_environment_names_it(
    logdir: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(f"--logdir={logdir}", "--noverify")[0] == 0
    assert (tmp_path / "saved_models" / "Pendulum" / "1" / "saved_model.pb").is_file()


def test_bad_input_gets_one_line(logdir: Path, tmp_path: Path, run: Run) -> None:
    (tmp_path / "file").write_text("")
    cases = {
        (): "--logdir is required",
        ("--logdir=/nowhere",): "/nowhere holds no run",
        (f"--logdir={logdir}", f"--export_dir={tmp_path / 'file'}"): "file",
        ("--logdirr=a",): "Did you mean --logdir?",
        ("--saved_model=/nowhere",): "no SavedModel at /nowhere",
        ("--saved_model=a", "--logdir=b"): "--saved_model only verifies; leave out --logdir",
        ("--saved_model=a", "--noverify"): "leave out --noverify",
        (f"--logdir={logdir}", "--keep_versions=0"): "keep_versions must be >= 1, got 0",
    }
    for arguments, message in cases.items():
        status, out, err = run(*arguments)
        assert status != 0
        assert out == ""
        assert err.startswith("error: ")
        assert message in err
        assert err.count("\n") == 1
