"""The training command in this process: from flags to a run, and every refusal in one line."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import bandit
import numpy as np
import pytest
import tensorflow as tf

from trpo_tf import command_line, startup, train
from trpo_tf.config import setting_names
from trpo_tf.loaded_policy import load_policy
from trpo_tf.setting import shown

SMALL = (*(f"--{name}={shown(value)}" for name, value in bandit.SMALL.items()), "--progress=none")


class Outcome(NamedTuple):
    """What a command left behind."""

    status: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line that explains the failure."""
        assert self.status != 0
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        return lines[0]


@pytest.fixture(autouse=True)
def environments() -> Iterator[None]:
    with bandit.registered():
        yield


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Outcome:
        train.FLAGS.unparse_flags()
        capsys.readouterr()
        try:
            status = command_line.run(train.main, train.FLAGS, ["train", *arguments])
        except SystemExit as end:
            status = int(end.code or 0)
        return Outcome(status, *capsys.readouterr())

    return run


def test_a_run_leaves_everything_and_says_what_to_do_next(run: Any) -> None:
    rewards = '--env_kwargs={"sutton_barto_reward": false}'
    done = run(
        "--env=CartPole", *SMALL, "--total_steps=128", "--eval_every=64", "--seed=5", rewards
    )
    assert done.status == 0, done.err
    (logdir,) = Path("runs").iterdir()
    assert logdir.name.startswith("CartPole-5-")
    for name in ("config.json", "progress.csv", "tensorboard", "checkpoints", "best_policy"):
        assert (logdir / name).exists()
    assert (logdir / "learning_curve.png").stat().st_size > 1000
    assert len(list((logdir / "best_policy").iterdir())) == 1
    record = json.loads((logdir / "config.json").read_text())
    assert record["settings"]["env"] == "CartPole-v1"
    assert record["origins"]["damping"] == "preset CartPole"
    assert record["origins"]["num_steps"] == "flag"
    assert record["origins"]["discount"] == "default"
    assert set(record["origins"]) == set(setting_names())
    policy = load_policy("saved_models/CartPole")
    assert policy.metadata["training"]["env"] == "CartPole-v1"
    assert policy(np.zeros((3, 4), np.float32)).shape == (3,)
    for text in (
        "flag\n  env=CartPole-v1",
        "preset CartPole (zoo",
        f"Training in {logdir}",
        "python -m trpo_tf.evaluate --saved_model=saved_models/CartPole --env=CartPole-v1",
        f"--env=CartPole-v1 '{rewards}' --episodes=20",
        "tensorflow_model_server --rest_api_port=8501 --model_name=CartPole",
        "docker run --rm -p 8501:8501 -v",
        str(logdir / "learning_curve.png"),
    ):
        assert text in done.out
    again = run("--resume", f"--logdir={logdir}")
    assert again.status == 0
    assert "has trained all of its" in again.out
    assert "saved_models/CartPole/1" in again.out


def test_a_signal_ends_the_run_and_the_command_that_is_printed_goes_on(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bandit.Bandit, "signal_at", 24)
    arguments = ("--env=Bandit", *SMALL, "--total_steps=128", "--logdir=one", "--export_dir=model")
    stopped = run(*arguments)
    assert stopped.status == 128 + signal.SIGTERM
    assert "SIGTERM: stopped after 64 steps. Continue with:" in stopped.out
    command = stopped.out.splitlines()[-1].split()
    assert command[:3] == ["python", "-m", "trpo_tf.train"]
    resumed = run(*command[3:], "--eval_every=0", "--progress=lines")
    assert resumed.status == 0, resumed.err
    assert "Continuing in one; its environments begin with a reset.\n" in resumed.out
    assert "128 / 128 steps" in resumed.out
    assert "Exported to model/1" in resumed.out
    assert [row["update"] for row in bandit.rows("one")] == ["1", "2", "3", "4"]
    refused = run("--resume", "--logdir=one", "--seed=1")
    assert "seed cannot be 1: one was begun with 0." in refused.error
    more = run("--resume", "--logdir=one", "--total_steps=160", "--export_dir=model")
    assert "flag on resuming\n  total_steps=160" in more.out
    assert "Exported to model/2" in more.out


def test_a_damaged_checkpoint_is_passed_over_with_a_warning(run: Any) -> None:
    assert run("--env=Bandit", *SMALL, "--total_steps=64", "--logdir=one").status == 0
    bandit.damage_newest("one")
    with pytest.warns(RuntimeWarning, match="Passed over damaged checkpoints"):
        resumed = run("--resume", "--logdir=one", "--progress=none")
    assert resumed.status == 0
    assert [row["update"] for row in bandit.rows("one")] == ["1", "2"]
    for path in Path("one/checkpoints").iterdir():
        (path / "state.json").write_text("{")
    assert "No checkpoint in one/checkpoints is whole" in run("--resume", "--logdir=one").error


def test_what_stops_a_run_gets_one_line(run: Any) -> None:
    spoilt = ('--env_kwargs={"spoilt_after": 0}', "--max_refused_updates=2")
    stopped = run("--env=Bandit", *SMALL, *spoilt, "--total_steps=1024", "--logdir=one")
    assert stopped.status == 1
    assert "2 updates in a row were refused" in stopped.error


