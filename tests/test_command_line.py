"""What the command lines share."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from absl import flags

from trpo_tf import command_line
from trpo_tf.errors import TrainingStopped


def flag_values() -> flags.FlagValues:
    values = flags.FlagValues()
    flags.DEFINE_integer("episodes", 20, "How many episodes.", lower_bound=1, flag_values=values)
    flags.DEFINE_float("max_kl", 0.01, "Trust region.", flag_values=values)
    flags.DEFINE_string("env", None, "Gymnasium id.", flag_values=values)
    flags.DEFINE_bool("stochastic", False, "Draw actions.", flag_values=values)
    return values


def run(*arguments: str, main: Callable[[Any], None] = lambda values: None) -> int:
    return command_line.run(main, flag_values(), ["program", *arguments])


def test_main_gets_the_flags() -> None:
    got = []
    status = run(
        "--episodes=3", "--stochastic", main=lambda v: got.append((v.episodes, v.stochastic))
    )
    assert (status, got) == (0, [(3, True)])


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--max_kll=1"], "error: there is no flag --max_kll. Did you mean --max_kl? --help lists"),
        (["--episods=1"], "error: there is no flag --episods. Did you mean --episodes?"),
        (["--zzzzqq=1"], "error: there is no flag --zzzzqq. --help lists all flags."),
        (["--episodes=many"], "error: flag --episodes=many: invalid literal"),
        (["--episodes=0"], "error: flag --episodes=0: "),
        (["--env"], "error: Missing value for flag --env"),
        (["Walker2d"], "error: unexpected argument 'Walker2d'; settings are given as --name=value"),
    ],
)
def test_flags_that_cannot_be_read_get_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], line: str
) -> None:
    assert run(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(line)
    assert err.count("\n") == 1


def test_names_of_a_thousand_letters(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(f"--{'x' * 5_000}=1") == 2
    assert capsys.readouterr().err == "error: a flag's name is too long; --help lists all flags.\n"


def test_operands_are_handed_over_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    got = []

    def run_with(*arguments: str) -> int:
        return command_line.run(
            lambda values, *operands: got.append((values.episodes, operands)),
            flag_values(),
            ["program", *arguments],
            operands=("<run>", "<run>"),
        )

    assert run_with("a", "--episodes=3", "b") == 0
    assert got == [(3, ("a", "b"))]
    for arguments, line in {
        ("a",): "error: expected 2 arguments: <run>, <run>.\n",
        ("a", "b", "c"): "error: unexpected argument 'c'; settings are given as --name=value.\n",
    }.items():
        assert run_with(*arguments) == 2
        assert capsys.readouterr().err == line


def test_a_command_has_its_own_status_for_failures() -> None:
    def fail(_: Any) -> None:
        raise ValueError("no")

    assert command_line.run(fail, flag_values(), ["program"], failure=2) == 2


@pytest.mark.parametrize(
    "error",
    [
        ValueError("max_kl must be > 0,\n  got -1."),
        TypeError("max_kl must be > 0, got -1."),
        ImportError("max_kl must be > 0, got -1."),
        OSError("max_kl must be > 0, got -1."),
        MemoryError("max_kl must be > 0, got -1."),
        TrainingStopped("max_kl must be > 0, got -1."),
    ],
)
def test_errors_get_one_line(capsys: pytest.CaptureFixture[str], error: Exception) -> None:
    def main(values: Any) -> None:
        raise error

    assert run(main=main) == 1
    assert capsys.readouterr().err == "error: max_kl must be > 0, got -1.\n"


def test_errors_show_their_traceback_when_asked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRPO_TF_VERBOSE", "1")

    def main(values: Any) -> None:
        raise ValueError("wrong")

    assert run(main=main) == 1
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.endswith("\nerror: wrong\n")


def test_a_fault_of_the_program_is_not_hidden() -> None:
    def main(values: Any) -> None:
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        run(main=main)


def test_ctrl_c_is_status_130(capsys: pytest.CaptureFixture[str]) -> None:
    def main(values: Any) -> None:
        raise KeyboardInterrupt

    assert run(main=main) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_help_lists_every_flag_with_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help", main=lambda values: pytest.fail("ran")) == 0
    out = capsys.readouterr().out
    assert "--episodes (default 20)\n      How many episodes." in out
    assert "--env\n      Gymnasium id." in out


def test_a_flag_without_default_can_be_required() -> None:
    values = flag_values()
    values(["program"])
    with pytest.raises(ValueError, match="--env is required, for example --env=Walker2d"):
        command_line.required(values, "env", "Walker2d")
    values(["program", "--env=CartPole"])
    assert command_line.required(values, "env", "Walker2d") == "CartPole"


def test_the_commands_that_use_a_version_survive_the_shell() -> None:
    env_kwargs = {"name": "it's", "frame_skip": 4, "nested": [1.5, None, True]}
    version = Path("/my models/Walker 2d/3")
    first, evaluate, serve = command_line.how_to_use(version, "Walker2d-v5", env_kwargs).split("\n")
    assert first == "Exported to /my models/Walker 2d/3"
    words = shlex.split(evaluate)
    assert words[:4] == ["Evaluate:", "python", "-m", "trpo_tf.evaluate"]
    given = dict(word.removeprefix("--").split("=", 1) for word in words[4:])
    assert json.loads(given.pop("env_kwargs")) == env_kwargs
    assert given == {"saved_model": "/my models/Walker 2d", "env": "Walker2d-v5", "episodes": "20"}
    assert shlex.split(serve)[3:] == [
        "--model_name=Walker 2d",
        "--model_base_path=/my models/Walker 2d",
    ]


def test_an_environment_without_arguments_is_evaluated_without() -> None:
    assert "env_kwargs" not in command_line.how_to_use(Path("models/1"), "Walker2d-v5", {})
