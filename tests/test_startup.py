"""Start-up: the backend check refuses with one line, and TensorFlow stays quiet unless asked."""

from __future__ import annotations

import json
import os
import sys
import warnings
from types import SimpleNamespace

import pytest

from trpo_tf import startup

# Standing in for what a run touches: libraries loaded, a compiled cluster, LiteRT.
EVERYTHING = """
from trpo_tf import startup
startup.start()
import keras
import tensorflow as tf
import tensorflow_probability as tfp

double = tf.function(lambda x: 2.0 * x, jit_compile=True)
assert float(double(tfp.distributions.Deterministic(1.5).mean())) == 3.0
keras.layers.Dense(2)(tf.ones([1, 3]))
signature = double.get_concrete_function(tf.TensorSpec([2]))
function = tf.function(tf.tanh).get_concrete_function(tf.TensorSpec([2, 3]))
content = tf.lite.TFLiteConverter.from_concrete_functions([function], tf.Module()).convert()
with startup.without_chatter():
    tf.lite.Interpreter(model_content=content).allocate_tensors()
print("done")
"""

# The module without the package around it, whose import takes seconds.
ALONE = f"""
import importlib.util
spec = importlib.util.spec_from_file_location("startup", {startup.__file__!r})
startup = importlib.util.module_from_spec(spec)
spec.loader.exec_module(startup)
"""


@pytest.fixture
def keras_not_imported(monkeypatch, tmp_path):
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    return tmp_path


def test_everything_is_quiet_by_default(run_code):
    result = run_code(EVERYTHING)
    assert (result.returncode, result.stdout, result.stderr) == (0, "done\n", "")


def test_messages_are_shown_when_asked_for(run_code):
    # Said to be wanted, oneDNN tells of itself on every processor.
    environment = {"TRPO_TF_VERBOSE": "1", "TF_ENABLE_ONEDNN_OPTS": "1"}
    result = run_code(EVERYTHING, environment=environment)
    assert result.returncode == 0
    assert "oneDNN custom operations" in result.stderr
    assert "XNNPACK" in result.stderr


@pytest.mark.parametrize(
    ("verbose", "level", "expected"),
    [
        (None, None, False),
        (None, "3", False),
        (None, "2", True),
        (None, "0", True),
        ("1", None, True),
        ("1", "3", True),
        ("0", "3", False),
        ("", None, False),
    ],
)
def test_is_verbose(monkeypatch, verbose, level, expected):
    for name, value in (("TRPO_TF_VERBOSE", verbose), ("TF_CPP_MIN_LOG_LEVEL", level)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    assert startup.is_verbose() is expected


def test_start_quiets_the_log_level_once(monkeypatch):
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    startup.start()
    startup.start()
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "3"
    assert not startup.is_verbose()


def test_start_leaves_a_chosen_log_level(monkeypatch):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "1")
    startup.start()
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "1"


