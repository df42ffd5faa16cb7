"""One concept, one file, one test file: no module goes without, no test file outlives its own."""

from __future__ import annotations

from pathlib import Path

from test_imports import modules

TESTS = Path(__file__).resolve().parent

# Test files that hold the whole together rather than one module.
OF_THE_WHOLE = frozenset(
    {
        "completeness",
        "conformance",
        "cpp_loader",
        "extras",
        "faults",
        "fuzzed_parsers",
        "hostile_runs",
        "imports",
        "off_policy_mdp",
        "old_runs",
        "openvino",
        "readme",
        "security_rules",
        "tabular_mdp",
        "training_runs",
        "update_invariants",
    }
)


def concepts() -> set[str]:
    """The last part of each module's name; what a package's `__init__` names is tested by name."""
    names = modules()
    packages = {name.rpartition(".")[0] for name in names} | {"__init__"}
    return {name.rpartition(".")[2] for name in names if name not in packages}


def subjects() -> set[str]:
    return {path.stem.removeprefix("test_") for path in TESTS.glob("test_*.py")}


def test_every_module_has_its_test_file():
    assert sorted(concepts() - subjects()) == []


def test_every_test_file_has_its_module():
    assert sorted(subjects() - concepts() - OF_THE_WHOLE) == []


def test_the_names_of_test_files_are_unambiguous():
    names = [name.rpartition(".")[2] for name in modules() if name not in {"__init__", "samplers"}]
    assert len(names) == len(set(names))
