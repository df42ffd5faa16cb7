"""python -m trpo_tf.evaluate: every return, from the SavedModel alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from trpo_tf import command_line, evaluate, evaluation
from trpo_tf.environments import make_env, make_vector_env
from trpo_tf.loaded_policy import load_policy
from trpo_tf.policies import make_policy
from trpo_tf.saved_model import export_policy
from trpo_tf.serving.dev_server import newest_versions
from trpo_tf.serving.local_server import LocalServer

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy for CartPole that does not do the same in every state."""
    base = tmp_path_factory.mktemp("models") / "CartPole"
    env = gym.make("CartPole-v1")
    policy = make_policy(env.observation_space, env.action_space, seed=1)
    for variable in policy.trainable_variables[-2:]:
        variable.assign(variable * 50)
    export_policy(policy, base, metadata={"env": "CartPole-v1"}, verify=False)
    return base


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command line in this process: exit status, standard output and error."""

    def run_main(*arguments: str) -> tuple[int, str, str]:
        evaluate.FLAGS.unparse_flags()
        for name in evaluate.FLAGS:
            evaluate.FLAGS[name].unparse()
        status = command_line.run(evaluate.main, evaluate.FLAGS, ["evaluate", *arguments])
        return status, *capsys.readouterr()

    return run_main


def printed_returns(out: str) -> list[float]:
    rows = [line.split() for line in out.splitlines()]
    return [float(row[1]) for row in rows if len(row) == 3 and row[0].isdecimal()]


def test_every_return_their_mean_and_deviation_are_printed(model: Path, run: Run) -> None:
    status, out, err = run(f"--saved_model={model}", "--env=CartPole", "--episodes=12", "--seed=3")
    assert (status, err) == (0, "")
    stats = evaluation.evaluate(
        load_policy(model), lambda: make_env("CartPole-v1"), episodes=12, seed=3
    )
    assert printed_returns(out) == stats.returns.tolist()
    assert f"mean {stats.returns.mean():.2f}" in out
    assert f"standard deviation {stats.returns.std():.2f}" in out
    assert f"{model / '1'} in CartPole-v1: deterministic actions, seed 3" in out


def test_the_environment_is_known_from_training(model: Path, run: Run) -> None:
    status, out, _ = run(f"--saved_model={model}", "--episodes=1")
    assert status == 0
    assert "in CartPole-v1" in out


def test_drawn_actions_are_reproducible_and_differ(model: Path, run: Run) -> None:
    arguments = [f"--saved_model={model}", "--episodes=6"]
    deterministic = printed_returns(run(*arguments)[1])
    drawn = printed_returns(run(*arguments, "--stochastic")[1])
    assert drawn == printed_returns(run(*arguments, "--stochastic")[1])
    assert drawn != deterministic
    assert drawn != printed_returns(run(*arguments, "--stochastic", "--seed=1")[1])


def test_a_film_of_the_first_episode(
    model: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("imageio")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    film = tmp_path / "cart.gif"
    status, out, err = run(f"--saved_model={model}", "--episodes=2", f"--video={film}")
    assert (status, err) == (0, "")
    assert f"Episode 1 is filmed in {film}." in out
    assert film.stat().st_size > 0


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_server_plays_the_same_episodes(model: Path, run: Run, protocol: str) -> None:
    pytest.importorskip("waitress")
    config = newest_versions([str(model)])
    server = LocalServer(lambda: config)
    try:
        port = server.rest_port if protocol == "http" else server.grpc_port
        url = f"{protocol}://127.0.0.1:{port}"
        for more in ([], ["--stochastic"]):
            arguments = ["--env=CartPole", "--episodes=3", "--seed=3", *more]
            status, out, err = run(f"--server={url}", *arguments)
            assert (status, err) == (0, "")
            assert f"CartPole on {url} in CartPole-v1" in out
            assert printed_returns(out) == printed_returns(
                run(f"--saved_model={model}", *arguments)[1]
            )
        status, _, err = run(f"--server={url}", "--env=CartPole", "--version_or_label=7")
        assert status == 1
        assert "the server said: NOT_FOUND: Servable not found" in err
        assert err.count("\n") == 1
        assert (
            "observations must have shape (None, 4)"
            in run(f"--server={url}", "--env=Acrobot", "--model=CartPole")[2]
        )
    finally:
        server.close()


BAD: dict[str, tuple[list[str], str]] = {
    "no model given": ([], "--saved_model is required"),
    "no model there": (["--saved_model=/nowhere"], "no SavedModel at /nowhere: there is nothing"),
    "unknown environment": (
        ["--saved_model={model}", "--env=CartPoll"],
        "there is no environment 'CartPoll'. Did you mean 'CartPole-v1'?",
    ),
    "another observation space": (
        ["--saved_model={model}", "--env=Acrobot"],
        "for the observation space Box([-4.8",
    ),
    "no episodes": (["--saved_model={model}", "--episodes=0"], "episodes must be >= 1, got 0"),
    "arguments": (
        ["--saved_model={model}", "--env_kwargs=3"],
        "--env_kwargs must be a JSON object, got '3'",
    ),
    "wrong arguments": (
        ["--saved_model={model}", '--env_kwargs={"gravity": 1}'],
        "CartPole-v1 cannot be made with the arguments {'gravity': 1}",
    ),
    "model and server": (
        ["--saved_model={model}", "--server=http://a", "--env=CartPole"],
        "give --saved_model or --server, not both",
    ),
    "server without environment": (["--server=http://localhost"], "--env is required"),
    "no server's address": (["--server=a", "--env=CartPole"], "url must begin with http://"),
    "film": (["--saved_model={model}", "--video=a.txt"], "video must end in one of .mp4"),
    "unknown flag": (["--saved_modell={model}"], "Did you mean --saved_model?"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_gets_one_line(model: Path, run: Run, name: str) -> None:
    arguments, message = BAD[name]
    status, out, err = run(*[argument.replace("{model}", str(model)) for argument in arguments])
    assert status != 0
    assert out == ""
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1


def export(
    base: Path, observation_space: gym.Space, action_space: gym.Space, **training: Any
) -> str:
    policy = make_policy(observation_space, action_space)
    export_policy(policy, base, metadata=training, verify=False)
    return f"--saved_model={base}"


def test_actions_of_other_bounds_are_refused(tmp_path: Path, run: Run) -> None:
    env = gym.make("Pendulum-v1")
    argument = export(tmp_path, env.observation_space, gym.spaces.Box(-1, 1, (1,)), env="Mine-v0")
    status, _, err = run(argument, "--env=Pendulum")
    assert status == 1
    assert "for the action space Box(-1.0, 1.0, (1,), float32), but Pendulum-v1 has Box(-2.0" in err
    assert "It was trained in Mine-v0." in err


def test_observations_of_other_bounds_fit(tmp_path: Path, run: Run) -> None:
    env = gym.make("Pendulum-v1")
    argument = export(tmp_path, gym.spaces.Box(-np.inf, np.inf, (3,)), env.action_space)
    assert run(argument, "--env=Pendulum", "--episodes=1")[0] == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floats_of_another_width_fit(tmp_path: Path, run: Run, dtype: Any) -> None:
    spaces = gym.spaces.Box(-9, 9, (3,), dtype), gym.spaces.Box(-2, 2, (1,), dtype)
    argument = export(tmp_path, *spaces)
    status, out, err = run(argument, "--env=Pendulum", "--episodes=1")
    assert (status, err) == (0, "")
    assert len(printed_returns(out)) == 1


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1", "Walker2d-v5"])
def test_a_policy_for_envpool_plays_in_gymnasium(tmp_path: Path, run: Run, env_id: str) -> None:
    pytest.importorskip("envpool")
    pool = make_vector_env(env_id, 1, "envpool")
    argument = export(tmp_path, pool.single_observation_space, pool.single_action_space)
    status, out, err = run(argument, f"--env={env_id}", "--episodes=1")
    assert (status, err) == (0, "")
    assert len(printed_returns(out)) == 1


def test_a_file_does_not_decide_what_is_imported(tmp_path: Path, run: Run) -> None:
    env = gym.make("CartPole-v1")
    spaces = env.observation_space, env.action_space
    argument = export(tmp_path / "a", *spaces, env="antigravity:CartPole-v1")
    assert "was trained in 'antigravity:CartPole-v1'" in run(argument)[2]
    assert "does not say where it was trained" in run(export(tmp_path / "b", *spaces))[2]


def test_the_command_runs_in_a_process_of_its_own(model: Path, run_cli: Any) -> None:
    done = run_cli("evaluate", f"--saved_model={model}", "--env=CartPole", "--episodes=2")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(printed_returns(done.stdout)) == 2
    assert not list(Path(model).glob("[!1]*"))
