"""No file that the package reads can run code: the syntax trees are searched for what could.

A run directory is JSON, TensorFlow checkpoints, npz without pickles and SavedModels. Nothing is
unpickled, evaluated or read as `.keras`, `.h5` or YAML.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "trpo_tf"

# Modules whose readers can construct arbitrary objects.
MODULES = frozenset(
    {
        "_pickle",
        "cloudpickle",
        "dill",
        "h5py",
        "joblib",
        "marshal",
        "pickle",
        "runpy",
        "ruamel",
        "shelve",
        "yaml",
    }
)
BUILTINS = frozenset({"__import__", "compile", "eval", "exec"})
# Methods and functions by their last name, whatever the module is called where they are used.
CALLS = frozenset(
    {
        "deserialize_keras_object",
        "enable_unsafe_deserialization",
        "full_load",
        "load_model",
        "load_weights",
        "model_from_json",
        "read_pickle",
        "system",
        "unsafe_load",
    }
)
SUFFIXES = (".h5", ".hdf5", ".keras", ".pickle", ".pkl", ".yaml", ".yml")


def violations(source: str) -> list[str]:
    """What in this source could run code out of a file, with its line."""
    tree = ast.parse(source)
    return [f"line {line}: {what}" for node in ast.walk(tree) for line, what in judged(node)]


def judged(node: ast.AST) -> Iterator[tuple[int, str]]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            if name.split(".")[0] in MODULES:
                yield node.lineno, f"imports {name}"
    elif isinstance(node, ast.Call):
        yield from ((node.lineno, what) for what in judged_call(node))
    elif isinstance(node, ast.Constant) and names_a_file(node.value):
        yield node.lineno, f"names a file {node.value!r}"


def names_a_file(value: object) -> bool:
    # Prose may name a suffix; a file's name is a single word that ends with it.
    return isinstance(value, str) and value.endswith(SUFFIXES) and " " not in value.strip()


def judged_call(call: ast.Call) -> Iterator[str]:
    function = call.func
    keywords = {
        keyword.arg: keyword.value.value
        for keyword in call.keywords
        if isinstance(keyword.value, ast.Constant)
    }
    if isinstance(function, ast.Name) and function.id in BUILTINS | CALLS:
        yield f"calls {function.id}"
    if isinstance(function, ast.Attribute):
        if function.attr in CALLS:
            yield f"calls {ast.unparse(function)}"
        if (
            function.attr in {"load", "fromfile"}
            and ast.unparse(function.value) in {"np", "numpy"}
            and keywords.get("allow_pickle") is not False
        ):
            yield f"calls {ast.unparse(function)} without allow_pickle=False"
    if keywords.get("allow_pickle") is True:
        yield "asks for pickles"
    if keywords.get("safe_mode") is False:
        yield "turns Keras' safe mode off"
    if keywords.get("shell") is True:
        yield "hands a command to a shell"


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.relative_to(PACKAGE).as_posix()
)
def test_nothing_that_is_read_can_run_code(path):
    assert not violations(path.read_text())


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import cloudpickle as cp",
        "from pickle import loads",
        "def f():\n    import yaml",
        "from joblib.externals import loky",
        "eval('1 + 1')",
        "exec(text)",
        "compile(text, 'name', 'exec')",
        "yaml.unsafe_load(text)",
        "keras.models.load_model(path)",
        "keras.saving.load_model('model.keras')",
        "model.load_weights(path)",
        "load_model(path)",
        "keras.config.enable_unsafe_deserialization()",
        "path = directory / 'weights.h5'",
        "name = f'{step}.keras'",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "numpy.load(path, mmap_mode='r')",
        "np.savez(path, allow_pickle=True)",
        "subprocess.run(command, shell=True)",
        "os.system(command)",
    ],
)
def test_what_could_run_code_is_found(source):
    assert violations(source)


@pytest.mark.parametrize(
    "source",
    [
        "import json",
        "json.load(file)",
        "np.load(path, allow_pickle=False)",
        "ast.literal_eval(text)",
        "execution.compile(function)",
        "re.compile('x')",
        "tf.saved_model.load(path)",
        "'''Never reads .keras or .h5'''",
        "subprocess.run(['git', 'rev-parse', 'HEAD'])",
    ],
)
def test_what_is_harmless_is_allowed(source):
    assert not violations(source)
