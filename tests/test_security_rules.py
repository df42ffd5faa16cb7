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

# Modules whose readers can construct arbitrary objects, whatever the way they are imported.
MODULES = frozenset(
    {
        "_pickle",
        "builtins",
        "cloudpickle",
        "dill",
        "h5py",
        "joblib",
        "marshal",
        "pickle",
        "runpy",
        "ruamel",
        "shelve",
        "torch",
        "yaml",
    }
)
BUILTINS = frozenset({"__import__", "compile", "eval", "exec"})
# Methods and functions by their last name, whatever the module is called where they are used.
FUNCTIONS = frozenset(
    {
        "deserialize_keras_object",
        "enable_unsafe_deserialization",
        "from_config",
        "full_load",
        "getoutput",
        "getstatusoutput",
        "load_model",
        "load_weights",
        "model_from_json",
        "popen",
        "read_pickle",
        "system",
        "unsafe_load",
    }
)
# Readers by their last name, with the names they are called by here; other ones are refused.
READERS = {
    "load": {
        "json.load",
        "np.load",
        "tf.saved_model.load",
        "tf.compat.v1.saved_model.loader.load",
    },
    "loads": {"json.loads"},
    "read_array": {"np.lib.format.read_array"},
}
TAKES_PICKLES = frozenset({"load", "read_array"})
# Arguments that must be this very constant wherever they are given.
CONSTANTS = {"allow_pickle": False, "safe_mode": True, "shell": False}
SUFFIXES = (".h5", ".hdf5", ".keras", ".pickle", ".pkl", ".yaml", ".yml")


def violations(source: str) -> list[str]:
    """What in this source could run code out of a file, with its line."""
    tree = ast.parse(source)
    return [f"line {line}: {what}" for node in ast.walk(tree) for line, what in judged(node)]


def judged(node: ast.AST) -> Iterator[tuple[int, str]]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield from ((node.lineno, what) for what in judged_import(node))
    elif isinstance(node, ast.Call):
        yield from ((node.lineno, what) for what in judged_call(node))
    elif isinstance(node, ast.Name) and node.id in BUILTINS | FUNCTIONS:
        # Not only calls: another name may be given to it.
        yield node.lineno, f"mentions {node.id}"
    elif isinstance(node, ast.Attribute):
        yield from ((node.lineno, what) for what in judged_attribute(node))
    elif isinstance(node, ast.Constant) and names_a_file(node.value):
        yield node.lineno, f"names a file {node.value!r}"


def judged_import(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    module = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
    for name in (*module, *(alias.name for alias in node.names)):
        for part in sorted(MODULES.intersection(name.split("."))):
            yield f"imports {part}"
    for alias in node.names:
        if isinstance(node, ast.ImportFrom) and alias.name in FUNCTIONS | READERS.keys():
            yield f"imports {alias.name}"
        if alias.name == "numpy" and alias.asname != "np":
            yield "calls NumPy by another name than np"


def judged_attribute(node: ast.Attribute) -> Iterator[str]:
    name = ast.unparse(node)
    if node.attr in FUNCTIONS:
        yield f"mentions {name}"
    if node.attr in READERS and name not in READERS[node.attr]:
        yield f"reads by {name}"


def judged_call(call: ast.Call) -> Iterator[str]:
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    name = ast.unparse(call.func)
    if (
        name.startswith("np.")
        and name.rpartition(".")[2] in TAKES_PICKLES
        and "allow_pickle" not in given
    ):
        yield f"calls {name} without allow_pickle=False"
    for argument, only in CONSTANTS.items():
        value = given.get(argument)
        if value is not None and not (isinstance(value, ast.Constant) and value.value is only):
            yield f"calls {name} with {argument}={ast.unparse(value)}"


def names_a_file(value: object) -> bool:
    # Prose may name a suffix; a file's name is a single word that ends with it.
    return isinstance(value, str) and value.endswith(SUFFIXES) and " " not in value.strip()


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
        "os.popen(command)",
        "from ray import cloudpickle",
        "import builtins",
        "e = eval; e(text)",
        "functools.partial(exec, text)",
        "from numpy import load",
        "import numpy",
        "import numpy as N",
        "np.lib.format.read_array(file)",
        "np.lib.format.read_array(file, allow_pickle=flag)",
        "np.lib.npyio.load(path)",
        "from keras.models import load_model as reader",
        "reader = keras.models.load_model",
        "torch.load(path)",
        "subprocess.run(command, shell=flag)",
        "Model.from_config(config)",
        "keras.saving.load(path, safe_mode=flag)",
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
