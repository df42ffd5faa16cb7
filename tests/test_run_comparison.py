"""Two runs that should be the same: where they part, and what differed before."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

from trpo_tf.config import TRPOConfig
from trpo_tf.metrics import COLUMNS, WALL_CLOCK_COLUMNS
from trpo_tf.progress_file import ProgressFile
from trpo_tf.provenance import describe_session
from trpo_tf.run_comparison import Difference, Parting, compare_runs
from trpo_tf.run_directory import RunDirectory
from trpo_tf.run_record import RunRecord

CONFIG = TRPOConfig(env="CartPole-v1", seed=3)
SESSION = describe_session(["train"])
RECORD = RunRecord(
    CONFIG, {}, gym.spaces.Box(-1, 1, (4,)), gym.spaces.Discrete(2), sessions=(SESSION,)
)


def rows(num_rows: int = 5) -> list[dict[str, Any]]:
    return [
        {**dict.fromkeys(COLUMNS, 0.1 * update), "update": update, "status": "ACCEPTED"}
        for update in range(1, num_rows + 1)
    ]


def write_run(
    path: Path,
    table: list[dict[str, Any]],
    record: RunRecord = RECORD,
    columns: tuple[str, ...] = COLUMNS,
) -> Path:
    RunDirectory.create(path, record).close()
    with ProgressFile(path / "progress.csv", columns) as file:
        for row in table:
            file.append(row)
    return path


def test_equal_runs_differ_in_nothing_but_clocks(tmp_path):
    late = [{**row, **dict.fromkeys(WALL_CLOCK_COLUMNS, 99.0)} for row in rows()]
    later = RECORD.sessions[0] | {"started": "another day", "command_line": ["elsewhere"]}
    record = dataclasses.replace(RECORD, sessions=(later,))
    found = compare_runs(write_run(tmp_path / "a", rows()), write_run(tmp_path / "b", late, record))
    assert found == ([], [], None, 5, len(COLUMNS) - len(WALL_CLOCK_COLUMNS))


@pytest.mark.parametrize("column", [name for name in COLUMNS if name not in WALL_CLOCK_COLUMNS])
def test_the_first_unequal_cell_is_found_in_every_column(tmp_path, column):
    other = rows()
    for row in other[2:]:
        row[column] = 1234567
    found = compare_runs(write_run(tmp_path / "a", rows()), write_run(tmp_path / "b", other))
    assert found.parting is not None
    assert (found.parting.column, found.parting.second) == (column, "1234567")
    assert (found.parting.update, found.num_rows) == ("3", 2)


def test_the_last_bit_of_a_float32_counts(tmp_path):
    other = rows()
    other[0]["kl"] = 0.1 * (1 + 2**-24)
    found = compare_runs(write_run(tmp_path / "a", rows()), write_run(tmp_path / "b", other))
    assert found.parting == Parting("1", "kl", "0.1", "0.100000006")


def test_a_run_that_ends_before_the_other_parts_there(tmp_path):
    short, long = write_run(tmp_path / "a", rows(3)), write_run(tmp_path / "b", rows(5))
    assert compare_runs(short, long).parting == Parting("4", "update", None, "4")
    found = compare_runs(long, short)
    assert (found.parting, found.num_rows) == (Parting("4", "update", "4", None), 3)


def test_columns_of_one_run_alone_are_named_and_not_compared(tmp_path):
    fewer = tuple(name for name in COLUMNS if name != "entropy")
    found = compare_runs(
        write_run(tmp_path / "a", rows()), write_run(tmp_path / "b", rows(), columns=fewer)
    )
    assert found.columns == [Difference("entropy", "entropy", None)]
    assert found.parting is None


def test_what_bits_depend_on_is_compared(tmp_path):
    session = {
        **SESSION,
        "versions": {**SESSION["versions"], "numpy": "0.0.1"},
        "intra_op_threads": 7,
        "instruction_sets": [*SESSION["instruction_sets"], "avx9000"],
        "variables": {**SESSION["variables"], "XLA_FLAGS": "--other"},
    }
    record = dataclasses.replace(
        RECORD, config=dataclasses.replace(CONFIG, seed=4), sessions=(session, session)
    )
    found = compare_runs(
        write_run(tmp_path / "a", rows()), write_run(tmp_path / "b", rows(), record)
    )
    names = [difference.what for difference in found.conditions]
    assert names[:-1] == [
        "setting seed",
        "session 1 versions numpy",
        "session 1 instruction_sets avx9000",
        "session 1 intra_op_threads",
        "session 1 variables XLA_FLAGS",
    ]
    assert found.conditions[0] == Difference("setting seed", 3, 4)
    assert (names[-1], found.conditions[-1].first) == ("session 2", None)


def test_what_cannot_be_compared_is_named(tmp_path):
    whole = write_run(tmp_path / "whole", rows())
    with pytest.raises(FileNotFoundError, match="nowhere holds no run"):
        compare_runs(whole, tmp_path / "nowhere")
    empty = write_run(tmp_path / "empty", [])
    with pytest.raises(ValueError, match=r"empty/progress\.csv has no rows yet"):
        compare_runs(empty, whole)
    (empty / "progress.csv").unlink()
    with pytest.raises(FileNotFoundError, match="empty holds no progress yet"):
        compare_runs(whole, empty)
    (empty / "progress.csv").symlink_to(whole / "progress.csv")
    with pytest.raises(ValueError, match=r"progress\.csv must be a plain file"):
        compare_runs(whole, empty)