def test_without_chatter_passes_on_what_is_no_chatter(capfd):
    with startup.without_chatter():
        os.write(2, b"I0000 00:00:1.2 3 port.cc:153] oneDNN custom operations are on.\n")
        print("from Python", file=sys.stderr)
        os.write(2, b"W0000 00:00:1.2 3 file.cc:1] Ignored.\nE0000 00:00:1.2 3 file.cc:1] Kept.\n")
        os.write(2, b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\nunfinished line")
    os.write(2, b"\nafterwards\n")
    assert capfd.readouterr().err == (
        "from Python\nE0000 00:00:1.2 3 file.cc:1] Kept.\nunfinished line\nafterwards\n"
    )


def test_without_chatter_shows_all_when_the_body_fails(capfd):
    with pytest.raises(RuntimeError, match="loading"), startup.without_chatter():
        os.write(2, b"I0000 00:00:1.2 3 file.cc:1] A reason, perhaps.\n")
        raise RuntimeError("loading failed")
    assert capfd.readouterr().err == "I0000 00:00:1.2 3 file.cc:1] A reason, perhaps.\n"


def test_without_chatter_nests(capfd):
    with startup.without_chatter():
        with startup.without_chatter():
            os.write(2, b"inner\n")
        os.write(2, b"outer\n")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "inner\nouter\nafter\n"


def test_without_chatter_does_nothing_when_verbose(monkeypatch, capfd):
    monkeypatch.setenv("TRPO_TF_VERBOSE", "1")
    with startup.without_chatter():
        os.write(2, b"INFO: shown at once\n")
        assert capfd.readouterr().err == "INFO: shown at once\n"


def test_without_chatter_hides_the_litert_warning_and_no_other():
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with startup.without_chatter():
            warnings.warn("    Warning: tf.lite.Interpreter is deprecated", stacklevel=1)
            warnings.warn("something else", stacklevel=1)
    assert [str(warning.message) for warning in seen] == ["something else"]


def test_without_chatter_works_without_standard_error(run_code):
    result = run_code(
        f"{ALONE}import os, sys\nos.close(2)\nsys.stderr = None\n"
        "with startup.without_chatter():\n    print('done')"
    )
    assert (result.returncode, result.stdout) == (0, "done\n")


def test_without_chatter_works_without_a_place_for_temporary_files(monkeypatch, capfd):
    def refuse():
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(startup.tempfile, "TemporaryFile", refuse)
    with startup.without_chatter():
        os.write(2, b"INFO: shown\n")
    assert capfd.readouterr().err == "INFO: shown\n"


def test_a_crash_while_quiet_is_reported(run_code):
    result = run_code(f"{ALONE}import os\nwith startup.without_chatter():\n    os.abort()")
    assert result.returncode != 0
    assert "Aborted" in result.stderr


@pytest.mark.parametrize("backend", ["jax", "torch", "openvino"])
def test_another_backend_in_the_environment_is_refused(keras_not_imported, monkeypatch, backend):
    monkeypatch.setenv("KERAS_BACKEND", backend)
    with pytest.raises(ImportError, match=f"KERAS_BACKEND says '{backend}'.*=tensorflow") as error:
        startup.start()
    assert "\n" not in str(error.value)


def test_another_backend_in_the_configuration_file_is_refused(keras_not_imported):
    path = keras_not_imported / "keras.json"
    path.write_text(json.dumps({"backend": "jax"}))
    with pytest.raises(ImportError, match=r"keras\.json says 'jax'"):
        startup.check_keras_backend()


def test_the_environment_goes_before_the_configuration_file(keras_not_imported, monkeypatch):
    (keras_not_imported / "keras.json").write_text(json.dumps({"backend": "jax"}))
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    startup.check_keras_backend()


@pytest.mark.parametrize("text", ["{}", "not json", '{"floatx": "float32"}', None])
def test_a_file_that_names_no_backend_means_tensorflow(keras_not_imported, text):
    if text is not None:
        (keras_not_imported / "keras.json").write_text(text)
    startup.check_keras_backend()


def test_the_home_directory_is_read_as_keras_reads_it(keras_not_imported, monkeypatch):
    monkeypatch.delenv("KERAS_HOME")
    monkeypatch.setenv("HOME", str(keras_not_imported))
    (keras_not_imported / ".keras").mkdir()
    (keras_not_imported / ".keras" / "keras.json").write_text(json.dumps({"backend": "torch"}))
    with pytest.raises(ImportError, match="'torch'"):
        startup.check_keras_backend()


def test_an_imported_keras_on_another_backend_is_refused(monkeypatch):
    fake = SimpleNamespace(config=SimpleNamespace(backend=lambda: "jax"))
    monkeypatch.setitem(sys.modules, "keras", fake)
    with pytest.raises(ImportError, match="already imported says 'jax'"):
        startup.check_keras_backend()


def test_the_package_refuses_before_anything_heavy_is_imported(run_code):
    result = run_code(
        "import sys\n"
        "try:\n"
        "    import trpo_tf\n"
        "except ImportError as error:\n"
        "    print(error)\n"
        "print([name for name in ('tensorflow', 'keras', 'jax') if name in sys.modules])",
        environment={"KERAS_BACKEND": "jax"},
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == (
        "trpo_tf needs Keras on its TensorFlow backend, but the environment variable KERAS_BACKEND"
        " says 'jax'. Set the environment variable KERAS_BACKEND=tensorflow before Keras is"
        " imported.\n[]\n"
    )


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_the_command_line_refuses_in_one_line(run_cli, command):
    result = run_cli(command, environment={"KERAS_BACKEND": "jax"})
    assert result.returncode != 0
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert "KERAS_BACKEND=tensorflow" in result.stderr
