"""The import ladder: modules import only from rungs below their own, so there is never a circle.

The table is the architecture. A module that is missing from it fails here, which is the moment to
decide where it belongs.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "trpo_tf"

# From the ground up: a layer's label and its rungs. Modules of one rung do not know each other.
LADDER: tuple[tuple[str, tuple[tuple[str, ...], ...]], ...] = (
    (
        "0: plain mathematics, records, files and signals; no imports of ours",
        (
            (
                "atomic_files",
                "chunks",
                "conjugate_gradient",
                "counts",
                "directory_lock",
                "errors",
                "execution",
                "failure",
                "flat",
                "functional",
                "graph_checks",
                "interruption",
                "line_search",
                "manifest",
                "memory",
                "moments",
                "named_variables",
                "npz_file",
                "plain_file",
                "printable",
                "saved_graph",
                "session_check",
                "setting",
                "startup",
                "types",
            ),
        ),
    ),
    (
        "1a: what models are made of, environments by name",
        (
            (
                "action_bounds",
                "alike_spaces",
                "clipped_normal",
                "distribution_parameters",
                "environment_ids",
                "normalizer",
                "random",
                "single_env",
                "space_json",
                "space_structure",
            ),
            (
                "action_map",
                "observation_check",
                "sample_rows",
                "serving.status_codes",
                "spaces",
            ),
            ("serving.tensor_json", "serving.wire"),
        ),
    ),
    (
        "1b: one idea each; collaborators are received, not constructed",
        (
            (
                "draws",
                "heads",
                "kl_constraint",
                "preconditioner",
                "replay",
                "return_scaling",
                "rollout_form",
                "rounding",
                "staleness",
                "torsos",
            ),
            (
                "advantage",
                "policies",
                "rollout_check",
                "samplers.action_noise",
            ),
            (
                "rollout_files",
                "rollout_fault",
                "samplers.acting",
                "samplers.counters",
                "samplers.env_state",
                "samplers.episodes",
                "samplers.policy_fit",
                "samplers.ray_cluster",
                "samplers.recording",
                "samplers.vector_env",
                "value_function",
            ),
            ("rollout_rows", "samplers.log_probs"),
            ("samplers.synchronous",),
            ("samplers.collectors",),
            ("samplers.background", "samplers.rollout_worker"),
            ("samplers.background_sampler", "samplers.ray_collector"),
            ("samplers.asynchronous", "samplers.ray_sampler"),
            ("samplers",),
        ),
    ),
    (
        "2: the two optimisers",
        (
            ("batch_passes",),
            (
                "natural_gradient",
                "value_regression",
            ),
        ),
    ),
    (
        "3: the algorithm as a composition; settings",
        (
            (
                "environments",
                "setting_choices",
                "trpo",
            ),
            ("config",),
            ("presets",),
            ("assembly",),
        ),
    ),
    (
        "4: around the algorithm",
        (
            ("run_record",),
            (
                "checkpoint",
                "evaluation",
                "event_file",
                "film_worker",
                "model_card",
                "model_versions",
                "progress_display",
                "progress_file",
                "provenance",
                "signatures",
                "training_report",
                "verification",
                "warmup",
            ),
            (
                "learning_curve",
                "metrics",
                "policy_inputs",
                "run_directory",
                "saved_model",
                "serving.model_config",
                "serving.served_version",
                "video",
            ),
            (
                "loaded_policy",
                "run_comparison",
                "serving.grpc_client",
                "serving.rest_client",
                "serving.served_models",
                "training_session",
            ),
            ("serving.client", "serving.rest_service", "training_loop"),
            ("serving", "serving.grpc_service"),
            ("serving.local_server",),
        ),
    ),
    (
        "5: command lines",
        (
            ("command_line", "serving.batching_flags"),
            (
                "compare_runs",
                "evaluate",
                "export",
                "serving.dev_server",
                "serving_config",
                "train",
            ),
        ),
    ),
    ("the public names", (("__init__",),)),
)

RUNGS = {
    module: rung
    for rung, modules in enumerate(rung for _, rungs in LADDER for rung in rungs)
    for module in modules
}
COMMAND_LINES = {module for rung in LADDER[-2][1] for module in rung}

# Extras: a base installation lacks them, so no import of the package may need them.
OPTIONAL = frozenset(
    {
        "Box2D",
        "ale_py",
        "cv2",
        "envpool",
        "imageio",
        "imageio_ffmpeg",
        "matplotlib",
        "mujoco",
        "pygame",
        "ray",
        "waitress",
    }
)
# Belong to no dependency, or to none that should be relied on.
BANNED = frozenset({"tf_keras", "tensorflow_probability.layers", "jax", "torch", "pandas"})


class Import(NamedTuple):
    """One imported name: dotted, where it stands, and whether importing the module runs it."""

    module: str
    line: int
    runs_at_import: bool


def imports(tree: ast.AST) -> Iterator[Import]:
    """Everything that a syntax tree imports, by dotted name: `from a import b` gives `a.b`."""
    inside_functions = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for statement in (function.body if isinstance(function.body, list) else [function.body])
        for node in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            names = [f"{module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            yield Import(name, node.lineno, id(node) not in inside_functions)


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def ladder_violations(module: str, source: str) -> list[str]:
    """What a module imports of ours that does not lie on a lower rung."""
    found = []
    for item in imports(ast.parse(source)):
        if item.module.startswith("."):
            found.append(f"{module}:{item.line} imports relatively")
        if not within(item.module, "trpo_tf"):
            continue
        target = imported_module(item.module)
        if target is None:
            found.append(f"{module}:{item.line} imports {item.module}, which is no module of ours")
        elif target != module and RUNGS[target] >= RUNGS[module]:
            found.append(f"{module}:{item.line} imports {target}, which is not below it")
    return found


def imported_module(name: str) -> str | None:
    """The table's module that a dotted name lies in: `trpo_tf.types.Rollout` lies in `types`."""
    parts = name.split(".")[1:]
    while parts:
        if ".".join(parts) in RUNGS:
            return ".".join(parts)
        parts.pop()
    return None


