"""python -m trpo_tf.serving.dev_server in a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import serving_models
import urllib3

from trpo_tf import command_line
from trpo_tf.serving import Client, dev_server

pytest.importorskip("waitress")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return serving_models.export_versions(tmp_path_factory.mktemp("models") / "m", 2)


def test_from_start_to_end(base: Path, repository: Path) -> None:
    arguments = [f"--saved_model={base}", "--rest_api_port=0", "--port=0", "--enable_batching"]
    process = subprocess.Popen(
        [sys.executable, "-m", "trpo_tf.serving.dev_server", *arguments],
        cwd=repository,
        env={**os.environ, "PYTHONPATH": str(repository)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert "for development" in process.stdout.readline()
        rest = process.stdout.readline().removeprefix("REST: ").strip()
        grpc = process.stdout.readline().removeprefix("gRPC: ").strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", rest)
        body = {"instances": serving_models.ROWS.tolist()}
        answer = urllib3.request("POST", f"{rest}/v1/models/m:predict", json=body)
        expected = serving_models.expected_actions(2)
        np.testing.assert_allclose(answer.json()["predictions"], expected)
        with Client(grpc, "m") as client:
            np.testing.assert_allclose(client.act(serving_models.ROWS), expected)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate()
        assert (process.returncode, out, err) == (0, "", "")
    finally:
        process.kill()
        process.communicate()


def test_the_newest_versions_are_served_under_their_directories_names(base: Path) -> None:
    config = dev_server.newest_versions([str(base)])
    [model] = config.model_config_list.config
    assert (model.name, model.base_path) == ("m", str(base))
    with pytest.raises(ValueError, match="must differ"):
        dev_server.newest_versions([str(base), str(base.parent / "x" / "m")])
    with pytest.raises(ValueError, match=f"one version itself; give .*{base}"):
        dev_server.newest_versions([str(base / "1")])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give --saved_model, for example"),
        (["--saved_model=/nowhere"], "no SavedModel at /nowhere"),
        (["--model_config_file=/nowhere"], "/nowhere"),
        (["--saved_model=a", "--model_config_file=b"], "give --saved_model"),
        (["--saved_modell=a"], "Did you mean --saved_model?"),
    ],
)
def test_bad_input_gets_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    dev_server.FLAGS.unparse_flags()
    for name in dev_server.FLAGS:
        dev_server.FLAGS[name].unparse()
    ports = ["--rest_api_port=0", "--port=0"]
    argv = ["dev_server", *ports, *arguments]
    assert command_line.run(dev_server.main, dev_server.FLAGS, argv) != 0
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == 1
