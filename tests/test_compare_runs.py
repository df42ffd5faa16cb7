"""python -m trpo_tf.compare_runs: what it prints and its three statuses."""

from __future__ import annotations

import dataclasses

import pytest
from test_run_comparison import CONFIG, RECORD, rows, write_run

from trpo_tf import command_line, compare_runs


@pytest.fixture
def run(capsys):
    def run_main(*arguments: object) -> tuple[int, str, str]:
        try:
            status = command_line.run(
                compare_runs.main,
                compare_runs.FLAGS,
                ["compare_runs", *map(str, arguments)],
                compare_runs.OPERANDS,
                compare_runs.UNUSABLE,
            )
        except SystemExit as exit_:
            status = exit_.code
        return status, *capsys.readouterr()

    return run_main


def test_equal(run, tmp_path):
    paths = write_run(tmp_path / "a", rows()), write_run(tmp_path / "b", rows())
    status, out, err = run(*paths)
    assert (status, err) == (0, "")
    assert out.startswith("equal: 5 rows of ")


def test_parted_with_a_cause(run, tmp_path):
    other = rows()
    other[3]["kl"] = 0.5
    record = dataclasses.replace(RECORD, config=dataclasses.replace(CONFIG, seed=9))
    paths = write_run(tmp_path / "a", rows()), write_run(tmp_path / "b", other, record)
    status, out, err = run(*paths)
    assert (status, err) == (1, "")
    lines = out.splitlines()
    assert lines[0] == "differs: setting seed: 3 | 9"
    assert lines[1].startswith("parted at update 4, column kl: 0.4 | 0.5 (3 rows of ")


def test_one_run_is_longer(run, tmp_path):
    paths = write_run(tmp_path / "a", rows(2)), write_run(tmp_path / "b", rows())
    assert run(*paths)[:2][0] == 1
    assert run(*paths)[1].startswith("parted at update 3, which the first run lacks (2 rows of ")
    assert "which the second run lacks" in run(*reversed(paths))[1]


def test_a_column_of_one_run_alone(run, tmp_path):
    fewer = tuple(name for name in rows()[0] if name != "entropy")
    whole = write_run(tmp_path / "a", rows())
    part = write_run(tmp_path / "b", rows(), columns=fewer)
    status, out, _ = run(part, whole)
    assert status == 0
    assert out.startswith("not compared: column entropy, which only the second run has\nequal: ")


def test_unusable(run, tmp_path):
    whole = write_run(tmp_path / "a", rows())
    for arguments in ([whole], [whole, tmp_path / "nowhere"], [whole, whole, whole]):
        status, out, err = run(*arguments)
        assert (status, out) == (2, "")
        assert err.startswith("error: ")
        assert err.count("\n") == 1


def test_as_a_command(run_cli, tmp_path):
    write_run(tmp_path / "a", rows())
    write_run(tmp_path / "b", rows(3))
    done = run_cli("compare_runs", "a", "b")
    assert (done.returncode, done.stderr) == (1, "")
    assert run_cli("compare_runs", "a", "a").returncode == 0
    assert run_cli("compare_runs", "a", "c").returncode == 2