def outside_violations(module: str, source: str) -> list[str]:
    """What a module uses of other packages against the rules."""
    tree = ast.parse(source)
    found = []
    for item in imports(tree):
        root = item.module.split(".")[0]
        if root in OPTIONAL and item.runs_at_import:
            found.append(f"{module}:{item.line} imports the extra {root} outside a function")
        if any(within(item.module, name) for name in BANNED):
            found.append(f"{module}:{item.line} imports {item.module}")
        if module not in COMMAND_LINES and any(
            within(item.module, name) for name in ("absl.flags", "absl.app", "argparse")
        ):
            found.append(f"{module}:{item.line} reads flags: only the command lines do")
    found.extend(
        f"{module}:{node.lineno} uses tfp.layers"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr == "layers"
        and isinstance(node.value, ast.Name)
        and node.value.id in {"tfp", "tensorflow_probability"}
    )
    return found


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name without `trpo_tf`."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)] = path
    return found


def test_the_table_names_every_module_and_no_other():
    names = [module for _, rungs in LADDER for rung in rungs for module in rung]
    assert sorted(names) == sorted(set(names))
    assert sorted(names) == sorted(modules())


@pytest.mark.parametrize("module", sorted(modules()))
def test_imports_go_down(module):
    assert module in RUNGS, f"{module} has no rung yet: add it to LADDER"
    assert not ladder_violations(module, modules()[module].read_text())


@pytest.mark.parametrize("module", sorted(modules()))
def test_outside_imports_follow_the_rules(module):
    assert not outside_violations(module, modules()[module].read_text())


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("policies", "from trpo_tf import trpo"),
        ("policies", "from trpo_tf.trpo import TRPO"),
        ("policies", "import trpo_tf.trpo"),
        ("policies", "def f():\n    from trpo_tf import trpo"),
        ("policies", "if TYPE_CHECKING:\n    from trpo_tf.trpo import TRPO"),
        ("policies", "from trpo_tf import advantage"),
        ("policies", "from trpo_tf import make_policy"),
        ("policies", "import trpo_tf"),
        ("policies", "from . import heads"),
        ("types", "from trpo_tf import flat"),
        ("samplers.acting", "from trpo_tf.samplers import Sampler"),
        ("samplers.acting", "from trpo_tf.samplers.synchronous import Sampler"),
    ],
)
def test_an_import_that_does_not_go_down_is_found(module, source):
    assert ladder_violations(module, source)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("policies", "from trpo_tf import heads, spaces"),
        ("policies", "from trpo_tf.types import Rollout"),
        ("samplers", "from trpo_tf.samplers.synchronous import Sampler"),
        ("samplers.synchronous", "from trpo_tf.samplers import acting, vector_env"),
        ("train", "from trpo_tf import command_line"),
        ("policies", "import numpy as np"),
    ],
)
def test_an_import_that_goes_down_is_allowed(module, source):
    assert not ladder_violations(module, source)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("learning_curve", "import matplotlib.pyplot as plt"),
        ("learning_curve", "try:\n    import matplotlib\nexcept ImportError:\n    pass"),
        ("environments", "class A:\n    import envpool"),
        ("environments", "from ale_py import vector_env"),
        ("trpo", "from absl import flags"),
        ("trpo", "import absl.flags as f"),
        ("trpo", "def f():\n    from absl import app"),
        ("heads", "import tensorflow_probability as tfp\ntfp.layers.DenseFlipout"),
        ("heads", "from tensorflow_probability import layers"),
        ("heads", "import tf_keras"),
    ],
)
def test_an_outside_import_against_the_rules_is_found(module, source):
    assert outside_violations(module, source)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("learning_curve", "def draw():\n    import matplotlib.pyplot as plt"),
        ("train", "from absl import app, flags"),
        ("trpo", "from absl import logging"),
        ("heads", "import keras\nkeras.layers.Dense"),
    ],
)
def test_an_outside_import_within_the_rules_is_allowed(module, source):
    assert not outside_violations(module, source)