def test_a_run_begins_with_the_weights_of_another(run: Any) -> None:
    assert run("--env=Bandit", *SMALL, "--total_steps=32", "--logdir=one").status == 0
    begun = run("--init_from=one", *SMALL, "--total_steps=32", "--logdir=two")
    assert begun.status == 0, begun.err
    assert "run one\n  normalize_observations=true hidden_sizes=4" in begun.out
    assert "activation cannot be relu" in run("--init_from=one", "--activation=relu").error
    assert "holds no run" in run("--init_from=nowhere", "--env=CartPole").error
    assert "Give one of them" in run("--init_from=one", "--resume", "--logdir=two").error


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ([], 1, "--env is required, for example --env=Walker2d."),
        (["--env=Walkr2d"], 1, "Did you mean 'Walker2d-v5'?"),
        (["--env=no_such_module:Env-v0"], 1, "cannot be imported"),
        (["--env=Unreadable"], 1, "Text"),
        (["--env=CartPole", "--max_ki=1"], 2, "Did you mean --max_kl?"),
        (["--env=CartPole", "--progress=loud"], 2, "--progress"),
        (["--env=CartPole", "--correct_traces=maybe"], 2, "correct_traces"),
        (["--env=CartPole", "CartPole"], 2, "unexpected argument 'CartPole'"),
        (["--env=CartPole", "--max_kl=-0.01"], 1, "max_kl must be > 0, got -0.01. Typical values"),
        (["--env=CartPole", "--max_kl=0"], 1, "max_kl must be > 0, got 0.0."),
        (["--env=CartPole", "--max_kl=wide"], 1, "max_kl must be a number, got 'wide'."),
        (["--env=CartPole", "--discount=1.5"], 1, "discount must be in [0, 1], got 1.5."),
        (["--env=CartPole", "--num_envs=0"], 1, "num_envs must be in [1, 65536], got 0."),
        (["--env=CartPole", "--num_envs=2.5"], 1, "num_envs must be a whole number, got '2.5'."),
        (["--env=CartPole", "--total_steps=1023"], 1, "total_steps must be >= one batch"),
        (["--env=CartPole", "--execution=gpu"], 1, "execution must be 'auto' or 'xla'"),
        (["--env=CartPole", "--hidden_sizes=64,x"], 1, "hidden_sizes must be a list"),
        (["--env=CartPole", "--env_kwargs=[1]"], 1, "env_kwargs must be a JSON object"),
        (["--env=CartPole", '--env_kwargs={"x": 1}'], 1, "cannot be made with the arguments"),
        (["--env=CartPole", "--logdir=file/run"], 1, "The run directory file/run cannot be used"),
        (["--env=CartPole", "--logdir=full"], 1, "full already holds a run"),
        (["--env=CartPole", "--export_dir=file/model"], 1, "export directory file/model cannot be"),
        (["--resume"], 1, "--logdir is required"),
        (["--resume", "--logdir=nowhere"], 1, "nowhere holds no run"),
        (["--resume", "--logdir=full"], 1, "config.json cannot be used"),
    ],
)
def test_bad_input_gets_one_line(run: Any, arguments: list[str], status: int, message: str) -> None:
    Path("file").write_text("in the way")
    Path("full").mkdir()
    Path("full/config.json").write_text("{}")
    outcome = run(*arguments)
    assert outcome.status == status
    assert message in outcome.error
    assert Path("full/config.json").read_text() == "{}"
    assert sorted(path.name for path in Path("full").iterdir() if path.name[0] != ".") == [
        "config.json"
    ]
    assert not Path("runs").exists()


def test_a_missing_extra_names_the_command_that_installs_it(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("gymnasium.envs.box2d")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "Box2D", None)
    assert 'pip install "trpo_tf[box2d]"' in run("--env=LunarLander").error


def test_verbose_starts_the_command_again(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[tuple[Any, ...]] = []

    def execve(*arguments: Any) -> None:
        started.append(arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr("os.execve", execve)
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "trpo_tf.train", "--verbose"])
    assert run("--env=CartPole", "--verbose").status == 130
    ((program, arguments, environment),) = started
    assert program == sys.executable
    assert arguments == [sys.executable, "-m", "trpo_tf.train", "--verbose"]
    assert environment["TRPO_TF_VERBOSE"] == "1"
    monkeypatch.setenv("TRPO_TF_VERBOSE", environment["TRPO_TF_VERBOSE"])
    assert startup.is_verbose()


def test_accelerators_give_memory_only_as_it_is_needed(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    grown: list[tuple[str, bool]] = []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [f"{kind}:0", f"{kind}:1"])
    monkeypatch.setattr(
        tf.config.experimental, "set_memory_growth", lambda *arguments: grown.append(arguments)
    )
    # Refused after TensorFlow is set up: this environment's observations are of no use.
    assert "Text" in run("--env=Unreadable").error
    assert grown == [("GPU:0", True), ("GPU:1", True)]


def test_every_setting_is_a_flag_with_a_help() -> None:
    for name in setting_names():
        assert train.FLAGS[name].help
    for name in ("logdir", "export_dir", "resume", "init_from", "progress", "verbose"):
        assert train.FLAGS[name].help


def test_flags_become_settings_of_their_types() -> None:
    train.FLAGS.unparse_flags()
    train.FLAGS(
        [
            "train",
            "--env=CartPole",
            "--total_steps=2e5",
            "--hidden_sizes=32,16",
            "--env_kwargs={}",
            "--chunk_rows=none",
            "--nocorrect_weights",
            "--max_kl=1e-3",
        ]
    )
    assert train.given_settings(train.FLAGS) == {
        "env": "CartPole",
        "total_steps": 200_000,
        "hidden_sizes": (32, 16),
        "env_kwargs": {},
        "chunk_rows": None,
        "correct_weights": False,
        "max_kl": 0.001,
    }
