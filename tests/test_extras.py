"""The base installation: everything imports without the extras, and what needs one says which.

One process in which every optional package is missing stands for all of them; blocking a module
with None in sys.modules makes its import fail as if it were not installed.
"""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
from conftest import run_python
from test_imports import OPTIONAL, modules

REPOSITORY = Path(__file__).resolve().parent.parent

# What a user without the extra might ask for, as source, and the extra that the answer names.
REQUESTS = {
    "a MuJoCo environment": ("mujoco", "environments.make_vector_env('Walker2d', 2)"),
    "one MuJoCo environment": ("mujoco", "environments.make_env('Hopper')"),
    "an Atari game": ("atari", "environments.make_vector_env('ALE/Pong-v5', 2)"),
    "one Atari game": ("atari", "environments.make_env('ALE/Pong-v5')"),
    "EnvPool": ("envpool", "environments.make_vector_env('CartPole', 2, 'envpool')"),
    "a Box2D environment": ("box2d", "environments.make_vector_env('LunarLander', 2)"),
    "a learning curve": ("plot", "learning_curve.plot_learning_curve('a.csv', 'a.png')"),
    "a video": ("video", "video.check_video_path('out.mp4')"),
    "the development server": (
        "serving",
        "__import__('trpo_tf').serving.local_server.LocalServer(lambda: None)",
    ),
}

ASKING = """
import importlib, json, sys

optional, names, requests = json.loads(sys.argv[1])
for name in optional:
    sys.modules[name] = None


def outcome(action):
    try:
        return [None, repr(action())]
    except Exception as error:
        return [type(error).__name__, str(error)]


imports = {name: outcome(lambda: importlib.import_module("trpo_tf." + name)) for name in names}
loaded = {name: sys.modules.get("trpo_tf." + name) for name in names}
answers = {request: outcome(lambda: eval(source, loaded)) for request, source in requests.items()}
print(json.dumps([imports, answers]))
"""


@pytest.fixture(scope="module")
def bare(tmp_path_factory) -> tuple[dict, dict]:
    """How imports and requests end where no extra is installed: (error's type or None, text)."""
    names = [name for name in modules() if name != "__init__"]
    requests = {request: source for request, (_, source) in REQUESTS.items()}
    result = run_python(
        "-c",
        ASKING,
        json.dumps([sorted(OPTIONAL), names, requests]),
        directory=tmp_path_factory.mktemp("bare"),
        environment=None,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    return tuple(json.loads(result.stdout))


def test_every_module_imports_without_any_extra(bare):
    imports, _ = bare
    assert {name: text for name, (error, text) in imports.items() if error} == {}


@pytest.mark.parametrize("request_", REQUESTS)
def test_a_missing_extra_is_named_with_its_command(bare, request_):
    extra, _ = REQUESTS[request_]
    error, message = bare[1][request_]
    assert error == "ImportError"
    assert f'pip install "trpo_tf[{extra}]"' in message
    assert "\n" not in message


def test_every_extra_that_is_named_exists():
    extras = project()["optional-dependencies"]
    assert {extra for extra, _ in REQUESTS.values()} < set(extras)
    (everything,) = extras["all"]
    assert set(re.split(r"[\[\],]", everything)[1:-1]) == set(extras) - {
        "all",
        "dev",
        "experiments",
    }


def test_no_base_dependency_is_an_extra():
    base = {requirement.split(">")[0].split("[")[0] for requirement in project()["dependencies"]}
    assert base == {
        "absl-py",
        "grpcio",
        "gymnasium",
        "keras",
        "numpy",
        "rich",
        "tensorflow",
        "tensorflow-probability",
        "tensorflow-serving-api",
        "urllib3",
    }


def project() -> dict:
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]


@pytest.fixture
def run_bare(run_code):
    """Runs a command line where no extra is installed."""

    def run(command: str, *arguments: str):
        return run_code(
            "import runpy, sys\n"
            f"sys.modules.update(dict.fromkeys({sorted(OPTIONAL)}))\n"
            f"sys.argv = {[command, *arguments]}\n"
            f"runpy.run_module('trpo_tf.{command}', run_name='__main__', alter_sys=True)"
        )

    return run


def test_training_in_an_environment_whose_extra_is_missing_ends_with_one_line(run_bare, tmp_path):
    result = run_bare("train", "--env=Walker2d", "--logdir=run")
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert 'pip install "trpo_tf[mujoco]"' in result.stderr
    assert not (tmp_path / "run").exists()


def test_the_base_installation_trains_exports_and_evaluates(run_bare, tmp_path):
    trained = run_bare(
        "train",
        "--env=CartPole",
        "--total_steps=128",
        "--num_envs=2",
        "--num_steps=64",
        "--execution=graph",
        "--logdir=run",
        "--export_dir=model",
    )
    assert trained.returncode == 0, trained.stderr
    assert 'pip install "trpo_tf[plot]"' in trained.stdout + trained.stderr
    assert not (tmp_path / "run" / "learning_curve.png").exists()
    evaluated = run_bare("evaluate", "--saved_model=model", "--episodes=2")
    assert (evaluated.returncode, evaluated.stderr) == (0, "")
    filmed = run_bare("evaluate", "--saved_model=model", "--episodes=1", "--video=walk.mp4")
    assert filmed.returncode == 1
    assert filmed.stderr.count("\n") == 1
    assert 'pip install "trpo_tf[video]"' in filmed.stderr
