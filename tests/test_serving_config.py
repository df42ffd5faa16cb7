"""python -m trpo_tf.serving_config: what it writes, prints and refuses."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from test_model_config import versions_of

from trpo_tf import command_line, serving_config
from trpo_tf.serving.model_config import find_model, read_config

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command line in this process, in tmp_path: exit status, output and error."""
    monkeypatch.chdir(tmp_path)

    def run_main(*arguments: str) -> tuple[int, str, str]:
        serving_config.FLAGS.unparse_flags()
        for name in serving_config.FLAGS:
            serving_config.FLAGS[name].unparse()
        argv = ["serving_config", *arguments]
        status = command_line.run(serving_config.main, serving_config.FLAGS, argv)
        return status, *capsys.readouterr()

    return run_main


def test_config_batching_parameters_and_commands(run: Run, tmp_path: Path) -> None:
    walker = versions_of(tmp_path / "saved models" / "Walker2d", 1, 2)
    hopper = versions_of(tmp_path / "saved models" / "Hopper", 5)
    status, out, err = run(f"--saved_models={walker},{hopper}", "--max_batch_size=128")
    assert (status, err) == (0, "")
    config = read_config(tmp_path / "serving" / "models.config")
    assert find_model(config, "Walker2d").base_path == str(walker)
    assert dict(find_model(config, "Hopper").version_labels) == {"stable": 5, "canary": 5}
    batching = (tmp_path / "serving" / "batching.config").read_text()
    assert batching.splitlines() == [
        "max_batch_size { value: 128000 }",
        "enable_large_batch_splitting { value: true }",
        "max_execution_batch_size { value: 128 }",
        "batch_timeout_micros { value: 1000 }",
        "max_enqueued_batches { value: 1000 }",
        "num_batch_threads { value: 2 }",
    ]
    lines = out.splitlines()
    assert lines[0] == "Walker2d: version 2 is served (canary: 2, stable: 2)"
    binary, container = (shlex.split(line.partition(":")[2]) for line in lines[2:])
    assert binary[0] == "tensorflow_model_server"
    assert f"--model_config_file={tmp_path / 'serving' / 'models.config'}" in binary
    assert container[:2] == ["docker", "run"]
    assert f"--volume={walker}:{walker}:ro" in container
    assert container[-len(binary) + 1 :] == binary[1:]


def test_a_roll_out_and_a_roll_back(run: Run, tmp_path: Path) -> None:
    base = versions_of(tmp_path / "m", 1)
    run("--saved_models=m")
    versions_of(base, 2)
    assert run("--saved_models=m")[1].startswith("m: version 2 is served (canary: 1, stable: 1)")
    assert run("--try_out=m") == (0, "m: canary is version 2\n", "")
    assert run("--promote=m") == (0, "m: stable is version 2\n", "")
    assert run("--roll_back=m") == (0, "m: stable is version 1\n", "")
    labels = find_model(read_config(tmp_path / "serving" / "models.config"), "m").version_labels
    assert dict(labels) == {"stable": 1, "canary": 2}


def test_bad_input_gets_one_line_and_changes_nothing(run: Run, tmp_path: Path) -> None:
    cases = {
        (): "give exactly one of",
        ("--promote=m", "--roll_back=m"): "got 2 of them",
        ("--promote=m",): "does not exist: write it with --saved_models first",
        ("--saved_models=nowhere",): "no SavedModel at nowhere",
        ("--promot=m",): "Did you mean --promote?",
    }
    for arguments, message in cases.items():
        status, out, err = run(*arguments)
        assert status != 0
        assert out == ""
        assert message in err
        assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
    versions_of(tmp_path / "m", 1)
    run("--saved_models=m")
    before = (tmp_path / "serving" / "models.config").read_bytes()
    assert "nothing to promote" in run("--promote=m")[2]
    assert "there is no model 'x'" in run("--roll_back=x")[2]
    assert (tmp_path / "serving" / "models.config").read_bytes() == before
