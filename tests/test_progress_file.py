from __future__ import annotations

import math
import os
import warnings

import numpy as np
import pytest

from trpo_tf import progress_file
from trpo_tf.progress_file import ProgressFile, read_progress

COLUMNS = ["update", "kl", "status"]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "progress.csv"


def write(path, updates, after=None):
    with ProgressFile(path, COLUMNS, after) as file:
        for update in updates:
            file.append({"update": update, "kl": update / 100, "status": "ACCEPTED"})


def test_rows_are_on_the_file_at_once(path):
    with ProgressFile(path, COLUMNS) as file:
        assert path.read_text() == "update,kl,status\n"
        file.append({"update": 1, "kl": 0.25, "status": 'a "b", c', "other": 3})
        assert path.read_text() == 'update,kl,status\n1,0.25,"a ""b"", c"\n'
        file.append({"update": 2})
        assert path.read_text().endswith("\n2,,\n")
        file.sync()
        columns = read_progress(path)
    assert list(columns) == COLUMNS
    assert columns["update"].tolist() == [1.0, 2.0]
    assert math.isnan(columns["kl"][1])
    assert columns["status"].tolist() == ['a "b", c', ""]


def test_float32_comes_back_exactly(path):
    values = np.random.default_rng(0).normal(size=100).astype(np.float32)
    with ProgressFile(path, COLUMNS) as file:
        for update, value in enumerate(values):
            file.append({"update": update, "kl": value})
    assert read_progress(path)["kl"].astype(np.float32).tobytes() == values.tobytes()


def test_existing_file_is_not_overwritten(path):
    path.write_text("mine")
    with pytest.raises(FileExistsError):
        ProgressFile(path, COLUMNS)
    assert path.read_text() == "mine"


@pytest.mark.parametrize(("after", "kept"), [(0, []), (2, [1, 2]), (4, [1, 2, 3, 4])])
def test_continued_behind_an_update(path, after, kept):
    write(path, [1, 2, 3, 4])
    write(path, [10], after)
    assert read_progress(path)["update"].tolist() == [*kept, 10]


def test_continued_where_nothing_was_written(path):
    write(path, [1], after=0)
    assert read_progress(path)["update"].tolist() == [1]
    path.write_text("upd")
    write(path, [1], after=0)
    assert read_progress(path)["update"].tolist() == [1]


@pytest.mark.parametrize("tail", ["3", "3,0.0", "3,0.03,ACCEPT"])
def test_line_that_a_kill_cut_short(path, tail):
    write(path, [1, 2])
    with path.open("a") as file:
        file.write(tail)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_progress(path)["update"].tolist() == [1, 2]
        write(path, [3], after=2)
        assert read_progress(path)["update"].tolist() == [1, 2, 3]


@pytest.mark.parametrize("line", [b"3,0.0", b"\0\0\0", b"x,0.1,ACCEPTED", b"\xff\xfe,1,2", b""])
def test_damaged_lines_are_left_out_with_a_warning_and_kept_beside(path, line):
    write(path, [1, 2])
    with path.open("ab") as file:
        file.write(line + b"\n4,0.04,ACCEPTED\n")
    content = path.read_bytes()
    with pytest.warns(RuntimeWarning, match=r"Line 4 of .*progress\.csv cannot be read"):
        assert read_progress(path)["update"].tolist() == [1, 2, 4]
    with pytest.warns(RuntimeWarning) as caught:
        write(path, [5], after=4)
    assert "Line 4" in str(caught[0].message)
    assert "lacks 1 of its 4 rows; what was there is kept as damaged-" in str(caught[1].message)
    assert read_progress(path)["update"].tolist() == [1, 2, 4, 5]
    assert path.with_name("damaged-progress.csv").read_bytes() == content


@pytest.mark.parametrize(
    ("damage", "kept", "words"),
    [
        (lambda _: None, [], "lacks 4 of its 4 rows; the file is gone"),
        (lambda _: b"", [], "lacks 4 of its 4 rows"),
        (lambda content: content[:45], [1], "lacks 3 of its 4 rows"),
        (lambda content: content.replace(b"\n2,", b"\n92,"), [1, 3, 4], "lacks 1 of its 4 rows"),
        # Two rows say 3, and nothing tells which of them is.
        (lambda content: content.replace(b"\n2,", b"\n3,"), [1, 4], "lacks 2 of its 4 rows"),
        (lambda content: content + b"2,0.5,ACCEPTED\n", [1, 3, 4], "lacks 1 of its 4 rows"),
        (lambda content: content.replace(b"\n2,", b"\n2.5,"), [1, 3, 4], "lacks 1 of its 4 rows"),
    ],
)
def test_rows_that_are_missing_are_missed(path, damage, kept, words):
    write(path, [1, 2, 3, 4])
    damaged = damage(path.read_bytes())
    path.unlink() if damaged is None else path.write_bytes(damaged)
    with pytest.warns(RuntimeWarning, match=words):
        write(path, [5], after=4)
    columns = read_progress(path)
    assert columns["update"].tolist() == [*kept, 5]
    assert columns["kl"].tolist() == [update / 100 for update in [*kept, 5]]
    if damaged is not None:
        assert path.with_name("damaged-progress.csv").read_bytes() == damaged


def test_a_file_that_no_run_writes_is_not_read(path, monkeypatch):
    write(path, [1, 2])
    monkeypatch.setattr(progress_file, "_MOST_BYTES", 20)
    with pytest.raises(ValueError, match="more than 20 bytes"):
        read_progress(path)


def test_doubled_updates_are_removed(path):
    write(path, [1, 2])
    with path.open("a") as file:
        file.write("2,0.02,ACCEPTED\n1,0.01,ACCEPTED\n3,0.03,ACCEPTED\n")
    write(path, [4], after=3)
    columns = read_progress(path)
    assert columns["update"].tolist() == [1, 2, 3, 4]
    assert columns["kl"].tolist() == [0.01, 0.02, 0.03, 0.04]


def test_columns_are_fixed_by_the_first_line(path):
    write(path, [1])
    with ProgressFile(path, ["update", "new", "kl"], after=1) as file:
        file.append({"update": 2, "new": 5, "kl": 0.5})
    columns = read_progress(path)
    assert list(columns) == COLUMNS
    assert columns["kl"].tolist() == [0.01, 0.5]


@pytest.mark.parametrize(
    "content", [b"\x80\x04pickle\n", b"a,b\n1,2\n", b"update,update\n", b"x" * 20_000, b"\n\n"]
)
def test_files_of_another_kind(path, content):
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is no progress file"):
        read_progress(path)
    with pytest.raises(ValueError, match="is no progress file"):
        ProgressFile(path, COLUMNS, after=1)
    assert path.read_bytes() == content


def test_absent_file(path):
    with pytest.raises(FileNotFoundError, match=r"progress\.csv"):
        read_progress(path)


def test_links_are_not_followed(path, tmp_path):
    target = tmp_path / "target"
    path.symlink_to(target)
    with pytest.raises(OSError, match=r"progress\.csv"):
        ProgressFile(path, COLUMNS)
    assert not target.exists()


def test_full_disk_names_the_path(path, monkeypatch):
    file = ProgressFile(path, COLUMNS)

    def fail(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", fail)
    with pytest.raises(OSError, match=r"No space left on device: .*progress\.csv"):
        file.append({"update": 1})
    monkeypatch.undo()
    file.close()
    file.close()


def test_cells():
    assert progress_file.format_cell(np.float32(0.1)) == "0.100000001"
    assert progress_file.format_cell(np.bool_(False)) == "0"
    assert progress_file.format_cell(2**60) == str(2**60)
