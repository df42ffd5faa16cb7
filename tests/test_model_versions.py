"""The numbered versions of a served model."""

from __future__ import annotations

from pathlib import Path

import pytest

from trpo_tf import model_versions
from trpo_tf.model_versions import (
    check_base,
    find_version,
    next_version,
    remove_old_versions,
    whole_versions,
)


def make_version(base: Path, name: str) -> Path:
    version = base / name
    version.mkdir()
    (version / "saved_model.pb").write_bytes(b"")
    return version


def test_numbers_go_on_after_the_highest_name_of_digits(tmp_path: Path) -> None:
    assert next_version(tmp_path / "missing") == 1
    assert next_version(tmp_path) == 1
    (tmp_path / "9").write_text("not even a directory")
    for name in ["2", "10", ".tmp-11-abc", "12a", "²", "notes"]:
        (tmp_path / name).mkdir()
    assert next_version(tmp_path) == 11


def test_the_newest_whole_version_is_found(tmp_path: Path) -> None:
    for name in ["9", "10", ".tmp-12-abc", "latest"]:
        make_version(tmp_path, name)
    (tmp_path / "11").mkdir()
    assert find_version(tmp_path) == tmp_path / "10"
    assert find_version(str(tmp_path / "9")) == tmp_path / "9"


def test_only_the_newest_versions_stay(tmp_path: Path) -> None:
    for name in ["1", "2", "9", "10"]:
        make_version(tmp_path, name)
    (tmp_path / "11").mkdir()
    assert remove_old_versions(tmp_path, keep=2) == [tmp_path / "1", tmp_path / "2"]
    assert whole_versions(tmp_path) == [tmp_path / "9", tmp_path / "10"]
    assert remove_old_versions(tmp_path, keep=2) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["10", "11", "9"]


def test_no_model_says_what_was_found(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nothing\. Expected saved_model"):
        find_version(tmp_path / "missing")
    with pytest.raises(ValueError, match="found an empty directory"):
        find_version(tmp_path)
    for name in "abcdefg":
        (tmp_path / name).write_text("")
    with pytest.raises(ValueError, match="found only a, b, c, d, e and more"):
        find_version(tmp_path)
    with pytest.raises(ValueError, match="there is a file"):
        find_version(tmp_path / "a")


def test_a_run_directory_is_told_from_a_model(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"run directory: .*trpo_tf.export --logdir=") as error:
        find_version(tmp_path)
    assert str(tmp_path) in str(error.value)


def test_two_exporters_may_remove_the_same_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ["1", "2", "3"]:
        make_version(tmp_path, name)
    remove = model_versions.remove_directory

    def remove_after_another(path: Path) -> None:
        if path.name == "1":
            remove(path)
        remove(path)

    monkeypatch.setattr(model_versions, "remove_directory", remove_after_another)
    assert remove_old_versions(tmp_path, keep=1) == [tmp_path / "2"]
    assert whole_versions(tmp_path) == [tmp_path / "3"]


def test_a_version_is_no_base_directory(tmp_path: Path) -> None:
    version = make_version(tmp_path, "3")
    check_base(tmp_path)
    with pytest.raises(ValueError, match="3 is one version itself") as refused:
        check_base(version)
    assert str(refused.value).endswith(f"give the directory of the versions, {tmp_path}.")
